"""`gather`: several durable calls at once, with an outcome that is the same at each replay.

Which of two errors came first must not depend on the order in which tasks run. So a kept error wins over one that is
not kept, and of kept ones the earliest: a replay finds the same. A call that has begun when another one fails is
awaited and recorded; a wait is dropped.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

from acked.durable import rules
from acked.durable.calls import DurableCall
from acked.durable.engine import Engine
from acked.durable.rules import Meaning
from acked.durable.turns import CallDropped, Turn

_LASTING = (Meaning.FAILED, Meaning.TIMED_OUT)


async def run_gather(engine: Engine, calls: Sequence[DurableCall[Any]], turn: Turn) -> tuple[Any, ...]:
    """Run the calls at once and return their results in order. Raise the error that a replay would raise."""
    if any(_failed_at(engine, call) is not None for call in calls):
        return _raise_kept(engine, calls)
    members = _Members(engine, calls, turn)
    await members.all_ended()
    tasks = members.tasks
    errors = [None if task.cancelled() else task.exception() for task in tasks]
    for ended in errors:
        # The attempt is parked, lost or killed.
        if ended is not None and not isinstance(ended, Exception | CallDropped):
            raise ended
    failed = [(call, error) for call, error in zip(calls, errors, strict=True) if isinstance(error, Exception)]
    if failed:
        raise _first_of(engine, failed)
    if any(task.cancelled() for task in tasks):
        raise asyncio.CancelledError
    return tuple(task.result() for task in tasks)


class _Members:
    """The tasks of a gather. A member is busy until the gather knows of its end, so the attempt can't park before."""

    def __init__(self, engine: Engine, calls: Sequence[DurableCall[Any]], turn: Turn) -> None:
        self._turns = engine.turns
        self._turn = turn
        self._members = [self._turns.hold(is_exact=turn.is_exact, parent=turn) for _ in calls]
        self._left = len(calls)
        self._has_failed = False
        self._ended: asyncio.Future[None] = engine.port.loop.create_future()
        self.tasks: list[asyncio.Task[Any]] = []
        for call, member in zip(calls, self._members, strict=True):
            task = engine.port.loop.create_task(call.begin(member))
            task.add_done_callback(partial(self._note_end, member))
            self.tasks.append(task)
        if not self._left:
            self._ended.set_result(None)

    async def all_ended(self) -> None:
        """Return when each call has ended. A cancel from inside cancels them all, and they record that."""
        is_cancelled = False
        self._turns.set_busy(self._turn, not self._left)
        try:
            while self._left:
                try:
                    await asyncio.shield(self._ended)
                except asyncio.CancelledError:
                    is_cancelled = True
                    for task in self.tasks:
                        task.cancel()
        finally:
            self._turns.set_busy(self._turn, True)
        if is_cancelled:
            raise asyncio.CancelledError

    def _note_end(self, member: Turn, task: "asyncio.Task[Any]") -> None:
        if not self._has_failed and not task.cancelled() and task.exception() is not None:
            self._has_failed = True
            for other in self._members:
                self._turns.drop(other)
        self._left -= 1
        if not self._left:
            self._turns.set_busy(self._turn, True)
            if not self._ended.done():
                self._ended.set_result(None)
        self._turns.release(member)


def _failed_at(engine: Engine, call: DurableCall[Any]) -> datetime | None:
    entry = None if call.identity is None else engine.kept.get(call.identity.digest)
    return entry.at if entry is not None and rules.meaning(entry) in _LASTING else None


def _first_of(engine: Engine, failed: Sequence[tuple[DurableCall[Any], Exception]]) -> Exception:
    kept = [(at, error) for call, error in failed if (at := _failed_at(engine, call)) is not None]
    return min(kept, key=lambda one: one[0])[1] if kept else failed[0][1]


def _raise_kept(engine: Engine, calls: Sequence[DurableCall[Any]]) -> tuple[Any, ...]:
    """Raise the earliest kept error; the other calls do not begin."""
    failed: list[tuple[DurableCall[Any], Exception]] = []
    for call in calls:
        call.close()
        if call.identity is not None:
            engine.claim(call.identity)
            entry = engine.kept.get(call.identity.digest)
            error = None if entry is None else rules.error_of(entry, call.identity)
            if error is not None:
                failed.append((call, error))
    raise _first_of(engine, failed)
