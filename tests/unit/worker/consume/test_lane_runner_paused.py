"""What a lane does while an operator has paused it: it claims nothing, returns what it holds, and loses nothing."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from acked_common.model.lifecycle import State
from acked_worker.consume.lane_runner import NO_SLOT, PAUSED
from acked_worker.consume.prefetch import MOST_RETURNS
from support.factories import again
from support.lane_bench import HOLD_S, Bench
from support.parts import BOUND_S, settle


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.flow.stop()


async def confirm(bench: Bench) -> None:
    """The broker confirms that nothing more comes."""
    bench.consumer.confirmed.set()
    await settle()


async def test_what_runs_goes_on_and_nothing_begins(bench: Bench) -> None:
    await bench.deliver(1)
    bench.flow.pause()
    late = await bench.deliver(1)
    await confirm(bench)
    assert len(bench.held()) == len(bench.submitted) == 1
    assert late.given_back.is_set() and not late.acknowledged.is_set()
    await bench.end()
    assert len(bench.submitted) == 1
    assert bench.slots.used == bench.slots.claiming == 0


async def test_nothing_goes_back_before_the_broker_confirms(bench: Bench) -> None:
    # Given back earlier it would come again at once, and each time spend a return.
    bench.flow.pause()
    delivery = await bench.deliver(1)
    assert bench.order == [f"pause: {PAUSED}"]
    await confirm(bench)
    assert bench.order == [f"pause: {PAUSED}", "paused", "give back"]
    assert delivery.given_back.is_set()
    straggler = await bench.deliver(1)
    assert straggler.given_back.is_set()


async def test_a_second_pause_and_a_second_resume_change_nothing(bench: Bench) -> None:
    bench.flow.resume()
    bench.flow.pause()
    bench.flow.pause()
    await confirm(bench)
    bench.flow.resume()
    bench.flow.resume()
    assert bench.order == [f"pause: {PAUSED}", "paused", f"resume: {PAUSED}"]


async def test_a_resumed_lane_claims_again(bench: Bench) -> None:
    bench.flow.pause()
    await confirm(bench)
    bench.flow.resume()
    await bench.deliver(2)
    assert len(bench.submitted) == 2


async def test_a_resume_ahead_of_the_confirmation_keeps_what_is_in_hand(bench: Bench) -> None:
    bench.flow.pause()
    delivery = await bench.deliver(2)
    bench.flow.resume()
    await settle()
    assert len(bench.submitted) == 2
    await confirm(bench)
    assert not delivery.given_back.is_set()
    # And the pause that was taken back gives nothing back later.
    other = await bench.deliver(1)
    await settle()
    assert not other.given_back.is_set()


async def test_what_has_spent_its_returns_stays_in_hand_until_the_resume(bench: Bench) -> None:
    bench.flow.pause()
    last, fresh = await bench.deliver(1, returns=MOST_RETURNS), await bench.deliver(1)
    await confirm(bench)
    assert fresh.given_back.is_set() and not last.given_back.is_set()
    await bench.loop_clock.advance(3600)
    assert bench.submitted == []
    bench.flow.resume()
    await settle()
    assert len(bench.submitted) == 1 and not last.given_back.is_set()


async def test_a_claim_under_way_is_still_what_runs(bench: Bench) -> None:
    claim = bench.store.holds["claim"] = asyncio.Event()
    delivery = await bench.deliver(1)
    bench.flow.pause()
    await confirm(bench)
    claim.set()
    async with asyncio.timeout(BOUND_S):
        await delivery.acknowledged.wait()
    assert len(bench.submitted) == 1
    assert not delivery.given_back.is_set()


async def test_what_waits_for_a_claim_under_way_goes_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acked_common.runtime.batch_window.SLOW_S", 3600.0)
    claim = bench.store.holds["claim"] = asyncio.Event()
    first, second = await bench.deliver(1), await bench.deliver(1)
    bench.flow.pause()
    await confirm(bench)
    assert second.given_back.is_set()
    claim.set()
    await settle()
    assert first.acknowledged.is_set() and len(bench.submitted) == 1
    assert bench.store.calls.count("claim") == 1
    assert bench.slots.claiming == 0


async def test_a_full_lane_that_is_paused_acknowledges_what_it_claimed(bench: Bench) -> None:
    delivery = await bench.deliver(2)
    assert not delivery.acknowledged.is_set()
    bench.flow.pause()
    await settle()
    assert not delivery.acknowledged.is_set(), "the acknowledgement would bring the next bundle"
    await confirm(bench)
    assert delivery.acknowledged.is_set()


async def test_both_reasons_to_pause_must_be_gone(bench: Bench) -> None:
    await bench.deliver(2)
    await confirm(bench)
    await bench.loop_clock.advance(HOLD_S + 1)
    assert bench.order[:3] == [f"pause: {NO_SLOT}", "paused", "ack"]
    bench.flow.pause()
    await settle()
    await bench.end(1)
    assert f"resume: {NO_SLOT}" in bench.order and f"resume: {PAUSED}" not in bench.order
    bench.flow.resume()
    assert bench.order[-1] == f"resume: {PAUSED}"


async def test_isolated_jobs_are_not_claimed_either(bench: Bench) -> None:
    bench.flow.pause()
    delivery = await bench.deliver(1, suspect=True)
    await confirm(bench)
    assert bench.submitted == [] and delivery.given_back.is_set()


async def test_a_drain_of_a_paused_lane_leaves_all_to_the_others(bench: Bench) -> None:
    bench.flow.pause()
    delivery = await bench.deliver(1, returns=MOST_RETURNS)
    bench.flow.drain()
    await confirm(bench)
    async with asyncio.timeout(BOUND_S):
        await bench.flow.wait_claimed()
    bench.flow.resume()
    await settle()
    assert bench.submitted == []
    jobs = [await again(bench.store, job) for job in await bench.jobs(1)]
    assert jobs[0].state is State.QUEUED
    assert not delivery.acknowledged.is_set()


async def test_a_lane_that_drains_is_not_paused(bench: Bench) -> None:
    bench.flow.drain()
    bench.flow.pause()
    assert bench.order == []


async def test_pauses_and_resumes_in_quick_succession_lose_nothing(bench: Bench) -> None:
    bench.consumer.confirmed.set()
    deliveries = []
    for n in range(40):
        deliveries.append(await bench.deliver(1))
        (bench.flow.pause if n % 2 else bench.flow.resume)()
        await settle(n % 5)
        await bench.end()
    bench.flow.resume()
    for _ in range(3):
        await settle()
        await bench.end()
    await bench.loop_clock.advance(HOLD_S + 1)
    assert all(one.acknowledged.is_set() != one.given_back.is_set() for one in deliveries)
    started = {assignment.id for assignment in bench.submitted}
    acknowledged = {str(i) for one in deliveries if one.acknowledged.is_set() for i in one.bundle.ids}
    assert started == acknowledged and len(bench.submitted) == len(started)
    assert bench.slots.used == bench.slots.claiming == 0
