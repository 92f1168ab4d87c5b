"""The resumer: pages in turn over tenants, as many as workers take soon, one process at a time."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from acked_common.background import resumer as module
from acked_common.background.job_writer import JobWriter
from acked_common.background.resume_window import FORGOTTEN_AFTER_S, LEAST, SLOW_S
from acked_common.background.resumer import EXTENDED_AFTER_S, PASSED_PAGES, RESUMING, TURN_S, Resumer
from acked_common.background.sweeper import EMPTY_LOOKS
from acked_common.model import lifecycle, lifecycle_waits
from acked_common.model.lifecycle import Owner, State
from acked_common.model.lifecycle_waits import Waits
from acked_common.store.errors import OutcomeUnknown
from acked_common.store.records import Job
from support.factories import GRACE_S, LEASE_S, ManualClock, again, moved, new_job, running
from support.parked import resume_order
from support.parts import ShakyStore, common_settings
from support.sweeper_bench import Bench as SweeperBench

QUEUED = State.QUEUED
SWEEP_TICK_S = common_settings().times.sweep_tick_s


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

    async def resume(self, *, after_s: float = SWEEP_TICK_S) -> int:
        """Resume at the next tick; return how many were queued."""
        before = len(self.offered)
        self.clock.advance(after_s)
        await self.resumer.resume()
        return len(self.offered) - before

    async def claim(self, ids: list[UUID]) -> None:
        for job in (await self.store.get_many(ids)).values():
            claim = lifecycle.claim(at=self.clock.now(), owner=Owner("w", "b", "n"), lease_s=LEASE_S)
            await moved(self.store, job, claim)

    async def claim_all(self) -> None:
        await self.claim(
            [i for i, found in (await self.store.revisions(self.offered)).items() if found.state is QUEUED]
        )


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


async def test_the_turn_is_extended_while_there_is_work(bench: Bench) -> None:
    for _ in range(2 * LEAST):
        await bench.parked()
    await bench.resume()
    other = bench.another()
    for _ in range(3):
        await bench.claim_all()
        await bench.parked()
        bench.clock.advance(EXTENDED_AFTER_S)
        assert await bench.resume() > 0
        offered = len(bench.offered)
        await other.resume()
        assert len(bench.offered) == offered


async def test_another_process_goes_on_when_the_one_with_the_turn_died(bench: Bench) -> None:
    await bench.parked()
    await bench.resume()
    job = await bench.parked()
    bench.resumer = bench.another()
    assert await bench.resume() == 0
    assert await bench.resume(after_s=TURN_S) == 1
    assert bench.offered[-1] == job.id


async def test_all_pages_are_gone_through_as_workers_take_them(bench: Bench) -> None:
    jobs = [await bench.parked(due_s=-number - 1.0) for number in range(5 * LEAST)]
    while await bench.resumer.resume():
        await bench.claim_all()
        bench.clock.advance(0.02)
    assert bench.offered == [job.id for job in reversed(jobs)]


async def test_pages_are_in_turn_over_tenants(bench: Bench) -> None:
    """A tenant whose million waits ended first does not delay another tenant's single one."""
    many = [await bench.parked(due_s=-1000.0 + number, tenant="many") for number in range(2 * LEAST)]
    few = [await bench.parked(due_s=-1.0, tenant="few") for _ in range(2)]
    await bench.resumer.resume()
    assert bench.offered[0] == many[0].id
    assert {bench.offered.index(job.id) for job in few} == {LEAST // 2, LEAST // 2 + 1}


async def test_a_tenant_that_comes_later_takes_its_turn(bench: Bench) -> None:
    for number in range(3 * LEAST):
        await bench.parked(due_s=-1000.0 + number, tenant="many")
    await bench.resume()
    late = await bench.parked(tenant="late")
    await bench.claim_all()
    await bench.resume()
    assert late.id in bench.offered


async def test_no_more_are_resumed_than_may_wait(bench: Bench) -> None:
    for number in range(3 * LEAST):
        await bench.parked(due_s=-1000.0 + number)
    assert await bench.resume() == LEAST
    assert await bench.resume(after_s=0.01) == 0
    await bench.claim(bench.offered[: LEAST // 2])
    # They took half of a full window: it doubles.
    assert await bench.resume(after_s=0.01) == LEAST + LEAST // 2


async def test_jobs_that_no_worker_takes_hold_up_no_other_kind(bench: Bench) -> None:
    for number in range(2 * LEAST):
        await bench.parked(due_s=-1000.0 + number, kind="away")
    quick = [await bench.parked(kind="quick") for _ in range(3)]
    assert await bench.resume() == LEAST
    assert await bench.resume(after_s=SLOW_S) == 3
    assert bench.offered[LEAST:] == [job.id for job in quick]


async def test_jobs_that_no_worker_takes_stop_to_count(bench: Bench) -> None:
    for number in range(2 * LEAST):
        await bench.parked(due_s=-1000.0 + number)
    assert await bench.resume() == LEAST
    assert await bench.resume(after_s=FORGOTTEN_AFTER_S / 2) == 0
    assert await bench.resume(after_s=FORGOTTEN_AFTER_S / 2) == LEAST


async def test_a_kind_with_a_backlog_gets_as_many_resumed_jobs_as_others(bench: Bench) -> None:
    for number in range(3 * LEAST):
        await bench.parked(due_s=-1000.0 + number, kind="busy")
    await bench.store.insert([new_job(kind="busy") for _ in range(2 * LEAST)])
    assert await bench.resume() == LEAST
    assert await bench.resume(after_s=1.0) == LEAST
    assert await bench.resume(after_s=1.0) == 0


async def test_few_pages_are_passed_by_in_one_call(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 4)
    for number in range(LEAST + 4 * PASSED_PAGES):
        await bench.parked(due_s=-1000.0 + number, kind="away")
    quick = await bench.parked(kind="quick")
    # Less room than a quarter of the window is not worth a write.
    assert await bench.resume() == LEAST * 3 // 4 + 4
    assert await bench.resume(after_s=SLOW_S) == LEAST // 4 - 4
    assert await bench.resume() == 1
    assert bench.offered[-1] == quick.id


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
