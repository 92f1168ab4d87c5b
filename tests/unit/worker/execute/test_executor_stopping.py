"""Timeouts, interruptions, handlers that do not stop, and the executor's own end."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from acked import Context
from acked.resources import LoopResource
from acked_worker.execute.outcome import Failed, Interrupted, InterruptReason, Succeeded, TimedOut
from support.executor import BOUND_S, Bench, assignment, kind, open_bench

FOREVER_S = 60.0


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with open_bench() as opened:
        yield opened


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Frees the handlers that block, at the latest when the test is over."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def started() -> threading.Event:
    return threading.Event()


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
    """An attempt blocks the loop until `release`; the ids of those of kind `note` that have begun behind it."""
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


@pytest.mark.parametrize("reason", InterruptReason)
async def test_interrupt_cancels_an_async_handler(
    bench: Bench, reason: InterruptReason, started: threading.Event
) -> None:
    seen: list[bool] = []

    async def work(ctx: Context, payload: Any) -> Any:
        started.set()
        try:
            await asyncio.sleep(FOREVER_S)
        finally:
            seen.append(ctx.cancelled)

    bench.start(kind("k", work))
    bench.submit(assignment("k"))
    await bench.until(started.is_set)
    bench.executor.interrupt("job", 1, reason)
    bench.executor.interrupt("job", 1, InterruptReason.LEASE_LOST)
    assert await bench.ending() == Interrupted(reason)
    assert seen == [True]


async def test_interrupt_of_an_unknown_or_older_attempt_does_nothing(bench: Bench, started: threading.Event) -> None:
    go = threading.Event()

    def work(ctx: Context, payload: Any) -> Any:
        started.set()
        go.wait(30)
        return ctx.cancelled

    bench.start(kind("k", work))
    bench.submit(assignment("k", attempt=2))
    await bench.until(started.is_set)
    bench.executor.interrupt("job", 1, InterruptReason.CANCELLED)
    bench.executor.interrupt("other", 2, InterruptReason.CANCELLED)
    go.set()
    assert await bench.ending(attempt=2) == Succeeded(b"false")


async def test_a_handler_that_has_finished_before_the_interrupt_has_finished(bench: Bench) -> None:
    finished = threading.Event()

    async def work(ctx: Context, payload: Any) -> Any:
        asyncio.get_running_loop().call_soon(finished.set)
        return "done"

    bench.start(kind("k", work))
    bench.submit(assignment("k"))
    # Without a turn of this loop the ending can't be collected yet.
    assert finished.wait(10)
    bench.executor.interrupt("job", 1, InterruptReason.CANCELLED)
    assert await bench.ending() == Succeeded(b'"done"')


async def test_a_sync_handler_that_saw_the_interrupt_has_no_result(bench: Bench, started: threading.Event) -> None:
    def heed(ctx: Context, payload: Any) -> Any:
        started.set()
        while not ctx.cancelled:
            time.sleep(0.001)
        if payload:
            raise ValueError("stopped half way")
        return "half of it"

    bench.start(kind("k", heed))
    bench.submit(assignment("k", id="returns"), assignment("k", id="raises", payload=True))
    await bench.until(started.is_set)
    for id_ in ("returns", "raises"):
        bench.executor.interrupt(id_, 1, InterruptReason.CANCELLED)
        assert await bench.ending(id_) == Interrupted(InterruptReason.CANCELLED)


async def test_a_sync_handler_that_never_looked_keeps_its_result(
    bench: Bench, release: threading.Event, started: threading.Event
) -> None:
    def deaf(ctx: Context, payload: Any) -> Any:
        started.set()
        release.wait(30)
        return "whole"

    bench.start(kind("k", deaf))
    bench.submit(assignment("k"))
    await bench.until(started.is_set)
    bench.executor.interrupt("job", 1, InterruptReason.DRAINED)
    release.set()
    assert await bench.ending() == Succeeded(b'"whole"')


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


async def test_a_sync_attempt_that_waits_for_a_thread_is_withdrawn(
    bench: Bench, release: threading.Event, started: threading.Event
) -> None:
    ran: list[str] = []

    def block(ctx: Context, payload: Any) -> Any:
        ran.append(ctx.id)
        started.set()
        release.wait(30)

    bench.start(kind("k", block), threads=1)
    bench.submit(assignment("k", id="first"))
    await bench.until(started.is_set)
    bench.submit(assignment("k", id="stopped"), assignment("k", id="late", timeout_s=0.02))
    bench.executor.interrupt("stopped", 1, InterruptReason.CANCELLED)
    assert await bench.ending("stopped") == Interrupted(InterruptReason.CANCELLED)
    assert await bench.ending("late") == Interrupted(InterruptReason.NOT_STARTED)
    release.set()
    assert await bench.ending("first") == Succeeded(b"null")
    assert ran == ["first"]
    assert bench.executor.abandoned == 0


async def test_a_sync_handler_past_its_timeout_gives_its_place_to_a_new_thread(
    bench: Bench, release: threading.Event
) -> None:
    hung: list[str] = []

    def block(ctx: Context, payload: Any) -> Any:
        hung.append(ctx.id)
        release.wait(30)
        return "late"

    def answer(ctx: Context, payload: Any) -> Any:
        return "quick"

    bench.start(kind("block", block), kind("quick", answer), threads=2)
    bench.submit(*[assignment("block", id=f"b{n}") for n in range(2)])
    # An attempt that no thread has taken yet would be withdrawn instead.
    await bench.until(lambda: len(hung) == 2)
    bench.run_out_of_time("b0", "b1")
    for n in range(2):
        ending = await bench.ending(f"b{n}")
        assert isinstance(ending, TimedOut)
        assert "in block" in (ending.error.traceback or "")
    assert bench.executor.lost_threads == 2
    bench.submit(*[assignment("quick", id=f"q{n}") for n in range(20)])
    for n in range(20):
        assert await bench.ending(f"q{n}") == Succeeded(b'"quick"')
    release.set()
    await bench.until(lambda: bench.executor.lost_threads == 0 and bench.executor.abandoned == 0)
    await bench.until(lambda: bench.executor._pool.alive <= 2)


async def test_replacement_threads_are_bounded(bench: Bench, release: threading.Event) -> None:
    hung: list[str] = []

    def block(ctx: Context, payload: Any) -> Any:
        hung.append(ctx.id)
        release.wait(30)

    bench.start(kind("block", block), threads=2)
    ids = [f"b{n}" for n in range(9)]
    bench.submit(*[assignment("block", id=id_) for id_ in ids])
    await bench.until(lambda: len(hung) == 2)
    bench.run_out_of_time(*ids)
    await bench.all_ended(9)
    started = [ending for _, ending in bench.endings if isinstance(ending, TimedOut)]
    others = [ending for _, ending in bench.endings if not isinstance(ending, TimedOut)]
    # Two at once; a replacement thread may come before the deadline of a waiting one is seen, or after it.
    assert len(started) >= 2
    assert others == [Interrupted(InterruptReason.NOT_STARTED)] * (9 - len(started))
    assert bench.executor._pool.alive <= 4
    release.set()
    await bench.until(lambda: bench.executor.lost_threads == 0)
    bench.submit(assignment("block", id="again"))
    assert await bench.ending("again") == Succeeded(b"null")


async def test_asyncio_timeout_of_the_handler_itself_works_and_is_its_failure(bench: Bench) -> None:
    async def work(ctx: Context, payload: Any) -> Any:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(FOREVER_S)

    bench.start(kind("k", work))
    bench.submit(assignment("k"))
    ending = await bench.ending()
    assert isinstance(ending, Failed)
    assert ending.error.type == "TimeoutError"


async def test_close_waits_for_what_runs(bench: Bench, started: threading.Event, release: threading.Event) -> None:
    def work(ctx: Context, payload: Any) -> Any:
        started.set()
        release.wait(30)
        return "finished"

    bench.start(kind("k", work))
    bench.submit(assignment("k"))
    await bench.until(started.is_set)
    closing = asyncio.ensure_future(bench.executor.close(10))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="closing"):
        bench.submit(assignment("k", id="too late"))
    release.set()
    assert await closing == []
    assert await bench.ending() == Succeeded(b'"finished"')
    assert await bench.executor.close(10) == []


async def test_close_gives_back_what_does_not_end_and_never_takes_longer(
    bench: Bench, started: threading.Event, release: threading.Event
) -> None:
    async def block(ctx: Context, payload: Any) -> Any:
        started.set()
        release.wait(30)

    def block_sync(ctx: Context, payload: Any) -> Any:
        release.wait(30)

    bench.start(kind("block", block), kind("sync", block_sync), kind("hang", hang))
    given = [assignment("hang", id="h"), assignment("sync", id="s"), assignment("block", id="b")]
    bench.submit(*given)
    await bench.until(started.is_set)
    begun = time.monotonic()
    left = await bench.executor.close(0.4)
    # Whatever blocks it goes on for much longer.
    assert time.monotonic() - begun < BOUND_S
    assert left == given
    assert bench.endings == []
    assert bench.executor.running == 0
    release.set()


async def test_close_cancels_async_handlers_and_closes_what_they_opened(bench: Bench) -> None:
    events: list[str] = []
    opened, closed = threading.Event(), threading.Event()

    async def closer(resource: str) -> None:
        events.append(f"closed {resource}")
        closed.set()

    resource = LoopResource(lambda: "pool", closer)

    async def work(ctx: Context, payload: Any) -> Any:
        assert resource.get() is resource.get()
        opened.set()
        try:
            await asyncio.sleep(FOREVER_S)
        finally:
            events.append("stopped")

    bench.start(kind("k", work))
    bench.submit(assignment("k"))
    await bench.until(opened.is_set)
    # Of two seconds the loop has half a second to end in.
    assert await bench.executor.close(2.0) == [assignment("k")]
    await bench.until(closed.is_set)
    assert events == ["stopped", "closed pool"]


async def test_the_timer_is_one_for_all_and_moves_with_the_earliest(bench: Bench) -> None:
    bench.start(kind("k", hang), grace_s=0.5)
    bench.submit(*[assignment("k", id=f"long{n}", timeout_s=900) for n in range(50)])
    bench.submit(*[assignment("k", id=f"t{n}", timeout_s=0.5 + 0.05 * (20 - n)) for n in range(20)])
    await bench.all_ended(20)
    assert {type(ending) for _, ending in bench.endings} == {TimedOut}
    assert [one.id for one, _ in bench.endings] == [f"t{n}" for n in reversed(range(20))]
    assert bench.executor.running == 50
    assert len(await bench.executor.close(0.1)) + len(bench.endings) == 70
