"""Timeouts of async handlers: cancellation, blocked loops, attempts whose time ends before their first step."""

import asyncio
import threading
import time
from typing import Any

import pytest

from acked import Context
from acked_common.outcomes.outcome import Failed, Interrupted, InterruptReason, Succeeded, TimedOut
from support.executor import BOUND_S, Bench, assignment, kind

FOREVER_S = 60.0


async def hang(ctx: Context, payload: Any) -> Any:
    await asyncio.sleep(FOREVER_S)


async def quick(ctx: Context, payload: Any) -> Any:
    return "quick"


async def test_async_timeout_cancels_the_handler_and_says_where_it_was(bench: Bench) -> None:
    cleaned_up = threading.Event()

    async def work(ctx: Context, payload: Any) -> Any:
        try:
            await asyncio.sleep(FOREVER_S)
        finally:
            cleaned_up.set()

    bench.start(kind("k", work))
    begun = time.monotonic()
    # Long enough for the handler to begin, however slow the machine is.
    bench.submit(assignment("k", timeout_s=1.0))
    ending = await bench.ending()
    assert isinstance(ending, TimedOut)
    # Without the cancel it would be `FOREVER_S`.
    assert 1.0 <= time.monotonic() - begun < BOUND_S
    assert ending.error.message == "the attempt exceeded its timeout of 1 s"
    assert "await asyncio.sleep(FOREVER_S)" in (ending.error.traceback or "")
    assert cleaned_up.is_set()
    assert bench.executor.abandoned == 0


@pytest.mark.parametrize("how", ["returns", "raises"])
async def test_a_handler_that_turns_its_timeout_into_something_else_has_timed_out(
    bench: Bench, started: threading.Event, how: str
) -> None:
    async def work(ctx: Context, payload: Any) -> Any:
        started.set()
        try:
            await asyncio.sleep(FOREVER_S)
        except asyncio.CancelledError:
            if how == "raises":
                raise ValueError("something else") from None
            return "as if nothing happened"

    bench.start(kind("k", work))
    bench.submit(assignment("k"))
    await bench.until(started.is_set)
    bench.run_out_of_time("job")
    assert isinstance(await bench.ending(), TimedOut)


async def test_a_handler_that_swallows_its_cancellation_is_abandoned(bench: Bench) -> None:
    stop = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def work(ctx: Context, payload: Any) -> Any:
        loops.append(asyncio.get_running_loop())
        while not stop.is_set():
            try:
                await stop.wait()
            except asyncio.CancelledError:
                ctx.progress("not I")
        return "late"

    bench.start(kind("k", work), kind("quick", quick), grace_s=0.05)
    bench.submit(assignment("k"))
    await bench.until(lambda: bool(loops))
    bench.run_out_of_time("job")
    assert isinstance(await bench.ending(), TimedOut)
    assert (bench.executor.running, bench.executor.abandoned) == (0, 1)
    seen = len(bench.progress)
    loops[0].call_soon_threadsafe(stop.set)
    await bench.until(lambda: bench.executor.abandoned == 0)
    bench.submit(assignment("quick", id="next"))
    assert await bench.ending("next") == Succeeded(b'"quick"')
    assert len(bench.found("job")) == 1
    assert len(bench.progress) == seen


async def test_a_blocked_loop_does_not_hold_up_the_timeouts_of_others(
    bench: Bench, release: threading.Event, started: threading.Event
) -> None:
    async def block(ctx: Context, payload: Any) -> Any:
        started.set()
        release.wait(30)
        return "at last"

    bench.start(kind("block", block), kind("hang", hang), kind("quick", quick), grace_s=0.05)
    bench.submit(assignment("quick", id="before"), assignment("hang", id="hang"))
    bench.submit(assignment("block", id="block", timeout_s=30))
    await bench.until(started.is_set)
    assert await bench.ending("before") == Succeeded(b'"quick"')
    bench.run_out_of_time("hang")
    bench.submit(assignment("quick", id="never-started", timeout_s=0.05))
    assert isinstance(await bench.ending("hang"), TimedOut)
    assert await bench.ending("never-started") == Interrupted(InterruptReason.NOT_STARTED)
    await bench.until(lambda: bench.executor.handler_loop_lag_s > 0)
    assert bench.found("block") == []
    release.set()
    assert await bench.ending("block") == Succeeded(b'"at last"')
    await bench.until(lambda: bench.executor.abandoned == 0)


