"""The peers of a run: their endpoints and workers, in an environment of their own, on our MongoDB and RabbitMQ."""

import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.broker_queues import purge
from benchmarks.peers.marks import COUNTS, STARTS
from benchmarks.processes import Child, Children
from benchmarks.systems import WORKERS, wait_answers
from deploy.native.layout import ROOT

_ANSWERS_WITHIN_S = 30.0
DBOS_MODULE, ABSURD_MODULE = "dbos_app", "absurd_app"


@dataclass(frozen=True, slots=True)
class Place:
    """What all peers of a run share."""

    python: Path
    folder: Path
    children: Children
    amqp_url: str
    mongo_url: str
    dbos_url: str
    empty_dbos: Callable[[], None]
    absurd_url: str
    """Empty where there is no PostgreSQL: Absurd runs on nothing else."""
    empty_absurd: Callable[[], None]
    starts: Path

    @property
    def environ(self) -> dict[str, str]:
        """What their processes are told."""
        return {
            "PATH": f"{self.python.parent}:{os.environ.get('PATH', '/usr/bin:/bin')}",
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT / "tests"),
            "BENCH_AMQP_URL": self.amqp_url,
            # What a result is worth here: in the journal of a majority, as with ours.
            "BENCH_CELERY_RESULTS": f"{self.mongo_url}&w=majority&journal=true",
            "BENCH_DBOS_URL": self.dbos_url,
            "BENCH_ABSURD_URL": self.absurd_url,
            COUNTS: str(self.counts),
            STARTS: str(self.starts),
        }

    @property
    def counts(self) -> Path:
        """A file for each process that has run no-ops."""
        return self.folder / "counts"


@dataclass(slots=True)
class Peer:
    """One of them. `workers` holds the command of each worker program; `queues` those that it uses."""

    name: str
    does_not: str
    module: str
    place: Place
    workers: Sequence[Sequence[str]] = ()
    queues: Sequence[str] = ()
    port: int = 0
    _endpoint: Child | None = None
    _workers: list[Child] = field(default_factory=list)

    @property
    def headers(self) -> dict[str, str]:
        """None: peers ask for no token."""
        return {}

    def wake(self) -> None:
        """Its endpoint."""
        if self._endpoint is not None:
            return
        self._forget_counts()
        self.port = free_port()
        command = [str(self.place.python), "-m", f"benchmarks.peers.{self.module}", str(self.port)]
        endpoint = self._endpoint = self._start(f"{self.module}-endpoint", command)
        wait_answers(self.port, {}, within_s=_ANSWERS_WITHIN_S, check=endpoint.check_is_alive)

    def start_workers(self) -> None:
        """Returns at once: what they do shows when they are ready."""
        self._workers = [
            self._start(f"{self.module}-worker-{number}", command) for number, command in enumerate(self.workers, 1)
        ]

    def stop_workers(self) -> None:
        """Kills them: what they hold is thrown away."""
        for worker in self._workers:
            worker.check_is_alive()
            self.place.children.kill(worker)
        self._workers = []

    def handled(self) -> int:
        """By the count of its handlers."""
        for worker in self._workers:
            worker.check_is_alive()
        files = list(self.place.counts.glob("*")) if self.place.counts.exists() else []
        return sum(struct.unpack("<q", text)[0] for file in files if len(text := file.read_bytes()) == 8)

    def empty(self) -> None:
        """Stops its workers and empties its queues."""
        self.stop_workers()
        if self.queues:
            purge(self.place.amqp_url, *self.queues)
        if self.module == DBOS_MODULE:
            self.place.empty_dbos()
        if self.module == ABSURD_MODULE:
            self.place.empty_absurd()
        self._forget_counts()

    def rest(self) -> None:
        """The same, and ends its endpoint."""
        if self._endpoint is not None:
            self.place.children.kill(self._endpoint)
            self._endpoint = None
        self.empty()

    def _start(self, name: str, command: Sequence[str]) -> Child:
        self.place.counts.mkdir(parents=True, exist_ok=True)
        return self.place.children.start(name, command, environ=self.place.environ, cwd=self.place.folder)

    def _forget_counts(self) -> None:
        shutil.rmtree(self.place.counts, ignore_errors=True)


