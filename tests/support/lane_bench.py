"""One lane of a worker with a consumer, on a store in memory and clocks that the test moves."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from acked_common.model import lifecycle
from acked_common.model.bundle import Bundle
from acked_common.model.lifecycle import Move
from acked_common.store.records import Job
from acked_worker.consume.in_flight import InFlight, InFlightAttempts
from acked_worker.consume.kind_times import KindTimes
from acked_worker.consume.lane_runner import LaneRunner
from acked_worker.consume.lane_state import LaneSettings
from acked_worker.consume.slots import LaneSlots, Slots
from acked_worker.consume.watermarks import Watermarks
from acked_worker.execute.attempt import Assignment
from support.factories import EXPIRES_IN_S, GRACE_S, LEASE_S, ManualClock, again, insert, kind_record, new_job, owner
from support.loop_clock import LoopClock
from support.parts import ShakyStore, settle

HOLD_S = 20.0


class Delivery:
    """A bundle from the broker; notes what becomes of it."""

    def __init__(self, bundle: Bundle, order: list[str], returns: int = 0) -> None:
        self.bundle = bundle
        self.returns = returns
        self._order = order
        self.acknowledged = asyncio.Event()
        self.given_back = asyncio.Event()

    async def ack(self) -> None:
        self._order.append("ack")
        self.acknowledged.set()

    async def give_back(self) -> None:
        self._order.append("give back")
        self.given_back.set()


class Consumer:
    """The consumer of the lane; it is paused when the broker has confirmed that."""

    def __init__(self, order: list[str]) -> None:
        self._order = order
        self.confirmed = asyncio.Event()
        self.prefetch = 1

    def set_prefetch(self, prefetch: int) -> None:
        self.prefetch = prefetch

    def pause(self, reason: str) -> None:
        self._order.append(f"pause: {reason}")

    async def wait_paused(self) -> None:
        await self.confirmed.wait()
        self._order.append("paused")

    def resume(self, reason: str) -> None:
        self._order.append(f"resume: {reason}")


class NotedWatermarks(Watermarks):
    """Notes what is noted."""

    def __init__(self, store: ShakyStore) -> None:
        super().__init__(store)
        self.noted: list[tuple[str, datetime]] = []

    def note(self, lane: str, queued_at: datetime) -> None:
        self.noted.append((lane, queued_at))


class Bench:
    """One lane with a consumer, on a store in memory and a clock that the test moves."""

    def __init__(self, slots: int = 2) -> None:
        self.loop_clock = LoopClock()
        self.clock = ManualClock()
        self.store = ShakyStore(self.clock)
        self.slots = Slots(slots)
        self.suspect_slots = Slots(1)
        self.running = InFlightAttempts()
        self.watermarks = NotedWatermarks(self.store)
        self.order: list[str] = []
        self.consumer = Consumer(self.order)
        self.submitted: list[Assignment] = []
        self.broken: Exception | None = None
        kinds = {"demo": kind_record("demo", "demo")}
        times = KindTimes(kinds, lease_s=LEASE_S, renewal_s=8.0)
        settings = LaneSettings("demo", ("demo",), "w", "b", times, hold_s=HOLD_S)
        slots = LaneSlots("demo", self.slots, self.suspect_slots)
        self.flow = LaneRunner(settings, self.store, slots, self.running, self.watermarks, self.clock, self)
        self.flow.attach(self.consumer)  # type: ignore[arg-type]

    def submit(self, assignments: Sequence[Assignment]) -> None:
        if self.broken is not None:
            raise self.broken
        self.submitted += assignments

    def claimed(self, held: Sequence[InFlight], *, waited_s: float) -> None:
        pass

    def late(self, held: Sequence[InFlight]) -> None:
        raise AssertionError("nothing is claimed late here")

    async def jobs(self, count: int, *, suspect: bool = False) -> list[Job]:
        jobs = await insert(self.store, *(new_job(at=self.clock.now()) for _ in range(count)))
        if suspect:
            at = self.clock.now()
            for job in jobs:
                claim = lifecycle.claim(at=at, owner=owner(), lease_s=LEASE_S)
                await self.store.apply([Move(job.seen, claim)])
                back = lifecycle.take_back(at=at, grace_s=GRACE_S, expires_in_s=EXPIRES_IN_S)
                await self.store.apply([Move((await again(self.store, job)).seen, back)])
        return jobs

    async def deliver(self, count: int, *, suspect: bool = False, returns: int = 0) -> Delivery:
        jobs = await self.jobs(count, suspect=suspect)
        delivery = Delivery(Bundle("demo", self.clock.now(), tuple(job.id for job in jobs)), self.order, returns)
        self.flow.on_delivery(delivery)  # type: ignore[arg-type]
        await settle()
        return delivery

    async def end(self, count: int | None = None) -> None:
        """So many of the running jobs end, or all."""
        for held in self.running.all()[:count]:
            self.flow.note_ended(held)
            self.running.remove(held)
        await settle()

    def held(self) -> list[InFlight]:
        return self.running.all()
