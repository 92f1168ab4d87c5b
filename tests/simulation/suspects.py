"""Suspects in virtual time: each runs the shipped executor in a simulated process of its own, which may crash.

The process dies with its worker, and goes on while the worker is paused until its own fence closes, as the real one.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from acked_worker.execute.attempt import Assignment
from acked_worker.execute.executor import GRACE_S, Executor
from acked_worker.execute.outcome import Crashed, Ending, Interrupted, InterruptReason
from acked_worker.execute.stall_fence import StallFence
from acked_worker.isolate.attempts import LATE_S
from simulation.handlers import KINDS
from simulation.loop import STRAND, SimProcess, Strand

if TYPE_CHECKING:
    from simulation.simulator import Simulator


class SimFence(StallFence):
    """`StallFence` in virtual time: while it is closed, the strands behind it make no step; no thread waits."""

    def __init__(self, **durations: float) -> None:
        self._loop = STRAND.get().process.loop
        self._strands: list[Strand] = []
        super().__init__(**durations, clock=self._loop.time)

    def guard(self, strand: Strand) -> None:
        """Holds the steps of a strand while it is closed."""
        self._strands.append(strand)
        strand.is_open = lambda: self.is_open

    def beat(self) -> bool:
        must_renew = super().beat()
        self._look_again()
        return must_renew

    def prove(self, sent_at: float) -> None:
        super().prove(sent_at)
        self._look_again()

    def wait(self) -> None:
        """Whoever asks has been let through."""

    def _look_again(self) -> None:
        for strand in self._strands:
            self._loop.list_strand(strand)


class _Suspect:
    """One suspect, and its process as its worker sees it."""

    def __init__(self, assignment: Assignment, delay_s: float) -> None:
        self.assignment = assignment
        self.delay_s = delay_s
        """Of each message between worker and process: none overtakes another."""
        self.interrupted: InterruptReason | None = None
        self.process: SimProcess | None = None
        self.fence: SimFence
        self.executor: Executor
        self.has_begun = False
        """The worker knows that its handler may have made a step."""
        self.has_ended = False
        """The process has sent its ending."""
        self.is_killed = False
        self.is_settled = False


class SimSuspects:
    """As `Suspects`."""

    problem = None
    is_prepared = True

    def __init__(
        self,
        *,
        most: int,
        lease_s: float,
        renewal_s: float,
        fence: StallFence,
        on_ended: Callable[[list[tuple[Assignment, Ending]]], None],
        on_progress: Callable[[list[tuple[str, int, object]]], None],
        host: None = None,
    ) -> None:
        self._worker = STRAND.get().process
        self._simulator: Simulator = self._worker.loop.simulation  # type: ignore[attr-defined]
        self._most = most
        self._durations = {"lease_s": lease_s, "renewal_s": renewal_s}
        self._fence = fence
        self._on_ended = on_ended
        self._live: dict[tuple[str, int], _Suspect] = {}
        self._waiting: deque[_Suspect] = deque()
        self._processes = 0
        self._idle = asyncio.Event()

    def __len__(self) -> int:
        return len(self._live)

    def start(self) -> None:
        """As of `Suspects`."""

    async def wait_prepared(self) -> None:
        """As of `Suspects`."""

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """As of `Suspects`."""
        for assignment in assignments:
            suspect = _Suspect(assignment, self._simulator.delay_s())
            self._live[assignment.id, assignment.attempt] = suspect
            self._waiting.append(suspect)
        self._pump()

    def interrupt(self, id: str, attempt: int, reason: InterruptReason) -> None:  # noqa: A002 - as of `Suspects`
        """As of `Suspects`."""
        suspect = self._live.get((id, attempt))
        if suspect is None:
            return
        if suspect.interrupted is not None:
            if reason is InterruptReason.LEASE_LOST:
                self._kill(suspect)
            return
        suspect.interrupted = reason
        if suspect in self._waiting:
            self._waiting.remove(suspect)
            self._settle(suspect, _not_begun(suspect))
        elif suspect.process is not None:
            self._stop(suspect, reason)

    def beat(self) -> None:
        """As of `Suspects`."""
        proved_at = self._fence.proved_at
        for suspect in self._live.values():
            self._tell(suspect, _hear_beat, proved_at)

    async def wait_idle(self, timeout_s: float) -> None:
        """As of `Suspects`."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._live:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            return

    async def close(self, timeout_s: float) -> list[Assignment]:
        """As of `Suspects`."""
        await self.wait_idle(timeout_s)
        left = list(self._live.values())
        for suspect in left:
            suspect.is_settled = True
            if suspect.process is not None:
                suspect.process.kill()
        self._live.clear()
        self._waiting.clear()
        return [suspect.assignment for suspect in left]

    def _pump(self) -> None:
        while self._waiting and self._processes < self._most:
            self._processes += 1
            suspect = self._waiting.popleft()
            self._simulator.loop.outside_later(self._simulator.delay_s(), self._launch, suspect)

    # Outside of the worker.

    def _launch(self, suspect: _Suspect) -> None:
        """The host has made the process, and it has read what to run."""
        simulator = self._simulator
        if self._worker.is_dead or suspect.is_settled:
            return
        process = suspect.process = SimProcess(simulator.loop, self._worker.name)
        process.is_of_suspect = True
        self._worker.on_death.append(process.kill)
        process.on_death.append(lambda: self._hear(suspect, self._exited, suspect))
        process.main.context().run(self._begin, suspect, self._fence.proved_at)
        self._hear(suspect, self._began, suspect)
        if suspect.is_killed:
            process.kill()
        elif suspect.interrupted is not None:
            self._tell(suspect, _hear_stop, suspect.interrupted)
        if simulator.rng.random() < simulator.rates.suspects_crash:
            simulator.loop.outside_later(
                simulator.rng.choice((0.0, 0.05, simulator.rng.uniform(0, 3))), self._crash, suspect
            )

    def _begin(self, suspect: _Suspect, proved_at: float) -> None:
        """In the process: as `run_suspect`."""

        def ended(found: list[tuple[Assignment, Ending]]) -> None:
            suspect.has_ended = True
            self._hear(suspect, self._settle, suspect, found[0][1])
            # What goes on after its end dies with the process; the death must not overtake the ending.
            process = STRAND.get().process
            process.loop.outside_later(1.0 if suspect.executor.abandoned else 0.01, process.kill)

        suspect.fence = SimFence(**self._durations)
        suspect.fence.prove(proved_at)
        suspect.executor = Executor(KINDS, threads=1, on_ended=ended, on_progress=lambda _: None, fence=suspect.fence)
        suspect.executor.start()
        suspect.executor.submit([suspect.assignment])

    def _crash(self, suspect: _Suspect) -> None:
        process = suspect.process
        if process is None or process.is_dead or suspect.has_ended:
            return
        self._simulator.crash(process, UUID(suspect.assignment.id), suspect.assignment.attempt)

    def _hear(self, suspect: _Suspect, callback: Callable[..., object], *args: Any) -> None:
        """The process, or its death, tells the worker something."""
        loop, context = self._simulator.loop, self._worker.main.context()
        loop.outside_later(suspect.delay_s, lambda: loop.call_soon(callback, *args, context=context))

    def _tell(self, suspect: _Suspect, callback: Callable[..., object], *args: Any) -> None:
        """The worker tells the process something."""
        process = suspect.process
        if process is not None and not process.is_dead:
            loop, context = self._simulator.loop, process.main.context()
            loop.outside_later(suspect.delay_s, lambda: loop.call_soon(callback, suspect, *args, context=context))

    # In the worker.

    def _began(self, suspect: _Suspect) -> None:
        suspect.has_begun = True

    def _exited(self, suspect: _Suspect) -> None:
        self._processes -= 1
        if not suspect.has_begun:
            self._settle(suspect, _not_begun(suspect))
        elif suspect.interrupted and suspect.is_killed:
            self._settle(suspect, Interrupted(suspect.interrupted))
        else:
            self._settle(suspect, Crashed("killed by SIGSEGV"))
        self._pump()

    def _stop(self, suspect: _Suspect, reason: InterruptReason) -> None:
        if reason is InterruptReason.LEASE_LOST:
            self._kill(suspect)
        else:
            self._tell(suspect, _hear_stop, reason)
            self._simulator.loop.call_later(GRACE_S + LATE_S, self._kill, suspect)

    def _kill(self, suspect: _Suspect) -> None:
        if suspect.is_settled:
            return
        suspect.is_killed = True
        if suspect.process is not None:
            self._simulator.loop.outside_later(suspect.delay_s, suspect.process.kill)

    def _settle(self, suspect: _Suspect, ending: Ending) -> None:
        if suspect.is_settled:
            return
        suspect.is_settled = True
        assignment = suspect.assignment
        del self._live[assignment.id, assignment.attempt]
        if not self._live:
            self._idle.set()
        self._on_ended([(assignment, ending)])


def _hear_beat(suspect: _Suspect, proved_at: float) -> None:
    suspect.fence.beat()
    suspect.fence.prove(proved_at)


def _hear_stop(suspect: _Suspect, reason: InterruptReason) -> None:
    assignment = suspect.assignment
    suspect.executor.interrupt(assignment.id, assignment.attempt, reason)


def _not_begun(suspect: _Suspect) -> Interrupted:
    reason = suspect.interrupted
    if reason is None or reason is InterruptReason.DRAINED:
        return Interrupted(InterruptReason.NOT_STARTED)
    return Interrupted(reason)
