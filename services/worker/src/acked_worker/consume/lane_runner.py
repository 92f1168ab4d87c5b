"""A bundle's way through the worker: claim it whole, start its jobs, then ask for the next one.

The acknowledgement is the request for more: it is sent when the claim is durable and there is room for another bundle.
A bundle is claimed when it fits into the slots. One that does not fit goes back to the broker after a second, or later
if it did so before. After `hold_s` without a free slot the consumer pauses, so that no worker holds what it can't run.
`prefetch` has the rules.
"""

import asyncio
import math
import statistics
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import NamedTuple

import msgspec

from acked_common.broker.rabbitmq.lane_consumer import Delivery, LaneConsumer
from acked_common.model.bundle import Bundle
from acked_common.model.events import JobEvent
from acked_common.model.lifecycle import Reason, State
from acked_common.runtime import failpoints
from acked_common.runtime.clock import Clock
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.logs import get_log
from acked_common.store.ports import ClaimStore
from acked_common.store.records import ClaimedJob
from acked_worker.consume import prefetch
from acked_worker.consume.claim_batcher import ClaimBatcher
from acked_worker.consume.in_flight import InFlight, InFlightAttempts
from acked_worker.consume.slots import Slots
from acked_worker.consume.watermarks import Watermarks
from acked_worker.execute.attempt import Assignment

log = get_log(__name__)

NO_SLOT = "no slot is free"
STARTS_WITHIN = 2 / 3
"""Of its lease, from the claim on: the first renewal needs the rest."""
RUNS_REMEMBERED = 50
RUNS_BETWEEN_LOOKS = 10
"""Bundles that came and attempts that ended, between two looks at the prefetch. Bundles count too: of long jobs none
ends for a long time."""

_decode = msgspec.json.Decoder().decode


class _Unclaimed(NamedTuple):
    """A bundle that waits for a slot."""

    delivery: Delivery
    came_at: float
    """On the loop's clock."""
    patience_s: float


