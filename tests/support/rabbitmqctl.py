"""`rabbitmqctl` of a private RabbitMQ: what an operator does to it."""

import subprocess

from deploy.native.launch import command_of
from deploy.native.layout import Layout
from deploy.native.packages import Servers

WITHIN_S = 60.0


def rabbitmqctl(layout: Layout, *arguments: str) -> str:
    """What it says; fails with what it says when it fails."""
    servers = Servers(layout.servers)
    _, environment = command_of("rabbitmq", layout, {})
    done = subprocess.run(
        [str(servers.rabbitmq_server.with_name("rabbitmqctl")), *arguments],
        env=environment,
        cwd=servers.debian,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
