"""What a lane does with the jobs that it has claimed: suspects have slots of their own, late claims do not start."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from acked_common import lifecycle
from acked_common.lifecycle import Move, Owner
from acked_common.store import ClaimedJob, Job
from acked_common.store.memory import MemoryStore
from acked_common.wire import Bundle
from acked_worker.attempt import Assignment
from acked_worker.flow import MOST_PREFETCH, QUICK_PREFETCH, RUNS_BETWEEN_LOOKS, LaneFlow, Watermarks
from acked_worker.running import Held, Running
from acked_worker.slots import Slots
from support.factories import ManualClock, insert, new_job

LEASE_S = 30.0


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
        self.acknowledged = asyncio.Event()

    async def ack(self) -> None:
        self.acknowledged.set()


class Bench:
    """One lane on a store in memory."""

    def __init__(self, slots: int = 2) -> None:
        self.clock = ManualClock()
        self.store = SlowStore(self.clock)
        self.slots = Slots(slots)
        self.suspect_slots = Slots(2)
        self.running = Running()
        self.submitted: list[Assignment] = []
        self.started = asyncio.Event()
        self.late: list[Held] = []
        self.flow = LaneFlow(
            "demo",
            ["demo"],
            self.store,
            self.slots,
            self.suspect_slots,
            self.running,
            Watermarks(self.store),
            self.clock,
            worker="w",
            boot="b",
            lease_s=LEASE_S,
            hold_s=60.0,
            timeout_of=lambda job: 900.0,
            submit=self.submitted.extend,
            on_started=lambda held: self.started.set(),
            on_late=self.late.extend,
        )

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
    assert len(bench.late) == len(bench.running) == 2
    assert all(held.ended for held in bench.late)
    assert (bench.slots.used, bench.suspect_slots.used) == (0, 0)
    assert bench.clock.now() - bench.late[0].job.started_at > timedelta(seconds=LEASE_S / 2)  # type: ignore[operator]


class Consumer:
    """What the flow tells its consumer."""

    def __init__(self) -> None:
        self.told: list[int] = []

    @property
    def prefetch(self) -> int:
        return self.told[-1] if self.told else 1

    def set_prefetch(self, prefetch: int) -> None:
        self.told.append(prefetch)


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
        (200, 1, 0.01, MOST_PREFETCH),
        (200, 10, 0.01, MOST_PREFETCH),
        (200, 20, 0.01, 20),
        (200, 32, 0.01, 14),
        (60, 50, 0.01, QUICK_PREFETCH),
        (10, 2, 0.01, 10),
        (200, 1, 1.0, 1),
    ],
)
async def test_a_lane_of_quick_kinds_has_in_hand_what_fills_its_slots_twice(
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
    assert consumer.prefetch == MOST_PREFETCH


async def test_what_changes_a_little_takes_no_new_consumer() -> None:
    bench = Bench(200)
    bench.flow.attach(consumer := Consumer())  # type: ignore[arg-type]
    await run_through(bench, jobs=64, bundle=32, runs_for_s=0.01)
    # Larger bundles, of which half as many would do, and runs that are hardly quick any more.
    await run_through(bench, jobs=3200, bundle=64, runs_for_s=0.01)
    await run_through(bench, jobs=640, bundle=64, runs_for_s=0.09)
    assert consumer.told == [14]
    await run_through(bench, jobs=640, bundle=64, runs_for_s=0.11)
    assert consumer.told == [14, 1]
