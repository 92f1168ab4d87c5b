"""The runner of isolated attempts with a fork server and processes that the test plays."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable

from acked_common.outcomes.outcome import Ending, Interrupted, InterruptReason, Succeeded
from acked_common.runtime.clock import SharedClock
from acked_worker.consume.in_flight import InFlightAttempts
from acked_worker.durable.attempt_ledgers import AttemptLedgers
from acked_worker.durable.bridge import LedgerAccess
from acked_worker.execute.attempt import Assignment
from acked_worker.execute.executor import GRACE_S
from acked_worker.execute.stall_fence import StallFence
from acked_worker.isolate.attempts import LATE_S
from acked_worker.isolate.fork_server_client import ForkServerGone
from acked_worker.isolate.frames import (
    LENGTH_BYTES,
    Began,
    Run,
    ToProcess,
    ToWorker,
    decode_to_process,
    framed,
    length_of,
)
from acked_worker.isolate.isolated_runner import IsolatedRunner
from acked_worker.isolate.process_line import MAX_UNREAD_BYTES, ProcessLine
from support.loop_clock import LoopClock
from support.memory_ledgers import MemoryLedgers
from support.parts import BOUND_S, settle

TIMEOUT_S = 900.0
PATIENCE_S = TIMEOUT_S + GRACE_S + LATE_S
NOT_STARTED = Interrupted(InterruptReason.NOT_STARTED)
DONE = Succeeded(b"7")


class Process:
    """A suspect's process, played by the test."""

    def __init__(self, number: int, line: socket.socket) -> None:
        self.number = number
        self._line = socket.socket(fileno=os.dup(line.fileno()))
        self._line.setblocking(False)
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def say(self, *frames: ToWorker) -> None:
        for frame in frames:
            self.say_bytes(framed(frame))
        await settle()

    def say_bytes(self, data: bytes) -> None:
        self._line.send(data)

    async def hear(self) -> ToProcess:
        """The next frame of the worker."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(BOUND_S):
            head = await loop.sock_recv(self._line, LENGTH_BYTES)
            return decode_to_process(await loop.sock_recv(self._line, length_of(head)))

    async def die(self, code: int = 0) -> None:
        """It exits, and the fork server reports it."""
        self._line.close()
        if not self.exited.done():
            self.exited.set_result(code)
        await settle()


class Host:
    """The fork server, simulated by the test."""

    def __init__(self, *, on_ready: Callable[[], None], on_gone: Callable[[], None], **_: object) -> None:
        self.on_ready = on_ready
        self.on_gone = on_gone
        self.is_ready = True
        self.copies = True
        self.problem = None
        self.is_gone = False
        self.processes: list[Process] = []
        self.launched = asyncio.Event()
        self.killed: list[int] = []
        self.survives_kill = False

    def start(self) -> None:
        """Is there already."""

    async def stop(self) -> None:
        """Ends."""
        for process in self.processes:
            await process.die(-signal.SIGKILL)

    def launch(self, line: socket.socket) -> "tuple[int, asyncio.Future[int]]":
        if self.is_gone:
            raise ForkServerGone
        process = Process(len(self.processes), line)
        self.processes.append(process)
        self.launched.set()
        return process.number, process.exited

    def kill(self, number: int) -> None:
        self.killed.append(number)
        process = self.processes[number]
        if not self.survives_kill and not process.exited.done():
            asyncio.get_running_loop().create_task(process.die(-signal.SIGKILL), name="dies")


class Bench:
    def __init__(self, most: int = 2) -> None:
        self.clock = LoopClock()
        self.ended: list[tuple[str, Ending]] = []
        self.progress: list[tuple[str, int, object]] = []
        self.fence = StallFence()
        self.shared = SharedClock()
        self.store = MemoryLedgers({}, self.shared)
        self.running = InFlightAttempts()
        self.desk = AttemptLedgers(self.store, self.running, lambda kind: "7", lambda held: None, self.shared)
        self.suspects = IsolatedRunner(
            most=most,
            lease_s=30.0,
            renewal_s=10.0,
            fence=self.fence,
            on_ended=lambda found: self.ended.extend((one.id, ending) for one, ending in found),
            on_progress=self.progress.extend,
            ledgers=LedgerAccess(self.desk, self.shared),
        )
        host = self.suspects._host
        assert isinstance(host, Host)
        self.host = host
        self.numbers = 0

    def submit(self, count: int = 1, *, attempt: int = 1) -> list[Assignment]:
        """So many suspects."""
        made = []
        for _ in range(count):
            self.numbers += 1
            made.append(
                Assignment(
                    id=str(self.numbers),
                    kind="demo",
                    run=1,
                    attempt=attempt,
                    failures=0,
                    payload={"n": self.numbers},
                    timeout_s=TIMEOUT_S,
                    is_suspect=True,
                )
            )
        self.suspects.submit(made)
        return made

    async def process(self, number: int = 0) -> Process:
        """The process of that number, when it has been told what to run."""
        async with asyncio.timeout(BOUND_S):
            while len(self.host.processes) <= number:
                self.host.launched.clear()
                await self.host.launched.wait()
        process = self.host.processes[number]
        assert isinstance(await process.hear(), Run)
        return process

    async def begun(self, number: int = 0) -> Process:
        process = await self.process(number)
        await process.say(Began())
        return process

    async def endings(self, count: int = 1) -> list[Ending]:
        async with asyncio.timeout(BOUND_S):
            while len(self.ended) < count:  # noqa: ASYNC110 - turns of the loop, no time
                await asyncio.sleep(0)
        return [ending for _, ending in self.ended]


def fill(bench: Bench) -> ProcessLine:
    """Send to the only process, which reads nothing, until its line takes no more."""
    (process,) = bench.suspects._processes.values()
    for _ in range(200_000):
        bench.suspects.beat()
        if process.line.unread_bytes >= MAX_UNREAD_BYTES:
            break
    return process.line
