"""The content of the live screen at one moment, derived from the responses of the services. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from acked_client import AttentionGroup, Backlog, Kind, State, WindowTotals, Worker
from acked_client.model.figures import KindTotals
from acked_client.model.operating import KindBacklog

WAITING = (State.QUEUED, State.SCHEDULED)
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"))


@dataclass(frozen=True, slots=True)
class KindLine:
    """A kind: what waits and runs, what happens per second, what failed, and who paused it.

    `waiting`, `running` and `oldest_s` are None where the services show no backlog: to other tenants than `default`,
    and for seconds after a start.
    """

    kind: str
    waiting: int | None
    oldest_s: float | None
    running: int | None
    per_s: float
    failed: int
    attention: int | None
    paused_by: str | None
    paused_because: str | None


@dataclass(frozen=True, slots=True)
class Board:
    """The screen. `at` is the clock of this machine."""

    at: datetime
    kinds: tuple[KindLine, ...]
    workers: tuple[Worker, ...]
    groups: tuple[AttentionGroup, ...]

    @property
    def slots(self) -> tuple[int, int]:
        """How many jobs run, and how many slots there are."""
        return sum(worker.running for worker in self.workers), sum(worker.slots for worker in self.workers)


@dataclass(frozen=True, slots=True)
class BoardResponses:
    """The responses of one look. `backlog` is None for clients that may not see it."""

    kinds: list[Kind]
    workers: list[Worker]
    groups: list[AttentionGroup]
    totals: WindowTotals
    backlog: Backlog | None


def board_of(found: BoardResponses, at: datetime) -> Board:
    """Return the screen of one look: kinds with work first, the longest queue on top."""
    stands = {one.kind: one for one in found.backlog.kinds} if found.backlog and found.backlog.counted_at else None
    totals = {one.kind: one for one in found.totals.kinds}
    window_s = max((at - found.totals.since).total_seconds(), 1.0)
    lines = [_line(kind, stands, totals.get(kind.kind), at, window_s) for kind in found.kinds]
    lines.sort(key=lambda line: (-(line.waiting or 0), -(line.running or 0), -line.per_s, line.kind))
    return Board(at, tuple(lines), tuple(sorted(found.workers, key=lambda worker: worker.id)), tuple(found.groups))


def _line(
    kind: Kind, stands: Mapping[str, KindBacklog] | None, totals: KindTotals | None, at: datetime, window_s: float
) -> KindLine:
    stand = None if stands is None else stands.get(kind.kind)
    states = {} if stand is None else stand.states
    oldest_at = None if stand is None else stand.oldest_queued_at
    ended = 0 if totals is None else totals.succeeded + totals.failed + totals.cancelled
    return KindLine(
        kind=kind.kind,
        waiting=None if stands is None else sum(states.get(state, 0) for state in WAITING),
        oldest_s=None if oldest_at is None else max((at - oldest_at).total_seconds(), 0.0),
        running=None if stands is None else states.get(State.RUNNING, 0),
        per_s=ended / window_s,
        failed=0 if totals is None else totals.failed,
        attention=None if stands is None else (0 if stand is None else stand.attention),
        paused_by=None if kind.paused is None else kind.paused.client,
        paused_because=None if kind.paused is None else kind.paused.reason,
    )


def matching(board: Board, text: str) -> Board:
    """Return the screen with the kinds, workers and groups in whose names or messages the text occurs."""
    if not text:
        return board
    wanted = text.lower()

    def has(words: Iterable[str]) -> bool:
        return any(wanted in word.lower() for word in words)

    return Board(
        board.at,
        tuple(line for line in board.kinds if has((line.kind,))),
        tuple(worker for worker in board.workers if has((worker.id, worker.instance, *worker.kinds))),
        tuple(group for group in board.groups if has((group.kind, group.type, group.message))),
    )


def span(seconds: float | None) -> str:
    """Return a duration as people read it: `12 s`, `4 m`, `3 h`, `2 d`."""
    if seconds is None:
        return ""
    for unit_s, name in _UNITS:
        if seconds >= unit_s:
            return f"{seconds // unit_s:.0f} {name}"
    return f"{seconds:.0f} s"


def since(at: datetime, now: datetime) -> str:
    """Return how long ago an instant was."""
    return span(max((now - at) / timedelta(seconds=1), 0.0))