async def test_a_blocking_async_handler_times_out_itself(
    bench: Bench, release: threading.Event, started: threading.Event
) -> None:
    async def block(ctx: Context, payload: Any) -> Any:
        started.set()
        release.wait(30)

    bench.start(kind("block", block), grace_s=0.05)
    bench.submit(assignment("block"))
    await bench.until(started.is_set)
    bench.run_out_of_time("job")
    assert isinstance(await bench.ending(), TimedOut)
    assert bench.executor.abandoned == 1
    release.set()
    await bench.until(lambda: bench.executor.abandoned == 0)


async def notes_behind_a_block(
    bench: Bench, release: threading.Event, started: threading.Event, *, grace_s: float
) -> list[str]:
    """An attempt blocks the loop until `release`; the ids of those of kind `note` that have begun after it."""
    ran: list[str] = []

    async def block(ctx: Context, payload: Any) -> Any:
        started.set()
        release.wait(30)

    async def note(ctx: Context, payload: Any) -> Any:
        ran.append(ctx.id)

    bench.start(kind("block", block), kind("note", note), grace_s=grace_s)
    bench.submit(assignment("block", id="block"))
    await bench.until(started.is_set)
    return ran


async def test_an_attempt_given_up_before_its_first_step_never_starts(
    bench: Bench, release: threading.Event, started: threading.Event
) -> None:
    ran = await notes_behind_a_block(bench, release, started, grace_s=0.02)
    bench.submit(assignment("note", id="note", timeout_s=0.02), assignment("note", id="cancelled one"))
    bench.executor.interrupt("cancelled one", 1, InterruptReason.CANCELLED)
    assert await bench.ending("note") == Interrupted(InterruptReason.NOT_STARTED)
    assert await bench.ending("cancelled one") == Interrupted(InterruptReason.CANCELLED)
    release.set()
    await bench.ending("block")
    bench.submit(assignment("note", id="after"))
    await bench.ending("after")
    assert ran == ["after"]


async def test_an_attempt_whose_time_was_up_before_its_first_step_has_not_failed(
    bench: Bench, release: threading.Event, started: threading.Event
) -> None:
    ran = await notes_behind_a_block(bench, release, started, grace_s=30)
    bench.submit(assignment("note", id="late", timeout_s=0.02))
    late = bench.executor._live["late", 1]
    await bench.until(lambda: late.overdue)
    release.set()
    assert await bench.ending("late") == Interrupted(InterruptReason.NOT_STARTED)
    assert ran == []


async def test_asyncio_timeout_of_the_handler_itself_works_and_is_its_failure(bench: Bench) -> None:
    async def work(ctx: Context, payload: Any) -> Any:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(FOREVER_S)

    bench.start(kind("k", work))
    bench.submit(assignment("k"))
    ending = await bench.ending()
    assert isinstance(ending, Failed)
    assert ending.error.type == "TimeoutError"


async def test_the_timer_is_one_for_all_and_moves_with_the_earliest(bench: Bench) -> None:
    bench.start(kind("k", hang), grace_s=0.5)
    bench.submit(*[assignment("k", id=f"long{n}", timeout_s=900) for n in range(50)])
    bench.submit(*[assignment("k", id=f"t{n}", timeout_s=0.5 + 0.05 * (20 - n)) for n in range(20)])
    await bench.all_ended(20)
    assert {type(ending) for _, ending in bench.endings} == {TimedOut}
    assert [one.id for one, _ in bench.endings] == [f"t{n}" for n in reversed(range(20))]
    assert bench.executor.running == 50
    assert len(await bench.executor.close(0.1)) + len(bench.endings) == 70
