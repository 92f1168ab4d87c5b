"""The process of one suspect: runs the handler of one job, as a worker does, and ends. Nothing else runs in it.

It lives no longer than its host and its worker. While the worker does not come round, its gate closes as the worker's
own would.
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
from acked_common.runtime.lifetime import IDLE_SIGNALS, STOP_SIGNALS
from acked_common.runtime.logs import get_log
from acked_worker.execute.attempt import Assignment
from acked_worker.execute.executor import Executor
from acked_worker.execute.outcome import Ending
from acked_worker.execute.stall_fence import StallFence
from acked_worker.isolate.frames import (
    LENGTH_BYTES,
    Beat,
    Began,
    ProgressMade,
    Run,
    Stop,
    ToProcess,
    decode_to_process,
    ended,
    framed,
    length_of,
)
from acked_worker.process.forks import guard_forks
from acked_worker.process.leaving import end_process

log = get_log(__name__)

CLOSE_WITHIN_S = 1.0
_PR_SET_PDEATHSIG = 1
_OOM_SCORE = "500"


def die_with_parent(parent: int) -> None:
    """The kernel kills this process when its parent ends; it ends here when the parent has ended already."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def be_killed_first() -> None:
    """When memory runs out, the kernel shall take this process, and neither its worker nor a neighbour."""
    try:
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
    except OSError:
        log.warning("the process of a suspect could not ask to be the first that is killed when memory runs out")


def leave_signals_to_the_worker() -> None:
    """A signal to all processes at once, as of a stop, is for the worker, which then ends this one.

    Not ignored but caught: what a handler starts would inherit the first.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in (*STOP_SIGNALS, *IDLE_SIGNALS):
        signal.signal(number, lambda number, frame: None)


def run_suspect(line: socket.socket, kinds: Mapping[str, Kind]) -> NoReturn:
    """Runs what the first frame says, then ends the process."""
    be_killed_first()
    guard_forks()
    uvloop.run(_IsolatedProcess(line, kinds).run())
    # What handlers have left behind, such as threads, does not hold it.
    end_process(0)


class _IsolatedProcess:
    def __init__(self, line: socket.socket, kinds: Mapping[str, Kind]) -> None:
        self._line = line
        self._kinds = kinds
        self._ending: asyncio.Future[Ending]
        self._writer: asyncio.StreamWriter

    async def run(self) -> None:
        self._ending = asyncio.get_running_loop().create_future()
        reader, self._writer = await asyncio.open_unix_connection(sock=self._line)
        first = await _read(reader)
        if not isinstance(first, Run):
            raise TypeError(f"the first frame is a {type(first).__name__}")
        fence = StallFence(lease_s=first.lease_s, renewal_s=first.renewal_s)
        fence.prove(first.proved_at)
        executor = Executor(self._kinds, threads=1, on_ended=self._on_ended, on_progress=self._on_progress, fence=fence)
        executor.start()
        self._writer.write(framed(Began()))
        await self._writer.drain()
        executor.submit([msgspec.structs.replace(first.assignment, payload=msgspec.json.decode(first.payload))])
        listening = asyncio.create_task(self._listen(reader, first.assignment, executor, fence))
        self._writer.write(framed(ended(await self._ending)))
        await self._writer.drain()
        await executor.close(CLOSE_WITHIN_S)
        # Until the worker has hung up: what it writes to a line that is closed would cost it what it has not read yet.
        await listening

    async def _listen(
        self, reader: asyncio.StreamReader, assignment: Assignment, executor: Executor, fence: StallFence
    ) -> None:
        try:
            while True:
                match await _read(reader):
                    case Stop(reason):
                        executor.interrupt(assignment.id, assignment.attempt, reason)
                    case Beat(proved_at):
                        fence.beat()
                        fence.prove(proved_at)
                    case other:
                        raise TypeError(f"another {type(other).__name__}")
        except (OSError, EOFError):
            if not self._ending.done():
                # The worker is gone, and so is whoever could record what comes of it.
                os._exit(0)

    def _on_ended(self, ended: list[tuple[Assignment, Ending]]) -> None:
        self._ending.set_result(ended[0][1])

    def _on_progress(self, reports: list[tuple[str, int, object]]) -> None:
        for _, _, value in reports:
            self._writer.write(framed(ProgressMade(value)))


async def _read(reader: asyncio.StreamReader) -> ToProcess:
    head = await reader.readexactly(LENGTH_BYTES)
    frame: ToProcess = decode_to_process(await reader.readexactly(length_of(head)))
    return frame
