"""What stands in for threads and connections of a worker: its handlers' loop, and its line to the gateways."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any
from uuid import UUID

import acked_worker.execute.stall_fence
from acked_common.channel.frames import Cancel, JobAttempt, Signalled
from simulation.isolated_processes import SimFence
from simulation.loop import STRAND


class SimThreadLoop:
    """`ThreadLoop` as one more strand of the same process."""

    lag_s = 0.0

    def __init__(self, name: str, fence: SimFence) -> None:
        self._process = STRAND.get().process
        self._strand = self._process.add_strand()
        # Tasks that handlers and their durable calls start, too.
        self._strand.task_factory = acked_worker.execute.stall_fence.guarding(fence)
        fence.guard(self._strand)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop of all strands: who calls it goes on in its own."""
        return self._process.loop

    def start(self) -> None:
        """As of `ThreadLoop`."""

    def call(self, callback: Callable[..., object], *args: Any) -> None:
        """As of `ThreadLoop`."""
        self._process.loop.call_soon(callback, *args, context=self._strand.context())

    def create_task(self, coroutine: Any, variables: Context) -> "asyncio.Task[None]":
        """As of `ThreadLoop`."""
        variables.run(STRAND.set, self._strand)
        return self._process.loop.create_task(coroutine, context=variables)

    async def stop(self, timeout_s: float) -> bool:
        """As of `ThreadLoop`."""
        return True


class SimReporter:
    """`Reporter` without gateways: nobody hears the reports, and cancels come through the simulation."""

    problem = None

    def __init__(self, urls: object, secret: object, *, hello: object, on_command: Callable[[Any], None]) -> None:
        self._on_command = on_command
        STRAND.get().process.on_cancel = self.cancel  # type: ignore[attr-defined]
        STRAND.get().process.on_signalled = self.signalled  # type: ignore[attr-defined]

    def cancel(self, job_id: UUID, attempt: int) -> None:
        """A gateway sends a cancel."""
        self._on_command(Cancel([JobAttempt(job_id, attempt)]))

    def signalled(self, job_id: UUID, attempt: int) -> None:
        """A gateway tells of a signal."""
        self._on_command(Signalled([JobAttempt(job_id, attempt)]))

    def report(self, events: object) -> None:
        """As of `Reporter`."""

    def progress(self, reports: object) -> None:
        """As of `Reporter`."""

    async def start(self) -> None:
        """As of `Reporter`."""

    async def stop(self) -> None:
        """As of `Reporter`."""
