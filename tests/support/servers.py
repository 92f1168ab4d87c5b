"""MongoDB and RabbitMQ for a test run: those that the environment names, else private ones as `up` starts them."""

import os
import random
import socket
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pymongo import MongoClient

if TYPE_CHECKING:
    from deploy.native.servers import PrivateServers

MONGO_URL = "ACKED_TEST_MONGO_URL"
AMQP_URL = "ACKED_TEST_AMQP_URL"


class ServersUnavailable(Exception):
    """No servers can run here; the text says why."""


class Servers:
    """The servers of one test run."""

    def __init__(self, mongo_url: str, amqp_url: str, private: "PrivateServers | None") -> None:
        self.mongo_url = mongo_url
        self.amqp_url = amqp_url
        self._private = private
        self._client: MongoClient[dict[str, object]] | None = None

    @property
    def private(self) -> "PrivateServers":
        """The servers that this run started and may kill; skips where they are somebody else's."""
        if self._private is None:
            pytest.skip(f"needs servers of its own; unset {MONGO_URL}")
        return self._private

    def drop_database(self, name: str) -> None:
        """Removes what a test left."""
        self.mongo().drop_database(name)

    def mongo(self) -> MongoClient[dict[str, object]]:
        """A plain client, for what tests look at from outside."""
        if self._client is None:
            self._client = MongoClient(
                self.mongo_url, tz_aware=True, uuidRepresentation="standard", serverSelectionTimeoutMS=10_000
            )
        return self._client

    def stop(self) -> None:
        """Stops what was started."""
        if self._client is not None:
            self._client.close()
        if self._private is not None:
            self._private.stop()


def start_servers(folder: Path) -> Servers:
    """Starts servers that keep their data in `folder`; raises `ServersUnavailable` where none can run."""
    mongo_url, amqp_url = os.environ.get(MONGO_URL), os.environ.get(AMQP_URL)
    if mongo_url and amqp_url:
        return Servers(mongo_url, amqp_url, None)
    # Only the runs that want servers pay for this import.
    from deploy.native.layout import LayoutError, Ports
    from deploy.native.servers import PrivateServers
    from deploy.native.stack import StackError

    def free_port_base() -> int:
        # Ports of servers are kept below those that the kernel gives to outgoing connections.
        for base in random.sample(range(4_000, 12_000, 10), 100):
            ports = Ports(base)
            if all(map(_is_free, (ports.mongod, ports.amqp, ports.epmd, ports.erlang))):
                return base
        raise ServersUnavailable("no ports are free for MongoDB and RabbitMQ")

    try:
        private = PrivateServers(folder, free_port_base())
        private.start()
    except (StackError, LayoutError, OSError) as error:
        raise ServersUnavailable(f"no MongoDB and RabbitMQ can be started here: {error}") from error
    return Servers(private.mongo_url, private.amqp_url, private)


def _is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
