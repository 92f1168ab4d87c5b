"""The end of an executor: it waits for attempts, cancels them, and returns those that don't end in time."""

import asyncio
import threading
import time
from typing import Any

import pytest

from acked import Context
from acked.resources import LoopResource
from acked_common.outcomes.outcome import Succeeded
from support.executor import BOUND_S, Bench, assignment, kind

FOREVER_S = 60.0


async def hang(ctx: Context, payload: Any) -> Any:
    await asyncio.sleep(FOREVER_S)


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
