"""Runs suspects: each job whose worker was lost, alone in a process of its own. Looks like the executor from outside.

A process that dies ends its attempt with `Crashed`, and harms nobody else. What was still waiting, or was lost together
with the host, has not started.
"""

import asyncio
import signal
import socket
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.logs import get_log
from acked_worker.execute.attempt import Assignment
from acked_worker.execute.executor import GRACE_S
from acked_worker.execute.outcome import Crashed, Ending, Interrupted, InterruptReason, timed_out
from acked_worker.execute.stall_fence import StallFence
from acked_worker.isolate.fork_server_client import ForkServerClient, ForkServerGone, ForkServerProcess
from acked_worker.isolate.frames import (
    LENGTH_BYTES,
    BadFrame,
    Beat,
    Began,
    ProgressMade,
    Run,
    Stop,
    ToProcess,
    ToWorker,
    decode_to_worker,
    framed,
    length_of,
)

log = get_log(__name__)

BEGINS_WITHIN_S = 60.0
"""A copy of the host. A new program first imports the handlers, which has no limit."""
LATE_S = 3.0
"""Beside the grace: how long after its time a process may still tell how its handler ended."""
EXIT_WITHIN_S = 3.0
MAX_UNREAD_BYTES = 64 * 1024


class _IsolatedAttempt:
    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.interrupted: InterruptReason | None = None
        self.writer: asyncio.StreamWriter | None = None
        self.number: int | None = None
        """Of its process."""
        self.is_settled = False
        self.is_killed = False

    def tell(self, frame: ToProcess) -> None:
        """Sends a frame, if the process is there and reads."""
        if self.writer is not None and self.writer.transport.get_write_buffer_size() < MAX_UNREAD_BYTES:
            self.writer.write(framed(frame))


