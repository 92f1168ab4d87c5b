"""One attempt of a job under test: its context, its ledger, and the points at which it can be killed.

A kill is like SIGKILL: no code of the attempt runs any more. Its tasks stay where they are, and its later durable calls
never return. `close` ends them when the test is over.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any, TypeVar

from acked.context import BlockingContext, Context
from acked.durable.calls import DurableCall
from acked.durable.engine import LATE_CALLS, Engine
from acked.durable.errors import LeaseLost
from acked.durable.turns import Turn
from acked.testing.kit_job import JOB_ID
from acked.testing.kit_port import KitPort
from acked.testing.world import World
from acked_common.model.options import NO_OPTIONS, JobOptions
from acked_common.store.records import ClaimedJob

T = TypeVar("T")
CLOSED_WITHIN_S = 2.0

LIFE: ContextVar["Life | None"] = ContextVar("acked_life", default=None)
"""The attempt to which the running code belongs."""


class KitEngine(Engine):
    """The engine of an attempt that can be killed before each of its durable calls."""

    def __init__(self, life: "Life") -> None:
        super().__init__(life.ledger, life)
        self._life = life

    async def drive(self, call: DurableCall[T], body: Callable[[Turn], Coroutine[Any, Any, T]], turn: Turn | None) -> T:
        """Reach the point before the call, then make it."""
        if turn is None:
            return await super().drive(call, body, turn)
        await self._life.reach(f"before {call.label}")
        if call.identity is not None:
            self._life.world.asked.add(call.identity.text)
        return await super().drive(call, body, turn)


class Life:
    """The attempt behind a context."""

    def __init__(self, world: World, job: ClaimedJob) -> None:
        self.world = world
        self.loop = asyncio.get_running_loop()
        self.job = job
        self.options: JobOptions = NO_OPTIONS
        self.asked_to_stop = False
        self.is_dead = False
        self.killed = asyncio.Event()
        self.tasks: list[asyncio.Task[Any]] = []
        self.main: asyncio.Task[Any] | None = None
        self.thread_id: int | None = None
        self.started_at = world.clock.now()
        self.deadline = time.monotonic() + world.kind.options.timeout_s
        self._is_closed = False
        self._late = 0
        self.ledger = KitPort(self)
        self.engine = KitEngine(self)

    @property
    def context(self) -> Context | BlockingContext:
        """The first argument of the handler."""
        return Context(self, self.engine) if self.world.kind.is_async else BlockingContext(self, self.engine)

    # The attempt behind the context.

    @property
    def id(self) -> str:
        """The job's id."""
        return str(JOB_ID)

    @property
    def kind(self) -> str:
        """The kind's name."""
        return self.world.kind.name

    @property
    def run(self) -> int:
        """The run."""
        return self.job.run

    @property
    def attempt(self) -> int:
        """The number of the attempt."""
        return self.job.attempt

    @property
    def failures(self) -> int:
        """Earlier failures."""
        return self.job.failures

    def seen_stopping(self) -> None:
        """Do nothing: the kit itself stops attempts."""

    def report_progress(self, progress: dict[str, Any]) -> None:
        """Note the progress."""
        if not self.is_dead:
            self.world.job.progress.append(progress)

    # Kills.

    async def reach(self, point: str) -> None:
        """Reach a point; if the attempt is killed there, never return."""
        if not self.is_dead and self.world.points.is_killed_at(point):
            self.kill()
        if self.is_dead:
            await self._never()

    def kill(self) -> None:
        """End the attempt at once, as SIGKILL does."""
        self.is_dead = True
        self.killed.set()

    async def close(self) -> None:
        """End what is left of the attempt; nothing of it is recorded."""
        self.is_dead = self._is_closed = self.asked_to_stop = True
        self.engine.turns.close()
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            ended, _ = await asyncio.wait(self.tasks, timeout=CLOSED_WITHIN_S)
            for task in ended:
                if not task.cancelled():
                    # What a task of a killed attempt raises at the end is not worth a log entry.
                    task.exception()

    async def _never(self) -> None:
        self._late += 1
        # A handler that catches everything in a loop must not keep the test from ending.
        if not self._is_closed or self._late > LATE_CALLS:
            await self.loop.create_future()
        raise LeaseLost
