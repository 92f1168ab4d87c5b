"""What the figures of one run share: the plan, the systems, the load."""

import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import peer_env, peers_run, postgres
from benchmarks.load import Loader, make_loader
from benchmarks.ours import Ours
from benchmarks.peers.marks import COUNTS, STARTS
from benchmarks.peers_run import Peer, Place, free_port
from benchmarks.plan import Plan
from benchmarks.processes import Children
from benchmarks.starts import Starts
from benchmarks.systems import System
from deploy.native.layout import ROOT


@dataclass(slots=True)
class Bench:
    """One run. All is stopped when `set_up` ends."""

    plan: Plan
    ours: Ours
    place: Place
    loader: Loader
    starts: Starts
    children: Children
    chosen: frozenset[str]
    """The names of the figures that are measured."""
    folder: Path
    database: str
    """What DBOS works on, with its version."""
    began_at_s: float
    shared: dict[str, object] = field(default_factory=dict)
    """What one figure has measured for another."""
    peers: dict[str, Peer] = field(default_factory=dict)

    def peer(self, name: str) -> Peer:
        """A peer by its module's short name."""
        return self.peers[name]

    def in_turn(self, systems: Sequence[System]) -> Iterator[tuple[int, System]]:
        """A B A B: each system once a round, awake while it is measured, all others at rest."""
        for number in range(self.plan.rounds):
            for system in systems:
                system.wake()
                try:
                    yield number, system
                finally:
                    self.leave(system)

    def leave(self, system: System) -> None:
        """It is measured no longer, and nothing of it waits: at rest, unless the plan has no time for that."""
        if self.plan.stays_awake:
            system.empty()
        else:
            system.rest()

    def say(self, text: str) -> None:
        """Tells whoever watches, with the time since the run began."""
        print(f"  {time.monotonic() - self.began_at_s:6.1f} s  {text}", flush=True)


@contextmanager
def set_up(plan: Plan, chosen: frozenset[str], folder: Path, *, own_load: bool) -> Iterator[Bench]:
    """Everything that figures need; nothing of it is left afterwards but installed tools and logs."""
    began_at_s = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    run = folder / "run"
    run.mkdir(exist_ok=True)
    with ExitStack() as stack:
        # A short name: the kernel takes 107 bytes at most.
        sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="acked-bench-")))
        starts = stack.enter_context(Starts(sockets / "starts"))
        python = peer_env.ensure(folder / "peers")
        environ = {"PYTHONPATH": str(ROOT / "tests"), STARTS: str(starts.path), COUNTS: str(run / "counts")}
        (run / "counts").mkdir(exist_ok=True)
        ours = stack.enter_context(Ours(folder, environ))
        children = stack.enter_context(Children(folder / "log"))
        loader = make_loader(folder / "tools", run, children, own=own_load)
        dbos = _database(run, stack, children)
        urls = ours.stack.urls
        place = Place(
            python,
            run,
            children,
            urls["amqp"],
            urls["mongo"],
            dbos.url,
            dbos.empty,
            dbos.absurd_url,
            dbos.empty_absurd,
            starts.path,
        )
        bench = Bench(plan, ours, place, loader, starts, children, chosen, folder, dbos.name, began_at_s)
        made = [peers_run.bare, peers_run.celery, peers_run.dramatiq, peers_run.taskiq, peers_run.dbos]
        made += [peers_run.absurd] if place.absurd_url else []
        bench.peers = {make.__name__: make(place) for make in made}
        peers_run.make_tables(place)
        if not plan.stays_awake:
            ours.rest()
        yield bench


@dataclass(frozen=True, slots=True)
class _Database:
    url: str
    name: str
    empty: Callable[[], None]
    absurd_url: str = ""
    empty_absurd: Callable[[], None] = lambda: None


def _database(run: Path, stack: ExitStack, children: Children) -> _Database:
    programs = postgres.programs()
    if programs is None:
        file = run / "dbos.sqlite"
        file.unlink(missing_ok=True)
        return _Database(f"sqlite:///{file}", "SQLite", lambda: _empty_sqlite(file))
    server = postgres.Postgres(programs, free_port(), children)
    stack.callback(server.stop)
    server.start()
    version = f"PostgreSQL {server.version}"
    return _Database(server.url, version, server.empty, server.absurd_url, server.empty_absurd)


def _empty_sqlite(file: Path) -> None:
    with closing(sqlite3.connect(file, timeout=10)) as connection, connection:
        connection.execute("DELETE FROM workflow_status")
