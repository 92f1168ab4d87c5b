"""Threads for handlers that are not `async def`. They are daemons: a stuck one does not block the exit."""

import threading
from collections import deque
from collections.abc import Callable, Iterable

import structlog

from acked_worker.execute.attempt import RunningAttempt
from acked_worker.process.thread_stack import stack_of

log = structlog.get_logger(__name__)


class SyncPool:
    """Run at most `threads` threads, plus as many replacements for lost ones.

    A thread is lost while it still runs an abandoned attempt; it ends when that attempt returns.
    """

    def __init__(self, threads: int, run: Callable[[RunningAttempt], None]) -> None:
        self._threads = threads
        self._run = run
        self._lock = threading.Lock()
        self._ready = threading.Condition(self._lock)
        self._queue: deque[RunningAttempt] = deque()
        self._alive = 0
        self._idle = 0
        self._lost = 0
        self._closed = False

    @property
    def lost(self) -> int:
        """Number of threads stuck in an abandoned attempt."""
        return self._lost

    @property
    def alive(self) -> int:
        """Number of all threads, including idle and lost ones."""
        return self._alive

    def put(self, attempts: Iterable[RunningAttempt]) -> None:
        """Run attempts in order, as threads become free."""
        with self._lock:
            before = len(self._queue)
            self._queue.extend(attempts)
            self._add_threads()
            self._ready.notify(len(self._queue) - before)

    def withdraw(self, attempt: RunningAttempt) -> bool:
        """Remove an attempt from the queue; False if it has started."""
        with self._lock:
            try:
                self._queue.remove(attempt)
            except ValueError:
                return False
            return True

    def lose(self, attempt: RunningAttempt) -> str | None:
        """Abandon a started attempt and replace its thread. Return the traceback of where it is stuck."""
        with self._lock:
            if attempt.thread_id is None:
                return None
            attempt.is_lost = True
            self._lost += 1
            if self._lost >= self._threads * 2:
                log.error("every thread is stuck in a timed-out handler; restart the worker", lost=self._lost)
            self._add_threads()
            stack = stack_of(attempt.thread_id)
        return "".join(stack.format()) or None

    def close(self) -> None:
        """End idle threads now and the others after their attempts; start nothing more."""
        with self._lock:
            self._closed = True
            self._queue.clear()
            self._ready.notify_all()

    def _most(self) -> int:
        return self._threads + min(self._lost, self._threads)

    def _add_threads(self) -> None:
        for _ in range(min(self._most() - self._alive, len(self._queue) - self._idle)):
            self._alive += 1
            threading.Thread(target=self._work, name=f"acked-sync-{self._alive}", daemon=True).start()

    def _work(self) -> None:
        while (attempt := self._next()) is not None:
            self._run(attempt)
            with self._lock:
                attempt.thread_id = None
                if attempt.is_lost:
                    self._lost -= 1

    def _next(self) -> RunningAttempt | None:
        with self._lock:
            while not self._closed and self._alive <= self._most():
                if self._queue:
                    attempt = self._queue.popleft()
                    attempt.entered = True
                    attempt.thread_id = threading.get_ident()
                    return attempt
                self._idle += 1
                self._ready.wait()
                self._idle -= 1
            self._alive -= 1
            return None
