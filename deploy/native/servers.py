"""Run private servers alone, without services, for integration tests."""

import os
from pathlib import Path
from types import TracebackType

from deploy.native.layout import Layout, Ports
from deploy.native.stack import Stack


class PrivateServers:
    """A private mongod and RabbitMQ in a folder; a context manager."""

    def __init__(self, folder: Path, port_base: int) -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("ACKED_")}
        self.stack = Stack(Layout(folder.resolve(), Ports(port_base)), environ, services=False)

    @property
    def mongo_url(self) -> str:
        """The URL of MongoDB."""
        return self.stack.urls["mongo"]

    @property
    def amqp_url(self) -> str:
        """The URL of RabbitMQ, user and password included."""
        return self.stack.urls["amqp"]

    def start(self) -> None:
        """Start both servers and return when they respond. Raise `StackError`."""
        self.stack.up()

    def stop(self) -> None:
        """End all processes."""
        self.stack.down()

    def kill(self, part: str) -> None:
        """Send SIGKILL to `mongod`, `rabbitmq` or `epmd`; the supervisor restarts it."""
        self.stack.parts.kill(part)

    def pause(self, part: str) -> None:
        """Stop a part until `restart`."""
        self.stack.parts.stop(part)

    def restart(self, part: str) -> None:
        """Start a stopped part, and return when all respond."""
        self.stack.parts.start(part)
        self.stack.up()

    def __enter__(self) -> "PrivateServers":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
