"""A park can't be undone by the handler, happens only when nothing else is left, and costs no attempt."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from acked import BlockingContext, Context, KindOptions, Step
from acked.durable import AttemptParked
from acked.testing import LongWork

Wait = Callable[[Context], Awaitable[Any]]


def waits() -> dict[str, Wait]:
    return {
        "sleep": lambda ctx: ctx.sleep("pause", days=1),
        "wait_for": lambda ctx: ctx.wait_for("go", 86_400),
        "first": lambda ctx: ctx.first("race", go=ctx.signal("go"), late=ctx.timer(days=1)),
        "gather": lambda ctx: ctx.gather(ctx.sleep("pause", days=1), ctx.sleep("other", days=2)),
    }


async def except_exception(ctx: Context, wait: Wait) -> None:
    with contextlib.suppress(Exception):
        await wait(ctx)


async def bare_except(ctx: Context, wait: Wait) -> None:
    with contextlib.suppress(BaseException):
        await wait(ctx)


async def loop_that_catches_all(ctx: Context, wait: Wait) -> None:
    while True:
        try:
            await wait(ctx)
            return
        except AttemptParked:
            continue


async def return_exceptions(ctx: Context, wait: Wait) -> None:
    await asyncio.gather(wait(ctx), return_exceptions=True)


async def task_group(ctx: Context, wait: Wait) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(wait(ctx))  # type: ignore[arg-type]


async def in_timeout(ctx: Context, wait: Wait) -> None:
    async with asyncio.timeout(60):
        await wait(ctx)


async def in_wait_for(ctx: Context, wait: Wait) -> None:
    await asyncio.wait_for(wait(ctx), 60)


AROUND = (except_exception, bare_except, return_exceptions, task_group, in_timeout, in_wait_for)


@pytest.mark.parametrize("wait", waits())
@pytest.mark.parametrize("around", AROUND)
async def test_t32_a_handler_that_catches_a_park_parks(around: Any, wait: str) -> None:
    came: list[int] = []

    async def work(ctx: Context, payload: object) -> str:
        with contextlib.suppress(BaseExceptionGroup):
            await around(ctx, waits()[wait])
        await ctx.step("behind", came.append, 1)
        return "done"

    async with LongWork(work) as job:
        await job.until_parked()
        assert (job.state, job.attempts, job.failures, came) == ("waiting", 1, 0, [])
        if wait == "wait_for":
            await job.signal("go")
        await job.advance(days=2)
        assert (job.result, job.failures, came) == ("done", 0, [1])


async def test_t32_a_loop_that_catches_all_ends_as_parked() -> None:
    async def work(ctx: Context, payload: object) -> None:
        await loop_that_catches_all(ctx, lambda ctx: ctx.sleep("pause", days=1))

    async with LongWork(work, options=KindOptions(timeout_s=0.3)) as job:
        await job.until_parked()
        assert (job.state, job.failures) == ("waiting", 0)


async def test_t32_a_result_behind_a_park_is_no_result() -> None:
    async def work(ctx: Context, payload: object) -> str:
        try:
            await ctx.sleep("pause", days=1)
        except BaseException:
            return "too early"
        return "on time"

    async with LongWork(work) as job:
        await job.until_parked()
        assert job.state == "waiting"
        await job.advance(days=1)
        assert job.result == "on time"


async def test_t33_finally_does_not_run_steps_at_a_park() -> None:
    released: list[int] = []

    async def work(ctx: Context, payload: object) -> None:
        try:
            await ctx.sleep("pause", days=1)
        finally:
            await ctx.step("release", released.append, 1)

    async with LongWork(work) as job:
        await job.until_parked()
        assert released == []
        await job.advance(days=1)
        assert (job.state, released) == ("succeeded", [1])


async def test_t33_nor_in_a_thread() -> None:
    released: list[int] = []

    def work(ctx: BlockingContext, payload: object) -> None:
        try:
            ctx.sleep("pause", days=1)
        finally:
            ctx.step("release", released.append, 1)

    async with LongWork(work) as job:
        await job.until_parked()
        assert (job.state, released) == ("waiting", [])
        await job.advance(days=1)
        assert (job.state, released) == ("succeeded", [1])


async def test_a_step_that_has_begun_is_recorded_before_a_park() -> None:
    async def slow() -> int:
        await asyncio.sleep(0.02)
        return 7

    async def work(ctx: Context, payload: object) -> int:
        n, _ = await ctx.gather(ctx.step("slow", slow), ctx.sleep("pause", days=1))
        return n

    async with LongWork(work) as job:
        await job.until_parked()
        assert (job.state, job.steps) == ("waiting", ["slow"])
        await job.advance(days=1)
        assert (job.result, job.world.effects["slow"]) == (7, 1)


async def test_a_step_in_a_task_is_recorded_before_a_park() -> None:
    async def slow(n: int) -> int:
        await asyncio.sleep(0.01)
        return n

    async def side(ctx: Context) -> None:
        for n in range(3):
            await ctx.step(Step("side", key=n), slow, n)

    async def work(ctx: Context, payload: object) -> None:
        task = asyncio.create_task(side(ctx))
        await ctx.sleep("pause", days=1)
        await task

    async with LongWork(work) as job:
        await job.until_parked()
        assert (job.state, job.steps) == ("waiting", ["side[0]", "side[1]", "side[2]"])


@pytest.mark.parametrize("how", ["gather", "group", "tasks"])
async def test_waits_of_tasks_park_when_nothing_goes_on(how: str) -> None:
    async def member(ctx: Context, n: int) -> int:
        await ctx.step(Step("begin", key=n), lambda: None)
        await ctx.sleep("pause", days=n, key=n)
        await ctx.step(Step("end", key=n), lambda: None)
        return n

    async def work(ctx: Context, payload: object) -> list[int]:
        if how == "gather":
            return list(await asyncio.gather(*[member(ctx, n) for n in (1, 2, 3)]))
        if how == "tasks":
            tasks = [asyncio.create_task(member(ctx, n)) for n in (1, 2, 3)]
            return [await task for task in tasks]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(member(ctx, n)) for n in (1, 2, 3)]
        return [task.result() for task in tasks]

    async with LongWork(work) as job:
        await job.until_parked()
        # They run in threads, in any order.
        assert sorted(job.steps) == ["begin[1]", "begin[2]", "begin[3]"]
        assert job.waits is not None
        assert job.waits.name == "pause"
        await job.advance(days=1)
        assert job.steps[3:] == ["end[1]"]
        await job.advance(days=2)
        assert (job.result, job.failures) == ([1, 2, 3], 0)
        assert max(job.world.effects.values()) == 1


async def test_a_park_names_the_earliest_end_and_all_signals() -> None:
    async def work(ctx: Context, payload: object) -> None:
        await ctx.gather(ctx.sleep("long", days=9), ctx.wait_for("b", 86_400), ctx.wait_for("a"))

    async with LongWork(work) as job:
        await job.until_parked()
        assert job.waits is not None
        assert (job.waits.call, job.waits.name, job.waits.signals) == ("wait", "b", ("a", "b"))
        assert (job.waits.until_at - job.now).days == 1


async def test_a_short_wait_beside_a_long_one_stays_in_memory() -> None:
    async def short(ctx: Context) -> None:
        await ctx.sleep("short", 3)

    async def work(ctx: Context, payload: object) -> None:
        await ctx.gather(ctx.sleep("short", 3), ctx.sleep("long", days=1))

    async with LongWork(work) as job:
        await job.until_parked()
        assert job.waits is not None
        assert (job.waits.name, job.attempts) == ("long", 1)


async def test_t22_a_hanging_step_is_stopped_not_parked() -> None:
    hangs = [True]

    async def hang() -> int:
        if hangs:
            hangs.clear()
            await asyncio.get_running_loop().create_future()
        return 5

    async def work(ctx: Context, payload: object) -> int:
        n, _ = await ctx.gather(ctx.step("hang", hang), ctx.sleep("pause", days=1))
        return n

    async with LongWork(work, options=KindOptions(timeout_s=0.05)) as job:
        await job.until_parked()
        # The first attempt timed out, and its step was not recorded as cancelled: it ran again.
        assert (job.state, job.attempts, job.failures, job.steps) == ("waiting", 2, 1, ["hang"])


async def test_a_park_that_missed_a_signal_runs_again() -> None:
    async def work(ctx: Context, payload: object) -> Any:
        try:
            return (await ctx.wait_for("go")).value
        finally:
            # Between the decision to park and its record.
            if job.attempts == 1:
                job.send("go", 8)

    async with LongWork(work) as job:
        await job.until_parked()
        assert (job.result, job.attempts, job.failures) == (8, 2, 0)


async def test_failures_count_from_the_last_progress() -> None:
    fails = iter([True, True, False] * 12)

    async def flaky() -> None:
        if next(fails):
            raise OSError("down")

    async def work(ctx: Context, payload: object) -> None:
        for n in range(12):
            await ctx.step(Step("flaky", key=n), flaky)

    async with LongWork(work, options=KindOptions(max_attempts=3)) as job:
        await job.until_parked()
        assert (job.state, job.failures) == ("succeeded", 24)


async def test_a_job_that_fails_without_end_fails_whatever_its_progress() -> None:
    async def work(ctx: Context, payload: object) -> None:
        await ctx.step(Step("mark", key=ctx.attempt), lambda: None)
        raise OSError("down")

    async with LongWork(work, options=KindOptions(max_attempts=2)) as job:
        await job.until_parked()
        assert (job.state, job.failures) == ("failed", 40)
