"""Steps: each runs once, whatever happens to the attempt; what it returned, raised or left open is kept."""

import asyncio
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any

import pytest
import structlog

from acked import (
    BlockingContext,
    Context,
    DurableError,
    InvalidResult,
    InvalidStep,
    KindOptions,
    Retry,
    Step,
)
from acked.testing import LongWork, RecordingAttempt

ONCE = KindOptions(max_attempts=1)


async def ended(handler: Callable[[Any, Any], Any], payload: Any = None, **more: Any) -> LongWork:
    """A job whose handler ran to its end."""
    async with LongWork(handler, payload, **more) as job:
        await job.until_parked()
        assert job.has_ended
        return job


def no_connection() -> os.PathLike[str]:
    raise AssertionError("never run")


def unknown_type() -> "Nowhere":  # type: ignore[name-defined]  # noqa: F821
    raise AssertionError("never run")


def threads() -> list[threading.Thread]:
    raise AssertionError("never run")


async def test_t1_missing_members_of_a_gather_run_again() -> None:
    async def scan(n: int) -> int:
        await asyncio.sleep(0.001 * (3 - n))
        return n

    async def work(ctx: Context, payload: object) -> list[int]:
        return list(await ctx.gather(*[ctx.step(Step("scan", key=n), scan, n) for n in range(3)]))

    for kill in range(1, 14):
        job = await ended(work, kills=[kill])
        assert job.result == [0, 1, 2]
        assert max(job.world.effects.values()) <= 2
        assert job.attempts == 2


@pytest.mark.parametrize("call", ["step", "sleep", "wait_for", "now", "note", "first", "gather"])
async def test_t6_the_same_identity_twice_is_permanent(call: str) -> None:
    async def send(page: int) -> int:
        return page

    async def work(ctx: Context, payload: object) -> None:
        await ctx.step("send", send, 1)
        match call:
            case "step":
                await ctx.step("send", send, 2)
            case "sleep":
                await ctx.sleep("send", 1)
            case "wait_for":
                await ctx.wait_for("send")
            case "now":
                await ctx.now("send")
            case "note":
                await ctx.note("send", 1)
            case "first":
                await ctx.first("send", late=ctx.timer(days=1))
            case "gather":
                await ctx.gather(ctx.step("other", send, 1), ctx.step("send", send, 1))

    job = await ended(work)
    assert job.error is not None
    assert (job.error["type"], job.attempts) == ("DuplicateStep", 1)
    assert "key=" in job.error["message"]


async def test_keys_tell_apart_steps_of_one_name() -> None:
    keys: list[Any] = [1, True, "1", 1.5, "true", date(2026, 1, 2)]

    async def work(ctx: Context, payload: object) -> None:
        for key in keys:
            await ctx.step(Step("send", key=key), lambda: None)

    job = await ended(work)
    assert job.steps == [f"send[{text}]" for text in ("1", "true", '"1"', "1.5", '"true"', '"2026-01-02"')]


@pytest.mark.parametrize(
    ("name", "key"),
    [("", None), ("Send", None), ("a" * 65, None), ("a b", None), (7, None)]
    + [("send", key) for key in ({"a": 1}, [1], "x" * 255, object(), float("nan"), 2**70)],
)
async def test_a_bad_identity_is_refused(name: Any, key: Any) -> None:
    async def work(ctx: Context, payload: object) -> None:
        await ctx.step(Step(name, key=key), lambda: None)

    job = await ended(work)
    assert job.error is not None
    assert (job.error["type"], job.attempts) == ("InvalidStep", 1)


async def test_a_kept_result_is_returned_as_the_first_time() -> None:
    @dataclass
    class Quote:
        amount: int
        day: date

    seen: list[Any] = []

    async def fetch() -> "list[Quote]":
        return [Quote(7, date(2026, 1, 2))]

    fetch.__annotations__["return"] = list[Quote]

    async def work(ctx: Context, payload: object) -> None:
        seen.append(await ctx.step("quote", fetch))
        seen.append(await ctx.step("plain", lambda: (1, 2)))
        await ctx.sleep("pause", days=1)

    async with LongWork(work) as job:
        await job.until_parked()
        await job.advance(days=1)
        assert job.state == "succeeded"
    first = [[Quote(7, date(2026, 1, 2))], [1, 2]]
    assert seen == first * 2


async def test_what_the_handler_changes_is_not_kept() -> None:
    async def work(ctx: Context, payload: object) -> Any:
        found = await ctx.step("list", lambda: [1])
        found.append(2)
        await ctx.sleep("pause", days=1)
        return found

    async with LongWork(work) as job:
        await job.until_parked()
        await job.advance(days=1)
        assert job.result == [1, 2]


@pytest.mark.parametrize("value", [object(), float("nan"), "x" * (2 << 20), 2**70, {"a\0": 1}])
async def test_t30_a_result_that_cant_be_kept_is_permanent(value: Any) -> None:
    async def work(ctx: Context, payload: object) -> None:
        await ctx.step("odd", lambda: value)

    job = await ended(work)
    assert job.error is not None
    assert (job.error["type"], job.attempts, job.steps) == ("InvalidResult", 1, [])
    assert "step odd" in job.error["message"]


async def test_t30_it_can_be_caught() -> None:
    async def work(ctx: Context, payload: object) -> Any:
        try:
            await ctx.step("odd", no_connection)
        except InvalidStep:
            return "before it ran"
        return None

    async def other(ctx: Context, payload: object) -> Any:
        try:
            await ctx.step("odd", lambda: object())
        except InvalidResult:
            return await ctx.step("even", lambda: 2)

    assert (await ended(work)).result == "before it ran"
    assert (await ended(other)).result == 2


