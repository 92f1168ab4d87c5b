"""`gather`: at once, in order of its calls, and with the error that a replay raises."""

import asyncio
import itertools
from typing import Any

import pytest

from acked import Context, Permanent, StepFailed, WaitTimedOut
from acked.testing import CrashOptions, Event, LongWork, survives_every_crash


async def fail(name: str, rounds: int) -> None:
    for _ in range(rounds):
        await asyncio.sleep(0)
    raise Permanent(name)


@pytest.mark.parametrize("rounds", list(itertools.permutations([0, 3, 9])))
async def test_which_error_came_first_is_the_same_at_each_replay(rounds: tuple[int, ...]) -> None:
    seen: list[str] = []

    async def work(ctx: Context, payload: object) -> str:
        try:
            await ctx.gather(*[ctx.step(name, fail, name, n) for name, n in zip("abc", rounds, strict=True)])
        except StepFailed as error:
            seen.append(error.step)
            await ctx.note("failed", error.step)
            await ctx.sleep("pause", days=1)
            return error.step
        return ""

    for kill in range(1, 24):
        seen.clear()
        async with LongWork(work, kills=[kill]) as job:
            await job.until_parked()
            await job.advance(days=1)
            assert len(set(seen)) == 1
            assert job.result == seen[0]


async def test_a_failure_ends_waits_and_lets_steps_end() -> None:
    async def slow() -> int:
        await asyncio.sleep(0.01)
        return 1

    async def work(ctx: Context, payload: object) -> str:
        try:
            await ctx.gather(ctx.wait_for("never"), ctx.step("bad", fail, "no", 1), ctx.step("slow", slow))
        except StepFailed as error:
            return error.reason
        return ""

    async with LongWork(work) as job:
        await job.until_parked()
        assert (job.result, job.steps) == ("no", ["bad", "slow"])


async def test_gathers_in_gathers_park_and_end() -> None:
    async def work(ctx: Context, payload: object) -> Any:
        pair, last = await ctx.gather(
            ctx.gather(ctx.step("a", lambda: 1), ctx.sleep("pause", days=1)), ctx.step("b", lambda: 2)
        )
        return [pair[0], last]

    report = await survives_every_crash(work, plan=[Event(days=1)], options=CrashOptions(kills=1))
    assert report.outcome.result == [1, 2]


async def test_a_failure_in_an_inner_gather_ends_all_waits() -> None:
    async def work(ctx: Context, payload: object) -> str:
        try:
            await ctx.gather(
                ctx.gather(ctx.wait_for("never"), ctx.sleep("long", days=1)),
                ctx.gather(ctx.step("bad", fail, "no", 5)),
            )
        except StepFailed as error:
            return error.reason
        return ""

    async with LongWork(work) as job:
        await job.until_parked()
        assert (job.result, job.attempts) == ("no", 1)


async def test_a_timeout_in_a_gather_is_kept() -> None:
    async def work(ctx: Context, payload: object) -> str:
        try:
            await ctx.gather(ctx.wait_for("a", 3600), ctx.wait_for("b", 7200))
        except WaitTimedOut as error:
            await ctx.sleep("pause", days=1)
            return error.signal
        return ""

    report = await survives_every_crash(work, plan=[Event(hours=1), Event(days=2)], options=CrashOptions(kills=1))
    assert report.outcome.result == "a"


async def test_a_cancelled_gather_keeps_that_for_each_call() -> None:
    async def hang() -> None:
        await asyncio.get_running_loop().create_future()

    async def work(ctx: Context, payload: object) -> str:
        task = asyncio.create_task(ctx.gather(ctx.step("a", hang), ctx.step("b", hang)))
        await ctx.step("first", asyncio.sleep, 0.001)
        task.cancel()
        await asyncio.wait({task})
        await ctx.sleep("pause", days=1)
        return "cancelled" if task.cancelled() else "ended"

    async with LongWork(work) as job:
        await job.until_parked()
        assert job.state == "waiting"
        await job.advance(days=1)
        assert job.result == "cancelled"


async def test_an_empty_gather_and_a_wrong_one() -> None:
    async def work(ctx: Context, payload: object) -> list[Any]:
        return list(await ctx.gather())

    async def wrong(ctx: Context, payload: object) -> None:
        await ctx.gather(asyncio.sleep(0))  # type: ignore[call-overload]

    async with LongWork(work) as job:
        await job.until_parked()
        assert job.result == []
    with pytest.warns(RuntimeWarning, match="never awaited"):
        async with LongWork(wrong) as job:
            await job.until_parked()
            assert job.error is not None
            assert job.error["type"] == "InvalidStep"
