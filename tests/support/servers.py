"""MongoDB and RabbitMQ for a test run.

Those that the environment names; else containers if a Docker engine has the images; else private processes, started as
`up` does natively. `ACKED_RUNTIME` forces one of the latter two.
"""

import os
import random
from pathlib import Path
from typing import Protocol

import pytest
from pymongo import MongoClient

MONGO_URL = "ACKED_TEST_MONGO_URL"
AMQP_URL = "ACKED_TEST_AMQP_URL"


class ServersUnavailable(Exception):
    """No servers can run here; the text says why."""


class OwnServers(Protocol):
    """Servers that a test run started."""

    @property
    def mongo_url(self) -> str:
        """The URL of MongoDB."""
        ...

    @property
    def amqp_url(self) -> str:
        """The URL of RabbitMQ."""
        ...

    def start(self) -> None:
        """Return once both accept connections."""
        ...

    def stop(self) -> None:
        """Stop both."""
        ...

    def kill(self, part: str) -> None:
        """Send SIGKILL to `mongod` or `rabbitmq`, which restarts by itself."""
        ...

    def pause(self, part: str) -> None:
        """Stop a server until `restart`."""
        ...

    def restart(self, part: str) -> None:
        """Start a stopped server and return once it accepts connections."""
        ...


class Servers:
    """The servers of one test run."""

    def __init__(self, mongo_url: str, amqp_url: str, private: OwnServers | None) -> None:
        self.mongo_url = mongo_url
        self.amqp_url = amqp_url
        self._private = private
        self._client: MongoClient[dict[str, object]] | None = None

    @property
    def private(self) -> OwnServers:
        """Return the servers that this run started and may kill; skip if they belong to others."""
        if self._private is None:
            pytest.skip(f"needs servers of its own; unset {MONGO_URL}")
        return self._private

    def drop_database(self, name: str) -> None:
        """Drop a test's database."""
        self.mongo().drop_database(name)

    def empty_database(self, name: str) -> None:
        """Delete the documents of a database and stop its profiler; its collections and indexes stay."""
        database = self.mongo()[name]
        database.command("profile", 0)
        for collection in database.list_collection_names():
            if collection == "system.profile":
                database.drop_collection(collection)
            else:
                database[collection].delete_many({})

    def mongo(self) -> MongoClient[dict[str, object]]:
        """Return a plain client, for inspection by tests."""
        if self._client is None:
            self._client = MongoClient(
                self.mongo_url, tz_aware=True, uuidRepresentation="standard", serverSelectionTimeoutMS=10_000
            )
        return self._client

    def stop(self) -> None:
        """Stop the servers that this run started."""
        if self._client is not None:
            self._client.close()
        if self._private is not None:
            self._private.stop()


def start_servers(folder: Path) -> Servers:
    """Start servers with their data in `folder`. Raise `ServersUnavailable` if none can run."""
    mongo_url, amqp_url = os.environ.get(MONGO_URL), os.environ.get(AMQP_URL)
    if mongo_url and amqp_url:
        return Servers(mongo_url, amqp_url, None)
    if (containers := _containers()) is not None:
        return Servers(containers.mongo_url, containers.amqp_url, containers)
    # Only runs that need servers pay for this import.
    from deploy.native.layout import LayoutError
    from deploy.native.ports import free_port_base
    from deploy.native.servers import PrivateServers
    from deploy.native.stack import StackError

    try:
        private = PrivateServers(folder, free_port_base())
        private.start()
    except (StackError, LayoutError, LookupError, OSError) as error:
        raise ServersUnavailable(f"no MongoDB and RabbitMQ can be started here: {error}") from error
    return Servers(private.mongo_url, private.amqp_url, private)


def _containers() -> OwnServers | None:
    """Start servers in containers; return None if that is not wanted or not possible."""
    from deploy.docker.engine import image_is_there, image_names, why_not

    runtime = os.environ.get("ACKED_RUNTIME")
    if runtime == "native":
        return None
    images = image_names()
    are_there = all(image_is_there(images[name]) for name in ("ACKED_MONGO_IMAGE", "ACKED_RABBITMQ_IMAGE"))
    if not are_there:
        if runtime == "docker":
            raise ServersUnavailable(f"no containers can be started here: {why_not()}")
        return None
    from deploy.native.preflight import is_free
    from support.container_servers import ContainerServers

    ports = [port for port in random.sample(range(21_000, 30_000), 200) if is_free(port)]
    containers = ContainerServers(images, mongo_port=ports[0], amqp_port=ports[1])
    containers.start()
    return containers
