"""What the sweeper does with held jobs, which wait for a place of their kind's limit without a message."""

import pytest

from acked_common.background.sweeper import EMPTY_LOOKS
from acked_common.model.lifecycle import Reason, State
from acked_common.model.limits import KindLimit
from acked_common.model.pauses import Pause
from acked_common.store.records import Job
from support.factories import again, kind_record
from support.sweeper_bench import Bench


@pytest.fixture
async def bench() -> Bench:
    made = await Bench.ready()
    await made.store.register_kinds([kind_record("demo", "demo")])
    return made


async def limit(bench: Bench, running: int | None = 1) -> None:
    await bench.store.limit_kind("demo", KindLimit(running, None, "ann", None, None, bench.clock.now()))
    await bench.pauses.refresh()


async def held(bench: Bench, **fields: object) -> Job:
    job = await bench.queued(waits_s=0.0, **fields)
    await bench.store.hold_jobs([job.id])
    return await again(bench.store, job)


async def sweep_for(bench: Bench, seconds: int) -> None:
    for _ in range(seconds):
        bench.clock.advance(1)
        await bench.sweeper.sweep_queued()
        await bench.sweeper.look_at_lanes()


async def test_a_held_job_is_not_published_again(bench: Bench) -> None:
    await limit(bench)
    job = await held(bench)
    await bench.store.raise_watermark("demo", bench.clock.now())
    await sweep_for(bench, 1000)
    assert bench.published() == []
    assert await again(bench.store, job) == job
    # Also after the limit was removed: workers claim what is held.
    await limit(bench, None)
    await sweep_for(bench, 100)
    assert bench.published() == []


async def test_a_held_job_expires_as_any_other(bench: Bench) -> None:
    await limit(bench)
    job = await held(bench, expires_in_s=60.0)
    await sweep_for(bench, 59)
    assert (await again(bench.store, job)).state is State.QUEUED
    await sweep_for(bench, 2)
    found = await again(bench.store, job)
    assert found.reason == Reason.EXPIRED and found.error is not None
    assert "no place was free within 60" in found.error["message"]


async def test_the_expiry_of_a_held_job_stands_still_while_its_kind_is_paused(bench: Bench) -> None:
    await limit(bench)
    job = await held(bench, expires_in_s=60.0)
    await bench.store.pause_kind("demo", Pause("ann", None, None, bench.clock.now()))
    await bench.pauses.refresh()
    await sweep_for(bench, 300)
    assert ((await again(bench.store, job)).state, bench.published()) == (State.QUEUED, [])
    await bench.store.resume_kind("demo", at=bench.clock.now())
    await bench.pauses.refresh()
    await sweep_for(bench, 50)
    assert ((await again(bench.store, job)).state, bench.published()) == (State.QUEUED, [])
    await sweep_for(bench, 15)
    assert (await again(bench.store, job)).reason == Reason.EXPIRED


async def test_a_job_whose_hold_was_lost_is_published_again(bench: Bench) -> None:
    await limit(bench)
    job = await bench.queued(waits_s=0.0)
    await sweep_for(bench, 20 + EMPTY_LOOKS)
    assert bench.published() == [job.id]
