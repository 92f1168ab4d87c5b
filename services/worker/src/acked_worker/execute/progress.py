"""Pass progress from handlers to the plumbing loop; of reports in quick succession the newest wins."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from contextvars import Context as Variables
from typing import Any

import structlog

from acked_worker.execute.attempt import RunningAttempt

INTERVAL_S = 0.1

log = structlog.get_logger(__name__)


class ProgressRelay:
    """Deliver (id, attempt, progress) to `on_progress` in batches, at most once per interval and before each ending."""

    def __init__(self, on_progress: Callable[[list[tuple[str, int, object]]], None]) -> None:
        self._on_progress = on_progress
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._newest: dict[RunningAttempt, dict[str, Any]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._flushed_at = 0.0

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Deliver on this loop."""
        self._loop = loop

    def stop(self) -> None:
        """Deliver what is left and stop."""
        self._flush()
        self._loop = None

    def report(self, attempt: RunningAttempt, progress: dict[str, Any]) -> None:
        """Record the newest progress of an attempt; callable from any thread, never blocks, never raises."""
        with self._lock:
            is_first = not self._newest
            self._newest[attempt] = progress
        loop = self._loop
        if is_first and loop is not None:
            try:
                loop.call_soon_threadsafe(self._schedule, context=Variables())
            except RuntimeError:
                # The plumbing loop is closed: the report has no receiver.
                return

    def flush_for(self, attempts: Iterable[RunningAttempt]) -> None:
        """Deliver the last reports of these attempts, ahead of their endings."""
        if not self._newest:
            return
        with self._lock:
            newest = [(one, self._newest.pop(one)) for one in attempts if one in self._newest]
        self._deliver([(one.id, one.attempt, progress) for one, progress in newest])

    def _schedule(self) -> None:
        if self._timer is None and self._loop is not None:
            wait_s = max(0.0, self._flushed_at + INTERVAL_S - time.monotonic())
            self._timer = self._loop.call_later(wait_s, self._flush)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._flushed_at = time.monotonic()
        with self._lock:
            newest, self._newest = self._newest, {}
        self._deliver([(one.id, one.attempt, progress) for one, progress in newest.items() if not one.settled])

    def _deliver(self, batch: list[tuple[str, int, object]]) -> None:
        if not batch or self._loop is None:
            return
        try:
            self._on_progress(batch)
        except Exception:
            log.exception("progress was not delivered", jobs=len(batch))
