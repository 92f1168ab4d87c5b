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

AT_ONCE = 16
"""Places that are made together: about as many as the modules of one process need."""


class SharedServers:
    """Servers with a place for each stack: a database and a virtual host of its own, under the owner's account."""

    def __init__(self, folder: Path, port_base: int) -> None:
        self._folder = folder
        self._servers = PrivateServers(folder / "servers", port_base)
        self._numbers = itertools.count()

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
        number = next(self._numbers)
        if number % AT_ONCE == 0:
            self._make_virtual_hosts(range(number, number + AT_ONCE))
        name = _name(number)
        yield {
            "ACKED_MONGO_URL": self._servers.mongo_url,
            "ACKED_AMQP_URL": self._servers.amqp_url + name,
            "ACKED_DATABASE": name,
        }
        with MongoClient[dict[str, object]](self._servers.mongo_url) as client:
            client.drop_database(name)

    def _make_virtual_hosts(self, numbers: range) -> None:
        # One command for all, because each starts an Erlang machine.
        names = [_name(number) for number in numbers]
        everything = {"user": OWNER, "configure": ".*", "write": ".*", "read": ".*"}
        definitions = {
            "vhosts": [{"name": name} for name in names],
            "permissions": [{**everything, "vhost": name} for name in names],
        }
        file = self._folder / f"{names[0]}.json"
        file.write_text(json.dumps(definitions))
        done = rabbitmqctl.run(self._servers.stack.layout, "import_definitions", str(file))
        assert done.returncode == 0, done.stdout + done.stderr


def _name(number: int) -> str:
    return f"acked-{number}"
