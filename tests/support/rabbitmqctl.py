"""`rabbitmqctl` of a private RabbitMQ: what an operator does to it."""

from deploy.native.layout import Layout
from deploy.native.rabbitmqctl import run


def rabbitmqctl(layout: Layout, *arguments: str) -> str:
    """What it says; fails with what it says when it fails."""
    done = run(layout, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
