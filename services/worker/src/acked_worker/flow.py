"""A bundle's way through the worker: claim it whole, start its jobs, then ask for the next one.

The acknowledgement is the request for more: it is sent when the claim is durable and a slot is free. After `hold_s`
without a free slot the consumer pauses first, so that no unclaimed bundle is held by a worker that can't run it.
"""

import asyncio
import math
import statistics
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import msgspec

from acked_common import crash_points
from acked_common.clock import Clock
from acked_common.events import JobEvent
from acked_common.lifecycle import Reason, State
from acked_common.lifetime import Tasks
from acked_common.logs import get_log
from acked_common.store import ClaimedJob, JobStore, StoreError
from acked_common.wire import Bundle
from acked_worker.attempt import Assignment
from acked_worker.claims import Claims
from acked_worker.lane_consumer import Delivery, LaneConsumer
from acked_worker.running import Held, Running
from acked_worker.slots import Slots

log = get_log(__name__)

NO_SLOT = "no slot is free"
QUICK_RUN_S = 0.05
SLOW_RUN_S = 0.1
"""A lane is quick from a median of the one on, and no longer from the other on: each change takes a new consumer."""
QUICK_PREFETCH = 4
MOST_PREFETCH = 32
"""A lane of quick kinds holds so many bundles in hand, at least and at most."""
STARTS_WITHIN = 2 / 3
"""Of its lease, from the claim on: the first renewal needs the rest."""
RUNS_REMEMBERED = 50
RUNS_BETWEEN_LOOKS = 10
"""A lane is known for quick soon: until then it has one bundle in hand, which is few where each holds one job."""

_decode = msgspec.json.Decoder().decode


