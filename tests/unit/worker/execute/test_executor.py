"""Endings of handlers of all sorts, one by one. Modules beside it test timeouts, interrupts, threads and the close."""

import asyncio
import contextvars
import sys
import threading
from typing import Any

import msgspec
import pytest
import structlog

from acked import Context, Permanent, RetryLater
from acked.definition import with_payload_type
from acked_common.outcomes.outcome import Failed, Interrupted, InterruptReason, Succeeded
from support.executor import Bench, assignment, kind


async def test_async_handler_runs_off_the_plumbing_thread(bench: Bench) -> None:
    seen: list[int] = []

    async def work(ctx: Context, payload: Any) -> Any:
        seen.append(threading.get_ident())
        await asyncio.sleep(0)
        return {"echo": payload, "id": ctx.id, "key": ctx.idempotency_key, "left": ctx.remaining_s > 0}

    bench.start(kind("k", work))
    bench.submit(assignment("k", id="j", run=3, payload=[1]))
    assert await bench.ending("j") == Succeeded(b'{"echo":[1],"id":"j","key":"j:3","left":true}')
    assert seen != [threading.get_ident()]
    assert bench.callback_threads == {threading.get_ident()}
    assert bench.executor.running == 0


async def test_sync_handler_runs_in_a_thread(bench: Bench) -> None:
    def work(ctx: Context, payload: Any) -> Any:
        return threading.current_thread().name

    bench.start(kind("k", work))
    bench.submit(assignment("k"))
    ending = await bench.ending()
    assert isinstance(ending, Succeeded)
    assert ending.result_json.startswith(b'"acked-sync-')


async def test_many_endings_come_in_few_calls(bench: Bench) -> None:
    async def work(ctx: Context, payload: Any) -> Any:
        return None

    bench.start(kind("k", work))
    bench.submit(*[assignment("k", id=str(n)) for n in range(500)])
    await bench.all_ended(500)
    assert len(bench.batches) < 100
    assert all(ending == Succeeded(b"null") for _, ending in bench.endings)


RAISES: list[tuple[BaseException, str, bool, float | None]] = [
    (ValueError("no"), "ValueError", True, None),
    (Permanent("never", type="card-declined"), "card-declined", False, None),
    (Permanent("never"), "Permanent", False, None),
    (RetryLater(7, "slow down"), "RetryLater", True, 7.0),
    (SystemExit(3), "SystemExit", True, None),
    (KeyboardInterrupt(), "KeyboardInterrupt", True, None),
    (GeneratorExit(), "GeneratorExit", True, None),
    (asyncio.CancelledError(), "CancelledError", True, None),
    (TimeoutError(), "TimeoutError", True, None),
    (MemoryError(), "MemoryError", True, None),
]


