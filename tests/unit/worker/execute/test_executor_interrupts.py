"""Interrupts: which handlers stop, and whose result still counts."""

import asyncio
import threading
import time
from typing import Any

import pytest

from acked import Context
from acked_common.outcomes.outcome import Interrupted, InterruptReason, Succeeded
from support.executor import Bench, assignment, kind

FOREVER_S = 60.0


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
