"""OWNER of how many resumed jobs may wait for workers, so that they delay other jobs little. Pure.

Problem: a million waits may end at once, and the lane of a kind is one queue, first in, first out. Each resumed job in
it delays the jobs that are queued after it, those of other tenants too. With too few of them, workers idle.

Rule: the window is the number of resumed jobs that may be queued and not claimed. It follows the time that they wait.
It shrinks when a job has waited longer than `TARGET_S`. Otherwise it grows when workers took half of a full window
between two looks: twofold until it has shrunk once, then by a quarter. So it settles at what workers take in about that
time, or between two looks if those take longer. A page is a quarter of the window: workers claim the first one while
the next one is written.

A look reads one job in `SAMPLE`. It stands for those that were queued behind it, which the same bundle has mostly
brought to the same worker. Looks at every job cost more than their resumes.

A kind whose resumed jobs wait longer than `SLOW_S` is slow: its workers are away, busy, or behind a backlog. Its jobs
leave the window, so that they hold up no other kind. Of the queued jobs of a slow kind at most half may be resumed
ones, and `LEAST` always may: then resumed jobs get through a backlog, and the others wait at most twice as long.

Jobs that no worker has claimed after `FORGOTTEN_AFTER_S` stop to count. So lost messages and kinds without workers slow
resumes down, and do not stop them. `MOST_WAITING` bounds all kinds together.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from uuid import UUID

from acked_common.model.lifecycle import State
from acked_common.store.parked import ResumedJob
from acked_common.store.records import Revision

LEAST = 64
MOST = 4096
MOST_WAITING = 20_000
SAMPLE = 8
TARGET_S = 0.03
SLOW_S = 0.5
FORGOTTEN_AFTER_S = 60.0
_SMALL = 4
"""No page is smaller than this part of the window: many small writes cost more than few large ones."""


@dataclass(slots=True)
class _UnclaimedJob:
    """A resumed job that no worker has claimed."""

    rev: int
    since_s: float


@dataclass(slots=True)
class _OfKind:
    jobs: dict[UUID, _UnclaimedJob] = field(default_factory=dict)
    """Longest waiting first."""
    others: int = 0
    """The queued jobs of the kind that were not resumed, at the last count."""


class ResumeWindow:
    """The resumed jobs of one process that wait for workers. Instants are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._kinds: dict[str, _OfKind] = {}
        self._size = LEAST
        self._was_full = False
        self._shrunk_at_s = float("-inf")

    @property
    def waiting(self) -> int:
        """The number of resumed jobs that count."""
        return sum(len(of_kind.jobs) for of_kind in self._kinds.values())

    def slow(self, at_s: float) -> set[str]:
        """Return the kinds that do not take their resumed jobs in time."""
        return {kind for kind, of_kind in self._kinds.items() if _age_s(of_kind, at_s) >= SLOW_S}

    def closed(self, at_s: float) -> set[str]:
        """Return the slow kinds of which no more jobs may be resumed now."""
        return {kind for kind in self.slow(at_s) if len(self._kinds[kind].jobs) >= self._share(kind)}

    @property
    def page(self) -> int:
        """The maximum of jobs of one write. Below `LEAST`, mongod uses more CPU for the command than for its jobs."""
        return max(LEAST, self._size // _SMALL)

    def room(self, at_s: float) -> int:
        """Return how many jobs may be resumed now; 0 unless it is worth a write."""
        if self.waiting >= MOST_WAITING:
            return 0
        room = self._size - sum(len(self._kinds[kind].jobs) for kind in self._quick(at_s))
        self._was_full = room < self._size // _SMALL
        return 0 if self._was_full else min(room, MOST_WAITING - self.waiting)

    def note_resumed(self, jobs: Sequence[ResumedJob], at_s: float) -> None:
        """Count jobs that were queued."""
        for job in jobs:
            self._kinds.setdefault(job.kind, _OfKind()).jobs[job.id] = _UnclaimedJob(job.rev, at_s)

    def to_look_at(self, at_s: float, *, slow: bool) -> list[UUID]:
        """Return the counted jobs whose states to read, of quick or of slow kinds: the oldest of each kind, and one in
        `SAMPLE` behind it. Forget the oldest ones."""
        self._forget(at_s)
        kinds = self.slow(at_s) if slow else self._quick(at_s)
        return [job_id for kind in kinds for job_id in islice(self._kinds[kind].jobs, None, None, SAMPLE)]

    def note_seen(self, asked: Collection[UUID], found: Mapping[UUID, Revision], at_s: float) -> None:
        """Stop to count those of the asked jobs that are not queued any more, with the jobs behind each up to the next
        asked one. Fit the window to the time of the rest."""
        quick = self._quick(at_s)
        before = sum(len(self._kinds[kind].jobs) for kind in quick)
        sample = set(asked)
        for kind, of_kind in list(self._kinds.items()):
            of_kind.jobs = _still_queued(of_kind.jobs, sample, found)
            if not of_kind.jobs:
                del self._kinds[kind]
        rest = [self._kinds[kind] for kind in quick if kind in self._kinds]
        taken = before - sum(len(of_kind.jobs) for of_kind in rest)
        if any(_age_s(of_kind, at_s) > TARGET_S for of_kind in rest):
            self._shrink(at_s)
        elif self._was_full and taken >= self._size // 2:
            self._grow()

    def _shrink(self, at_s: float) -> None:
        # Once in that time: what was queued before the last change says nothing about it.
        if at_s - self._shrunk_at_s >= TARGET_S:
            self._size = max(LEAST, self._size * 3 // 4)
            self._shrunk_at_s = at_s

    def _grow(self) -> None:
        # Twofold until jobs have waited too long once: then the window is near what workers take.
        is_first = self._shrunk_at_s == float("-inf")
        self._size = min(MOST, self._size * 2 if is_first else self._size * 5 // 4)
        self._was_full = False

    def note_queued(self, queued: Mapping[str, int]) -> None:
        """Note how many jobs of each kind are queued, resumed or not."""
        for kind, of_kind in self._kinds.items():
            of_kind.others = queued.get(kind, 0) - len(of_kind.jobs)

    def _quick(self, at_s: float) -> set[str]:
        return self._kinds.keys() - self.slow(at_s)

    def _share(self, kind: str) -> int:
        return max(LEAST, self._kinds[kind].others)

    def _forget(self, at_s: float) -> None:
        for kind, of_kind in list(self._kinds.items()):
            if _age_s(of_kind, at_s) >= FORGOTTEN_AFTER_S:
                jobs = of_kind.jobs.items()
                of_kind.jobs = {id_: job for id_, job in jobs if at_s - job.since_s < FORGOTTEN_AFTER_S}
                if not of_kind.jobs:
                    del self._kinds[kind]


def _still_queued(
    jobs: Mapping[UUID, _UnclaimedJob], sample: Collection[UUID], found: Mapping[UUID, Revision]
) -> dict[UUID, _UnclaimedJob]:
    """Return the jobs without those that have left the queue. Each asked one decides for those behind it."""
    rest: dict[UUID, _UnclaimedJob] = {}
    is_queued = True
    for job_id, job in jobs.items():
        if job_id in sample:
            seen = found.get(job_id)
            is_queued = seen is not None and seen.state is State.QUEUED and seen.rev == job.rev
        if is_queued:
            rest[job_id] = job
    return rest


def _age_s(of_kind: _OfKind, at_s: float) -> float:
    """Return how long the oldest job waits."""
    return at_s - next(iter(of_kind.jobs.values())).since_s if of_kind.jobs else 0.0
