"""Stop handlers while this process may no longer own their jobs.

A process that was suspended (SIGSTOP, a sleeping machine) for longer than its leases may have lost its jobs. The fence
is then closed until a renewal that was sent afterwards succeeds. An unavailable database does not close it: no process
can take over the leases then, so the handlers continue.

Handler threads check the fence before each step, without a lock. After a pause any thread may run first, and detects by
itself that the plumbing's heartbeat is overdue.
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
    """Return seconds on a clock that all processes of this machine share and that advances while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class StallFence:
    """The fence of one process. The plumbing calls `beat` and `prove`; any thread calls the rest."""

    def __init__(
        self, *, lease_s: float = math.inf, renewal_s: float = math.inf, clock: Callable[[], float] = since_boot
    ) -> None:
        """Without durations the fence is always open."""
        self._pause_s = renewal_s
        self._holds_s = lease_s - renewal_s if math.isfinite(lease_s) else math.inf
        self._clock = clock
        self._beat_at = self._woke_at = self._proved_at = clock()
        self._changed = threading.Event()

    @property
    def proved_at(self) -> float:
        """When the newest successful renewal was sent; on the clock `since_boot`."""
        return self._proved_at

    @property
    def is_open(self) -> bool:
        """Whether the process owns its jobs, as far as it can know."""
        now = self._clock()
        woke_at = self._woke_at if now - self._beat_at < self._pause_s else now
        return self._proved_at >= woke_at or now - self._proved_at <= self._holds_s

    def beat(self) -> bool:
        """Record a heartbeat of the plumbing, several per renewal. Return True after a pause that may outlast
        leases."""
        now = self._clock()
        has_paused = now - self._beat_at >= self._pause_s
        if has_paused:
            # Set before `_beat_at`: a reader in between sees one sign or the other.
            self._woke_at = now
        self._beat_at = now
        return has_paused and not self.is_open

    def prove(self, sent_at: float) -> None:
        """Record that a renewal sent at that time succeeded, and that attempts which lost their job were marked."""
        self._proved_at = max(self._proved_at, sent_at)
        self._changed.set()

    def wait(self) -> None:
        """Block the calling thread until the fence is open."""
        while not self.is_open:
            self._changed.clear()
            self._changed.wait(LOOK_EVERY_S)


class Guarded(Coroutine[Any, Any, Any]):
    """A coroutine that passes the fence before each of its steps.

    The next step of an attempt that must stop raises `CancelledError`; if the attempt has lost its job, in all tasks
    that
    it has started.
    """

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
        """Whether this step must not run: the loop may have scheduled it ahead of the cancel of its task."""
        attempt = self._attempt
        # A handler can't be cancelled before its first step; `_run` checks the flag there.
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
        # Tasks show their coroutine's name and position.
        return getattr(self._coroutine, name)


def guarding(fence: StallFence) -> Callable[..., "asyncio.Task[Any]"]:
    """Return a task factory that guards every task of the loop, including those that handlers start."""

    def make(
        loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
    ) -> "asyncio.Task[Any]":
        variables: Variables | None = options.get("context")
        attempt = _attempt.get() if variables is None else variables.get(_attempt)
        task = asyncio.Task(Guarded(coroutine, fence, attempt), loop=loop, **options)
        # The first task of an async handler is the attempt's own.
        if attempt is not None and (attempt.task is not None or not attempt.kind_spec.is_async):
            attempt.calls.note_task(task)
        return task

    return make


def variables_of(attempt: RunningAttempt) -> Variables:
    """Return the context variables for an attempt, by which its tasks and their subtasks belong to it."""
    variables = Variables()
    variables.run(_attempt.set, attempt)
    return variables
