"""Run `rabbitmqctl` of the private RabbitMQ, with the node's own cookie."""

import subprocess

from deploy.native.launch import command_of
from deploy.native.layout import Layout
from deploy.native.packages import Servers

WITHIN_S = 60.0


def run(layout: Layout, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run one command to its end."""
    servers = Servers(layout.servers)
    _, environment = command_of("rabbitmq", layout, {})
    return subprocess.run(
        [str(servers.rabbitmq_server.with_name("rabbitmqctl")), *arguments],
        env=environment,
        cwd=servers.debian,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
