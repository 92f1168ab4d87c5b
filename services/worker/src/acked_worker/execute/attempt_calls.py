"""The durable calls of one running attempt, and the tasks that its handler has started."""

import asyncio
from typing import Any, Protocol

from acked.context import AttemptContext, engine_of
from acked.durable.engine import Engine
from acked.durable.port import LedgerPort
from acked_common.model.lifecycle_waits import Waits
from acked_common.outcomes.outcome import Interrupted, InterruptReason, Parked


class AttemptPort(LedgerPort, Protocol):
    """The port of the durable calls of one attempt; its other methods are called on the handlers' loop."""

    def signal_came(self) -> None:
        """End waits in memory, because a signal may have come. From any thread."""


class AttemptCalls:
    """What an attempt has begun. The handler side writes it."""

    __slots__ = ("_tasks", "context", "port")

    def __init__(self) -> None:
        self.port: AttemptPort | None = None
        """None until the first durable call."""
        self.context: AttemptContext | None = None
        """The argument of the handler; None until the handler begins."""
        self._tasks: set[asyncio.Task[Any]] | None = None

    @property
    def ending(self) -> Parked | Interrupted | None:
        """The ending that the calls have decided, regardless of what the handler does afterwards."""
        engine = self._engine
        if engine is None:
            return None
        if engine.is_lost:
            return Interrupted(InterruptReason.LEASE_LOST)
        why = engine.parked
        if why is None:
            return None
        return Parked(Waits(why.call, why.name, why.until_at, why.signals), why.in_seq)

    def note_task(self, task: "asyncio.Task[Any]") -> None:
        """Note a task that the handler has started, so that it ends with a park. On the handlers' loop."""
        if self._tasks is None:
            self._tasks = set()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def end_tasks_if_parked(self) -> None:
        """Cancel the tasks that the handler started, once the attempt parks. On the handlers' loop."""
        if isinstance(self.ending, Parked):
            for task in tuple(self._tasks or ()):
                task.cancel()

    def stop(self) -> None:
        """End the waits of a handler in a thread, which can't be cancelled. On the handlers' loop."""
        if (engine := self._engine) is not None:
            engine.turns.stop()

    def end(self) -> None:
        """End what the calls still run, after the handler has ended. On the handlers' loop."""
        if (engine := self._engine) is not None:
            self.end_tasks_if_parked()
            engine.turns.close()

    def signal_came(self) -> None:
        """End waits in memory, because a signal may have come. From any thread."""
        if self.port is not None:
            self.port.signal_came()

    @property
    def _engine(self) -> Engine | None:
        return None if self.context is None else engine_of(self.context)
