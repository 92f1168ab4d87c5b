"""What a lane does with the jobs that it has claimed: suspects have slots of their own, late claims do not start."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from acked_common.model import lifecycle
from acked_common.model.bundle import Bundle
from acked_common.model.lifecycle import Move, Owner
from acked_common.store.records import ClaimedJob, Job
from acked_worker.consume import prefetch
from acked_worker.consume.in_flight import InFlight, InFlightAttempts
from acked_worker.consume.kind_times import KindTimes
from acked_worker.consume.lane_runner import NO_SLOT, LaneRunner
from acked_worker.consume.lane_state import RUNS_BETWEEN_LOOKS, LaneSettings
from acked_worker.consume.prefetch import LEAST_QUICK, MOST
from acked_worker.consume.slots import LaneSlots, Slots
from acked_worker.consume.watermarks import Watermarks
from acked_worker.execute.attempt import Assignment
from support.factories import ManualClock, insert, kind_record, new_job
from support.memory_store import MemoryStore

LEASE_S = 30.0


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bundles wait for a slot however slow the machine is, where the test says nothing else."""
    monkeypatch.setattr(prefetch, "FITS_WITHIN_S", 60.0)


class SlowStore(MemoryStore):
    """A store whose answer to a claim takes long."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.manual_clock = clock
        self.answers_after_s = 0.0

    async def claim(self, *args: object, **options: object) -> list[ClaimedJob]:
        found = await super().claim(*args, **options)  # type: ignore[arg-type]
        self.manual_clock.advance(self.answers_after_s)
        return found


class HandedOver:
    """A bundle from the broker."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.returns = 0
        self.acknowledged = asyncio.Event()
        self.given_back = asyncio.Event()

    async def ack(self) -> None:
        self.acknowledged.set()

    async def give_back(self) -> None:
        self.given_back.set()


class Bench:
    """One lane on a store in memory."""

    def __init__(self, slots: int = 2, *, beside: "Bench | None" = None) -> None:
        """`beside` is another lane of the same worker."""
        self.clock = ManualClock()
        self.store = SlowStore(self.clock)
        self.slots = beside.slots if beside else Slots(slots)
        self.suspect_slots = beside.suspect_slots if beside else Slots(2)
        self.running = InFlightAttempts()
        self.submitted: list[Assignment] = []
        self.started = asyncio.Event()
        self.found_late: list[InFlight] = []
        lane = "other" if beside else "demo"
        kinds = {"demo": kind_record("demo", lane)}
        times = KindTimes(kinds, lease_s=LEASE_S, renewal_s=8.0)
        settings = LaneSettings(lane, ("demo",), "w", "b", times, hold_s=60.0)
        slots = LaneSlots(lane, self.slots, self.suspect_slots)
        watermarks = Watermarks(self.store)
        self.flow = LaneRunner(settings, self.store, slots, self.running, watermarks, self.clock, self)

    def submit(self, assignments: Sequence[Assignment]) -> None:
        self.submitted += assignments

    def claimed(self, held: Sequence[InFlight], *, waited_s: float) -> None:
        self.started.set()

    def late(self, held: Sequence[InFlight]) -> None:
        self.found_late += held

    async def jobs(self, count: int, *, suspect: bool = False) -> list[Job]:
        jobs = await insert(self.store, *(new_job(at=self.clock.now()) for _ in range(count)))
        if suspect:
            at = self.clock.now()
            owner = Owner("lost", "lost", "lost")
            claims = [Move(job.seen, lifecycle.claim(at=at, owner=owner, lease_s=LEASE_S)) for job in jobs]
            await self.store.apply(claims)
            found = await self.store.get_many([job.id for job in jobs])
            lost = lifecycle.take_back(at=at, grace_s=10.0, expires_in_s=3600.0)
            await self.store.apply([Move(job.seen, lost) for job in found.values()])
        return jobs

    def deliver(self, jobs: Sequence[Job]) -> HandedOver:
        delivery = HandedOver(Bundle("demo", self.clock.now(), tuple(job.id for job in jobs)))
        self.flow.on_delivery(delivery)  # type: ignore[arg-type]
        return delivery


async def test_suspects_take_no_slots_from_the_others() -> None:
    bench = Bench()
    mixed = [*await bench.jobs(1), *await bench.jobs(1, suspect=True)]
    delivery = bench.deliver(mixed)
    await asyncio.wait_for(delivery.acknowledged.wait(), 10)
    assert (bench.slots.used, bench.suspect_slots.used) == (1, 1)
    assert sorted(one.is_suspect for one in bench.submitted) == [False, True]
    for held in bench.running.all():
        bench.flow.note_ended(held)
    assert (bench.slots.used, bench.suspect_slots.used) == (0, 0)


async def test_more_is_asked_for_when_both_have_room() -> None:
    bench = Bench()
    for suspect in (True, False):
        bench.started.clear()
        delivery = bench.deliver(await bench.jobs(3, suspect=suspect))
        await asyncio.wait_for(bench.started.wait(), 10)
        for held in bench.running.all():
            assert not delivery.acknowledged.is_set()
            bench.flow.note_ended(held)
            bench.running.remove(held)
        await asyncio.wait_for(delivery.acknowledged.wait(), 10)