class IsolatedRunner:
    """The suspects of one worker. All on the plumbing loop, callbacks too; they are those of `Executor`."""

    def __init__(
        self,
        *,
        most: int,
        lease_s: float,
        renewal_s: float,
        fence: StallFence,
        on_ended: Callable[[list[tuple[Assignment, Ending]]], None],
        on_progress: Callable[[list[tuple[str, int, object]]], None],
        host: ForkServerProcess | None = None,
    ) -> None:
        """`most`: processes at once; what is above waits, and is interrupted or given back like the rest. `host`: the
        first one, where it was started already."""
        self._most = most
        self._lease_s = lease_s
        self._renewal_s = renewal_s
        self._fence = fence
        self._on_ended = on_ended
        self._on_progress = on_progress
        self._host = ForkServerClient(on_ready=self._pump, on_gone=self._give_back, first=host)
        self._live: dict[tuple[str, int], _IsolatedAttempt] = {}
        self._waiting: deque[_IsolatedAttempt] = deque()
        self._processes = 0
        self._idle = asyncio.Event()
        self._tasks = Tasks()

    @property
    def problem(self) -> str | None:
        """Why suspects wait; None while all is well."""
        return self._host.problem

    @property
    def is_prepared(self) -> bool:
        """Whether suspects can run now, or no host starts: claimed before that, they would wait for an import."""
        return self._host.is_settled

    async def wait_prepared(self) -> None:
        """Return when `is_prepared`."""
        await self._host.wait_settled()

    def start(self) -> None:
        """Starts the host, so that it is ready when somebody is suspected."""
        self._host.start()

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Runs assignments, each as soon as a process is free. Returns at once."""
        for assignment in assignments:
            suspect = _IsolatedAttempt(assignment)
            self._live[assignment.id, assignment.attempt] = suspect
            self._waiting.append(suspect)
        self._pump()

    def interrupt(self, id: str, attempt: int, reason: InterruptReason) -> None:  # noqa: A002 - the job's id
        """Stops an attempt as the executor does; a process that does not end by itself is killed."""
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
        else:
            self._stop(suspect, reason)

    def beat(self) -> None:
        """Tells the processes that this worker comes round."""
        beat = Beat(self._fence.proved_at)
        for suspect in self._live.values():
            suspect.tell(beat)

    async def wait_idle(self, timeout_s: float) -> None:
        """Returns when nothing runs or waits, or after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._live:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            return

    async def close(self, timeout_s: float) -> list[Assignment]:
        """Waits for what runs, then ends the host and all processes. Returns what had no ending until then."""
        await self.wait_idle(timeout_s)
        left = list(self._live.values())
        for suspect in left:
            suspect.is_settled = True
        self._live.clear()
        self._waiting.clear()
        await self._tasks.cancel_all()
        await self._host.stop()
        return [suspect.assignment for suspect in left]

    def _pump(self) -> None:
        while self._waiting and self._processes < self._most and self._host.is_ready:
            suspect = self._waiting.popleft()
            self._processes += 1
            self._tasks.spawn(self._run(suspect), f"suspect {suspect.assignment.id}")

    def _give_back(self) -> None:
        """There is no host: other workers may have one."""
        waiting, self._waiting = self._waiting, deque()
        for suspect in waiting:
            self._settle(suspect, _not_begun(suspect))

    async def _run(self, suspect: _IsolatedAttempt) -> None:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                number, exited = self._host.launch(theirs)
            suspect.number = number
        except ForkServerGone:
            ours.close()
            self._processes -= 1
            self._settle(suspect, _not_begun(suspect))
            return
        try:
            ending = await self._talk(suspect, ours, number, exited)
        except Exception:
            log.exception("a suspect could not be run", job_id=suspect.assignment.id)
            ending = _not_begun(suspect)
        finally:
            if suspect.writer is not None:
                suspect.writer.close()
            ours.close()
        self._settle(suspect, ending)
        try:
            await self._see_off(number, exited)
        except ForkServerGone:
            # Its processes have gone with it.
            pass
        except TimeoutError:
            log.warning("the process of a suspect does not end", job_id=suspect.assignment.id)
        finally:
            self._processes -= 1
            self._pump()

    async def _talk(  # noqa: C901 - one ending a branch
        self, suspect: _IsolatedAttempt, line: socket.socket, number: int, exited: "asyncio.Future[int]"
    ) -> Ending:
        """What the process tells, or what its death says."""
        assignment = suspect.assignment
        reader, suspect.writer = await asyncio.open_unix_connection(sock=line)
        suspect.writer.write(
            framed(
                Run(
                    msgspec.structs.replace(assignment, payload=None),
                    msgspec.json.encode(assignment.payload),
                    self._lease_s,
                    self._renewal_s,
                    self._fence.proved_at,
                )
            )
        )
        if suspect.interrupted is not None:
            self._stop(suspect, suspect.interrupted)
        has_begun = False
        try:
            async with asyncio.timeout(BEGINS_WITHIN_S if self._host.copies else None) as patience:
                while True:
                    match await _read(reader):
                        case Began():
                            has_begun = True
                            now = asyncio.get_running_loop().time()
                            patience.reschedule(now + assignment.timeout_s + GRACE_S + LATE_S)
                        case ProgressMade(value):
                            self._on_progress([(assignment.id, assignment.attempt, value)])
                        case last:
                            return last.ending
        except TimeoutError:
            if not has_begun:
                return _not_begun(suspect)
            return Interrupted(suspect.interrupted) if suspect.interrupted else timed_out(assignment.timeout_s, None)
        except (OSError, EOFError):
            pass
        except (BadFrame, msgspec.MsgspecError) as error:
            log.warning("a suspect's process sent what can't be read", job_id=assignment.id, error=str(error))
        if not has_begun:
            return _not_begun(suspect)
        if suspect.interrupted and suspect.is_killed:
            return Interrupted(suspect.interrupted)
        try:
            return Crashed(_how(await self._see_off(number, exited)))
        except ForkServerGone:
            return _not_begun(suspect)

    def _stop(self, suspect: _IsolatedAttempt, reason: InterruptReason) -> None:
        """Cancels what can be cancelled, and ends the process where that was too little. One whose job may have another
        owner ends at once."""
        if reason is InterruptReason.LEASE_LOST:
            self._kill(suspect)
        else:
            suspect.tell(Stop(reason))
            asyncio.get_running_loop().call_later(GRACE_S + LATE_S, self._kill, suspect)

    def _kill(self, suspect: _IsolatedAttempt) -> None:
        if suspect.number is not None and not suspect.is_settled:
            suspect.is_killed = True
            self._host.kill(suspect.number)

    async def _see_off(self, number: int, exited: "asyncio.Future[int]") -> int:
        """How the process ended; one that lingers is killed. Raises `HostGone`."""
        try:
            async with asyncio.timeout(EXIT_WITHIN_S):
                return await asyncio.shield(exited)
        except TimeoutError:
            self._host.kill(number)
            async with asyncio.timeout(EXIT_WITHIN_S):
                return await asyncio.shield(exited)

    def _settle(self, suspect: _IsolatedAttempt, ending: Ending) -> None:
        if suspect.is_settled:
            return
        suspect.is_settled = True
        assignment = suspect.assignment
        del self._live[assignment.id, assignment.attempt]
        if not self._live:
            self._idle.set()
        if isinstance(ending, Crashed):
            log.warning("a job ended its process", kind=assignment.kind, job_id=assignment.id, how=ending.how)
        self._on_ended([(assignment, ending)])


def _not_begun(suspect: _IsolatedAttempt) -> Interrupted:
    """Its ending when it says nothing about the job, which stays a suspect."""
    reason = suspect.interrupted
    if reason is None or reason is InterruptReason.DRAINED:
        return Interrupted(InterruptReason.NOT_STARTED)
    return Interrupted(reason)


def _how(code: int) -> str:
    """How a process ended, for people."""
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"killed by {name}" + (", as when memory runs out" if -code == signal.SIGKILL else "")


async def _read(reader: asyncio.StreamReader) -> ToWorker:
    head = await reader.readexactly(LENGTH_BYTES)
    frame: ToWorker = decode_to_worker(await reader.readexactly(length_of(head)))
    return frame
