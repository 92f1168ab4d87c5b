"""`rabbitmqctl` for a private RabbitMQ, as operators use it."""

from deploy.native.layout import Layout
from deploy.native.rabbitmqctl import run


def rabbitmqctl(layout: Layout, *arguments: str) -> str:
    """Run it and return its output; fail with its output if it fails."""
    done = run(layout, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
