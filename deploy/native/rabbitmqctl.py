"""Run `rabbitmqctl` of the private RabbitMQ, with the node's own cookie."""

import subprocess

from deploy.native.launch import command_of
from deploy.native.layout import Layout
from deploy.native.packages import Servers
from deploy.native.patience import PART_WITHIN_S

TIMED_OUT = 124


def run(layout: Layout, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run one command to its end. One that hangs is ended, and its result says so."""
    servers = Servers(layout.servers)
    _, environment = command_of("rabbitmq", layout, {})
    command = [str(servers.rabbitmq_server.with_name("rabbitmqctl")), *arguments]
    try:
        return subprocess.run(
            command,
            env=environment,
            cwd=servers.debian,
            capture_output=True,
            text=True,
            timeout=PART_WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        late = f"rabbitmqctl {arguments[0]} has not ended within {PART_WITHIN_S:g} s"
        return subprocess.CompletedProcess(command, TIMED_OUT, stdout="", stderr=late)
