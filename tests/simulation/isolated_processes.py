"""The fork server in virtual time: each process of a suspect runs the shipped executor and may crash.

The worker drives it with the shipped `IsolatedRunner`. A process dies with its worker, and goes on while the worker is
paused until its own fence closes, as the real one.
"""

import asyncio
import signal
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import json
from msgspec.structs import replace

from acked_common.outcomes.outcome import Ending
from acked_common.runtime.clock import SharedClock
from acked_worker.durable.bridge import LedgerAccess
from acked_worker.execute.attempt import Assignment
from acked_worker.execute.executor import Executor
from acked_worker.execute.stall_fence import StallFence
from acked_worker.isolate.frames import Beat, Began, Run, SignalCame, Stop, Told, ToProcess, ToWorker
from acked_worker.isolate.frames import ended as ended_frame
from acked_worker.isolate.ledger_requests import RemoteLedgers
from simulation.loop import STRAND, SimProcess, Strand
from simulation.pipes import Pipe
from simulation.scale import SETTLE_S

if TYPE_CHECKING:
    from simulation.simulator import Simulator

CLOSES_WITHIN_S = 1.0
"""How long a process waits for a handler that goes on after its ending."""


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


class WorkerEnd:
    """As `ProcessLine`."""

    def __init__(self, worker: SimProcess, simulator: "Simulator") -> None:
        self._received: deque[ToWorker] = deque()
        self._changed = asyncio.Event()
        self._is_closed = False
        self.to_worker = Pipe(simulator, worker, delay_s=simulator.delay_s())
        self.process: IsolatedProcess | None = None
        """The other end, once a process has it."""

    async def open(self) -> None:
        """As of `ProcessLine`."""

    def send(self, frame: ToProcess) -> bool:
        """As of `ProcessLine`."""
        if self.process is None or self._is_closed:
            return False
        self.process.inbox.send(self.process.receive, frame)
        return True

    async def send_later(self, frame: ToProcess) -> None:
        """As of `ProcessLine`. There is always room, so only a line without a process drops frames."""
        if not self.send(frame):
            raise ConnectionError("the line is not open")

    async def deliver(self, frames: Iterable[ToProcess]) -> None:
        """As of `ProcessLine`."""
        if self._is_closed:
            raise ConnectionError("the line is closed")
        for frame in frames:
            self.send(frame)

    async def read(self) -> ToWorker:
        """As of `ProcessLine`."""
        while not self._received:
            if self._is_closed:
                raise EOFError
            self._changed.clear()
            await self._changed.wait()
        return self._received.popleft()

    def close(self) -> None:
        """As of `ProcessLine`."""
        if self.process is not None and not self._is_closed:
            self.process.inbox.send(self.process.hung_up)
        self.ended()

    def receive(self, frame: ToWorker) -> None:
        """A frame of the process has arrived."""
        self._received.append(frame)
        self._changed.set()

    def ended(self) -> None:
        """The process has hung up."""
        self._is_closed = True
        self._changed.set()


class _ProcessEnd:
    """The socket that a process gets."""

    def __init__(self, line: WorkerEnd) -> None:
        self.line = line

    def __enter__(self) -> "_ProcessEnd":
        return self

    def __exit__(self, *_: object) -> None:
        """The worker keeps its own end alone."""


def open_line() -> tuple[WorkerEnd, _ProcessEnd]:
    """As of `process_line`."""
    worker = STRAND.get().process
    line = WorkerEnd(worker, worker.loop.simulation)  # type: ignore[attr-defined]
    return line, _ProcessEnd(line)


