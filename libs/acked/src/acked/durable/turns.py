"""The durable calls of an attempt that are in progress, and when the attempt parks.

A call is busy or waits. The attempt parks when nothing is busy, the handler's main task waits for a durable call, and
the earliest wait ends late (`rules.parks`). The main task is known to wait if one of its own calls does, or one that
its `gather` began. Waits of other tasks say nothing about the main task: then the attempt parks once nothing has
happened for a while (`LedgerPort.settle`). The same holds while a task that made durable calls goes on between two of
them. Once parked, every waiting call raises `AttemptParked`, and so does every later one.

All methods run on the port's loop.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any, TypeVar
from weakref import WeakSet

from acked.durable import rules
from acked.durable.errors import AttemptParked
from acked.durable.port import LedgerPort, ParkedFor
from acked.durable.rules import Waiting

T = TypeVar("T")
Runner = Callable[[Callable[[], T]], Awaitable[T]]
"""Runs a plain function, and returns its value or raises its error."""


class CallDropped(BaseException):
    """Ends a wait in a `gather` of which another call failed. It never leaves the gather."""


class Turn:
    """One durable call in progress."""

    __slots__ = ("children", "is_busy", "is_dropped", "is_exact", "is_over", "run", "task")

    def __init__(self, *, is_exact: bool, run: "Runner[Any] | None") -> None:
        self.is_exact = is_exact
        """Whether the handler's main task awaits it."""
        self.run = run
        """How its plain functions run; None: in threads of the loop's executor."""
        self.is_busy = True
        self.is_dropped = False
        self.is_over = False
        self.children: list[Turn] = []
        self.task: asyncio.Task[Any] | None = None
        """The task that the handler started and that awaits the call; None for the main task and in a `gather`."""


