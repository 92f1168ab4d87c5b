"""The loop of the handlers: what they raise through it, what they leave behind, and how long its end may take."""

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from acked_worker.execute import thread_loop as module
from acked_worker.execute.thread_loop import BEAT_S, ThreadLoop
from support.parts import BOUND_S

colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


class Bench:
    """A running loop, and calls into it."""

    def __init__(self) -> None:
        self.loop = ThreadLoop(
            "handlers", lambda loop, coroutine, **options: asyncio.Task(coroutine, loop=loop, **options)
        )
        self.loop.start()
        self._tasks: list[asyncio.Task[None]] = []
        """The loop keeps no task of its own."""

    async def run(self, call: Callable[[], Any]) -> Any:
        """What a call on the loop returns."""
        here = asyncio.get_running_loop()
        done: asyncio.Future[Any] = here.create_future()

        def run() -> None:
            found = call()
            here.call_soon_threadsafe(done.set_result, found)

        self.loop.call(run)
        return await asyncio.wait_for(done, BOUND_S)

    async def spawn(self, coroutine: Any, variables: contextvars.Context | None = None) -> "asyncio.Task[None]":
        """A task of the loop, which runs by now."""
        task: asyncio.Task[None] = await self.run(lambda: self.loop.create_task(coroutine, variables))
        self._tasks.append(task)
        await self.run(lambda: None)
        return task


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    if made.loop._thread.is_alive() and not made.loop._stopping:
        await made.loop.stop(BOUND_S)
    await asyncio.to_thread(made.loop._thread.join, BOUND_S)


async def test_callbacks_run_on_a_thread_of_its_own(bench: Bench) -> None:
    thread = await bench.run(threading.current_thread)
    assert thread is not threading.current_thread()
    assert (thread.name, thread.daemon) == ("handlers", True)


async def test_callbacks_and_tasks_see_no_variables_of_the_caller(bench: Bench) -> None:
    colour.set("red")
    assert await bench.run(colour.get) == "none"
    seen: list[str] = []

    async def look() -> None:
        seen.append(colour.get())

    await bench.spawn(look())
    own = contextvars.Context()
    own.run(colour.set, "blue")
    await bench.spawn(look(), own)
    await bench.run(lambda: None)
    assert seen == ["none", "blue"]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), ValueError("it broke")])
async def test_loop_goes_on_after_what_a_task_raises(bench: Bench, error: BaseException) -> None:
    async def fail() -> None:
        raise error

    def start() -> None:
        task = bench.loop.create_task(fail())
        # Nobody looks at its end.
        task.add_done_callback(lambda done: done.exception())

    with capture_logs():
        for _ in range(3):
            await bench.run(start)
            assert await bench.run(lambda: 7) == 7


async def test_error_of_a_callback_is_logged(bench: Bench) -> None:
    def fail() -> None:
        raise ValueError("it broke")

    with capture_logs() as logs:
        bench.loop.call(fail)
        await bench.run(lambda: None)
    (line,) = [line for line in logs if line["log_level"] == "error"]
    assert isinstance(line["exc_info"], ValueError)


async def test_stopping_cancels_what_runs_and_waits_for_its_end(bench: Bench) -> None:
    ends: list[str] = []

    async def tidy() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ends.append("tidied")

    await bench.spawn(tidy())
    assert await bench.loop.stop(BOUND_S) is True
    assert ends == ["tidied"]


async def test_stopping_closes_what_the_handlers_opened(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    async def close_resources() -> None:
        closed.append(threading.current_thread().name)

    monkeypatch.setattr(module, "close_resources", close_resources)
    assert await bench.loop.stop(BOUND_S) is True
    assert closed == ["handlers"]


async def test_task_that_heeds_no_cancel_holds_up_no_stop(bench: Bench) -> None:
    goes_on = True

    async def deaf() -> None:
        while goes_on:
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    await bench.spawn(deaf())
    # Half of it is the task's; the rest is for a busy machine.
    assert await bench.loop.stop(2.0) is True


async def test_loop_that_is_blocked_is_told_as_not_stopped(bench: Bench) -> None:
    blocked, goes_on = threading.Event(), threading.Event()

    def block() -> None:
        blocked.set()
        goes_on.wait(BOUND_S)

    bench.loop.call(block)
    assert await asyncio.to_thread(blocked.wait, BOUND_S)
    assert await bench.loop.stop(0.05) is False
    goes_on.set()
    # The stop that was asked for still comes about.
    await asyncio.to_thread(bench.loop._thread.join, BOUND_S)
    assert not bench.loop._thread.is_alive()


async def test_lag_grows_while_something_blocks_the_loop(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [bench.loop._beat_at + BEAT_S]
    blocked, goes_on = threading.Event(), threading.Event()

    def block() -> None:
        blocked.set()
        goes_on.wait(BOUND_S)

    bench.loop.call(block)
    assert await asyncio.to_thread(blocked.wait, BOUND_S)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    try:
        now[0] = bench.loop._beat_at + BEAT_S
        assert bench.loop.lag_s == 0.0
        now[0] += 7.0
        assert bench.loop.lag_s == pytest.approx(7.0)
    finally:
        goes_on.set()


async def test_loop_that_has_ended_lags_nothing(bench: Bench) -> None:
    assert await bench.loop.stop(BOUND_S)
    await asyncio.to_thread(bench.loop._thread.join, BOUND_S)
    assert bench.loop.lag_s == 0.0
