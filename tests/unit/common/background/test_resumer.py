"""The resumer: pages in turn over tenants, a bound of what waits, one process at a time."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from acked_common.background import resumer as module
from acked_common.background.job_writer import JobWriter
from acked_common.background.resumer import FORGOTTEN_AFTER_S, RESUMING, TURN_S, Resumer
from acked_common.background.sweeper import EMPTY_LOOKS
from acked_common.model import lifecycle, lifecycle_waits
from acked_common.model.lifecycle import Owner, State
from acked_common.model.lifecycle_waits import Waits
from acked_common.store.errors import OutcomeUnknown
from acked_common.store.records import Job
from support.factories import GRACE_S, LEASE_S, ManualClock, again, moved, running
from support.parked import resume_order
from support.parts import ShakyStore, common_settings
from support.sweeper_bench import Bench as SweeperBench


class Bench:
    """A resumer over a store in memory, and what it published."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = ShakyStore(self.clock)
        self.offered: list[UUID] = []
        self.resumer = self.another()

    def another(self) -> Resumer:
        writer = JobWriter(self.store, lambda jobs: self.offered.extend(job_id for job_id, _, _ in jobs))
        return Resumer(self.store, writer, self.clock, common_settings().times)

    async def parked(self, *, due_s: float = -1.0, **fields: Any) -> Job:
        at = self.clock.now()
        job = await running(self.store, claimed_at=at - timedelta(days=1), **fields)
        until_at = at + timedelta(seconds=due_s)
        return await moved(
            self.store, job, lifecycle_waits.park(at=at - timedelta(days=1), waits=Waits("sleep", "nap", until_at))
        )

    async def states(self, jobs: list[Job]) -> list[State]:
        return [(await again(self.store, job)).state for job in jobs]

    async def resume(self) -> int:
        """Resume in a turn of its own; return how many were queued."""
        before = len(self.offered)
        self.clock.advance(TURN_S)
        await self.resumer.resume()
        return len(self.offered) - before


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_what_has_ended_is_queued_and_published(bench: Bench) -> None:
    ended, waiting = await bench.parked(), await bench.parked(due_s=60)
    await bench.resumer.resume()
    assert await bench.states([ended, waiting]) == [State.QUEUED, State.WAITING]
    assert bench.offered == [ended.id]


async def test_nothing_to_resume_takes_no_turn(bench: Bench) -> None:
    await bench.parked(due_s=60)
    await bench.resumer.resume()
    assert "take_turn" not in bench.store.calls


async def test_only_the_process_with_the_turn_resumes(bench: Bench) -> None:
    await bench.parked()
    assert await bench.store.take_turn(RESUMING, for_s=1.0)
    await bench.resumer.resume()
    assert bench.offered == []
    bench.clock.advance(1.0)
    await bench.resumer.resume()
    assert len(bench.offered) == 1


async def test_one_call_goes_through_all_pages(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 4)
    monkeypatch.setattr(module, "SMALLEST_PAGE", 1)
    jobs = [await bench.parked(due_s=-number - 1.0) for number in range(11)]
    await bench.resumer.resume()
    assert await bench.states(jobs) == [State.QUEUED] * 11
    assert bench.offered == [job.id for job in reversed(jobs)]


async def test_pages_are_in_turn_over_tenants(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenant whose million waits ended first does not delay another tenant's single one."""
    monkeypatch.setattr(module, "PAGE", 4)
    monkeypatch.setattr(module, "SMALLEST_PAGE", 1)
    many = [await bench.parked(due_s=-1000.0 + number, tenant="many") for number in range(20)]
    few = [await bench.parked(due_s=-1.0, tenant="few") for _ in range(2)]
    await bench.resumer.resume()
    assert len(bench.offered) == 22
    assert {bench.offered.index(job.id) for job in few} == {2, 3}
    assert bench.offered[0] == many[0].id


async def test_no_more_are_resumed_than_may_wait(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    monkeypatch.setattr(module, "SMALLEST_PAGE", 1)
    monkeypatch.setattr(module, "RESUMED_WAITING", 4)
    jobs = [await bench.parked(due_s=-100.0 + number) for number in range(10)]
    assert await bench.resume() == 4
    assert await bench.resume() == 0
    # Workers claim three of them.
    for job in jobs[:3]:
        await moved(
            bench.store,
            await again(bench.store, job),
            lifecycle.claim(at=bench.clock.now(), owner=Owner("w", "b", "n"), lease_s=LEASE_S),
        )
    assert await bench.resume() == 4
    assert (await bench.states(jobs)).count(State.QUEUED) == 5


async def test_jobs_that_no_worker_takes_stop_to_count(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    monkeypatch.setattr(module, "RESUMED_WAITING", 2)
    monkeypatch.setattr(module, "SMALLEST_PAGE", 1)
    for number in range(6):
        await bench.parked(due_s=-100.0 + number)
    assert await bench.resume() == 2
    assert await bench.resume() == 0
    bench.clock.advance(FORGOTTEN_AFTER_S)
    assert await bench.resume() == 2


async def test_an_unknown_outcome_is_repeated_and_published_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """L21: the write was done, and its response was lost."""
    job = await bench.parked()
    resume = bench.store.resume
    calls = 0

    async def lose_the_first(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        found = await resume(*args)
        if calls == 1:
            raise OutcomeUnknown("lost")
        return found

    monkeypatch.setattr(bench.store, "resume", lose_the_first)
    await bench.resumer.resume()
    assert (calls, bench.offered) == (2, [job.id])
    assert (await again(bench.store, job)).rev == job.rev + 1


async def test_a_job_whose_resumer_died_before_it_published_is_published_by_a_sweeper() -> None:
    sweeping = await SweeperBench.ready()
    at = sweeping.clock.now()
    job = await running(sweeping.store, claimed_at=at - timedelta(days=1))
    ended = Waits("sleep", "nap", at - timedelta(seconds=GRACE_S + 1))
    job = await moved(sweeping.store, job, lifecycle_waits.park(at=at - timedelta(days=1), waits=ended))
    (resumed,) = await sweeping.store.resume([job.id], resume_order(at=at))
    assert sweeping.published() == []
    sweeping.clock.advance(GRACE_S + 1)
    await sweeping.look_at_empty_lanes(EMPTY_LOOKS)
    await sweeping.look_and_sweep()
    assert sweeping.published() == [resumed.id]


async def test_an_outcome_that_stays_unknown_is_an_error(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.parked()

    async def lose(*args: Any) -> Any:
        raise OutcomeUnknown("lost")

    monkeypatch.setattr(bench.store, "resume", lose)
    with pytest.raises(OutcomeUnknown):
        await bench.resumer.resume()
    assert bench.offered == []
