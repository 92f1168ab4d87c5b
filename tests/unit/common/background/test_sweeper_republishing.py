"""What the broker has lost is published again, once, however many sweepers see it."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
from msgspec.structs import replace

from acked_common.background.bundle_publisher import BundlePublisher
from acked_common.background.sweeper import EMPTY_LOOKS, REFUSED_AGAIN_S, next_look_s
from acked_common.model.bundle import Bundle
from acked_common.store.records import Reservation
from support.factories import LEASE_S, ManualClock, again, insert, kind_record, new_job, owner
from support.parts import BOUND_S, settle
from support.sweeper_bench import Bench

AT = ManualClock().now()


@pytest.fixture
async def bench() -> Bench:
    return await Bench.ready()


async def test_nothing_consumed_nothing_republished(bench: Bench) -> None:
    for _ in range(50):
        await bench.queued(waits_s=3000.0)
    await bench.broker.publish(Bundle("demo", AT, (UUID(int=1),)))
    await bench.look_at_empty_lanes(10)
    assert bench.published() == [UUID(int=1)]


async def test_what_the_watermark_has_passed_is_republished(bench: Bench) -> None:
    lost = await bench.queued(waits_s=60.0)
    waits = await bench.queued(waits_s=20.0)
    await bench.take_all_before(AT - timedelta(seconds=20))
    await bench.look_and_sweep()
    assert bench.published() == [lost.id]
    assert await again(bench.store, waits) == waits


async def test_a_bundle_is_republished_with_its_own_instant(bench: Bench) -> None:
    job = await bench.queued(waits_s=60.0)
    await bench.take_all_before(AT)
    await bench.look_and_sweep()
    bundle = bench.broker.take("demo")
    assert bundle is not None and bundle.queued_at == job.queued_at


async def test_what_waits_on_an_empty_lane_is_republished_at_the_third_look(bench: Bench) -> None:
    job = await bench.queued(waits_s=15.0)
    for look in range(EMPTY_LOOKS):
        assert bench.published() == [], look
        await bench.look_at_empty_lanes(1)
    await bench.sweeper.sweep_queued()
    assert bench.published() == [job.id]


async def test_what_has_not_waited_for_its_grace_is_not_looked_at(bench: Bench) -> None:
    await bench.queued(waits_s=5.0)
    await bench.take_all_before(AT + timedelta(seconds=100))
    await bench.look_and_sweep()
    assert (bench.published(), bench.broker.probed) == ([], [])


async def test_no_lane_is_looked_at_on_which_nothing_waits_too_long(bench: Bench) -> None:
    await bench.store.register_kinds([kind_record("a", "lane-a"), kind_record("b", "lane-b")])
    await bench.kinds.refresh()
    await bench.queued(kind="a")
    await bench.sweeper.sweep_queued()
    await bench.sweeper.look_at_lanes()
    assert bench.broker.probed == ["lane-a"]


async def test_a_lane_on_another_page_is_looked_at_too(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acked_common.background.sweeper.QUEUED_PAGE", 2)
    for kind in ("a", "a", "b"):
        await bench.queued(kind=kind)
    await bench.sweeper.sweep_queued()
    await bench.sweeper.sweep_queued()
    await bench.sweeper.look_at_lanes()
    assert bench.broker.probed == ["a", "b"]


async def test_each_republication_moves_the_next_look_further_away(bench: Bench) -> None:
    job = await bench.queued(waits_s=60.0)
    await bench.take_all_before(bench.clock.now())
    for republished, step_s in enumerate((60, 120, 240, 480, 900, 900)):
        await bench.look_and_sweep()
        assert bench.published() == [job.id], republished
        found = await again(bench.store, job)
        assert found.next_check_at == bench.clock.now() + timedelta(seconds=step_s)
        assert found.rev == job.rev
        bench.clock.advance(step_s - 1)
        await bench.look_and_sweep()
        assert bench.published() == []
        bench.clock.advance(1)


async def test_no_more_than_the_bound_is_republished_each_second_by_all_together(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("acked_common.background.sweeper.QUEUED_PAGE", 100)
    monkeypatch.setattr("acked_common.background.sweeper.REPUBLISHED_PER_S", 200)
    at = AT - timedelta(seconds=60)
    jobs = await insert(bench.store, *(new_job(at=at + timedelta(milliseconds=n)) for n in range(1000)))
    await bench.take_all_before(AT)
    sweepers = [bench.sweeper, bench.another(), bench.another()]
    for sweeper in sweepers:
        await sweeper.sweep_queued()
        await sweeper.look_at_lanes()
    for second in range(2):
        for _ in range(10):
            for sweeper in sweepers:
                await sweeper.sweep_queued()
            bench.clock.advance(0.1)
        # The oldest first.
        assert len(set(bench.published())) == 200, second
    assert {(await again(bench.store, job)).republished for job in jobs} == {0, 1}


async def test_many_sweepers_publish_a_lost_job_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without turns: what each of them read before the others wrote must be enough.
    monkeypatch.setattr("acked_common.background.sweeper.REPUBLISHED_PER_S", 1e9)
    at = AT - timedelta(seconds=60)
    jobs = await insert(bench.store, *(new_job(at=at + timedelta(milliseconds=n)) for n in range(300)))
    await bench.take_all_before(AT)
    sweepers = [bench.sweeper, *(bench.another() for _ in range(5))]
    for sweeper in sweepers:
        await sweeper.sweep_queued()
        await sweeper.look_at_lanes()
    write = bench.store.holds["reserve"] = asyncio.Event()
    sweeps = [asyncio.create_task(sweeper.sweep_queued()) for sweeper in sweepers]
    await bench.store.until_called("reserve", len(sweepers))
    write.set()
    await asyncio.gather(*sweeps)
    assert sorted(bench.published()) == sorted(job.id for job in jobs)


async def test_a_crash_behind_the_reservation_costs_a_later_look(bench: Bench) -> None:
    job = await bench.queued(waits_s=60.0)
    await bench.take_all_before(AT)
    await bench.sweeper.sweep_queued()
    await bench.sweeper.look_at_lanes()
    bench.broker.hangs = True
    sweep = asyncio.create_task(bench.sweeper.sweep_queued())
    await settle()
    sweep.cancel()
    await asyncio.gather(sweep, return_exceptions=True)
    bench.broker.hangs = False
    await bench.look_and_sweep()
    assert bench.published() == []
    bench.clock.advance(next_look_s(0))
    other = bench.another()
    for look in (other.sweep_queued, other.look_at_lanes, other.sweep_queued):
        await look()
    assert bench.published() == [job.id]


async def test_what_is_not_confirmed_is_tried_again_soon(bench: Bench) -> None:
    job = await bench.queued(waits_s=60.0)
    await bench.take_all_before(AT)
    await bench.sweeper.sweep_queued()
    await bench.sweeper.look_at_lanes()
    bench.broker.is_away = True
    await bench.sweeper.sweep_queued()
    soon = AT + timedelta(seconds=REFUSED_AGAIN_S)
    assert await again(bench.store, job) == replace(job, next_check_at=soon)
    bench.broker.is_away = False
    bench.clock.advance(REFUSED_AGAIN_S)
    await bench.sweeper.sweep_queued()
    assert bench.published() == [job.id]


async def test_while_the_broker_does_not_answer_nothing_is_written(bench: Bench) -> None:
    await bench.queued(waits_s=60.0)
    await bench.take_all_before(AT)
    bench.broker.is_away = True
    for _ in range(3):
        await bench.look_and_sweep()
    assert not {"take_turn", "reserve", "give_back"} & set(bench.store.calls)


async def test_a_lane_that_cant_be_looked_at_keeps_no_other_from_it(bench: Bench) -> None:
    await bench.queued(kind="bad", waits_s=60.0)
    good = await bench.queued(kind="good", waits_s=60.0)
    bench.broker.blind = {"bad"}
    await bench.look_at_empty_lanes(EMPTY_LOOKS)
    await bench.sweeper.sweep_queued()
    assert bench.published("good") == [good.id]


async def test_a_lane_that_refuses_does_not_multiply_the_bundles_of_others(bench: Bench) -> None:
    good, bad = await bench.queued(kind="good"), await bench.queued(kind="bad")
    for lane in ("good", "bad"):
        await bench.take_all_before(AT, lane)
    bench.broker.refused = {"bad"}
    await bench.look_and_sweep()
    for _ in range(5):
        await bench.sweeper.sweep_queued()
        bench.clock.advance(REFUSED_AGAIN_S)
    assert bench.published("good") == [good.id]
    assert (await again(bench.store, bad)).republished == 0


async def test_a_job_that_was_claimed_meanwhile_is_not_postponed(bench: Bench) -> None:
    job = await bench.queued(waits_s=60.0)
    await bench.take_all_before(AT)
    await bench.look_and_sweep()
    running = await bench.lose_again(await again(bench.store, job), expired_s=-LEASE_S)
    assert running.next_check_at == AT + timedelta(seconds=LEASE_S)
    assert job.next_check_at is not None
    await bench.store.reserve([Reservation(job.id, job.next_check_at, AT + timedelta(days=1))], nonce="n")
    assert await again(bench.store, job) == running


async def test_a_broker_that_is_away_is_no_empty_lane(bench: Bench) -> None:
    await bench.queued(waits_s=60.0)
    bench.broker.is_away = True
    await bench.look_at_empty_lanes(5)
    bench.broker.is_away = False
    await bench.sweeper.sweep_queued()
    assert bench.published() == []


async def test_a_page_is_followed_by_the_next(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acked_common.background.sweeper.QUEUED_PAGE", 3)
    at = AT - timedelta(seconds=60)
    jobs = await insert(bench.store, *(new_job(at=at + timedelta(milliseconds=n), kind=f"k{n}") for n in range(7)))
    for job in jobs[3:]:
        await bench.take_all_before(AT, job.kind)
    await bench.sweeper.sweep_queued()
    await bench.sweeper.look_at_lanes()
    for _ in range(3):
        await bench.sweeper.sweep_queued()
        bench.clock.advance(0.01)
    found = {job.id for job in jobs if bench.published(job.kind)}
    assert found == {job.id for job in jobs[3:]}


async def test_what_a_full_publisher_dropped_is_published_by_the_sweeper(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("acked_common.background.bundle_publisher.KEPT_BUNDLES", 3)
    monkeypatch.setattr("acked_common.background.bundle_publisher.RETRY_S", 0.001)
    bundle_publisher = BundlePublisher(bench.broker, bench.kinds)
    bench.broker.is_away = True
    jobs = []
    for _ in range(10):
        jobs.append(await bench.queued(waits_s=0.0))
        bundle_publisher.offer([(jobs[-1].id, "demo", bench.clock.now())])
        await settle()
        bench.clock.advance(1.0)
    bench.broker.is_away = False
    bundle_publisher.start()
    async with asyncio.timeout(BOUND_S):
        while bundle_publisher.waiting:
            await settle()
    await settle()
    await bundle_publisher.stop()
    # The newest survived; a worker takes them, and with them the watermark passes the others.
    assert bench.published() == [job.id for job in jobs[7:]]
    for job in jobs[7:]:
        await bench.lose_again(job, expired_s=-LEASE_S)
    await bench.broker.publish(Bundle("demo", AT, (UUID(int=1),)))
    bench.clock.advance(60.0)
    await bench.take_all_before(bench.clock.now())
    await bench.look_and_sweep()
    assert bench.published() == [UUID(int=1), *(job.id for job in jobs[:7])]


async def test_a_job_that_a_worker_of_its_lane_could_not_serve_comes_back(bench: Bench) -> None:
    await bench.store.register_kinds([kind_record("a", "shared"), kind_record("b", "shared")])
    await bench.kinds.refresh()
    job = await bench.queued(kind="b", waits_s=60.0)
    # A worker that serves the lane, but not this kind, took the bundle and dropped the job from it.
    claimed = await bench.store.claim([job.id], kinds=["a"], owner=owner(), lease_s=LEASE_S, at=bench.clock.now())
    assert claimed == []
    await bench.take_all_before(AT, "shared")
    await bench.look_and_sweep()
    assert bench.published("shared") == [job.id]
