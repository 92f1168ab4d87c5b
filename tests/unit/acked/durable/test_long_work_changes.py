"""Code that changes while a job is parked: kept outcomes are used by name, and never paired with another call."""

import asyncio
import contextlib
import itertools
from dataclasses import dataclass
from typing import Any

import pytest

from acked import Context, KindOptions, Step, WaitTimedOut
from acked.testing import CrashTestFailed, Event, LongWork, survives_code_change


def handler_of(*names: str, wait_behind: int = 1) -> Any:
    """A handler that runs these steps, and sleeps behind some."""

    async def work(ctx: Context, payload: object) -> dict[str, str]:
        found: dict[str, str] = {}
        for n, name in enumerate(names, 1):
            found[name] = await ctx.step(name, str.upper, name)
            if n == wait_behind:
                await ctx.sleep("pause", days=1)
        return found

    return work


DAY = [Event(days=1)] * 3


@pytest.mark.parametrize(
    ("old", "new", "unused"),
    [
        # T5: inserted ahead, swapped, removed.
        (("a", "b"), ("zero", "a", "b"), []),
        (("a", "b", "c"), ("b", "a", "c"), []),
        (("a", "b"), ("b",), ["a"]),
        # T4: renamed.
        (("parse", "send"), ("parse2", "send"), ["parse"]),
    ],
)
async def test_t4_t5_steps_may_come_go_and_move(old: Any, new: Any, unused: list[str]) -> None:
    changes = await survives_code_change(handler_of(*old), handler_of(*new), None, DAY)
    assert [(change.wait, change.unused, change.repeated) for change in changes] == [("sleep pause", unused, [])]
    assert changes[0].outcome.result == {name: name.upper() for name in new}


async def test_a_change_is_tried_at_every_wait() -> None:
    async def old(ctx: Context, payload: object) -> int:
        for n in range(3):
            await ctx.sleep("pause", days=1, key=n)
        return await ctx.step("end", lambda: 1)

    async def new(ctx: Context, payload: object) -> int:
        for n in range(3):
            await ctx.sleep("pause", days=1, key=n)
        return await ctx.step("end", lambda: 2)

    changes = await survives_code_change(old, new, None, DAY)
    assert [change.outcome.result for change in changes] == [2, 2, 2]


async def test_a_change_that_breaks_parked_jobs_is_found() -> None:
    def text() -> str:
        return "seven"

    def number() -> int:
        return 7

    def work(function: Any) -> Any:
        async def run(ctx: Context, payload: object) -> Any:
            found = await ctx.step("count", function)
            await ctx.sleep("pause", days=1)
            return found

        return run

    with pytest.raises(CrashTestFailed, match=r"while it waited for sleep pause: the job is failed with ResultChanged"):
        await survives_code_change(work(text), work(number), None, DAY)


async def test_a_changed_result_is_refused_or_upgraded() -> None:
    @dataclass
    class Quote:
        amount: int

    def price() -> int:
        return 7

    def quote() -> Any:
        return Quote(7)

    quote.__annotations__["return"] = Quote

    async def old(ctx: Context, payload: object) -> int:
        n = await ctx.step("quote", price)
        await ctx.sleep("pause", days=1)
        return n

    def new(step: Step) -> Any:
        async def work(ctx: Context, payload: object) -> int:
            found: Quote = await ctx.step(step, quote)
            return found.amount

        return work

    async def changed(step: Step) -> LongWork:
        async with LongWork(old) as job:
            await job.until_parked()
            job.replace_handler(new(step))
            await job.advance(days=1)
            return job

    refused = await changed(Step("quote"))
    assert refused.error is not None
    assert (refused.error["type"], refused.failures) == ("ResultChanged", 1)
    for part in ("step quote", "a number", "Quote", "upgrade="):
        assert part in refused.error["message"]
    upgraded = await changed(Step("quote", version=2, upgrade=lambda amount: {"amount": amount * 2}))
    assert upgraded.result == 14


async def test_t7_parked_work_resumes_under_another_version() -> None:
    async def old(ctx: Context, payload: object) -> None:
        await ctx.sleep("pause", days=1)

    async def new(ctx: Context, payload: object) -> str:
        await ctx.sleep("pause", days=1)
        return await ctx.began_with()

    async with LongWork(old, options=KindOptions(version="1")) as job:
        await job.until_parked()
        job.replace_handler(new, KindOptions(version="2"))
        await job.advance(days=1)
        assert job.result == "1"


CALLS: dict[str, Any] = {
    "step": lambda ctx: ctx.step("name", lambda: 1),
    "sleep": lambda ctx: ctx.sleep("name", 1),
    "wait": lambda ctx: ctx.wait_for("name", 1),
    "first": lambda ctx: ctx.first("name", late=ctx.timer(seconds=1)),
    "now": lambda ctx: ctx.now("name"),
    "note": lambda ctx: ctx.note("name", 1),
}


@pytest.mark.parametrize(("before", "behind"), list(itertools.permutations(CALLS, 2)))
async def test_another_call_under_a_kept_name_is_refused(before: str, behind: str) -> None:
    def work(call: str) -> Any:
        async def run(ctx: Context, payload: object) -> None:
            with contextlib.suppress(WaitTimedOut):
                await CALLS[call](ctx)
            await ctx.sleep("pause", days=1)

        return run

    async with LongWork(work(before)) as job:
        await job.until_parked()
        job.replace_handler(work(behind))
        await job.advance(days=1)
        assert job.error is not None
        assert (job.error["type"], job.failures) == ("ResultChanged", 1)
        assert f"that of a {before}" in job.error["message"]


async def test_a_step_that_is_dropped_in_a_gather_may_return_later() -> None:
    def work(*keys: int) -> Any:
        async def run(ctx: Context, payload: object) -> list[int]:
            await ctx.gather(*[ctx.step(Step("scan", key=key), asyncio.sleep, 0, key) for key in keys])
            await ctx.sleep("pause", days=1)
            return list(keys)

        return run

    changes = await survives_code_change(work(1, 2, 3), work(3, 4), None, DAY)
    assert (changes[0].outcome.result, changes[0].unused) == ([3, 4], ["scan[1]", "scan[2]"])
