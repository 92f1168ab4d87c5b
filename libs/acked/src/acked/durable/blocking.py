"""Durable calls of a plain `def` handler: the same engine, driven from the handler's thread.

Each call runs on the loop of the port. The thread waits for it, and meanwhile runs the step's own plain function, so
that thread-local state of libraries works. Members of a `gather` run in threads of the loop's executor.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from queue import SimpleQueue
from typing import Any, TypeVar

from acked.durable.calls import DurableCall
from acked.durable.engine import Engine
from acked.durable.errors import DurableError

T = TypeVar("T")

_Work = tuple[Callable[[], Any], "asyncio.Future[Any]"]


def run_blocking(engine: Engine, call: DurableCall[T]) -> T:
    """Run a durable call to its end. Call it in any thread but the loop's."""
    if is_on_loop(engine):
        call.close()
        raise DurableError(
            f"{call.label} would block the loop of the handler: await the call of ctx, not of ctx.blocking"
        )
    work: SimpleQueue[_Work | None] = SimpleQueue()
    loop = engine.port.loop
    is_exact = engine.port.in_main()

    async def in_caller(function: Callable[[], Any]) -> Any:
        done: asyncio.Future[Any] = loop.create_future()
        work.put((function, done))
        return await done

    async def run() -> T:
        turn = engine.turns.hold(is_exact=is_exact, run=in_caller)
        try:
            return await call.begin(turn)
        finally:
            engine.turns.release(turn)

    try:
        return drive(loop, run(), work)
    finally:
        # A task that is cancelled before its first step does not begin the call.
        call.close()


def run_on_loop(engine: Engine, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine of the engine that runs no function of the handler, such as a checkpoint."""
    if is_on_loop(engine):
        coroutine.close()
        raise DurableError("ctx.blocking.checkpoint would block the loop of the handler: await ctx.checkpoint")
    return drive(engine.port.loop, coroutine, SimpleQueue())


def is_on_loop(engine: Engine) -> bool:
    """Return whether the caller runs on the loop of the durable calls, which it must not block."""
    try:
        return asyncio.get_running_loop() is engine.port.loop
    except RuntimeError:
        return False


def drive(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], work: "SimpleQueue[_Work | None]") -> T:
    """Run a coroutine on the loop, and the functions that it sends in the calling thread."""
    ended = asyncio.run_coroutine_threadsafe(coroutine, loop)
    ended.add_done_callback(lambda _: work.put(None))
    while (one := work.get()) is not None:
        function, done = one
        try:
            value = function()
        except BaseException as error:
            loop.call_soon_threadsafe(_fail, done, error)
        else:
            loop.call_soon_threadsafe(_finish, done, value)
    try:
        return ended.result()
    except CancelledError as error:
        # That of concurrent.futures is an ordinary Exception, which handlers catch.
        raise asyncio.CancelledError(*error.args) from None


def _finish(done: "asyncio.Future[Any]", value: Any) -> None:
    if not done.done():
        done.set_result(value)


def _fail(done: "asyncio.Future[Any]", error: BaseException) -> None:
    if done.done():
        return
    if isinstance(error, StopIteration):
        # A future can't hold it.
        error = RuntimeError(f"the step's function raised StopIteration: {error}")
    done.set_exception(error)
