"""The resumer: queues parked jobs whose wait has ended. It runs in every intake and gateway; one has the turn.

A million waits may end at once. The resumer queues them page by page, in turn over tenants, and publishes each page.
It goes on while fewer than `RESUMED_WAITING` of its jobs wait for workers, so that resumed jobs do not delay new ones
by more than that. A job that no worker takes within `FORGOTTEN_AFTER_S` stops to count: a kind without workers then
slows resumes down, and does not stop them.

Within a turn, a page continues behind the position of the one before: MongoDB still walks over entries of the index
that have left, so pages from the beginning would cost more and more.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from prometheus_client import Counter

from acked_common.background.job_writer import JobWriter
from acked_common.model import lifecycle_waits
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import State
from acked_common.runtime import failpoints
from acked_common.runtime.clock import Clock
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.settings import JobTimes
from acked_common.store.errors import OutcomeUnknown
from acked_common.store.parked import ParkedStore, ResumedJob, ResumeOrder
from acked_common.store.records import SweepPosition

RESUMING = "resume"
PAGE = 1000
SMALLEST_PAGE = 50
RESUMED_WAITING = 20_000
FORGOTTEN_AFTER_S = 60.0
TURN_S = 5.0
"""The time for which a process has the turn. It stops in time to lose none of its writes to the next one."""
STOPS_AFTER_S = 3.0
TENANTS = 1000
TRIES = 5

_resumed = Counter("acked_resumed_total", "Parked jobs that were queued again because their wait ended.")


@dataclass(slots=True)
class _ResumedPage:
    """Resumed jobs of one write that may still wait for workers."""

    since: float
    revs: dict[UUID, int]


class Resumer:
    """The resumer of one process."""

    def __init__(self, store: ParkedStore, writer: JobWriter, clock: Clock, times: JobTimes) -> None:
        self._store = store
        self._writer = writer
        self._clock = clock
        self._times = times
        self._waiting: deque[_ResumedPage] = deque()

    def start(self, tasks: Tasks) -> None:
        """Start to resume."""
        tasks.repeat("resume", self.resume, every_s=self._times.sweep_tick_s)

    async def resume(self) -> None:
        """Queue parked jobs whose wait has ended, until none is left, too many wait, or the turn is over."""
        tenants = await self._store.tenants_to_resume(limit=TENANTS)
        if not tenants or not await self._store.take_turn(RESUMING, for_s=TURN_S):
            return
        until = self._clock.monotonic() + STOPS_AFTER_S
        positions: dict[str, SweepPosition | None] = dict.fromkeys(tenants)
        while positions:
            share = max(SMALLEST_PAGE, PAGE // len(positions))
            for tenant in list(positions):
                if self._clock.monotonic() >= until or not await self._has_room():
                    return
                ended = await self._store.waits_ended(tenant, limit=share, after=positions[tenant])
                await self._queue([one.id for one in ended])
                if len(ended) < share:
                    del positions[tenant]
                else:
                    positions[tenant] = ended[-1]

    async def _queue(self, ids: Sequence[UUID]) -> None:
        if not ids:
            return
        times = self._times
        wake = lifecycle_waits.wake(at=self._clock.now(), grace_s=times.grace_s, expires_in_s=times.expires_in_s)
        order = ResumeOrder(wake, times.expires_in_s, times.grace_s, str(new_id()))
        resumed = await self._known(ids, order)
        failpoints.reach("sweeper.resumed")
        if resumed:
            _resumed.inc(len(resumed))
            self._waiting.append(_ResumedPage(self._clock.monotonic(), {job.id: job.rev for job in resumed}))

    async def _known(self, ids: Sequence[UUID], order: ResumeOrder) -> list[ResumedJob]:
        """Resume under one nonce until the outcome is known. Raises `OutcomeUnknown` after some tries: then jobs that
        were queued are published as lost ones."""
        for _ in range(TRIES - 1):
            try:
                return await self._writer.resume(ids, order)
            except OutcomeUnknown:
                continue
        return await self._writer.resume(ids, order)

    async def _has_room(self) -> bool:
        """Return whether fewer resumed jobs wait than may. Read their states only if that is not certain."""
        forgotten = self._clock.monotonic() - FORGOTTEN_AFTER_S
        while self._waiting and self._waiting[0].since <= forgotten:
            self._waiting.popleft()
        if self._count() < RESUMED_WAITING:
            return True
        for page in self._waiting:
            found = await self._store.revisions(list(page.revs))
            page.revs = {
                job_id: rev
                for job_id, rev in page.revs.items()
                if job_id in found and (found[job_id].rev, found[job_id].state) == (rev, State.QUEUED)
            }
            if self._count() < RESUMED_WAITING - PAGE:
                break
        return self._count() < RESUMED_WAITING

    def _count(self) -> int:
        return sum(len(page.revs) for page in self._waiting)
