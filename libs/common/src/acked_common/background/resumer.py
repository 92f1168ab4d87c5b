"""The resumer: queues parked jobs whose wait has ended. It runs in every intake and gateway; one holds the lock.

A million waits may end at once. The resumer queues as many of them as workers take in a moment, and the next ones when
those were claimed: `ResumeWindow` has the rule. Tenants are in turn, each with a page at a time. A page is written with
one command and published.

A page continues after the position of the previous one: MongoDB still walks over entries of the index that have left,
so pages from the beginning would cost more and more. After its last page, a tenant starts over. Jobs of
kinds that may have no more are passed by, at most `PASSED_PAGES` pages a call, so that they hide no other jobs.

The holder of the lock extends it while there is work. If that process dies, another one takes the lock `TURN_S` later,
and the parked jobs are as they were.
"""

import asyncio
from collections import Counter as Counts
from collections import deque
from collections.abc import Sequence
from uuid import UUID

from prometheus_client import Counter

from acked_common.background.job_writer import JobWriter
from acked_common.background.resume_window import MOST_WAITING, ResumeWindow
from acked_common.model import lifecycle_waits
from acked_common.model.ids import new_id
from acked_common.runtime import failpoints
from acked_common.runtime.clock import Clock
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.settings import JobTimes
from acked_common.store.errors import OutcomeUnknown
from acked_common.store.parked import ParkedStore, ResumedJob, ResumeOrder
from acked_common.store.records import SweepPosition

RESUMING = "resume"
PAGE = 1000
SMALLEST_PAGE = 16
PASSED_PAGES = 5
TURN_S = 5.0
EXTENDED_AFTER_S = 2.5
"""The age at which the process with the turn extends it."""
LOOK_AGAIN_S = 0.01
"""The time between two reads of resumed jobs, while more are due."""
SLOW_LOOK_S = 1.0
"""The same for kinds that do not take theirs in time."""
COUNTED = 2 * MOST_WAITING
"""The maximum of queued jobs in a count."""
TENANTS = 1000
TRIES = 5

_resumed = Counter("acked_resumed_total", "Parked jobs that were queued again because their wait ended.")


class Resumer:
    """The resumer of one process."""

    def __init__(self, store: ParkedStore, writer: JobWriter, clock: Clock, times: JobTimes) -> None:
        self._store = store
        self._writer = writer
        self._clock = clock
        self._times = times
        self._window = ResumeWindow()
        self._tenants: deque[tuple[str, SweepPosition | None]] = deque()
        """Tenants with parked jobs that are due after a position, in turn."""
        self._tenants_read_at = float("-inf")
        self._holder = str(new_id())
        self._extended_at = float("-inf")
        self._slow_looked_at = float("-inf")

    def start(self, tasks: Tasks) -> None:
        """Start to resume."""
        tasks.repeat("resume", self._resume_all, every_s=self._times.sweep_tick_s)

    async def _resume_all(self) -> None:
        while True:
            if not await self.resume():
                return
            await asyncio.sleep(LOOK_AGAIN_S)

    async def resume(self) -> bool:
        """Queue parked jobs whose wait has ended, as many as may wait now. Return whether to call again soon."""
        await self._read_tenants()
        if not self._tenants:
            return False
        if not await self._has_turn():
            self._tenants.clear()
            return False
        await self._look()
        passed = 0
        while self._tenants and (room := self._window.room(self._clock.monotonic())):
            passed += await self._passes_next_page(room)
            if passed == PASSED_PAGES:
                return False
        return bool(self._tenants) and self._window.waiting < MOST_WAITING

    async def _read_tenants(self) -> None:
        at = self._clock.monotonic()
        if self._tenants and at - self._tenants_read_at < self._times.sweep_tick_s:
            return
        self._tenants_read_at = at
        known = {name for name, _ in self._tenants}
        due = await self._store.tenants_to_resume(limit=TENANTS)
        self._tenants.extend((name, None) for name in due if name not in known)

    async def _has_turn(self) -> bool:
        """Return whether this process holds the lock: take it, or extend it if it may end soon."""
        at = self._clock.monotonic()
        if at - self._extended_at < EXTENDED_AFTER_S:
            return True
        if not await self._store.take_turn(RESUMING, for_s=TURN_S, holder=self._holder):
            return False
        self._extended_at = at
        return True

    async def _passes_next_page(self, room: int) -> bool:
        """Resume at most `room` jobs of the next tenant. Return whether it had a page that was passed by."""
        tenant, after = self._tenants.popleft()
        most = min(room, PAGE, self._window.page, max(SMALLEST_PAGE, room // (len(self._tenants) + 1)))
        closed = self._window.closed(self._clock.monotonic())
        limit = PAGE if closed else most
        ended = await self._store.waits_ended(tenant, limit=limit, after=after)
        chosen = ended
        if ended and closed:
            of_others = await self._store.of_other_kinds([one.id for one in ended], closed)
            chosen = [one for one in ended if one.id in of_others]
        is_cut = len(chosen) > most
        chosen = chosen[:most]
        # Ahead of the write: after a failure the other tenants go on, and this one begins anew with the next pass.
        resumed = await self._queue([one.id for one in chosen])
        if is_cut:
            self._tenants.append((tenant, chosen[-1]))
        elif len(ended) == limit:
            self._tenants.append((tenant, ended[-1]))
        return bool(ended) and not resumed

    async def _queue(self, ids: Sequence[UUID]) -> int:
        if not ids:
            return 0
        times = self._times
        wake = lifecycle_waits.wake(at=self._clock.now(), grace_s=times.grace_s, expires_in_s=times.expires_in_s)
        order = ResumeOrder(wake, times.expires_in_s, times.grace_s, str(new_id()))
        resumed = await self._known(ids, order)
        failpoints.reach("sweeper.resumed")
        _resumed.inc(len(resumed))
        self._window.note_resumed(resumed, self._clock.monotonic())
        return len(resumed)

    async def _known(self, ids: Sequence[UUID], order: ResumeOrder) -> list[ResumedJob]:
        """Resume under one nonce until the outcome is known. Raises `OutcomeUnknown` after some tries: then jobs that
        were queued are published as lost ones."""
        for _ in range(TRIES - 1):
            try:
                return await self._writer.resume(ids, order)
            except OutcomeUnknown:
                continue
        return await self._writer.resume(ids, order)

    async def _look(self) -> None:
        """Read which resumed jobs were claimed; those of slow kinds only now and then."""
        await self._look_at(slow=False)
        at = self._clock.monotonic()
        if at - self._slow_looked_at < SLOW_LOOK_S or not self._window.slow(at):
            return
        self._slow_looked_at = at
        await self._look_at(slow=True)
        if self._window.slow(at):
            queued: Counts[str] = Counts()
            for share in await self._store.queued_by_kind(at_most=COUNTED):
                queued[share.kind] += share.count
            self._window.note_queued(queued)

    async def _look_at(self, *, slow: bool) -> None:
        ids = self._window.to_look_at(self._clock.monotonic(), slow=slow)
        if ids:
            self._window.note_seen(ids, await self._store.revisions(ids), self._clock.monotonic())
