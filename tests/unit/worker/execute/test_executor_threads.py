"""Sync handlers that wait for a thread or outlive their timeout: withdrawn attempts and replacement threads."""

import threading
from typing import Any

from acked import Context
from acked_common.outcomes.outcome import Interrupted, InterruptReason, Succeeded, TimedOut
from support.executor import Bench, assignment, kind


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