@pytest.mark.parametrize("function", [no_connection, unknown_type, threads])
async def test_an_annotation_that_json_cant_be_is_refused_before(function: Callable[[], Any]) -> None:
    async def work(ctx: Context, payload: object) -> None:
        await ctx.step("odd", function)

    job = await ended(work)
    assert job.error is not None
    assert (job.error["type"], job.attempts) == ("InvalidStep", 1)
    assert function.__name__ in job.error["message"]


async def test_a_result_that_is_not_what_its_annotation_says_is_refused() -> None:
    def number() -> int:
        return "seven"  # type: ignore[return-value]

    async def work(ctx: Context, payload: object) -> None:
        await ctx.step("number", number)

    job = await ended(work)
    assert job.error is not None
    assert job.error["type"] == "InvalidResult"
    assert "a string" in job.error["message"]


class Caller:
    """Functions of all sorts."""

    def method(self, n: int) -> int:
        return n

    async def later(self, n: int) -> int:
        return n

    def __call__(self, n: int) -> int:
        return n


@pytest.mark.parametrize(
    "function", [Caller().method, Caller().later, Caller(), partial(Caller().later), lambda n: n, abs, int]
)
@pytest.mark.parametrize("blocking", [False, True])
async def test_all_sorts_of_functions_are_steps(function: Callable[[int], Any], blocking: bool) -> None:
    async def work(ctx: Context, payload: object) -> Any:
        return await ctx.step("sort", function, 3)

    def blocking_work(ctx: BlockingContext, payload: object) -> Any:
        return ctx.step("sort", function, 3)

    assert (await ended(blocking_work if blocking else work)).result == 3


async def test_a_plain_function_runs_off_the_loop_and_in_a_blocking_handlers_thread() -> None:
    async def work(ctx: Context, payload: object) -> bool:
        return await ctx.step("where", threading.get_ident) != threading.get_ident()

    def blocking_work(ctx: BlockingContext, payload: object) -> bool:
        return ctx.step("where", threading.get_ident) == threading.get_ident()

    assert (await ended(work)).result
    assert (await ended(blocking_work)).result


async def test_t25_durable_calls_inside_a_step_are_refused() -> None:
    async def inner(ctx: Context) -> None:
        await ctx.step("inner", lambda: None)

    def inner_blocking(ctx: BlockingContext) -> None:
        ctx.sleep("inner", 1)

    async def work(ctx: Context, payload: object) -> None:
        await ctx.step("outer", inner, ctx)

    async def in_thread(ctx: Context, payload: object) -> None:
        await ctx.step("outer", inner_blocking, ctx.blocking)

    def blocking(ctx: BlockingContext, payload: object) -> None:
        ctx.step("outer", inner_blocking, ctx)

    for handler in (work, in_thread, blocking):
        job = await ended(handler)
        assert job.error is not None
        assert (job.error["type"], job.attempts) == ("InsideStep", 1)
        assert "outer" in job.error["message"]


async def test_outside_a_step_there_is_no_step_key() -> None:
    async def work(ctx: Context, payload: object) -> str:
        with pytest.raises(DurableError, match="inside a step"):
            _ = ctx.step_key
        return await ctx.step(Step("call", key=7), lambda: ctx.step_key)

    job = await ended(work)
    assert job.result == "00000000-0000-7000-8000-000000000000:call[7]"


async def test_other_arguments_for_a_kept_step_are_warned_of() -> None:
    amounts = iter([1, 2])

    async def work(ctx: Context, payload: object) -> int:
        found = await ctx.step("pay", lambda amount: amount, next(amounts))
        await ctx.sleep("pause", days=1)
        return found

    async with LongWork(work) as job:
        await job.until_parked()
        with structlog.testing.capture_logs() as logs:
            await job.advance(days=1)
        assert job.result == 1
    assert [(log["step"], log["log_level"]) for log in logs] == [("pay", "warning")]


async def test_without_a_ledger_a_durable_call_says_what_to_do() -> None:
    with pytest.raises(DurableError, match=r"acked\.testing\.LongWork"):
        await RecordingAttempt().context.step("quote", lambda: 1)


async def test_a_call_is_awaited_once_and_warned_of_if_never() -> None:
    async def work(ctx: Context, payload: object) -> None:
        call = ctx.step("quote", lambda: 1)
        await call
        with pytest.raises(RuntimeError, match="awaited twice"):
            await call
        with pytest.warns(RuntimeWarning, match="step forgotten was never awaited"):
            ctx.step("forgotten", lambda: 1)

    assert (await ended(work)).state == "succeeded"


@pytest.mark.parametrize(
    "define",
    [
        lambda: Step("a", timeout_s=0),
        lambda: Step("a", timeout_s="1"),  # type: ignore[arg-type]
        lambda: Step("a", retry=3),  # type: ignore[arg-type]
        lambda: Step("a", once=True, retry=Retry(3)),
        lambda: Step("a", version=0),
        lambda: Step("a", upgrade=1),  # type: ignore[arg-type]
        lambda: Retry(0),
        lambda: Retry(3, base_s=-1),
        lambda: Retry(3, base_s=9, cap_s=1),
        lambda: Retry(3, base_s=float("nan")),
    ],
)
def test_a_bad_definition_is_refused(define: Callable[[], object]) -> None:
    with pytest.raises(InvalidStep):
        define()
