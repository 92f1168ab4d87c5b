"""What the sweeper does with the jobs of a paused kind: they neither expire nor are they published again."""

import asyncio
from datetime import timedelta

import pytest

from acked_common.background.sweeper import EMPTY_LOOKS, QUEUED_PAGE
from acked_common.model.bundle import Bundle
from acked_common.model.lifecycle import Reason, State
from acked_common.model.pauses import LEAST_CREDIT_S, Pause
from acked_common.store.errors import StoreError, StoreUnavailable
from acked_common.store.records import Job
from support.factories import LEASE_S, ManualClock, again, kind_record, owner
from support.parts import settle
from support.sweeper_bench import Bench

AT = ManualClock().now()


@pytest.fixture
async def bench() -> Bench:
    made = await Bench.ready()
    await made.store.register_kinds([kind_record("demo", "demo"), kind_record("other", "other")])
    return made


async def pause(bench: Bench, kind: str = "demo") -> None:
    await bench.store.pause_kind(kind, Pause("ann", None, None, bench.clock.now()))
    await bench.pauses.refresh()


async def resume(bench: Bench, kind: str = "demo") -> None:
    await bench.store.resume_kind(kind, at=bench.clock.now())
    await bench.pauses.refresh()


async def claim(bench: Bench, job: Job) -> int:
    """How many jobs a worker gets that claims this one now."""
    claimed = await bench.store.claim([job.id], kinds=["demo"], owner=owner(), lease_s=LEASE_S, at=bench.clock.now())
    return len(claimed)


async def sweep_for(bench: Bench, seconds: int) -> None:
    for _ in range(seconds):
        bench.clock.advance(1)
        await bench.sweeper.sweep_queued()
        await bench.sweeper.look_at_lanes()


async def test_a_job_of_a_paused_kind_does_not_expire_and_runs_after_the_resume(bench: Bench) -> None:
    job = await bench.queued(waits_s=0.0, expires_in_s=20.0)
    other = await bench.queued(waits_s=0.0, expires_in_s=20.0, kind="other")
    await pause(bench)
    await sweep_for(bench, 600)
    assert (await again(bench.store, other)).reason == Reason.EXPIRED
    found = await again(bench.store, job)
    assert (found.state, found.rev) == (State.QUEUED, job.rev)
    await resume(bench)
    # At the very moment: no worker has to wait for a sweeper.
    assert await claim(bench, job) == 1
    assert await claim(bench, job) == 0


async def test_what_nobody_takes_after_the_resume_expires_when_its_time_is_over(bench: Bench) -> None:
    job = await bench.queued(waits_s=0.0, expires_in_s=20.0)
    bench.clock.advance(5)
    await pause(bench)
    await sweep_for(bench, 300)
    await resume(bench)
    await sweep_for(bench, 14)
    assert (await again(bench.store, job)).state is State.QUEUED
    await sweep_for(bench, 1)
    assert (await again(bench.store, job)).reason == Reason.EXPIRED


async def test_a_pause_costs_few_writes_however_often_the_sweeper_looks(bench: Bench) -> None:
    for _ in range(3):
        await bench.queued(waits_s=0.0, expires_in_s=20.0)
    await pause(bench)
    bench.store.calls.clear()
    await sweep_for(bench, 1000)
    assert 1 <= bench.store.calls.count("extend_waits") <= 8
    assert bench.store.calls.count("reserve") == bench.store.calls.count("apply") == 0


async def test_without_pauses_nothing_is_extended_and_nothing_read_for_it(bench: Bench) -> None:
    await bench.queued(waits_s=60.0)
    bench.store.calls.clear()
    await bench.look_and_sweep()
    assert not {"extend_waits", "pauses"} & set(bench.store.calls)


async def test_a_kind_that_was_paused_a_moment_ago_lets_nothing_expire(bench: Bench) -> None:
    job = await bench.queued(waits_s=0.0, expires_in_s=20.0)
    bench.clock.advance(19.9)
    # The sweeper's own look is older.
    await bench.store.pause_kind("demo", Pause("ann", None, None, bench.clock.now()))
    bench.clock.advance(1)
    await bench.sweeper.sweep_queued()
    assert (await again(bench.store, job)).state is State.QUEUED


async def test_without_that_look_nothing_expires(bench: Bench) -> None:
    job = await bench.queued(waits_s=30.0, expires_in_s=20.0)
    bench.store.failures["pauses"] = [StoreUnavailable("no primary")]
    with pytest.raises(StoreError):
        await bench.sweeper.sweep_queued()
    assert (await again(bench.store, job)).state is State.QUEUED
    await bench.sweeper.sweep_queued()
    assert (await again(bench.store, job)).reason == Reason.EXPIRED


