"""Keeps handlers from going on while nobody knows whether this process still owns their jobs.

A process that stood still (SIGSTOP, a machine that slept) for longer than its leases last may have lost its jobs. Its
gate is closed from then on until a renewal that was sent after that is answered. A database that is away does not close
it: nobody takes back leases that could not be renewed, so the handlers go on.

The threads of handlers ask before each step, without a lock: after a pause any thread may run first, and finds out
by itself that the plumbing has not come round for too long.
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context as Variables
from contextvars import ContextVar
from typing import Any

from acked_worker.execute.attempt import RunningAttempt
from acked_worker.process import forks

LOOK_EVERY_S = 0.05

_attempt: ContextVar[RunningAttempt | None] = ContextVar("acked_attempt", default=None)


def since_boot() -> float:
    """Seconds on a clock that all processes of this machine share, and that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class StallFence:
    """One process' gate. `beat` and `prove` are called by the plumbing, the rest by any thread."""

    def __init__(
        self, *, lease_s: float = math.inf, renewal_s: float = math.inf, clock: Callable[[], float] = since_boot
    ) -> None:
        """Without durations it is always open."""
        self._pause_s = renewal_s
        self._holds_s = lease_s - renewal_s if math.isfinite(lease_s) else math.inf
        self._clock = clock
        self._beat_at = self._woke_at = self._proved_at = clock()
        self._changed = threading.Event()

    @property
    def proved_at(self) -> float:
        """When the newest renewal that was answered had been sent; on the clock `since_boot`."""
        return self._proved_at

    @property
    def is_open(self) -> bool:
        """Whether the process owns its jobs as far as it can know."""
        now = self._clock()
        woke_at = self._woke_at if now - self._beat_at < self._pause_s else now
        return self._proved_at >= woke_at or now - self._proved_at <= self._holds_s

    def beat(self) -> bool:
        """The plumbing comes round, several times in a renewal. True after a pause in which leases may have ended."""
        now = self._clock()
        has_paused = now - self._beat_at >= self._pause_s
        if has_paused:
            # First: whoever looks in between finds one sign or the other.
            self._woke_at = now
        self._beat_at = now
        return has_paused and not self.is_open

    def prove(self, sent_at: float) -> None:
        """A renewal sent at that time is answered, and the attempts that were lost know it."""
        self._proved_at = max(self._proved_at, sent_at)
        self._changed.set()

    def wait(self) -> None:
        """Returns when it is open; blocks the calling thread until then."""
        while not self.is_open:
            self._changed.clear()
            self._changed.wait(LOOK_EVERY_S)


class Guarded(Coroutine[Any, Any, Any]):
    """A coroutine that asks the gate before each of its steps. The next step of an attempt that must stop raises
    `CancelledError` in it; of one that has lost its job, in all tasks that it has started."""

    __slots__ = ("_attempt", "_coroutine", "_fence", "_is_told")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], fence: StallFence, attempt: RunningAttempt | None) -> None:
        self._coroutine = coroutine
        self._fence = fence
        self._attempt = attempt
        self._is_told = False

    def send(self, value: Any) -> Any:
        self._fence.wait()
        try:
            if not self._is_told and self._attempt is not None and self._attempt.is_stopping and self._must_stop():
                self._is_told = True
                return self._coroutine.throw(asyncio.CancelledError())
            return self._coroutine.send(value)
        finally:
            if forks.in_child:
                forks.end_child(gave_up_control=True)

    def _must_stop(self) -> bool:
        """Whether this step must not be made: the loop may have had it ready before the cancel of its task."""
        attempt = self._attempt
        # Before its first step a handler can't be told; it looks for itself there.
        if attempt is None or not attempt.entered or attempt.stop_delivered:
            return False
        if attempt.task is asyncio.current_task():
            attempt.stop_delivered = True
            return True
        return attempt.has_lost_job

    def throw(self, *error: Any) -> Any:
        self._fence.wait()
        try:
            return self._coroutine.throw(*error)
        finally:
            if forks.in_child:
                forks.end_child(gave_up_control=True)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()

    def __getattr__(self, name: str) -> Any:
        # What a task shows of its coroutine: its name and where it is.
        return getattr(self._coroutine, name)


def guarding(fence: StallFence) -> Callable[..., "asyncio.Task[Any]"]:
    """A task factory: every task of the loop is guarded, those that handlers start too."""

    def make(
        loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
    ) -> "asyncio.Task[Any]":
        variables: Variables | None = options.get("context")
        attempt = _attempt.get() if variables is None else variables.get(_attempt)
        return asyncio.Task(Guarded(coroutine, fence, attempt), loop=loop, **options)

    return make


def variables_of(attempt: RunningAttempt) -> Variables:
    """The context variables in which an attempt starts: its tasks, and those that they start, belong to it."""
    variables = Variables()
    variables.run(_attempt.set, attempt)
    return variables