class LaneRunner:
    """The bundles of one lane."""

    def __init__(
        self,
        lane: str,
        kinds: Sequence[str],
        store: ClaimStore,
        slots: Slots,
        suspect_slots: Slots,
        running: InFlightAttempts,
        watermarks: Watermarks,
        clock: Clock,
        *,
        worker: str,
        boot: str,
        lease_s: float,
        hold_s: float,
        timeout_of: Callable[[ClaimedJob], float],
        submit: Callable[[Sequence[Assignment]], None],
        on_started: Callable[[Sequence[InFlight]], None],
        on_late: Callable[[Sequence[InFlight]], None],
    ) -> None:
        """`on_late` gets what was claimed so long ago that the lease may be over: it must not start."""
        self.lane = lane
        self._claims = ClaimBatcher(lane, kinds, store, clock, worker=worker, boot=boot, lease_s=lease_s)
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
        self._unclaimed: deque[_Unclaimed] = deque()
        self._is_returning = False
        self._claimed: deque[asyncio.Future[None]] = deque()
        """Of bundles that are claimed and not acknowledged: done when one more may be asked for."""
        self._recent_runs_s: deque[float] = deque(maxlen=RUNS_REMEMBERED)
        self._recent_bundles: deque[int] = deque(maxlen=RUNS_REMEMBERED)
        """How many jobs they had."""
        self._until_look = RUNS_BETWEEN_LOOKS
        self._in_hand = 0
        self._most_in_hand = 0
        self._prefetch = 1
        self._is_quick = False
        self._tasks = Tasks()

    def attach(self, consumer: LaneConsumer) -> None:
        """The consumer that this flow pauses and resumes."""
        self._consumer = consumer

    def on_delivery(self, delivery: Delivery) -> None:
        """Called by the consumer; hands over."""
        failpoints.reach("worker.delivered")
        if not self._is_draining:
            self._recent_bundles.append(len(delivery.bundle.ids))
            self._in_hand += 1
            self._most_in_hand = max(self._most_in_hand, self._in_hand)
            came_at = asyncio.get_running_loop().time()
            self._unclaimed.append(_Unclaimed(delivery, came_at, prefetch.patience_s(delivery.returns)))
            self._count_to_look()
            self._go_on()

    def note_ended(self, held: InFlight) -> None:
        """An attempt of this lane has ended."""
        if held.job.suspect:
            self._suspect_slots.give(self.lane)
            return
        self._slots.give(self.lane)
        self._recent_runs_s.append(self._clock.monotonic() - held.claimed_at)
        self._count_to_look()

    def _count_to_look(self) -> None:
        self._until_look -= 1
        if not self._until_look:
            self._until_look = RUNS_BETWEEN_LOOKS
            self._look()

    def _look(self) -> None:
        """Learns whether the lane is quick, and fits the prefetch where that is worth a new consumer."""
        run_s = statistics.median(self._recent_runs_s) if self._recent_runs_s else None
        self._is_quick = prefetch.is_quick(run_s, was_quick=self._is_quick)
        most_in_hand, self._most_in_hand = self._most_in_hand, self._in_hand
        self._set_prefetch(
            prefetch.refitted(
                self._prefetch,
                slots=self._slots.total,
                room=self._slots.room(self.lane),
                sizes=self._recent_bundles,
                quick=self._is_quick,
                most_in_hand=most_in_hand,
            )
        )

    def _set_prefetch(self, bundles: int) -> None:
        if bundles != self._prefetch:
            self._prefetch = bundles
            if self._consumer is not None:
                self._consumer.set_prefetch(bundles)

    def _go_on(self) -> None:
        """Claims what fits, and asks for more where there is room; comes back when something is free."""
        ahead = prefetch.ahead(self._slots.total, quick=self._is_quick)
        while self._unclaimed and self._suspect_slots.has_free(self.lane):
            delivery = self._unclaimed[0].delivery
            jobs = len(delivery.bundle.ids)
            if not self._slots.fits(self.lane, jobs, ahead=ahead):
                break
            self._unclaimed.popleft()
            self._slots.reserve(self.lane, jobs)
            self._tasks.spawn(self._handle(delivery), f"bundle on {self.lane}")
        while self._claimed and self._may_ask():
            self._let_go(self._claimed.popleft())
        if self._unclaimed and not self._is_returning:
            self._is_returning = True
            self._tasks.spawn(self._return_unclaimed(), f"bundles without a slot on {self.lane}")
        if self._unclaimed or self._claimed:
            self._slots.when_freed(self.lane, self._go_on)
            self._suspect_slots.when_freed(self.lane, self._go_on)

    def _may_ask(self) -> bool:
        if not self._suspect_slots.has_free(self.lane):
            return False
        # Quick lanes do not count what they claim: it has ended when more arrives.
        room = self._slots.has_free(self.lane) if self._is_quick else self._slots.room(self.lane)
        asked = self._prefetch - self._in_hand
        return prefetch.may_ask(asked=asked, room=room, sizes=self._recent_bundles, quick=self._is_quick)

    def _let_go(self, waiting: "asyncio.Future[None]") -> None:
        if not waiting.done():
            self._in_hand -= 1
            waiting.set_result(None)

    def drain(self) -> None:
        """Claims no more."""
        self._is_draining = True
        self._unclaimed.clear()
        self._claims.drain()

    async def wait_claimed(self) -> None:
        """Returns when no claim is under way: what it takes has been started then."""
        await self._no_claims.wait()

    async def stop(self) -> None:
        """Drops bundles in hand; the broker keeps those that were not acknowledged."""
        await self._tasks.cancel_all()
        await self._claims.stop()

    async def _handle(self, delivery: Delivery) -> None:
        """Claims a bundle for which slots are reserved, and acknowledges it when there is room for another one."""
        try:
            if not await self._take(delivery.bundle):
                return
        except Exception:
            # The lane goes on; the leases bring back what was claimed.
            log.exception("bundle failed", lane=self.lane, jobs=len(delivery.bundle.ids))
            self._in_hand -= 1
            await delivery.ack()
            return
        finally:
            self._slots.release(self.lane, len(delivery.bundle.ids))
        if self._may_ask():
            self._in_hand -= 1
        elif not await self._wait_to_ask():
            self._in_hand -= 1
            if not self._has_free():
                await self._pause_until_free(delivery.ack)
                return
        failpoints.reach("worker.acking")
        await delivery.ack()
        failpoints.reach("worker.acked")

    async def _wait_to_ask(self) -> bool:
        """Whether one more may be asked for within `hold_s`; the bundle counts as acknowledged then."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._claimed.append(waiting)
        self._go_on()
        try:
            async with asyncio.timeout(self._hold_s):
                await waiting
        except TimeoutError:
            if waiting in self._claimed:
                self._claimed.remove(waiting)
            # It may have been let go in the very moment.
            return not waiting.cancelled()
        return True

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

    async def _return_unclaimed(self) -> None:
        """Gives back what has waited for a slot for too long, and asks for no more until one is free."""
        loop = asyncio.get_running_loop()
        try:
            while self._consumer is not None and (due := self._due_back()) is not None:
                await asyncio.sleep(max(0.0, due - loop.time()))
                due = self._due_back()
                if due is not None and due <= loop.time():
                    await self._pause_until_free(self._give_back)
        finally:
            self._is_returning = False

    def _due_back(self) -> float | None:
        """When what waits for a slot goes back, all of it at once; None where nothing does. The most patient decides:
        fewer returns are worth the wait of the others."""
        waiting = [one for one in self._unclaimed if one.patience_s < math.inf]
        return waiting[0].came_at + max(one.patience_s for one in waiting) if waiting else None

    async def _give_back(self) -> None:
        back = [one.delivery for one in self._unclaimed if one.patience_s < math.inf]
        self._unclaimed = deque(one for one in self._unclaimed if one.patience_s == math.inf)
        self._in_hand -= len(back)
        if back:
            log.info("bundles given back: no slot is free", lane=self.lane, bundles=len(back))
        # The last one first: each goes to the head of the queue.
        for delivery in reversed(back):
            await delivery.give_back()

    async def _pause_until_free(self, let_go: Callable[[], Awaitable[None]]) -> None:
        """Pauses the consumer, lets go of what is in hand, and resumes when a slot is free."""
        consumer = self._consumer
        if consumer is None:
            return
        self._pausing += 1
        consumer.pause(NO_SLOT)
        try:
            await consumer.wait_paused()
            # Acknowledgements ask for nothing now.
            while self._claimed:
                self._let_go(self._claimed.popleft())
            await let_go()
            await self._wait_free()
        finally:
            self._pausing -= 1
            if not self._pausing:
                # A new consumer anyway: its credit is what fits now.
                room = self._slots.room(self.lane)
                self._set_prefetch(
                    prefetch.fitting(
                        slots=self._slots.total, room=room, sizes=self._recent_bundles, quick=self._is_quick
                    )
                )
                consumer.resume(NO_SLOT)

    def _has_free(self) -> bool:
        return self._slots.has_free(self.lane) and self._suspect_slots.has_free(self.lane)

    async def _wait_free(self) -> None:
        """Returns when a slot is free, of both pools."""
        while not self._has_free():
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
            held = [InFlight(job, self.lane, now, ended=True) for job in jobs if job.id in late]
            self._running.add(held)
            self._on_late(held)
            jobs = [job for job in jobs if job.id not in late]
        held = [InFlight(job, self.lane, now) for job in jobs]
        self._submit([self._assignment(one) for one in held])
        self._running.add(held)
        suspects = sum(job.suspect for job in jobs)
        self._slots.take(self.lane, len(jobs) - suspects)
        self._suspect_slots.take(self.lane, suspects)
        self._on_started(held)

    def _assignment(self, held: InFlight) -> Assignment:
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
