"""MongoDB and RabbitMQ in containers for this test run only, through testcontainers."""

import os
import time
import warnings
from typing import Any

# Read when testcontainers is imported: no reaper container, and addresses on loopback.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
os.environ.setdefault("TESTCONTAINERS_HOST_OVERRIDE", "127.0.0.1")
os.environ.setdefault("TESTCONTAINERS_CONNECTION_MODE", "docker_host")

with warnings.catch_warnings():
    # The library's own modules still use what it has deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    import pika
    from testcontainers.community.mongodb import MongoDbContainer
    from testcontainers.community.rabbitmq import RabbitMqContainer
    from testcontainers.core.container import DockerContainer

from acked_common.store.mongo.replica_set import NAME, ensure_single_member

READY_WITHIN_S = 150.0
PASSWORD = "acked-tests"
POLL_S = 0.05


class _ReplicaSet(MongoDbContainer):
    """A replica set of one member with the same address inside and outside its container."""

    def __init__(self, image: str, port: int) -> None:
        super().__init__(image, port=port)
        self.with_command(["mongod", "--replSet", NAME, "--bind_ip_all", "--port", str(port)])
        # The library's own method would publish on all addresses.
        self.ports[str(port)] = ("127.0.0.1", port)

    def _configure(self) -> None:
        """Create no user: a replica set with users needs a key file too."""


class ContainerServers:
    """Servers with the interface of `PrivateServers`."""

    def __init__(self, images: dict[str, str], *, mongo_port: int, amqp_port: int) -> None:
        self.mongo_url = f"mongodb://127.0.0.1:{mongo_port}/?replicaSet={NAME}"
        self.amqp_url = f"amqp://acked:{PASSWORD}@127.0.0.1:{amqp_port}/"
        self._mongo_port = mongo_port
        self._mongo = _ReplicaSet(images["ACKED_MONGO_IMAGE"], mongo_port)
        # The same port inside: only then does the address survive a restart of the container.
        self._rabbit = RabbitMqContainer(
            images["ACKED_RABBITMQ_IMAGE"], port=amqp_port, username="acked", password=PASSWORD
        )
        self._rabbit.ports[str(amqp_port)] = ("127.0.0.1", amqp_port)
        self._rabbit.with_kwargs(hostname="rabbitmq")

    def start(self) -> None:
        """Return once both accept connections."""
        self._mongo.start()
        try:
            ensure_single_member(f"127.0.0.1:{self._mongo_port}", within_s=READY_WITHIN_S)
            self._rabbit.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Remove the containers and their data."""
        for container in (self._rabbit, self._mongo):
            container.stop()

    def kill(self, part: str) -> None:
        """Send SIGKILL to `mongod` or `rabbitmq`, which restarts as under a restart policy."""
        wrapped = self._wrapped(part)
        wrapped.kill()
        wrapped.start()

    def pause(self, part: str) -> None:
        """Stop a server until `restart`."""
        self._wrapped(part).stop(timeout=20)

    def restart(self, part: str) -> None:
        """Start a stopped server and return once it accepts connections."""
        wrapped = self._wrapped(part)
        wrapped.reload()
        if wrapped.status != "running":
            wrapped.start()
        if part == "mongod":
            ensure_single_member(f"127.0.0.1:{self._mongo_port}", within_s=READY_WITHIN_S)
            return
        end = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                pika.BlockingConnection(pika.URLParameters(self.amqp_url)).close()
                return
            except pika.exceptions.AMQPError:
                if time.monotonic() > end:
                    raise
                time.sleep(POLL_S)

    def _wrapped(self, part: str) -> Any:
        container: DockerContainer = {"mongod": self._mongo, "rabbitmq": self._rabbit}[part]
        return container.get_wrapped_container()
