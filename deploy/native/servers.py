"""Private servers alone, without services: what integration tests run against."""

import os
from pathlib import Path
from types import TracebackType

from deploy.native.layout import Layout, Ports
from deploy.native.stack import Stack


class PrivateServers:
    """A mongod and a RabbitMQ of their own in a folder; a context manager."""

    def __init__(self, folder: Path, port_base: int) -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("ACKED_")}
        self.stack = Stack(Layout(folder.resolve(), Ports(port_base)), environ, services=False)

    @property
    def mongo_url(self) -> str:
        """Where MongoDB is."""
        return self.stack.urls["mongo"]

    @property
    def amqp_url(self) -> str:
        """Where RabbitMQ is, user and password included."""
        return self.stack.urls["amqp"]

    def start(self) -> None:
        """Returns when both answer. Raises `StackError`."""
        self.stack.up()

    def stop(self) -> None:
        """Ends all of its processes."""
        self.stack.down()

    def kill(self, part: str) -> None:
        """SIGKILL to `mongod`, `rabbitmq` or `epmd`; the supervisor brings it back."""
        self.stack.parts.kill(part)

    def pause(self, part: str) -> None:
        """Stops a part until `restart`."""
        self.stack.parts.stop(part)

    def restart(self, part: str) -> None:
        """Starts a part that was stopped, and returns when all answer."""
        self.stack.parts.start(part)
        self.stack.up()

    def __enter__(self) -> "PrivateServers":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
