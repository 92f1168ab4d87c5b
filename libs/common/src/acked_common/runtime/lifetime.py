"""Start and stop: parts start in order and stop in reverse, each within a deadline; failures of tasks are logged."""

import asyncio
import random
import resource
import signal
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from prometheus_client import Gauge

from acked_common.runtime.logs import get_log

log = get_log(__name__)

_tasks = Gauge("acked_tasks", "Tasks on the loop that answers; they return to their base when it is quiet.")

Step = Callable[[], Awaitable[None]]


class Tasks:
    """Long-lived loops of one process: a failure is logged and the loop runs again; the task is referenced."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run a coroutine once; log its failure."""
        task = asyncio.create_task(coroutine, name=name)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def repeat(self, name: str, step: Step, *, every_s: float) -> asyncio.Task[Any]:
        """Run `step` repeatedly, `every_s` apart with a tenth of jitter, also after errors."""

        async def loop() -> None:
            failing = False
            while True:
                try:
                    await step()
                    if failing:
                        log.info("recovered", task=name)
                    failing = False
                except Exception as error:
                    # Once per outage, not once per tick.
                    if not failing:
                        log.warning("step failed", task=name, error=f"{type(error).__name__}: {error}")
                    failing = True
                await asyncio.sleep(every_s * (0.9 + random.random() / 5))

        return self.spawn(loop(), name)

    async def cancel_all(self, within_s: float = 5.0) -> None:
        """Cancel all tasks and wait for them, bounded."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=within_s)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task failed", task=task.get_name(), exc_info=error)


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    start: Step | None
    stop: Step | None
    stop_within_s: float


class Lifetime:
    """The parts of one process in the order of their start."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []
        self._started: list[_Part] = []

    def add(
        self, name: str, *, start: Step | None = None, stop: Step | None = None, stop_within_s: float = 5.0
    ) -> None:
        """Add a part after the existing ones."""
        self._parts.append(_Part(name, start, stop, stop_within_s))

    async def start(self) -> None:
        """Start all parts; if one fails, stop the started ones and raise."""
        try:
            for part in self._parts:
                if part.start is not None:
                    await part.start()
                self._started.append(part)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop in reverse order; a part that is late or fails does not delay the others."""
        while self._started:
            part = self._started.pop()
            if part.stop is None:
                continue
            try:
                async with asyncio.timeout(part.stop_within_s):
                    await part.stop()
            except TimeoutError:
                log.warning("part did not stop in time", part=part.name, within_s=part.stop_within_s)
            except Exception:
                log.exception("part failed to stop", part=part.name)


def _count_tasks() -> float:
    try:
        return float(len(asyncio.all_tasks()))
    except RuntimeError:
        # Called from outside of the loop.
        return 0.0


_tasks.set_function(_count_tasks)


def raise_file_limit() -> int:
    """Raise the soft limit of open files to the hard one, and return it: each connection is a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
"""What ends a process in order: HTTP services wait for them in `GracefulServer`, a worker in `SignalWatch`."""
IDLE_SIGNALS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals of a closed terminal and of log rotation. By default they end a process at once, without a drain."""


def outlive_idle_signals(loop: asyncio.AbstractEventLoop) -> None:
    """Log `IDLE_SIGNALS` from now on, and do nothing else. They are caught, not ignored: programs that user code starts
    would inherit that."""
    for number in IDLE_SIGNALS:
        # Logs go to standard output, which the supervisor or the container engine writes to files: nothing to reopen.
        loop.add_signal_handler(number, partial(log.info, "signal without effect here", signal=number.name))