async def test_a_claim_between_look_and_extension_wins(bench: Bench) -> None:
    job = await bench.queued(waits_s=0.0, expires_in_s=20.0)
    await pause(bench)
    bench.clock.advance(15)
    gate = bench.store.holds["extend_waits"] = asyncio.Event()
    sweeping = asyncio.create_task(bench.sweeper.sweep_queued())
    await bench.store.until_called("extend_waits")
    assert await claim(bench, job) == 1
    gate.set()
    await sweeping
    found = await again(bench.store, job)
    assert (found.state, found.expires_at, found.counted_pauses) == (State.RUNNING, None, None)


async def test_two_sweepers_extend_a_wait_once(bench: Bench) -> None:
    job = await bench.queued(waits_s=0.0, expires_in_s=20.0)
    await pause(bench)
    bench.clock.advance(15)
    gate = bench.store.holds["extend_waits"] = asyncio.Event()
    both = [asyncio.create_task(one.sweep_queued()) for one in (bench.sweeper, bench.another())]
    await bench.store.until_called("extend_waits", 2)
    gate.set()
    await asyncio.gather(*both)
    assert (await again(bench.store, job)).expires_at == AT + timedelta(seconds=20 + 15 + LEAST_CREDIT_S)


async def test_of_a_paused_kind_nothing_is_published_again(bench: Bench) -> None:
    passed, empty = await bench.queued(waits_s=60.0), await bench.queued(waits_s=60.0, kind="other")
    await bench.take_all_before(AT)
    for kind in ("demo", "other"):
        await pause(bench, kind)
    await bench.look_at_empty_lanes(10)
    await bench.sweeper.sweep_queued()
    assert (bench.published("demo"), bench.published("other")) == ([], [])
    assert [(await again(bench.store, job)).republished for job in (passed, empty)] == [0, 0]
    for kind in ("demo", "other"):
        await resume(bench, kind)
    # What was known of the lanes holds on.
    await bench.sweeper.sweep_queued()
    assert (bench.published("demo"), bench.published("other")) == ([passed.id], [empty.id])


async def test_a_lane_with_messages_that_nobody_takes_is_left_alone_after_the_resume(bench: Bench) -> None:
    job = await bench.queued(waits_s=60.0)
    await bench.broker.publish(Bundle("demo", AT, (job.id,)))
    await pause(bench)
    await sweep_for(bench, 100)
    await resume(bench)
    await sweep_for(bench, EMPTY_LOOKS + 1)
    assert bench.published() == [job.id]


async def test_what_workers_refused_as_expired_is_published_again(bench: Bench) -> None:
    job = await bench.queued(waits_s=0.0, expires_in_s=20.0)
    await bench.broker.publish(Bundle("demo", AT, (job.id,)))
    await pause(bench)
    # No sweeper looks while it is paused.
    bench.clock.advance(300)
    await resume(bench)
    # A worker is first: it refuses the job and acknowledges its bundle. Others wait on the lane.
    assert await claim(bench, job) == 0
    assert bench.published() == [job.id]
    behind = await bench.queued(waits_s=15.0)
    await bench.broker.publish(Bundle("demo", AT, (behind.id,)))
    await bench.look_and_sweep()
    assert bench.published() == [behind.id, job.id]
    assert await claim(bench, job) == 1


async def test_the_next_check_of_a_republished_job_comes_no_later_than_its_true_expiry(bench: Bench) -> None:
    job = await bench.queued(waits_s=0.0, expires_in_s=40.0)
    await pause(bench)
    await sweep_for(bench, 50)
    await resume(bench)
    await bench.take_all_before(bench.clock.now() + timedelta(seconds=100))
    await bench.look_and_sweep()
    assert bench.published() == [job.id]
    found = await again(bench.store, job)
    assert found.next_check_at == bench.clock.now() + timedelta(seconds=40)
    assert found.expires_at is not None and found.expires_at > found.next_check_at


async def test_a_backlog_of_a_paused_kind_is_extended_page_by_page(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("acked_common.background.sweeper.QUEUED_PAGE", 2)
    assert QUEUED_PAGE > 2
    jobs = [await bench.queued(waits_s=0.0, expires_in_s=20.0) for _ in range(7)]
    await pause(bench)
    await sweep_for(bench, 120)
    await settle()
    assert {(await again(bench.store, job)).state for job in jobs} == {State.QUEUED}
