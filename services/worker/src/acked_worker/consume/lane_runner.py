"""The path of a bundle through the worker: claim it whole, start its jobs, then request the next one.

The acknowledgement requests more. It is sent when the claim is durable and there is room for another bundle. A bundle
is claimed when it fits into the slots. A bundle that does not fit returns to the broker after a second, or later if it
was returned before. After `hold_s` without a free slot the consumer pauses, so that a worker holds no bundle that it
can't run. While an operator has paused the lane, no bundle is claimed, and unclaimed ones return as soon as no more can
arrive. `lane_state` decides; `prefetch` has the numbers.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from acked_common.broker.rabbitmq.lane_consumer import Delivery, LaneConsumer
from acked_common.model.bundle import Bundle
from acked_common.model.bundling import MAX_BUNDLE
from acked_common.runtime import failpoints
from acked_common.runtime.clock import Clock
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.logs import get_log
from acked_common.store.ports import ClaimStore
from acked_common.store.records import ClaimedJob
from acked_worker.consume.claim_batcher import ClaimBatcher
from acked_worker.consume.claimed_jobs import assignment_of, split_late
from acked_worker.consume.in_flight import InFlight, InFlightAttempts
from acked_worker.consume.lane_state import LaneSettings, LaneState
from acked_worker.consume.slots import LaneSlots
from acked_worker.consume.start_metrics import count_started
from acked_worker.consume.watermarks import Watermarks
from acked_worker.execute.attempt import Assignment

log = get_log(__name__)

NO_SLOT = "no slot is free"
PAUSED = "paused by an operator"
MOST_ENDING = 10_000
"""Attempts that are remembered until their record leads to a pull. Fenced ones are never recorded. For forgotten ones,
the pull of the next second suffices."""


class Starts(Protocol):
    """Receives the claimed jobs of a lane."""

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Run these attempts."""

    def claimed(self, held: Sequence[InFlight], *, waited_s: float) -> None:
        """Note attempts that were claimed together and submitted, after about `waited_s` in the queue."""

    def late(self, held: Sequence[InFlight]) -> None:
        """Return attempts that must not start: they were claimed so long ago that their leases may have expired."""


