"""A separate mongod with fail points: the server itself fails, interrupts, blocks or denies commands."""

import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from acked_common.store.mongo.replica_set import ensure_single_member
from deploy.native.layout import ROOT
from deploy.native.packages import Servers

READY_WITHIN_S = 150.0
ENDS_WITHIN_S = 20.0


class FailingMongod:
    """A replica set of one member with fail points enabled; commands fail for one application only."""

    def __init__(self, port: int) -> None:
        self.address = ("127.0.0.1", port)
        self.url = f"mongodb://127.0.0.1:{port}/?directConnection=true"
        self.client: MongoClient[dict[str, Any]] = MongoClient(self.url, tz_aware=True, uuidRepresentation="standard")

    @contextmanager
    def failing(
        self, commands: Sequence[str], *, app_name: str, times: int | None = None, **how: Any
    ) -> Iterator[None]:
        """Fail the next `times` of these commands, or all.

        `how` is `closeConnection=True`, `errorCode=…`, `writeConcernError={…}`, or `blockConnection=True,
        blockTimeMS=…`.
        """
        data = {"failCommands": list(commands), "appName": app_name, **how}
        mode: Any = "alwaysOn" if times is None else {"times": times}
        self.client.admin.command("configureFailPoint", "failCommand", mode=mode, data=data)
        try:
            yield
        finally:
            self.client.admin.command("configureFailPoint", "failCommand", mode="off")


@contextmanager
def failing_mongod(folder: Path) -> Iterator[FailingMongod]:
    """Run one with its data in `folder`. Raise `PackagesError` without a mongod."""
    servers = Servers(ROOT / ".acked" / "servers")
    servers.ensure(mongod=True, rabbitmq=False)
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        str(servers.mongod),
        *("--dbpath", str(folder), "--port", str(port), "--bind_ip", "127.0.0.1", "--replSet", "acked"),
        *("--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "64", "--nounixsocket", "--quiet"),
        *("--setParameter", "enableTestCommands=1", "--setParameter", "diagnosticDataCollectionEnabled=false"),
    ]
    environ = {**os.environ, "LD_LIBRARY_PATH": servers.library_path}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
    mongod = FailingMongod(port)
    try:
        ensure_single_member(f"127.0.0.1:{port}", within_s=READY_WITHIN_S)
        yield mongod
    finally:
        mongod.client.close()
        process.terminate()
        try:
            process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
