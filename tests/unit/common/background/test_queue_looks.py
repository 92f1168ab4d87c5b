"""Concurrent requests for positions share one look, and two looks give the rate."""

import asyncio
from datetime import timedelta

import pytest

from acked_common.background.queue_looks import COMPARED_FOR_S, FRESH_FOR_S, USABLE_FOR_S, QueueLooks
from acked_common.model import lifecycle
from acked_common.model.lifecycle import Move
from acked_common.model.minute_buckets import MINUTE_S, STARTED, Bucket
from acked_common.model.queue_place import Place
from acked_common.store.errors import StoreUnavailable
from acked_common.store.records import Job
from support.factories import LEASE_S, ManualClock, insert, new_job, owner
from support.parts import ShakyStore, settle


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = ShakyStore(self.clock)
        self.looks = QueueLooks(self.store, self.store, self.clock)
        self.jobs: list[Job] = []

    async def queue(self, count: int) -> None:
        """Queue jobs a second apart, the newest now."""
        now = self.clock.now()
        made = [new_job(at=now - timedelta(seconds=n)) for n in reversed(range(count))]
        self.jobs += await insert(self.store, *made)

    async def start(self, count: int) -> None:
        """Start the oldest ones."""
        claim = lifecycle.claim(at=self.clock.now(), owner=owner(), lease_s=LEASE_S)
        await self.store.apply([Move(job.seen, claim) for job in self.jobs[:count]])
        del self.jobs[:count]

    async def place(self) -> Place | None:
        """Ask for the place of the newest one."""
        newest = self.jobs[-1].queued_at
        assert newest is not None
        found = await self.looks.place("demo", newest)
        await settle()
        return found

    @property
    def looked(self) -> int:
        return self.store.calls.count("queued_by_kind")


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_crowd_shares_one_look(bench: Bench) -> None:
    await bench.queue(10)
    assert await asyncio.gather(*(bench.place() for _ in range(50))) == [Place(9)] * 50
    assert await bench.place() == Place(9)
    assert bench.looked == 1
    assert bench.store.calls.count("minutes") == 1


async def test_an_older_look_serves_while_a_new_one_is_under_way(bench: Bench) -> None:
    await bench.queue(10)
    await bench.place()
    await bench.start(5)
    bench.store.holds["queued_by_kind"] = hold = asyncio.Event()
    bench.clock.advance(FRESH_FOR_S + 0.1)
    assert (await bench.place() or Place(0)).ahead == 9
    hold.set()
    await settle()
    assert (await bench.place() or Place(0)).ahead == 4
    assert bench.looked == 2


async def test_a_look_that_is_too_old_is_not_shown(bench: Bench) -> None:
    await bench.queue(10)
    await bench.place()
    await bench.start(5)
    bench.clock.advance(USABLE_FOR_S + 0.1)
    assert (await bench.place() or Place(0)).ahead == 4


async def test_two_looks_tell_the_rate_of_the_queue(bench: Bench) -> None:
    await bench.queue(100)
    await bench.place()
    await bench.start(30)
    bench.clock.advance(USABLE_FOR_S + 4)
    found = await bench.place()
    assert found == Place(69, starts_per_s=3.0)


async def test_a_rate_is_of_the_last_seconds(bench: Bench) -> None:
    await bench.queue(100)
    await bench.place()
    await bench.start(50)
    bench.clock.advance(COMPARED_FOR_S + 1)
    await bench.place()
    bench.clock.advance(USABLE_FOR_S + 4)
    found = await bench.place()
    assert found is not None and found.starts_per_s == 0.0


async def test_the_starts_of_the_last_minute_tell_the_rate_before_a_second_look(bench: Bench) -> None:
    await bench.queue(10)
    at = bench.clock.now().replace(second=0, microsecond=0) - timedelta(seconds=MINUTE_S)
    earlier = at - timedelta(seconds=MINUTE_S)
    buckets = [Bucket(None, "demo", MINUTE_S, begun, {STARTED: 120}) for begun in (at, earlier)]
    await bench.store.add_minutes("w", 1, buckets)
    assert await bench.place() == Place(9, starts_per_s=2.0)


async def test_a_store_that_is_away_leaves_the_place_open(bench: Bench) -> None:
    await bench.queue(1)
    bench.store.failures["queued_by_kind"] = [StoreUnavailable("away")]
    assert await bench.place() is None
    assert await bench.place() == Place(0)


async def test_minutes_that_are_away_leave_the_rate_open(bench: Bench) -> None:
    await bench.queue(10)
    bench.store.failures["minutes"] = [StoreUnavailable("away")]
    assert await bench.place() == Place(9)