async def test_a_claim_whose_answer_took_most_of_a_lease_starts_nothing() -> None:
    bench = Bench()
    bench.store.answers_after_s = LEASE_S * 0.7
    delivery = bench.deliver(await bench.jobs(2))
    await asyncio.wait_for(delivery.acknowledged.wait(), 10)
    assert bench.submitted == []
    assert len(bench.found_late) == len(bench.running) == 2
    assert all(held.ended for held in bench.found_late)
    assert (bench.slots.used, bench.suspect_slots.used) == (0, 0)
    assert bench.clock.now() - bench.found_late[0].job.started_at > timedelta(seconds=LEASE_S / 2)  # type: ignore[operator]


class Consumer:
    """What the flow tells its consumer."""

    def __init__(self) -> None:
        self.told: list[int] = []
        self.pauses: list[str] = []
        self.resumed = asyncio.Event()

    @property
    def prefetch(self) -> int:
        return self.told[-1] if self.told else 1

    def set_prefetch(self, prefetch: int) -> None:
        self.told.append(prefetch)

    def pause(self, reason: str) -> None:
        self.pauses.append(reason)
        self.resumed.clear()

    async def wait_paused(self) -> None:
        pass

    def resume(self, reason: str) -> None:
        self.resumed.set()


async def run_through(bench: Bench, *, jobs: int, bundle: int, runs_for_s: float) -> None:
    """So many jobs at least, one bundle after the other; all of a bundle run for so long."""
    ended = 0
    while ended < jobs:
        delivery = bench.deliver(await bench.jobs(bundle))
        await asyncio.wait_for(bench.started.wait(), 10)
        bench.started.clear()
        bench.clock.advance(runs_for_s)
        for held in bench.running.all():
            bench.flow.note_ended(held)
            bench.running.remove(held)
            ended += 1
        await asyncio.wait_for(delivery.acknowledged.wait(), 10)


@pytest.mark.parametrize(
    ("slots", "bundle", "runs_for_s", "prefetch"),
    [
        (200, 1, 0.01, MOST),
        (200, 10, 0.01, MOST),
        (200, 20, 0.01, 20),
        (200, 32, 0.01, 14),
        (60, 50, 0.01, LEAST_QUICK),
        (10, 2, 0.01, 10),
        (200, 1, 1.0, MOST),
        (200, 32, 1.0, 5),
        (8, 1, 1.0, 8),
        (2, 8, 1.0, 1),
    ],
)
async def test_a_lane_holds_what_fills_its_slots_and_a_quick_one_twice(
    slots: int, bundle: int, runs_for_s: float, prefetch: int
) -> None:
    bench = Bench(slots)
    consumer = Consumer()
    bench.flow.attach(consumer)  # type: ignore[arg-type]
    await run_through(bench, jobs=50, bundle=bundle, runs_for_s=runs_for_s)
    assert consumer.prefetch == prefetch


async def test_a_lane_is_known_for_quick_after_few_runs() -> None:
    bench = Bench(200)
    bench.flow.attach(consumer := Consumer())  # type: ignore[arg-type]
    await run_through(bench, jobs=RUNS_BETWEEN_LOOKS, bundle=1, runs_for_s=0.01)
    assert consumer.prefetch == MOST


async def test_what_changes_a_little_takes_no_new_consumer() -> None:
    bench = Bench(200)
    bench.flow.attach(consumer := Consumer())  # type: ignore[arg-type]
    await run_through(bench, jobs=64, bundle=32, runs_for_s=0.01)
    # Larger bundles, of which half as many would do, and runs that are hardly quick any more.
    await run_through(bench, jobs=3200, bundle=64, runs_for_s=0.01)
    await run_through(bench, jobs=640, bundle=64, runs_for_s=0.09)
    assert consumer.told == [14]
    await run_through(bench, jobs=640, bundle=64, runs_for_s=0.11)
    assert consumer.told == [14, 2]


async def settled(bench: Bench) -> None:
    """Every claim that could begin has ended."""
    for _ in range(20):
        await asyncio.sleep(0)
    await asyncio.wait_for(bench.flow.wait_claimed(), 10)
    await asyncio.sleep(0)


def end(bench: Bench, count: int, *, after_s: float = 1.0) -> None:
    """So many of the running jobs end, the oldest first."""
    bench.clock.advance(after_s)
    for held in bench.running.all()[:count]:
        bench.flow.note_ended(held)
        bench.running.remove(held)


async def test_takes_raise_the_prefetch_before_any_job_has_ended() -> None:
    bench = Bench(200)
    bench.flow.attach(consumer := Consumer())  # type: ignore[arg-type]
    for _ in range(RUNS_BETWEEN_LOOKS):
        delivery = bench.deliver(await bench.jobs(1))
        await asyncio.wait_for(delivery.acknowledged.wait(), 10)
    assert consumer.told == [MOST]
    assert bench.slots.used == RUNS_BETWEEN_LOOKS