class IsolatedProcess:
    """One process of a suspect: as `isolated_process`."""

    def __init__(
        self, simulator: "Simulator", worker: SimProcess, line: WorkerEnd, on_exit: Callable[[int], None]
    ) -> None:
        self._simulator = simulator
        self._line = line
        self._on_exit = on_exit
        self._exit_code = -int(signal.SIGSEGV)
        self._has_ended = False
        self._assignment: Assignment
        self._fence: SimFence
        self._executor: Executor
        self._desk = RemoteLedgers(self._send)
        # Its first frame has the time.
        self._clock = SharedClock(machine=simulator.time, monotonic=simulator.loop.time)
        process = self.process = SimProcess(simulator.loop, worker.name)
        process.is_of_suspect = True
        self.inbox = Pipe(simulator, process, delay_s=simulator.delay_s())
        worker.on_death.append(process.kill)
        process.on_death.append(self._died)

    def receive(self, frame: ToProcess) -> None:
        """In the process: the worker has sent a frame."""
        match frame:
            case Run():
                self._begin(frame)
            case Stop(reason):
                self._executor.interrupt(self._assignment.id, self._assignment.attempt, reason)
            case Beat() as beat:
                self._fence.beat()
                self._beat(beat)
            case Told() as page:
                self._desk.receive(page)
            case SignalCame():
                self._executor.signal_came(self._assignment.id, self._assignment.attempt)

    def hung_up(self) -> None:
        """In the process: the worker has closed the line, and reads no ending any more."""
        if not self._has_ended:
            self.kill(0)

    def kill(self, code: int = -int(signal.SIGKILL)) -> None:
        """The process ends."""
        if not self.process.is_dead:
            self._exit_code = code
            self.process.kill()

    def _beat(self, beat: Beat) -> None:
        self._fence.prove(beat.proved_at)
        self._clock.adjust(server_at=beat.at, asked=beat.at_monotonic, round_trip_s=0.0)

    def _begin(self, run: Run) -> None:
        rates, chance = self._simulator.rates, self._simulator.rng.random
        if chance() < rates.suspects_fail_to_start:
            # No fault of its job.
            self.process.kill()
            return
        self._assignment = run.assignment
        self._fence = SimFence(lease_s=run.lease_s, renewal_s=run.renewal_s)
        self._beat(run.beat)
        self._executor = Executor(
            self._simulator.kinds,
            threads=1,
            on_ended=self._ended,
            on_progress=lambda _: None,
            fence=self._fence,
            ledgers=LedgerAccess(self._desk, self._clock, SETTLE_S).port,
        )
        self._executor.start()
        self._send(Began())
        self._executor.submit([replace(run.assignment, payload=json.decode(run.payload))])
        simulator = self._simulator
        if chance() < rates.suspects_crash:
            in_s = simulator.rng.choice((0.0, 0.05, simulator.rng.uniform(0, 3)))
            simulator.loop.outside_later(in_s, self._crash)

    def _ended(self, found: list[tuple[Assignment, Ending]]) -> None:
        self._has_ended = True
        self._send(ended_frame(found[0][1]))
        # What goes on after its ending dies with the process.
        in_s = CLOSES_WITHIN_S if self._executor.abandoned else 0.01
        self._simulator.loop.outside_later(in_s, self.kill, 0)

    def _crash(self) -> None:
        if not self.process.is_dead and not self._has_ended:
            self._simulator.crash(self.process, UUID(self._assignment.id), self._assignment.attempt)

    def _send(self, frame: ToWorker) -> None:
        self._line.to_worker.send(self._line.receive, frame)

    def _died(self) -> None:
        self._line.to_worker.send(self._line.ended)
        self._on_exit(self._exit_code)


class SimForkServer:
    """`ForkServerClient` and the fork server behind it, which is always there."""

    is_ready = True
    is_settled = True
    copies = True
    problem = None

    def __init__(self, *, on_ready: Callable[[], None], on_gone: Callable[[], None], first: None = None) -> None:
        self._worker = STRAND.get().process
        self._simulator: Simulator = self._worker.loop.simulation  # type: ignore[attr-defined]
        self._pipe = Pipe(self._simulator, self._worker, delay_s=self._simulator.delay_s())
        self._processes: list[IsolatedProcess] = []

    def start(self) -> None:
        """As of `ForkServerClient`."""

    async def wait_settled(self) -> None:
        """As of `ForkServerClient`."""

    async def stop(self) -> None:
        """As of `ForkServerClient`."""
        for one in self._processes:
            one.kill()

    def launch(self, theirs: _ProcessEnd) -> "tuple[int, asyncio.Future[int]]":
        """As of `ForkServerClient`."""
        exited = self._simulator.loop.create_future()

        def exit_reported(code: int) -> None:
            if not exited.done():
                exited.set_result(code)

        one = IsolatedProcess(
            self._simulator, self._worker, theirs.line, lambda code: self._pipe.send(exit_reported, code)
        )
        theirs.line.process = one
        self._processes.append(one)
        return len(self._processes) - 1, exited

    def kill(self, number: int) -> None:
        """As of `ForkServerClient`."""
        self._simulator.loop.outside_later(self._simulator.delay_s(), self._processes[number].kill)