def bare(place: Place) -> Peer:
    """Bare Starlette."""
    return Peer(
        "bare Starlette",
        "parses the same JSON and sends the same response; stores nothing, runs nothing",
        "bare",
        place,
    )


def celery(place: Place) -> Peer:
    """Celery."""
    command = [
        *(str(place.python), "-m", "celery", "--app", "benchmarks.peers.celery_app", "worker", "--pool", "prefork"),
        *("--concurrency", str(WORKERS), "--loglevel", "WARNING"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
    ]
    does_not = (
        "`apply_async` in Starlette's threads, quorum queue, confirms on, `acks_late`, results in MongoDB (majority, "
        "journal), two pool processes. A request exists only in the broker: it can't be queried, listed or counted "
        "before its result is stored. No lease, no fencing against a second run, no history, no feed"
    )
    return Peer("Celery", does_not, "celery_app", place, [command], ["bench.celery"])


def dramatiq(place: Place) -> Peer:
    """Dramatiq."""
    command = [
        *(str(place.python), "-m", "dramatiq", "benchmarks.peers.dramatiq_app"),
        *("--processes", str(WORKERS), "--threads", "8"),
    ]
    does_not = (
        "`send` in Starlette's threads, durable classic queue, confirms on, two processes of 8 threads. Stores no "
        "results and no state, so whether a job is done can't be queried. No lease, no fencing, no history, no feed"
    )
    queues = ["bench.dramatiq", "bench.dramatiq.DQ", "bench.dramatiq.XQ"]
    return Peer("Dramatiq", does_not, "dramatiq_app", place, [command], queues)


def taskiq(place: Place) -> Peer:
    """Taskiq."""
    command = [
        *(str(place.python), "-m", "taskiq", "worker", "benchmarks.peers.taskiq_app:broker"),
        *("--workers", str(WORKERS), "--log-level", "WARNING"),
    ]
    does_not = (
        "`kiq` on the endpoint's loop, quorum queue, confirms on, prefetch 100, two worker processes. Stores no "
        "results and no state. No lease, no fencing, no history, no feed"
    )
    return Peer("Taskiq", does_not, "taskiq_app", place, [command], ["bench.taskiq", "taskiq.dead_letter"])


def dbos(place: Place) -> Peer:
    """DBOS. Its tables have to be there: `make_tables`."""
    command = [str(place.python), "-m", "benchmarks.peers.dbos_app", "work"]
    where = "PostgreSQL" if place.dbos_url.startswith("postgresql") else "SQLite"
    does_not = (
        f"`DBOSClient.enqueue` in Starlette's threads on {where}, one durable row per job. Stores state and "
        "results; polls for queued work each second. No tokens, tenants or limits, no feed"
    )
    return Peer("DBOS", does_not, DBOS_MODULE, place, [command] * WORKERS)


def absurd(place: Place) -> Peer:
    """Absurd. Its tables have to be there: `make_tables`."""
    command = [str(place.python), "-m", f"benchmarks.peers.{ABSURD_MODULE}", "work"]
    does_not = (
        "`Absurd.spawn` in Starlette's threads on PostgreSQL, one row per job and per step; two worker processes with "
        "one connection each. Stores state and results; polls for work four times a second. No tokens, tenants or "
        "limits, no feed. Only in the figure of steps"
    )
    return Peer("Absurd", does_not, ABSURD_MODULE, place, [command] * WORKERS)


def make_tables(place: Place) -> None:
    """Once a run: the tables of the peers that work on a database of their own."""
    modules = [DBOS_MODULE, *([ABSURD_MODULE] if place.absurd_url else [])]
    place.folder.mkdir(parents=True, exist_ok=True)
    for module in modules:
        command = [str(place.python), "-m", f"benchmarks.peers.{module}", "init"]
        done = subprocess.run(
            command, env=place.environ, cwd=place.folder, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode != 0:
            raise OSError(f"{module} can't make its tables: {done.stderr.strip()[-800:]}")


def free_port() -> int:
    """A port that is free now, below those that the kernel gives to outgoing connections."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """So many different ones."""
    found: list[int] = []
    for port in range(31_000, 32_700):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
        if len(found) == count:
            return found
    raise OSError("too few ports are free from 31,000 to 32,700")
