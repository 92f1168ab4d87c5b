"""Errors, tries, timeouts and checkpoints of steps."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from acked import BlockingContext, Context, KindOptions, Permanent, Retry, RetryLater, Step, StepFailed, StepUncertain
from acked.testing import LongWork


async def ended(handler: Callable[[Any, Any], Any], payload: Any = None, **more: Any) -> LongWork:
    """A job whose handler ran to its end."""
    async with LongWork(handler, payload, **more) as job:
        await job.until_parked()
        assert job.has_ended
        return job


async def test_a_permanent_error_is_kept_and_raised_again() -> None:
    tries: list[int] = []

    async def pay() -> None:
        tries.append(1)
        raise Permanent("no money", type="card-declined")

    async def work(ctx: Context, payload: object) -> str:
        try:
            await ctx.step("pay", pay)
        except StepFailed as error:
            await ctx.sleep("pause", days=1)
            return f"{error.step} {error.type} {error.reason}"
        return ""

    async with LongWork(work) as job:
        await job.until_parked()
        await job.advance(days=1)
        assert (job.result, len(tries)) == ("pay card-declined no money", 1)


async def test_a_failed_step_fails_the_job_with_its_own_type() -> None:
    async def pay() -> None:
        raise Permanent("no money", type="card-declined")

    async def work(ctx: Context, payload: object) -> None:
        await ctx.step("pay", pay)

    job = await ended(work)
    assert job.error is not None
    assert (job.error["type"], job.attempts) == ("card-declined", 1)


async def test_another_error_keeps_nothing_and_retries_the_attempt() -> None:
    tries: list[int] = []

    async def flaky() -> int:
        tries.append(1)
        if len(tries) < 3:
            raise OSError("down")
        return len(tries)

    async def work(ctx: Context, payload: object) -> Any:
        return await ctx.step("flaky", flaky)

    job = await ended(work)
    assert (job.result, job.attempts, job.failures) == (3, 3, 2)


async def test_retry_tries_within_the_attempt_and_keeps_the_last_error() -> None:
    tries: list[int] = []

    async def down(ctx: Context) -> int:
        tries.append(ctx.step_try)
        raise OSError("down")

    async def work(ctx: Context, payload: object) -> str:
        try:
            await ctx.step(Step("call", retry=Retry(3)), down, ctx)
        except StepFailed as error:
            return error.reason
        return ""

    job = await ended(work)
    assert (job.result, tries, job.attempts, job.failures) == ("down", [1, 2, 3], 1, 0)


async def test_a_long_delay_between_tries_parks() -> None:
    tries: list[int] = []

    def limited(ctx: Context) -> int:
        tries.append(ctx.step_try)
        if len(tries) < 3:
            raise RetryLater(3600)
        return 7

    async def work(ctx: Context, payload: object) -> int:
        return await ctx.step(Step("call", retry=Retry(5)), limited, ctx)

    async with LongWork(work) as job:
        await job.until_parked()
        assert job.waits is not None
        assert (job.waits.call, job.waits.name, (job.waits.until_at - job.now).total_seconds()) == ("try", "call", 3600)
        await job.advance(hours=1)
        assert (job.state, tries) == ("waiting", [1, 2])
        await job.advance(hours=1)
        assert (job.result, tries, job.attempts, job.failures) == (7, [1, 2, 3], 3, 0)


@pytest.mark.parametrize("blocking", [False, True])
async def test_a_try_ends_at_the_steps_timeout(blocking: bool) -> None:
    tries: list[int] = []

    async def slow() -> None:
        tries.append(1)
        await asyncio.get_running_loop().create_future()

    def in_thread() -> None:
        tries.append(1)
        threading.Event().wait(0.03)

    async def work(ctx: Context, payload: object) -> str:
        try:
            await ctx.step(Step("slow", timeout_s=0.01, retry=Retry(2, base_s=0.1)), in_thread if blocking else slow)
        except StepFailed as error:
            return error.type
        return ""

    job = await ended(work)
    assert (job.result, len(tries)) == ("StepTimedOut", 2)


async def test_t31_an_attempt_that_exceeds_its_timeout_counts_a_failure() -> None:
    async def hang() -> None:
        await asyncio.get_running_loop().create_future()

    async def work(ctx: Context, payload: object) -> None:
        await ctx.step("hang", hang)

    job = await ended(work, options=KindOptions(timeout_s=0.02, max_attempts=2))
    assert job.error is not None
    assert (job.error["type"], job.attempts, job.failures, job.steps) == ("TimedOut", 2, 2, [])


async def test_a_step_with_once_never_runs_twice() -> None:
    tries: list[int] = []

    async def pay() -> int:
        tries.append(1)
        return 1

    async def work(ctx: Context, payload: object) -> Any:
        try:
            return await ctx.step(Step("pay", once=True), pay)
        except StepUncertain as error:
            return error.step

    results: set[Any] = set()
    for kill in range(1, 12):
        tries.clear()
        results.add((await ended(work, kills=[kill])).result)
        assert len(tries) <= 1
    assert results == {1, "pay"}


async def test_an_error_of_a_step_with_once_is_its_outcome() -> None:
    async def pay() -> None:
        raise OSError("reset")

    async def work(ctx: Context, payload: object) -> str:
        try:
            await ctx.step(Step("pay", once=True), pay)
        except StepFailed as error:
            return error.reason
        return ""

    assert (await ended(work)).result == "reset"


@pytest.mark.parametrize("blocking", [False, True])
async def test_t25_a_checkpoint_is_handed_to_the_next_try(blocking: bool) -> None:
    handed: list[Any] = []

    async def scan(ctx: Context) -> int:
        handed.append(ctx.last_checkpoint)
        for page in range((ctx.last_checkpoint or 0) + 1, 4):
            await ctx.checkpoint(page)
            if page == 2 and len(handed) == 1:
                raise OSError("down")
        return 3

    def scan_in_thread(ctx: BlockingContext) -> int:
        handed.append(ctx.last_checkpoint)
        for page in range((ctx.last_checkpoint or 0) + 1, 4):
            ctx.checkpoint(page)
            if page == 2 and len(handed) == 1:
                raise OSError("down")
        return 3

    async def work(ctx: Context, payload: object) -> int:
        return await (ctx.step("scan", scan_in_thread, ctx.blocking) if blocking else ctx.step("scan", scan, ctx))

    job = await ended(work)
    assert (job.result, handed, job.attempts) == (3, [None, 2], 2)


async def test_a_function_that_cancels_itself_is_not_kept_as_cancelled() -> None:
    tries: list[int] = []

    async def odd() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise asyncio.CancelledError
        return len(tries)

    async def work(ctx: Context, payload: object) -> int:
        return await ctx.step("odd", odd)

    job = await ended(work)
    assert (job.result, job.attempts, job.failures) == (2, 2, 1)