class Watermarks:
    """The newest `queued_at` that this worker has taken from each lane, written now and then."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._changed: dict[str, datetime] = {}

    def note(self, lane: str, queued_at: datetime) -> None:
        """A bundle of the lane was claimed."""
        known = self._changed.get(lane)
        if known is None or queued_at > known:
            self._changed[lane] = queued_at

    async def write(self) -> None:
        """Writes what has changed. Raises `StoreError`."""
        changed, self._changed = self._changed, {}
        try:
            for lane, queued_at in changed.items():
                await self._store.raise_watermark(lane, queued_at)
        except StoreError:
            for lane, queued_at in changed.items():
                self.note(lane, queued_at)
            raise


class LaneFlow:
    """The bundles of one lane."""

    def __init__(
        self,
        lane: str,
        kinds: Sequence[str],
        store: JobStore,
        slots: Slots,
        suspect_slots: Slots,
        running: Running,
        watermarks: Watermarks,
        clock: Clock,
        *,
        worker: str,
        boot: str,
        lease_s: float,
        hold_s: float,
        timeout_of: Callable[[ClaimedJob], float],
        submit: Callable[[Sequence[Assignment]], None],
        on_started: Callable[[Sequence[Held]], None],
        on_late: Callable[[Sequence[Held]], None],
    ) -> None:
        """`on_late` gets what was claimed so long ago that the lease may be over: it must not start."""
        self.lane = lane
        self._claims = Claims(lane, kinds, store, clock, worker=worker, boot=boot, lease_s=lease_s)
        self._slots = slots
        self._suspect_slots = suspect_slots
        self._running = running
        self._watermarks = watermarks
        self._clock = clock
        self._lease_s = lease_s
        self._hold_s = hold_s
        self._timeout_of = timeout_of
        self._submit = submit
        self._on_started = on_started
        self._on_late = on_late
        self._consumer: LaneConsumer | None = None
        self._pausing = 0
        self._is_draining = False
        self._taking = 0
        self._no_claims = asyncio.Event()
        self._no_claims.set()
        self._recent_runs_s: deque[float] = deque(maxlen=RUNS_REMEMBERED)
        self._runs_since_look = 0
        self._prefetch = 1
        self._recent_bundles: deque[int] = deque(maxlen=RUNS_REMEMBERED)
        """How many jobs they had."""
        self._tasks = Tasks()

    def attach(self, consumer: LaneConsumer) -> None:
        """The consumer that this flow pauses and resumes."""
        self._consumer = consumer

    def on_delivery(self, delivery: Delivery) -> None:
        """Called by the consumer; hands over."""
        crash_points.reach("worker.delivered")
        if not self._is_draining:
            self._recent_bundles.append(len(delivery.bundle.ids))
            self._tasks.spawn(self._handle(delivery), f"bundle on {self.lane}")

    def note_ended(self, held: Held) -> None:
        """An attempt of this lane has ended; lanes of quick kinds hold more bundles in hand."""
        if held.job.suspect:
            self._suspect_slots.give(self.lane)
            return
        self._slots.give(self.lane)
        self._recent_runs_s.append(self._clock.monotonic() - held.claimed_at)
        self._runs_since_look += 1
        if self._runs_since_look == RUNS_BETWEEN_LOOKS:
            self._runs_since_look = 0
            self._fit_prefetch()

    def _fit_prefetch(self) -> None:
        run_s = statistics.median(self._recent_runs_s)
        if run_s < QUICK_RUN_S:
            wanted = self._quick_prefetch()
            if self._prefetch < wanted or self._prefetch > 2 * wanted:
                self._set_prefetch(wanted)
        elif run_s > SLOW_RUN_S and self._prefetch > 1:
            self._set_prefetch(1)

    def _set_prefetch(self, prefetch: int) -> None:
        self._prefetch = prefetch
        if self._consumer is not None:
            self._consumer.set_prefetch(prefetch)

    def _quick_prefetch(self) -> int:
        """As many bundles as would fill the slots twice, so that one claim gathers its jobs while another is under way;
        an even number, so that bundles of another size seldom ask for another one."""
        jobs = max(1.0, statistics.fmean(self._recent_bundles or [1]))
        return min(MOST_PREFETCH, max(QUICK_PREFETCH, 2 * math.ceil(self._slots.total / jobs)))

    def drain(self) -> None:
        """Claims no more."""
        self._is_draining = True
        self._claims.drain()

    async def wait_claimed(self) -> None:
        """Returns when no claim is under way: what it takes has been started then."""
        await self._no_claims.wait()

    async def stop(self) -> None:
        """Drops bundles in hand; the broker keeps those that were not acknowledged."""
        await self._tasks.cancel_all()
        await self._claims.stop()

    async def _handle(self, delivery: Delivery) -> None:
        try:
            if not await self._take(delivery.bundle):
                return
        except Exception:
            # The lane goes on; the leases bring back what was claimed.
            log.exception("bundle failed", lane=self.lane, jobs=len(delivery.bundle.ids))
            await delivery.ack()
            return
        try:
            async with asyncio.timeout(self._hold_s):
                await self._wait_free()
        except TimeoutError:
            await self._pause_until_free(delivery)
            return
        crash_points.reach("worker.acking")
        await delivery.ack()
        crash_points.reach("worker.acked")

    async def _take(self, bundle: Bundle) -> bool:
        """Claims and starts a bundle; whether it was claimed."""
        self._taking += 1
        self._no_claims.clear()
        try:
            claimed = await self._claims.claim(bundle)
            if claimed is None:
                return False
            self._watermarks.note(self.lane, bundle.queued_at)
            self._start(claimed)
            return True
        finally:
            self._taking -= 1
            if not self._taking:
                self._no_claims.set()

    async def _pause_until_free(self, delivery: Delivery) -> None:
        consumer = self._consumer
        if consumer is None:
            return
        self._pausing += 1
        consumer.pause(NO_SLOT)
        try:
            await consumer.wait_paused()
            await delivery.ack()
            await self._wait_free()
        finally:
            self._pausing -= 1
            if not self._pausing:
                consumer.resume(NO_SLOT)

    async def _wait_free(self) -> None:
        """Returns when there is room for a bundle, whatever jobs it holds."""
        while not (self._slots.has_free(self.lane) and self._suspect_slots.has_free(self.lane)):
            await self._slots.wait_free(self.lane)
            await self._suspect_slots.wait_free(self.lane)

    def _start(self, jobs: Sequence[ClaimedJob]) -> None:
        if not jobs:
            return
        now = self._clock.monotonic()
        oldest_at = self._clock.now() - timedelta(seconds=self._lease_s * STARTS_WITHIN)
        late = {job.id for job in jobs if job.started_at < oldest_at}
        if late:
            # The answer took longer than most of a lease, or the process stood still.
            held = [Held(job, self.lane, now, ended=True) for job in jobs if job.id in late]
            self._running.add(held)
            self._on_late(held)
            jobs = [job for job in jobs if job.id not in late]
        held = [Held(job, self.lane, now) for job in jobs]
        self._submit([self._assignment(one) for one in held])
        self._running.add(held)
        suspects = sum(job.suspect for job in jobs)
        self._slots.take(self.lane, len(jobs) - suspects)
        self._suspect_slots.take(self.lane, suspects)
        self._on_started(held)

    def _assignment(self, held: Held) -> Assignment:
        job = held.job
        return Assignment(
            id=held.id,
            kind=job.kind,
            run=job.run,
            attempt=job.attempt,
            failures=job.failures,
            payload=_decode(job.payload),
            timeout_s=self._timeout_of(job),
            batch=job.batch,
            tags=job.tags,
            is_suspect=job.suspect,
        )


def claimed_event(job: ClaimedJob) -> JobEvent:
    """The newest transition of a job that was just claimed."""
    reason, at = Reason.CLAIMED, job.started_at
    if job.cancel_requested_at is not None:
        reason, at = Reason.CANCEL_REQUESTED, job.cancel_requested_at
    return JobEvent(job.id, job.rev, State.RUNNING, reason, job.attempt, at)