class LaneRunner:
    """The bundles of one lane."""

    def __init__(
        self,
        settings: LaneSettings,
        store: ClaimStore,
        slots: LaneSlots,
        running: InFlightAttempts,
        watermarks: Watermarks,
        clock: Clock,
        starts: Starts,
    ) -> None:
        self._settings = settings
        self.lane = settings.lane
        self._claims = ClaimBatcher(settings, store, clock)
        self._slots = slots
        self._running = running
        self._watermarks = watermarks
        self._clock = clock
        self._starts = starts
        self._state: LaneState[Delivery] = LaneState(slots.total)
        self._consumer: LaneConsumer | None = None
        self._pausing = 0
        """Bundles for which the consumer is pausing."""
        self._is_draining = False
        self._is_paused = False
        self._asks_nothing = False
        """Whether the lane is paused and no more bundles can arrive, so acknowledgements request nothing."""
        self._pause_task: asyncio.Task[None] | None = None
        self._taking = 0
        self._no_claims = asyncio.Event()
        self._no_claims.set()
        self._is_returning = False
        self._claimed: deque[asyncio.Future[None]] = deque()
        """Futures of claimed bundles without acknowledgement; done when one more bundle may be requested."""
        self._is_pulling = False
        self._pulls_again = False
        self._ending: set[UUID] = set()
        """Jobs of limited kinds whose attempts have ended and are not recorded yet: their places are not free."""
        self._tasks = Tasks()

    def attach(self, consumer: LaneConsumer) -> None:
        """Pause and resume this consumer from now on."""
        self._consumer = consumer

    def on_delivery(self, delivery: Delivery) -> None:
        """Accept a bundle from the consumer. Returns at once."""
        failpoints.reach("worker.delivered")
        if not self._is_draining:
            at = asyncio.get_running_loop().time()
            if self._state.arrive(delivery, len(delivery.bundle.ids), at, returns=delivery.returns):
                self._fit_prefetch()
            self._go_on()

    def note_ended(self, held: InFlight) -> None:
        """Free the slot of an attempt of this lane that has ended."""
        held.took_s = self._clock.monotonic() - held.claimed_at
        if self._claims.is_limited:
            if len(self._ending) >= MOST_ENDING:
                self._ending.clear()
            self._ending.add(held.job.id)
        if held.job.suspect:
            self._slots.give(isolated=True)
            return
        self._slots.give(isolated=False)
        if self._state.note_run(held.took_s):
            self._fit_prefetch()

    def note_recorded(self, ids: Collection[UUID]) -> bool:
        """Return whether recorded attempts have freed places of this lane's kinds."""
        ended = self._ending.intersection(ids) if self._ending else None
        if not ended:
            return False
        self._ending -= ended
        return True

    def pull(self) -> None:
        """Claim held jobs of kinds with a limit, as far as limits and slots have room. Returns at once."""
        if not self._is_limited or self._is_paused or self._is_draining:
            return
        if self._is_pulling:
            self._pulls_again = True
            return
        self._is_pulling = True
        self._tasks.spawn(self._pull_held(), f"held jobs of {self.lane}")

    @property
    def _is_limited(self) -> bool:
        limits = self._settings.limits
        return limits is not None and limits.is_limited()

    def _fit_prefetch(self) -> None:
        if self._state.fit(self._slots.room) and self._consumer is not None:
            self._consumer.set_prefetch(self._state.prefetch)

    def pause(self) -> None:
        """Claim nothing until `resume`; claimed jobs continue. A second call has no effect."""
        consumer = self._consumer
        if self._is_paused or self._is_draining or consumer is None:
            return
        self._is_paused = True
        self._claims.hold()
        consumer.pause(PAUSED)
        self._pause_task = self._tasks.spawn(self._ask_nothing(consumer), f"pause of {self.lane}")

    def resume(self) -> None:
        """Claim again. Without an earlier `pause`, this has no effect."""
        consumer = self._consumer
        if not self._is_paused or consumer is None:
            return
        self._is_paused = self._asks_nothing = False
        self._claims.go_on()
        if self._pause_task is not None:
            # No bundle is held across a wait, because the returned ones are redelivered.
            self._pause_task.cancel()
        if self._state.fit_new_consumer(self._slots.room):
            consumer.set_prefetch(self._state.prefetch)
        consumer.resume(PAUSED)
        self._go_on()

    async def _ask_nothing(self, consumer: LaneConsumer) -> None:
        await consumer.wait_paused()
        self._asks_nothing = True
        while self._claimed:
            self._let_go(self._claimed.popleft())
        self._give_back_at_once()

    def _give_back_at_once(self) -> None:
        """Return bundles that may return. Call this without a consumer, or the broker would redeliver them here."""
        if back := self._state.return_unclaimed():
            self._tasks.spawn(self._return(back, PAUSED), f"bundles of the paused lane {self.lane}")

    def _go_on(self) -> None:
        """Claim the bundles that fit, and request more if there is room. Runs again when a slot becomes free."""
        if self._is_paused:
            if self._asks_nothing:
                self._give_back_at_once()
            return
        while (found := self._state.next_to_claim(self._slots.fits)) is not None:
            self._slots.reserve(found.jobs)
            self._tasks.spawn(self._handle(found.bundle), f"bundle on {self.lane}")
        while self._claimed and self._may_ask():
            self._let_go(self._claimed.popleft())
        if self._state.has_unclaimed and not self._is_returning:
            self._is_returning = True
            self._tasks.spawn(self._return_unclaimed(), f"bundles without a slot on {self.lane}")
        if self._state.has_unclaimed or self._claimed:
            self._slots.when_freed(self._go_on)

    def _may_ask(self) -> bool:
        if self._is_paused:
            return self._asks_nothing
        return self._state.may_ask(self._slots.room_to_ask(quick=self._state.is_quick))

    def _let_go(self, waiting: "asyncio.Future[None]") -> None:
        if not waiting.done():
            self._state.let_go()
            waiting.set_result(None)

    def drain(self) -> None:
        """Stop claiming."""
        self._is_draining = True
        self._state.drop_unclaimed()
        self._claims.drain()

    async def wait_claimed(self) -> None:
        """Wait until no claim is in flight; claimed jobs have been started by then."""
        await self._no_claims.wait()

    async def stop(self) -> None:
        """Drop held bundles; the broker still has those that were not acknowledged."""
        await self._tasks.cancel_all()
        await self._claims.stop()

    async def _handle(self, delivery: Delivery) -> None:
        """Claim a bundle for which slots are reserved, and acknowledge it when there is room for another one."""
        try:
            if not await self._take(delivery.bundle):
                if not self._is_draining:
                    at = asyncio.get_running_loop().time()
                    self._state.put_back(delivery, len(delivery.bundle.ids), at, returns=delivery.returns)
                    self._go_on()
                return
        except Exception:
            # The lane continues; claimed jobs return when their leases expire.
            log.exception("bundle failed", lane=self.lane, jobs=len(delivery.bundle.ids))
            self._state.let_go()
            await delivery.ack()
            return
        finally:
            self._slots.release(len(delivery.bundle.ids))
        if self._may_ask():
            self._state.let_go()
        elif not await self._wait_to_ask():
            self._state.let_go()
            if not self._slots.has_free:
                await self._pause_until_free(delivery.ack)
                return
        failpoints.reach("worker.acking")
        await delivery.ack()
        failpoints.reach("worker.acked")

    async def _wait_to_ask(self) -> bool:
        """Wait up to `hold_s` until one more bundle may be requested. If so, count this one as acknowledged."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._claimed.append(waiting)
        self._go_on()
        try:
            async with asyncio.timeout(self._settings.hold_s):
                await waiting
        except TimeoutError:
            if waiting in self._claimed:
                self._claimed.remove(waiting)
            # It may have been released at the same moment.
            return not waiting.cancelled()
        return True

    async def _take(self, bundle: Bundle) -> bool:
        """Claim and start a bundle. Return whether it was claimed."""
        self._begin_taking()
        try:
            claimed = await self._claims.claim(bundle)
            if claimed is None:
                return False
            self._watermarks.note(self.lane, bundle.queued_at)
            self._start(claimed, bundle.queued_at)
            return True
        finally:
            self._end_taking()

    async def _pull_held(self) -> None:
        try:
            while not (self._is_paused or self._is_draining):
                self._pulls_again = False
                room = min(self._slots.room, MAX_BUNDLE) if self._slots.has_free else 0
                # What was claimed may not have been all. After nothing, only a new place or slot is a reason.
                if not (room and await self._take_held(room)) and not self._pulls_again:
                    return
        except Exception:
            log.exception("held jobs not claimed", lane=self.lane)
        finally:
            self._is_pulling = False

    async def _take_held(self, room: int) -> bool:
        """Claim and start held jobs. Return whether there were any."""
        self._begin_taking()
        self._slots.reserve(room)
        try:
            found = await self._claims.claim_held(room)
            if found is None:
                return False
            self._start(*found)
            return True
        finally:
            self._slots.release(room)
            self._end_taking()

    def _begin_taking(self) -> None:
        self._taking += 1
        self._no_claims.clear()

    def _end_taking(self) -> None:
        self._taking -= 1
        if not self._taking:
            self._no_claims.set()

    async def _return_unclaimed(self) -> None:
        """Return bundles that have waited too long for a slot, and request no more until one is free."""
        loop = asyncio.get_running_loop()
        try:
            while self._consumer is not None and (due_at := self._state.returns_at()) is not None:
                await asyncio.sleep(max(0.0, due_at - loop.time()))
                due_at = self._state.returns_at()
                if due_at is not None and due_at <= loop.time():
                    await self._pause_until_free(self._give_back)
        finally:
            self._is_returning = False

    async def _give_back(self) -> None:
        if back := self._state.return_unclaimed():
            await self._return(back, NO_SLOT)

    async def _return(self, back: Sequence[Delivery], why: str) -> None:
        log.info(f"bundles given back: {why}", lane=self.lane, bundles=len(back))
        for delivery in back:
            await delivery.give_back()

    async def _pause_until_free(self, let_go: Callable[[], Awaitable[None]]) -> None:
        """Pause the consumer, release held bundles, and resume when a slot is free."""
        consumer = self._consumer
        if consumer is None:
            return
        self._pausing += 1
        consumer.pause(NO_SLOT)
        try:
            await consumer.wait_paused()
            # Acknowledgements request no more bundles now.
            while self._claimed:
                self._let_go(self._claimed.popleft())
            await let_go()
            await self._slots.wait_free()
        finally:
            self._pausing -= 1
            if not self._pausing:
                # A new consumer starts anyway, so fit its prefetch.
                if self._state.fit_new_consumer(self._slots.room):
                    consumer.set_prefetch(self._state.prefetch)
                consumer.resume(NO_SLOT)

    def _start(self, jobs: Sequence[ClaimedJob], queued_at: datetime) -> None:
        if not jobs:
            return
        now, at = self._clock.monotonic(), self._clock.now()
        starts_within_s = self._settings.times.starts_within(self._settings.kinds)
        jobs, late = split_late(jobs, now=at, starts_within_s=starts_within_s)
        if late:
            held = [InFlight(job, self.lane, now, ended=True) for job in late]
            self._running.add(held)
            self._starts.late(held)
        held = [InFlight(job, self.lane, now) for job in jobs]
        timeout_of = self._settings.times.timeout_of
        self._starts.submit([assignment_of(one, timeout_of(one.job)) for one in held])
        count_started(jobs, waited_s=(at - queued_at).total_seconds())
        self._running.add(held)
        self._slots.take(len(jobs), isolated=sum(job.suspect for job in jobs))
        # The instant of the newest job holds for all: one group commit or one sweep queued them.
        self._starts.claimed(held, waited_s=(at - queued_at).total_seconds())
