"""A replica set of the test's own: members that can be killed, paused, stepped down and told to fail commands."""

import random
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from deploy.native.layout import ROOT
from deploy.native.packages import Servers
from support.freezing import freeze
from support.stacks import eventually

NAME = "acked"
READY_WITHIN_S = 150.0
FAILS_WITHIN_S = 30.0


class ReplicaSet:
    """Some mongods on loopback with test commands."""

    def __init__(self, folder: Path, members: int) -> None:
        self._servers = Servers(ROOT / ".acked" / "servers")
        self._servers.ensure(mongod=True, rabbitmq=False)
        self._folder = folder
        self._ports = _free_ports(members)
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._failing = (0, 0, 0)
        self.url = f"mongodb://{','.join(self.hosts)}/?replicaSet={NAME}"

    @property
    def hosts(self) -> list[str]:
        """`name:port` of each member."""
        return [f"127.0.0.1:{port}" for port in self._ports]

    def start(self) -> None:
        """Returns when there is a primary."""
        for port in self._ports:
            self.start_member(port)
        with _direct(self._ports[0]) as first:
            members = [{"_id": number, "host": host, "priority": 1} for number, host in enumerate(self.hosts)]
            config = {"_id": NAME, "members": members, "settings": {"electionTimeoutMillis": 2000}}
            first.admin.command("replSetInitiate", config)
        eventually(self.primary, within_s=READY_WITHIN_S, what="there is a primary")

    def start_member(self, port: int) -> None:
        """Starts a member that does not run."""
        data = self._folder / str(port)
        data.mkdir(parents=True, exist_ok=True)
        command = [
            str(self._servers.mongod),
            *("--dbpath", str(data), "--port", str(port), "--bind_ip", "127.0.0.1", "--replSet", NAME),
            *("--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "256", "--nounixsocket", "--quiet"),
            *("--setParameter", "enableTestCommands=1", "--setParameter", "diagnosticDataCollectionEnabled=false"),
        ]
        libraries = {"LD_LIBRARY_PATH": path} if (path := self._servers.library_path) else {}
        with (self._folder / f"{port}.log").open("ab") as log:
            self._processes[port] = subprocess.Popen(
                command, stdout=log, stderr=log, env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **libraries}
            )
        eventually(lambda: _listens(port), within_s=READY_WITHIN_S, what=f"the member on {port} listens")

    def primary(self) -> int:
        """The port of the primary; 0 while there is none."""
        for port in self._ports:
            if self._runs(port):
                try:
                    with _direct(port) as member:
                        if member.admin.command("hello").get("isWritablePrimary"):
                            return port
                except PyMongoError:
                    continue
        return 0

    def wait_primary(self) -> int:
        """The port of the primary, once there is one."""
        return int(eventually(self.primary, within_s=READY_WITHIN_S, what="there is a primary"))

    def kill(self, port: int) -> None:
        """SIGKILL to a member."""
        self._processes[port].send_signal(signal.SIGKILL)
        self._processes[port].wait(10)

    def step_down(self) -> None:
        """The primary makes room for another."""
        with _direct(self.wait_primary()) as member:
            member.admin.command("replSetStepDown", 10, secondaryCatchUpPeriodSecs=5)

    def pause(self) -> None:
        """Stops all members without a word."""
        for process in self._processes.values():
            freeze(process.pid)

    def resume(self) -> None:
        """Lets all members go on, and starts those that were killed."""
        for port in self._ports:
            if self._runs(port):
                self._processes[port].send_signal(signal.SIGCONT)
            else:
                self.start_member(port)

    def fail(self, commands: Sequence[str], *, times: int, app: str, how: Mapping[str, Any]) -> None:
        """The next so many of these commands from the clients of this name fail: closeConnection, writeConcernError."""
        port = self.wait_primary()
        with _direct(port) as member:
            answer = member.admin.command(
                "configureFailPoint",
                "failCommand",
                mode={"times": times},
                data={"failCommands": list(commands), "appName": app, **how},
            )
        # The server counts from its start on.
        self._failing = port, int(answer["count"]), times

    def wait_failed(self) -> int:
        """Returns when all of them have failed, with their number; fails where they don't come."""
        port, before, times = self._failing
        with _direct(port) as member:
            within_ms = int(FAILS_WITHIN_S * 1000)
            member.admin.command("waitForFailPoint", "failCommand", timesEntered=before + times, maxTimeMS=within_ms)
            answer = member.admin.command("configureFailPoint", "failCommand", mode="off")
            return int(answer["count"]) - before

    def close(self) -> None:
        """Ends all members."""
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self._processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _runs(self, port: int) -> bool:
        process = self._processes.get(port)
        return process is not None and process.poll() is None


def _direct(port: int) -> "MongoClient[dict[str, Any]]":
    return MongoClient(f"mongodb://127.0.0.1:{port}/?directConnection=true", serverSelectionTimeoutMS=3_000)


def _listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_ports(number: int) -> list[int]:
    found = []
    for port in random.sample(range(24_000, 28_000), 200):
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == number:
            return found
    raise OSError(f"no {number} ports are free")
