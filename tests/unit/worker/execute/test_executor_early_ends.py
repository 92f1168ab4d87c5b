"""Sleeps that an operator ends early, seen by the handler: over for good, one at a time, and no signal is skipped."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from acked import Context, Retry, RetryLater, Step
from acked_common.model.ledger import Signal, SignalPush
from acked_common.outcomes.outcome import Ending, Parked, Succeeded
from support.durable import JOB, DurableBench, open_durable_bench

HOUR_S = 3600.0


@pytest.fixture
async def bench() -> AsyncIterator[DurableBench]:
    async with open_durable_bench() as opened:
        yield opened


async def ends(bench: DurableBench, run: Callable[..., Any], attempt: int) -> Ending:
    return await bench.ending_of(bench.begin(run, attempt=attempt))


async def parks_at(bench: DurableBench, run: Callable[..., Any], attempt: int, name: str) -> Parked:
    ending = await ends(bench, run, attempt)
    assert isinstance(ending, Parked), ending
    assert ending.waits.name == name
    return ending


async def end(bench: DurableBench, parked: Parked) -> int:
    found = await bench.store.end_wait(JOB.id, tenant=JOB.tenant, waits=parked.waits, at=bench.clock.now())
    assert isinstance(found, int)
    return found


async def test_each_sleep_of_a_loop_ends_by_its_own_act(bench: DurableBench) -> None:
    ran: list[int] = []

    async def run(ctx: Context, payload: Any) -> str:
        async def step(number: int) -> None:
            ran.append(number)

        for number in range(3):
            await ctx.sleep("rest", HOUR_S * (3 - number), key=number)
            await ctx.step(Step("after", key=number), step, number)
        return "done"

    for number in range(3):
        parked = await parks_at(bench, run, number + 1, "rest")
        assert ran == list(range(number)), "a sleep that began later, and ends earlier, is not over with the first"
        assert await end(bench, parked) == 1
    assert await ends(bench, run, 4) == Succeeded(b'"done"')
    assert ran == [0, 1, 2]
    assert await ends(bench, run, 5) == Succeeded(b'"done"')
    assert ran == [0, 1, 2]


async def test_a_signal_beside_the_sleep_is_still_awaited(bench: DurableBench) -> None:
    async def run(ctx: Context, payload: Any) -> Any:
        _, signal = await ctx.gather(ctx.sleep("rest", HOUR_S), ctx.wait_for("paid", within_s=2 * HOUR_S))
        return signal.value

    assert await end(bench, await parks_at(bench, run, 1, "rest")) == 1
    parked = await parks_at(bench, run, 2, "paid")
    assert parked.waits.call == "wait" and await end(bench, parked) == 0
    signal = Signal("s1", "paid", b"7", bench.clock.now())
    await bench.store.push_signal(SignalPush(JOB.id, JOB.tenant, signal), at=bench.clock.now())
    assert await ends(bench, run, 3) == Succeeded(b"7")


async def test_a_timer_of_a_race_is_not_ended(bench: DurableBench) -> None:
    async def run(ctx: Context, payload: Any) -> str:
        return (await ctx.first("race", paid=ctx.signal("paid"), late=ctx.timer(seconds=HOUR_S)))[0]

    assert await end(bench, await parks_at(bench, run, 1, "race")) == 0
    await parks_at(bench, run, 2, "race")


async def test_the_delay_of_a_try_ends_and_the_next_one_is_its_own(bench: DurableBench) -> None:
    tries: list[int] = []

    async def run(ctx: Context, payload: Any) -> int:
        async def step() -> int:
            tries.append(ctx.step_try)
            if len(tries) < 3:
                raise RetryLater(HOUR_S)
            return len(tries)

        return await ctx.step(Step("charge", retry=Retry(5)), step)

    for attempt in (1, 2):
        parked = await parks_at(bench, run, attempt, "charge")
        assert (parked.waits.call, len(tries)) == ("try", attempt)
        assert await end(bench, parked) == 1
    assert await ends(bench, run, 3) == Succeeded(b"3")
    assert tries == [1, 2, 3]