class Turns:
    """The calls in progress of one attempt. `parked` is set once it parks."""

    def __init__(self, port: LedgerPort, in_seq: Callable[[], int]) -> None:
        self.parked: ParkedFor | None = None
        self._port = port
        self._in_seq = in_seq
        self._busy = 0
        self._waits: dict[Turn, tuple[Waiting, asyncio.Future[None]]] = {}
        self._activity = 0
        self._settling: asyncio.Task[None] | None = None
        self._others: WeakSet[asyncio.Task[Any]] = WeakSet()
        self._idle_tasks: set[asyncio.Task[Any]] = set()
        self._is_stopped = False

    @property
    def waits(self) -> list[Waiting]:
        """The waits in progress; empty while a call does something else."""
        return [] if self._busy else [waiting for waiting, _ in self._waits.values()]

    def hold(self, *, is_exact: bool, run: "Runner[Any] | None" = None, parent: Turn | None = None) -> Turn:
        """Begin a call, which is busy until it waits or is released."""
        turn = Turn(is_exact=is_exact, run=run)
        if parent is not None:
            parent.children.append(turn)
            turn.is_dropped = parent.is_dropped
        elif not is_exact:
            turn.task = self._noted_task()
        self._busy += 1
        self._activity += 1
        return turn

    def release(self, turn: Turn) -> None:
        """End a call; again changes nothing."""
        if turn.is_over:
            return
        self.set_busy(turn, False)
        if turn.task is not None:
            self._idle_tasks.discard(turn.task)
        turn.is_over = True
        self._consider()

    def set_busy(self, turn: Turn, is_busy: bool) -> None:
        """Note whether a call does something, or only waits for an instant, a signal or calls that it began."""
        if turn.is_busy != is_busy and not turn.is_over:
            turn.is_busy = is_busy
            self._busy += 1 if is_busy else -1
            self._activity += 1
            if turn.task is not None:
                (self._idle_tasks.discard if is_busy else self._idle_tasks.add)(turn.task)

    def drop(self, turn: Turn) -> None:
        """End the waits of a call and of those that it began; what is busy goes on to its next wait."""
        turn.is_dropped = True
        for child in turn.children:
            self.drop(child)
        self._end_wait(turn)

    def refuse(self, turn: Turn) -> None:
        """Raise what ends the call, if the attempt is parked or stopped, or the call is dropped."""
        if self.parked is not None:
            raise AttemptParked
        if self._is_stopped:
            raise asyncio.CancelledError
        if turn.is_dropped:
            raise CallDropped

    async def suspend(self, turn: Turn, waiting: Waiting) -> None:
        """Return at the end of the wait, or earlier when a signal may have arrived. Raise what `refuse` raises."""
        self.refuse(turn)
        ended: asyncio.Future[None] = self._port.loop.create_future()
        self._waits[turn] = (waiting, ended)
        self.set_busy(turn, False)
        try:
            self._consider()
            if not ended.done():
                await self._wait(turn, waiting, ended)
        finally:
            self._end_wait(turn)
        self.refuse(turn)

    def end_waits_for(self, names: Collection[str]) -> None:
        """End the waits for these signals, which another call has read."""
        for turn, (waiting, _) in list(self._waits.items()):
            if not set(waiting.signals).isdisjoint(names):
                self._end_wait(turn)

    def stop(self) -> None:
        """End all waits with `CancelledError`, for a handler in a thread, which can't be cancelled."""
        self._is_stopped = True
        self._end_waits()

    def close(self) -> None:
        """End what still runs for the attempt, which has ended."""
        if self._settling is not None:
            self._settling.cancel()
        self.stop()

    async def _wait(self, turn: Turn, waiting: Waiting, ended: "asyncio.Future[None]") -> None:
        timer = self._port.loop.create_task(_until(self._port, waiting))
        timer.add_done_callback(partial(self._time_has_come, turn, ended))
        try:
            await ended
        finally:
            timer.cancel()

    def _noted_task(self) -> "asyncio.Task[Any] | None":
        task = asyncio.current_task()
        if task is not None and task not in self._others:
            self._others.add(task)
            task.add_done_callback(self._note_end)
        return task

    def _note_end(self, task: "asyncio.Task[Any]") -> None:
        self._others.discard(task)
        if self.parked is not None and not task.cancelled():
            # Nobody awaits it any more: the error that unwound it is not worth a log entry.
            task.exception()
        self._consider()

    def _consider(self) -> None:
        """Park, or begin to settle, if nothing but waits is left."""
        if self.parked is not None or self._is_stopped or self._busy or not self._waits:
            return
        goes_on = any(not task.done() and task not in self._idle_tasks for task in self._others)
        if any(turn.is_exact for turn in self._waits) and not goes_on:
            self._decide()
        if self.parked is None and self._settling is None:
            self._settling = self._port.loop.create_task(self._settle())

    async def _settle(self) -> None:
        try:
            while self.parked is None and not self._busy and self._waits:
                seen = self._activity
                await self._port.settle()
                if seen == self._activity:
                    self._decide()
                    return
        finally:
            self._settling = None

    def _decide(self) -> None:
        waits = self.waits
        if waits and rules.parks(waits, self._port.now(), self._port.park_over_s, self._port.deadline_at):
            self.parked = rules.parked_for(waits, self._in_seq())
            self._end_waits()

    def _time_has_come(self, turn: Turn, ended: "asyncio.Future[None]", timer: "asyncio.Task[None]") -> None:
        if timer.cancelled() or ended.done():
            return
        if (error := timer.exception()) is not None:
            ended.set_exception(error)
        self._end_wait(turn)

    def _end_waits(self) -> None:
        for turn in list(self._waits):
            self._end_wait(turn)

    def _end_wait(self, turn: Turn) -> None:
        """End a wait. The call is busy at once, before its task goes on: else the attempt might park meanwhile."""
        wait = self._waits.pop(turn, None)
        if wait is None:
            return
        self.set_busy(turn, True)
        if not wait[1].done():
            wait[1].set_result(None)


async def _until(port: LedgerPort, waiting: Waiting) -> None:
    # A sleep reads no inbox, so a signal that came would end each of its waits at once.
    await port.wait(waiting.until_at, for_signals=bool(waiting.signals))
