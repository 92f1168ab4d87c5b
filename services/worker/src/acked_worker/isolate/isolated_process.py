"""Run the handler of one job in a process of its own, as a worker does, and exit.

The process lives no longer than its fork server and its worker. While the worker's loop is stalled, its stall fence
closes as the worker's own does.
"""

import asyncio
import ctypes
import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import msgspec
import uvloop

from acked import Kind
from acked_common.outcomes.outcome import Ending
from acked_common.runtime.clock import SharedClock
from acked_common.runtime.lifetime import IDLE_SIGNALS, STOP_SIGNALS
from acked_common.runtime.logs import get_log
from acked_worker.durable.bridge import LedgerAccess
from acked_worker.execute.attempt import Assignment
from acked_worker.execute.executor import Executor
from acked_worker.execute.stall_fence import StallFence
from acked_worker.isolate.frames import (
    LENGTH_BYTES,
    Beat,
    Began,
    ProgressMade,
    Run,
    SignalCame,
    Stop,
    Told,
    ToProcess,
    decode_to_process,
    ended,
    framed,
    length_of,
)
from acked_worker.isolate.ledger_requests import RemoteLedgers
from acked_worker.process.forks import guard_forks
from acked_worker.process.leaving import end_process

log = get_log(__name__)

CLOSE_WITHIN_S = 1.0
_PR_SET_PDEATHSIG = 1
_OOM_SCORE = "500"


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; exit now if the parent has ended already."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def be_killed_first() -> None:
    """Have the kernel kill this process when memory runs out, and neither its worker nor a neighbour."""
    try:
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
    except OSError:
        log.warning("an isolated process could not ask to be killed first when memory runs out")


def leave_signals_to_the_worker() -> None:
    """Leave a signal to all processes at once, such as a stop, to the worker, which then ends this one.

    Catch the signals instead of ignoring them: programs that a handler starts would inherit the latter.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in (*STOP_SIGNALS, *IDLE_SIGNALS):
        signal.signal(number, lambda number, frame: None)


def run_isolated(line: socket.socket, kinds: Mapping[str, Kind]) -> NoReturn:
    """Run the assignment of the first frame, then exit."""
    be_killed_first()
    guard_forks()
    uvloop.run(_IsolatedProcess(line, kinds).run())
    # Threads that handlers left behind do not delay the exit.
    end_process(0)


class _IsolatedProcess:
    def __init__(self, line: socket.socket, kinds: Mapping[str, Kind]) -> None:
        self._line = line
        self._kinds = kinds
        self._ending: asyncio.Future[Ending]
        self._writer: asyncio.StreamWriter
        self._clock = SharedClock()
        self._ledgers = RemoteLedgers(lambda ask: self._writer.write(framed(ask)))

    async def run(self) -> None:
        self._ending = asyncio.get_running_loop().create_future()
        reader, self._writer = await asyncio.open_unix_connection(sock=self._line)
        first = await _read(reader)
        if not isinstance(first, Run):
            raise TypeError(f"the first frame is a {type(first).__name__}")
        fence = StallFence(lease_s=first.lease_s, renewal_s=first.renewal_s)
        self._beat(first.beat, fence)
        executor = Executor(
            self._kinds,
            threads=1,
            on_ended=self._on_ended,
            on_progress=self._on_progress,
            fence=fence,
            ledgers=LedgerAccess(self._ledgers, self._clock).port,
        )
        executor.start()
        self._writer.write(framed(Began()))
        await self._writer.drain()
        executor.submit([msgspec.structs.replace(first.assignment, payload=msgspec.json.decode(first.payload))])
        listening = asyncio.create_task(self._listen(reader, first.assignment, executor, fence))
        self._writer.write(framed(ended(await self._ending)))
        await self._writer.drain()
        await executor.close(CLOSE_WITHIN_S)
        # Read until the worker closes the socket: if it wrote to a closed one, it would lose unread frames.
        await listening

    async def _listen(
        self, reader: asyncio.StreamReader, assignment: Assignment, executor: Executor, fence: StallFence
    ) -> None:
        try:
            while True:
                match await _read(reader):
                    case Stop(reason):
                        executor.interrupt(assignment.id, assignment.attempt, reason)
                    case Beat() as beat:
                        self._beat(beat, fence)
                    case Told() as page:
                        self._ledgers.receive(page)
                    case SignalCame():
                        executor.signal_came(assignment.id, assignment.attempt)
                    case other:
                        raise TypeError(f"another {type(other).__name__}")
        except (OSError, EOFError):
            if not self._ending.done():
                # The worker is gone, so no process could record the outcome.
                os._exit(0)

    def _beat(self, beat: Beat, fence: StallFence) -> None:
        fence.beat()
        fence.prove(beat.proved_at)
        self._clock.adjust(server_at=beat.at, asked=beat.at_monotonic, round_trip_s=0.0)

    def _on_ended(self, ended: list[tuple[Assignment, Ending]]) -> None:
        self._ending.set_result(ended[0][1])

    def _on_progress(self, reports: list[tuple[str, int, object]]) -> None:
        for _, _, value in reports:
            self._writer.write(framed(ProgressMade(value)))


async def _read(reader: asyncio.StreamReader) -> ToProcess:
    head = await reader.readexactly(LENGTH_BYTES)
    frame: ToProcess = decode_to_process(await reader.readexactly(length_of(head)))
    return frame
