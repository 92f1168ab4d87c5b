"""An event loop in its own daemon thread, for code that may block or break it."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextvars import Context
from typing import Any

import structlog
import uvloop

from acked.resources import close_resources

BEAT_S = 0.5

log = structlog.get_logger(__name__)


class ThreadLoop:
    """Run an event loop until it is stopped. An exception that a task raises through the loop is logged and
    survived."""

    def __init__(self, name: str, task_factory: Callable[..., "asyncio.Task[Any]"]) -> None:
        self._loop: asyncio.AbstractEventLoop
        self._task_factory = task_factory
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._beat_at = time.monotonic()
        self._late_s = 0.0
        self._stopping = False
        self._stopped: Callable[[], None] | None = None
        self._closing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the thread."""
        self._loop = uvloop.new_event_loop()
        self._loop.set_exception_handler(_log_unhandled)
        self._loop.set_task_factory(self._task_factory)
        self._beat_at = time.monotonic()
        self._loop.call_soon(self._beat, context=Context())
        self._thread.start()

    def call(self, callback: Callable[..., object], *args: Any) -> None:
        """Schedule a callback on the loop, from any thread, without the caller's context variables."""
        self._loop.call_soon_threadsafe(callback, *args, context=Context())

    def create_task(self, coroutine: Any, variables: Context | None = None) -> asyncio.Task[None]:
        """Create a task with these context variables, or with none; on the loop only."""
        task: asyncio.Task[None] = self._loop.create_task(coroutine, context=variables or Context())
        return task

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, once it is started."""
        return self._loop

    @property
    def lag_s(self) -> float:
        """Lag of the loop in seconds, now or at its last heartbeat; it grows while something blocks the loop."""
        if not self._thread.is_alive():
            return 0.0
        return max(0.0, self._late_s, time.monotonic() - self._beat_at - BEAT_S)

    async def stop(self, timeout_s: float) -> bool:
        """Cancel all tasks, close the handlers' resources and end the thread. Return False after `timeout_s`."""
        here = asyncio.get_running_loop()
        stopped = asyncio.Event()
        self._stopped = lambda: _call_if_open(here, stopped.set)
        self.call(self._begin_stop, timeout_s / 2)
        try:
            async with asyncio.timeout(timeout_s):
                await stopped.wait()
        except TimeoutError:
            return False
        return True

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        while not self._stopping:
            try:
                self._loop.run_forever()
            except BaseException:
                # A task that a handler started may raise SystemExit or KeyboardInterrupt through the loop.
                log.exception("an error went through the handler loop; the loop continues")
        # The remaining tasks ignored their cancellation; the executor has already settled their attempts.
        self._loop.set_exception_handler(lambda loop, context: None)
        try:
            self._loop.close()
        except Exception:
            log.exception("the handler loop was not closed")
        if self._stopped is not None:
            self._stopped()

    def _beat(self) -> None:
        now = time.monotonic()
        self._late_s = max(0.0, now - self._beat_at - BEAT_S)
        self._beat_at = now
        self._loop.call_later(BEAT_S, self._beat)

    def _begin_stop(self, grace_s: float) -> None:
        self._closing = self.create_task(self._close(grace_s))

    async def _close(self, grace_s: float) -> None:
        try:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            if others:
                await asyncio.wait(others, timeout=grace_s)
            async with asyncio.timeout(grace_s):
                await close_resources()
                await self._loop.shutdown_asyncgens()
        except TimeoutError:
            log.warning("handler resources were not closed in time", within_s=grace_s)
        finally:
            self._stopping = True
            self._loop.stop()


def _call_if_open(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        # The plumbing loop is closed: nothing waits any more.
        return


def _log_unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    log.error(
        "unhandled error on the handler loop", what=str(context.get("message")), exc_info=context.get("exception")
    )
