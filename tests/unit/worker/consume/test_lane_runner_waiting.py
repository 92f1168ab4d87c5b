"""What a lane does with a bundle that fails, and while no slot is free: it asks for no more than it can run."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from acked_common.model import interventions
from acked_common.model.bundle import Bundle
from acked_common.model.lifecycle import Move, State
from acked_common.model.options import JobOptions
from acked_worker.consume.lane_runner import NO_SLOT
from acked_worker.consume.prefetch import MOST_RETURNS
from support.factories import again, insert, new_job
from support.lane_bench import HOLD_S, Bench, Delivery
from support.parts import BOUND_S, settle


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.flow.stop()


async def test_bundle_that_fails_is_acknowledged_and_the_next_one_runs(bench: Bench) -> None:
    bench.broken = RuntimeError("no handler does this")
    delivery = await bench.deliver(2)
    async with asyncio.timeout(BOUND_S):
        await delivery.acknowledged.wait()
    # Its leases bring its jobs back; the slots that were kept for it are free.
    assert bench.held() == []
    bench.broken = None
    await bench.deliver(2)
    assert len(bench.submitted) == 2


async def test_claim_that_breaks_is_acknowledged(bench: Bench) -> None:
    bench.store.failures["claim"] = [RuntimeError("no store does this")]
    delivery = await bench.deliver(1)
    async with asyncio.timeout(BOUND_S):
        await delivery.acknowledged.wait()
    await bench.deliver(2)
    assert len(bench.submitted) == 2


async def test_full_lane_pauses_before_it_acknowledges(bench: Bench) -> None:
    delivery = await bench.deliver(2)
    await bench.loop_clock.advance(HOLD_S - 1)
    assert bench.order == []
    await bench.loop_clock.advance(2)
    # The acknowledgement asks for the next bundle: no consumer may be there to get it.
    assert bench.order == [f"pause: {NO_SLOT}"]
    bench.consumer.confirmed.set()
    await settle()
    assert bench.order == [f"pause: {NO_SLOT}", "paused", "ack"]
    assert delivery.acknowledged.is_set()
    await bench.end(1)
    assert bench.order[-1] == f"resume: {NO_SLOT}"


async def test_lane_resumes_once_and_with_room_for_what_fits(bench: Bench) -> None:
    await bench.deliver(2)
    bench.consumer.confirmed.set()
    await bench.loop_clock.advance(HOLD_S + 1)
    await bench.end()
    await bench.loop_clock.advance(HOLD_S + 1)
    assert bench.order.count(f"resume: {NO_SLOT}") == bench.order.count(f"pause: {NO_SLOT}") == 1
    await bench.deliver(2)
    assert len(bench.submitted) == 4


async def test_slot_that_is_free_in_time_pauses_nothing(bench: Bench) -> None:
    delivery = await bench.deliver(2)
    await bench.loop_clock.advance(HOLD_S - 1)
    assert not delivery.acknowledged.is_set()
    await bench.end()
    assert delivery.acknowledged.is_set()
    await bench.loop_clock.advance(2 * HOLD_S)
    assert bench.order == ["ack"]


async def full(bench: Bench) -> None:
    """No slot is free, and the lane has more than its share."""
    await bench.deliver(3)
    bench.order.clear()
    bench.consumer.confirmed.set()


async def test_bundle_goes_back_after_a_second_for_the_first_time(bench: Bench) -> None:
    await full(bench)
    delivery = await bench.deliver(2)
    await bench.loop_clock.advance(0.9)
    assert not delivery.given_back.is_set()
    await bench.loop_clock.advance(0.2)
    assert bench.order[:3] == [f"pause: {NO_SLOT}", "paused", "give back"]


async def test_bundle_that_came_back_often_waits_longer_and_the_others_with_it(bench: Bench) -> None:
    await full(bench)
    often, fresh = await bench.deliver(2, returns=10), await bench.deliver(2)
    await bench.loop_clock.advance(3.9)
    assert not often.given_back.is_set()
    assert not fresh.given_back.is_set()
    await bench.loop_clock.advance(0.2)
    assert often.given_back.is_set()
    assert fresh.given_back.is_set()


async def test_bundle_that_has_spent_its_returns_is_held_until_it_fits(bench: Bench) -> None:
    await full(bench)
    last, fresh = await bench.deliver(2, returns=MOST_RETURNS), await bench.deliver(2)
    await bench.loop_clock.advance(3600.0)
    assert fresh.given_back.is_set()
    assert not last.given_back.is_set()
    await bench.end()
    assert len(bench.submitted) == 5
    await bench.end()
    assert last.acknowledged.is_set()


async def test_suspects_without_a_place_hold_up_the_lane(bench: Bench) -> None:
    suspects = await bench.deliver(1, suspect=True)
    assert [one.is_suspect for one in bench.submitted] == [True]
    assert not suspects.acknowledged.is_set()
    await bench.loop_clock.advance(HOLD_S + 1)
    assert bench.order == [f"pause: {NO_SLOT}"]
    bench.consumer.confirmed.set()
    await settle()
    await bench.end()
    assert bench.order == [f"pause: {NO_SLOT}", "paused", "ack", f"resume: {NO_SLOT}"]


async def test_watermark_is_noted_for_what_was_claimed(bench: Bench) -> None:
    bench.store.holds["claim"] = asyncio.Event()
    delivery = await bench.deliver(1)
    assert bench.watermarks.noted == []
    bench.store.holds["claim"].set()
    await settle()
    assert bench.watermarks.noted == [("demo", delivery.bundle.queued_at)]


async def test_watermark_is_not_noted_for_a_claim_that_broke(bench: Bench) -> None:
    bench.store.failures["claim"] = [RuntimeError("no store does this")]
    await bench.deliver(1)
    assert bench.watermarks.noted == []


async def test_draining_lane_claims_nothing_and_acknowledges_nothing(bench: Bench) -> None:
    bench.flow.drain()
    delivery = await bench.deliver(1)
    await bench.loop_clock.advance(HOLD_S + 1)
    assert not delivery.acknowledged.is_set()
    assert "claim" not in bench.store.calls


async def test_claim_that_is_under_way_at_a_drain_is_started(bench: Bench) -> None:
    bench.store.holds["claim"] = asyncio.Event()
    await bench.deliver(1)
    bench.flow.drain()
    claimed = asyncio.create_task(bench.flow.wait_claimed())
    await settle()
    assert not claimed.done()
    bench.store.holds["claim"].set()
    await asyncio.wait_for(claimed, BOUND_S)
    # Those who drain now see what runs.
    assert len(bench.held()) == 1


async def test_bundle_without_a_job_of_ours_asks_for_the_next(bench: Bench) -> None:
    (job,) = await bench.jobs(1)
    await bench.store.apply([Move(job.seen, interventions.cancel(at=bench.clock.now(), retention_s=60.0))])
    delivery = Delivery(Bundle("demo", bench.clock.now(), (job.id,)), bench.order)
    bench.flow.on_delivery(delivery)  # type: ignore[arg-type]
    await settle()
    assert delivery.acknowledged.is_set()
    assert (bench.submitted, bench.slots.used) == ([], 0)
    assert (await again(bench.store, job)).state is State.CANCELLED


async def test_assignment_has_what_the_handler_is_given(bench: Bench) -> None:
    (job,) = await insert(
        bench.store, new_job(at=bench.clock.now(), payload=b'{"n":7}', batch="b", tags=("x",), timeout_s=3.0)
    )
    bench.flow.on_delivery(Delivery(Bundle("demo", bench.clock.now(), (job.id,)), bench.order))  # type: ignore[arg-type]
    await settle()
    (found,) = bench.submitted
    assert (found.id, found.kind, found.run, found.attempt, found.failures) == (str(job.id), "demo", 1, 1, 0)
    assert (found.payload, found.options, found.is_suspect) == ({"n": 7}, JobOptions("b", ("x",), timeout_s=3.0), False)
    assert found.timeout_s == 3.0