@pytest.mark.parametrize(("error", "type_", "retryable", "after_s"), RAISES, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
async def test_what_a_handler_raises(
    bench: Bench, error: BaseException, type_: str, retryable: bool, after_s: float | None, is_async: bool
) -> None:
    async def fail_async(ctx: Context, payload: Any) -> Any:
        await asyncio.sleep(0)
        raise error

    def fail_sync(ctx: Context, payload: Any) -> Any:
        raise error

    bench.start(kind("k", fail_async if is_async else fail_sync))
    bench.submit(assignment("k", id="a"))
    ending = await bench.ending("a")
    assert isinstance(ending, Failed)
    assert (ending.error.type, ending.retryable, ending.after_s) == (type_, retryable, after_s)
    assert ending.error.message
    assert "test_executor.py" in (ending.error.traceback or "")
    # The loop or thread is still there for the next.
    bench.submit(assignment("k", id="b"))
    assert isinstance(await bench.ending("b"), Failed)


async def test_system_exit_in_a_child_task_does_not_end_the_loop(bench: Bench) -> None:
    async def work(ctx: Context, payload: Any) -> Any:
        async def child() -> None:
            raise SystemExit(3)

        task = asyncio.ensure_future(child())
        await asyncio.wait([task])
        assert isinstance(task.exception(), SystemExit)
        return "still here"

    bench.start(kind("k", work))
    with structlog.testing.capture_logs() as logs:
        bench.submit(assignment("k", id="a"), assignment("k", id="b"))
        assert await bench.ending("a") == Succeeded(b'"still here"')
        assert await bench.ending("b") == Succeeded(b'"still here"')
    assert "an error went through the handler loop; the loop continues" in [line["event"] for line in logs]


async def test_a_plain_function_that_returns_an_awaitable_is_refused(bench: Bench) -> None:
    async def inner() -> None:
        return None

    def work(ctx: Context, payload: Any) -> Any:
        return inner()

    bench.start(kind("k", work))
    bench.submit(assignment("k"))
    ending = await bench.ending()
    assert isinstance(ending, Failed)
    assert (ending.error.type, ending.retryable) == ("HandlerReturnedAwaitable", False)


@pytest.mark.parametrize(
    ("value", "type_"),
    [(float("nan"), "ResultNotJson"), (object(), "ResultNotJson"), ("x" * 2_000, "ResultTooLarge")],
    ids=["nan", "object", "large"],
)
async def test_unusable_results_fail_for_good(bench: Bench, value: Any, type_: str) -> None:
    async def work(ctx: Context, payload: Any) -> Any:
        return value

    bench.start(kind("k", work), max_result_bytes=1_000)
    bench.submit(assignment("k"))
    ending = await bench.ending()
    assert isinstance(ending, Failed)
    assert (ending.error.type, ending.retryable) == (type_, False)


async def test_context_variables_do_not_leak_between_jobs(bench: Bench) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    variable.set("plumbing")

    async def in_loop(ctx: Context, payload: Any) -> Any:
        before = variable.get()
        variable.set(ctx.id)
        await asyncio.sleep(0)
        return [before, variable.get() == ctx.id]

    def in_thread(ctx: Context, payload: Any) -> Any:
        before = variable.get()
        variable.set(ctx.id)
        return [before, variable.get() == ctx.id]

    bench.start(kind("a", in_loop), kind("s", in_thread), threads=1)
    bench.submit(*[assignment(name, id=f"{name}{n}") for name in "as" for n in range(5)])
    await bench.all_ended(10)
    assert {ending for _, ending in bench.endings} == {Succeeded(b'["unset",true]')}


async def test_progress_is_coalesced_and_comes_before_the_ending(bench: Bench) -> None:
    async def work(ctx: Context, payload: Any) -> Any:
        value = {"done": 0}
        for done in range(200):
            value["done"] = done
            ctx.progress(value, "on it")
            await asyncio.sleep(0)
        value["done"] = -1

    def work_sync(ctx: Context, payload: Any) -> Any:
        ctx.progress(1)

    bench.start(kind("k", work), kind("s", work_sync))
    bench.submit(assignment("k", id="j", attempt=4), assignment("s", id="s"))
    await bench.all_ended(2)
    mine = [event for event in bench.timeline if event[0] == "j"]
    assert mine[-2:] == [("j", {"value": {"done": 199}, "message": "on it"}), ("j", "end")]
    assert len(mine) < 50
    assert bench.timeline.index(("s", {"value": 1, "message": None})) < bench.timeline.index(("s", "end"))
    assert {(id_, attempt) for id_, attempt, _ in bench.progress} == {("j", 4), ("s", 1)}


async def test_progress_that_is_no_json_is_the_handlers_error(bench: Bench) -> None:
    async def work(ctx: Context, payload: Any) -> Any:
        ctx.progress(object())

    bench.start(kind("k", work))
    bench.submit(assignment("k"))
    ending = await bench.ending()
    assert isinstance(ending, Failed)
    assert ending.error.type == "TypeError"


async def test_unknown_kind_ends_too(bench: Bench) -> None:
    bench.start()
    bench.submit(assignment("nobody", id="j"))
    ending = await bench.ending("j")
    assert isinstance(ending, Failed)
    assert (ending.error.type, ending.retryable) == ("UnknownKind", True)


async def test_an_attempt_that_runs_is_refused_and_the_batch_with_it(bench: Bench) -> None:
    release = threading.Event()

    def work(ctx: Context, payload: Any) -> Any:
        release.wait(10)

    bench.start(kind("k", work))
    bench.submit(assignment("k", id="j"))
    with pytest.raises(ValueError, match="attempt 1 of job j is already running"):
        bench.executor.submit([assignment("k", id="other"), assignment("k", id="j")])
    assert bench.executor.running == 1
    release.set()
    assert await bench.ending("j") == Succeeded(b"null")


async def test_a_callback_that_raises_does_not_stop_the_next(bench: Bench) -> None:
    async def work(ctx: Context, payload: Any) -> Any:
        return None

    bench.start(kind("k", work))
    bench.raise_once = RuntimeError("recorder broke")
    bench.submit(assignment("k", id="a"))
    await bench.all_ended(1)
    bench.submit(assignment("k", id="b"))
    assert await bench.ending("b") == Succeeded(b"null")


async def test_submit_needs_a_started_executor(bench: Bench) -> None:
    bench.build(())
    with pytest.raises(RuntimeError, match="is not started"):
        bench.executor.submit([assignment("k")])
    assert bench.executor.handler_loop_lag_s == 0.0


async def test_deep_recursion_in_a_handler_is_a_failure(bench: Bench) -> None:
    def down(depth: int) -> int:
        return down(depth + 1)

    async def work(ctx: Context, payload: Any) -> Any:
        return down(0)

    bench.start(kind("k", work))
    bench.submit(assignment("k"))
    ending = await bench.ending()
    assert isinstance(ending, Failed)
    assert ending.error.type == "RecursionError"
    assert len(ending.error.traceback or "") <= 16 * 1024
    assert sys.getrecursionlimit() >= 1_000


async def test_what_waits_for_a_thread_can_be_given_back_by_kind(bench: Bench) -> None:
    began, release = threading.Event(), threading.Event()

    def block(ctx: Context, payload: Any) -> str:
        began.set()
        release.wait(20.0)
        return "ran"

    async def waits(ctx: Context, payload: Any) -> str:
        await asyncio.to_thread(release.wait, 20.0)
        return "ran"

    bench.start(kind("paused", block), kind("other", block), kind("paused-too", waits), threads=1)
    try:
        bench.submit(assignment("paused", "runs"))
        await bench.until(began.is_set)
        bench.submit(assignment("paused", "waits"), assignment("other", "stays"), assignment("paused-too", "loop"))
        for _ in range(2):
            bench.executor.give_back_waiting({"paused", "paused-too"})
        assert await bench.ending("waits") == Interrupted(InterruptReason.NOT_STARTED)
        assert len(bench.endings) == 1
    finally:
        release.set()
    await bench.all_ended(4)
    assert [bench.found(id_) for id_ in ("runs", "stays", "loop")] == [[Succeeded(b'"ran"')]] * 3


class Order(msgspec.Struct):
    number: int


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
async def test_a_handler_gets_the_typed_value(bench: Bench, is_async: bool) -> None:
    async def on_loop(ctx: Context, payload: Order) -> Any:
        return [type(payload).__name__, payload.number]

    def in_thread(ctx: Context, payload: Order) -> Any:
        return [type(payload).__name__, payload.number]

    bench.start(with_payload_type(kind("k", on_loop if is_async else in_thread)))
    bench.submit(assignment("k", id="a", payload={"number": 7}), assignment("k", id="b", payload={"number": "7"}))

    assert await bench.ending("a") == Succeeded(b'["Order",7]')
    refused = await bench.ending("b")
    assert isinstance(refused, Failed)
    assert (refused.error.type, refused.retryable, refused.error.traceback) == ("InvalidPayload", False, None)
    assert refused.error.message == "the handler can't accept the payload: /number must be a whole number, not a text"