@pytest.mark.parametrize("runs_for_s", [1.0, 0.06])
async def test_bundles_that_grow_from_1_to_32_start_no_more_than_fits(runs_for_s: float) -> None:
    bench = Bench(200)
    bench.flow.attach(consumer := Consumer())  # type: ignore[arg-type]
    await run_through(bench, jobs=50, bundle=1, runs_for_s=runs_for_s)
    assert consumer.prefetch == MOST
    deliveries = [bench.deliver(await bench.jobs(32)) for _ in range(MOST)]
    most = 0
    for _ in range(60):
        await settled(bench)
        most = max(most, bench.slots.used + bench.slots.claiming)
        end(bench, 17, after_s=runs_for_s)
    assert 200 <= most <= 232
    assert len(bench.submitted) == 50 + sum(delivery.acknowledged.is_set() for delivery in deliveries) * 32


async def test_a_quick_lane_whose_jobs_turn_slow_has_a_bound() -> None:
    bench = Bench(200)
    bench.flow.attach(Consumer())  # type: ignore[arg-type]
    await run_through(bench, jobs=50, bundle=1, runs_for_s=0.01)
    for _ in range(MOST):
        bench.deliver(await bench.jobs(32))
    await settled(bench)
    assert bench.slots.used <= 200 * 2.5 + 32


async def test_lanes_that_share_slots_do_not_overshoot_together() -> None:
    bench = Bench(200)
    other = Bench(beside=bench)
    for lane in (bench, other):
        lane.flow.attach(Consumer())  # type: ignore[arg-type]
        await run_through(lane, jobs=50, bundle=1, runs_for_s=1.0)
    for _ in range(MOST):
        for lane in (bench, other):
            lane.deliver(await lane.jobs(32))
    for _ in range(20):
        await settled(bench)
        await settled(other)
        # One bundle more than a lane alone: that of a lane below its share.
        assert bench.slots.used + bench.slots.claiming <= 232 + 32
        end(bench, 16)
        end(other, 16)
    assert min(len(bench.submitted), len(other.submitted)) > 200


async def test_a_full_lane_leaves_a_quiet_one_its_first_bundle() -> None:
    bench = Bench(20)
    other = Bench(beside=bench)
    for _ in range(6):
        bench.deliver(await bench.jobs(5))
    await settled(bench)
    assert bench.slots.used == 25
    other.deliver(await other.jobs(5))
    await settled(other)
    assert len(other.submitted) == 5


async def test_what_does_not_fit_goes_back_and_comes_when_a_slot_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "FITS_WITHIN_S", 0.05)
    bench = Bench(8)
    bench.flow.attach(consumer := Consumer())  # type: ignore[arg-type]
    held = [bench.deliver(await bench.jobs(2)) for _ in range(5)]
    # What is claimed before the pause is acknowledged with it, however slow the machine is.
    await settled(bench)
    surplus = [bench.deliver(jobs) for jobs in [await bench.jobs(2) for _ in range(3)]]
    for delivery in surplus:
        await asyncio.wait_for(delivery.given_back.wait(), 10)
    assert consumer.pauses == [NO_SLOT]
    # What is claimed needs no message any more, and a paused consumer gets none for it.
    for delivery in held:
        await asyncio.wait_for(delivery.acknowledged.wait(), 10)
    assert len(bench.submitted) == 10
    assert not consumer.resumed.is_set()
    end(bench, 5)
    await asyncio.wait_for(consumer.resumed.wait(), 10)
    assert bench.flow._state.prefetch == 1
    again = bench.deliver(await bench.jobs(2))
    await asyncio.wait_for(again.acknowledged.wait(), 10)
    assert len(bench.submitted) == 12


async def test_what_fits_within_a_moment_does_not_go_back() -> None:
    bench = Bench(8)
    bench.flow.attach(consumer := Consumer())  # type: ignore[arg-type]
    deliveries = [bench.deliver(await bench.jobs(8)) for _ in range(4)]
    for _ in deliveries:
        await settled(bench)
        end(bench, 8)
    for delivery in deliveries:
        await asyncio.wait_for(delivery.acknowledged.wait(), 10)
    assert len(bench.submitted) == 32
    assert consumer.pauses == []


async def test_a_worker_with_few_free_slots_asks_for_few_bundles() -> None:
    bench = Bench(40)
    bench.flow.attach(consumer := Consumer())  # type: ignore[arg-type]
    deliveries = [bench.deliver(await bench.jobs(1)) for _ in range(RUNS_BETWEEN_LOOKS)]
    await settled(bench)
    # The tenth had come, and was not claimed yet.
    assert consumer.prefetch == 31
    # The broker may send 30 more: nothing is asked for beyond what fits.
    deliveries += [bench.deliver(await bench.jobs(1)) for _ in range(30)]
    await settled(bench)
    assert bench.slots.used == 40

    def acknowledged() -> int:
        return sum(delivery.acknowledged.is_set() for delivery in deliveries)

    before = acknowledged()
    for ended in (1, 2, 10):
        end(bench, ended - (acknowledged() - before))
        await settled(bench)
        assert acknowledged() - before == ended
