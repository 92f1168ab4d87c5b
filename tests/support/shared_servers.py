"""One MongoDB and one RabbitMQ for the stacks of a test process that neither stop nor inspect their servers.

A stack of its own servers spends more CPU on their start than most modules spend on all of their tests.
"""

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pymongo import MongoClient

from acked_common.accounts.rabbit_definitions import OWNER
from deploy.native import rabbitmqctl
from deploy.native.servers import PrivateServers


class SharedServers:
    """Servers with a place for each stack: a database and a virtual host of its own, under the owner's account."""

    def __init__(self, folder: Path, port_base: int) -> None:
        self._folder = folder
        self._servers = PrivateServers(folder / "servers", port_base)
        self._numbers = itertools.count(1)

    def start(self) -> None:
        """Start both servers and return when they respond."""
        self._servers.start()

    def stop(self) -> None:
        """End both."""
        self._servers.stop()

    @contextmanager
    def place(self) -> Iterator[dict[str, str]]:
        """Make a place; yield the settings that lead services to it, and drop its database afterwards.

        Its queues remain until the servers stop: to remove them would take another second of CPU.
        """
        name = f"acked-{next(self._numbers)}"
        self._make_virtual_host(name)
        yield {
            "ACKED_MONGO_URL": self._servers.mongo_url,
            "ACKED_AMQP_URL": self._servers.amqp_url + name,
            "ACKED_DATABASE": name,
        }
        with MongoClient[dict[str, object]](self._servers.mongo_url) as client:
            client.drop_database(name)

    def _make_virtual_host(self, name: str) -> None:
        # One command for both, because each starts an Erlang machine.
        definitions = {
            "vhosts": [{"name": name}],
            "permissions": [{"user": OWNER, "vhost": name, "configure": ".*", "write": ".*", "read": ".*"}],
        }
        file = self._folder / f"{name}.json"
        file.write_text(json.dumps(definitions))
        done = rabbitmqctl.run(self._servers.stack.layout, "import_definitions", str(file))
        assert done.returncode == 0, done.stdout + done.stderr
