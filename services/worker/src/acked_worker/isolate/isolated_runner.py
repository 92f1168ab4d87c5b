"""Run each job that is marked for isolation in a process of its own, with the interface of the executor.

A process that dies ends its attempt with `Crashed` and affects no other attempt. An attempt that was still waiting, or
was lost together with the fork server, has not started. The rules are those of `IsolatedAttempts`; this module reports
events to it and performs what it decides.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf

import msgspec

from acked.durable.errors import DurableError, LeaseLost
from acked_common.outcomes.outcome import Crashed, Ending, InterruptReason
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.logs import get_log
from acked_worker.durable.bridge import LedgerAccess
from acked_worker.execute.attempt import Assignment
from acked_worker.execute.stall_fence import StallFence
from acked_worker.isolate.attempts import (
    BEGINS_WITHIN_S,
    Effect,
    FreePlace,
    IsolatedAttempt,
    IsolatedAttempts,
    KillProcess,
    Settle,
    StopHandler,
)
from acked_worker.isolate.fork_server_client import ForkServerClient, ForkServerGone, ForkServerProcess
from acked_worker.isolate.frames import (
    Ask,
    AskInbox,
    AskOpen,
    AskWrite,
    BadFrame,
    Beat,
    Began,
    InboxReply,
    KeptReply,
    OpenedReply,
    ProgressMade,
    Reply,
    Run,
    SignalCame,
    Stop,
    paged,
)
from acked_worker.isolate.ledger_requests import refusal_of
from acked_worker.isolate.process_line import ProcessLine, open_line

log = get_log(__name__)


@dataclass(frozen=True, slots=True)
class _Process:
    """The process of an attempt: its number at the fork server, and the line to it."""

    number: int
    line: ProcessLine


class IsolatedRunner:
    """The isolated attempts of one worker. All on the plumbing loop, callbacks too; they are those of `Executor`."""

    def __init__(
        self,
        *,
        most: int,
        lease_s: float,
        renewal_s: float,
        fence: StallFence,
        on_ended: Callable[[list[tuple[Assignment, Ending]]], None],
        on_progress: Callable[[list[tuple[str, int, object]]], None],
        ledgers: LedgerAccess,
        host: ForkServerProcess | None = None,
    ) -> None:
        """Take the limit of processes at once, and the first fork server if it was started already.

        Attempts beyond the limit wait, and are interrupted or returned like the rest.
        """
        self._lease_s = lease_s
        self._renewal_s = renewal_s
        self._fence = fence
        self._on_ended = on_ended
        self._on_progress = on_progress
        self._ledger_work = ledgers.work
        self._clock = ledgers.clock
        self._host = ForkServerClient(on_ready=self._pump, on_gone=self.give_back_waiting, first=host)
        self._attempts = IsolatedAttempts(most)
        self._processes: dict[IsolatedAttempt, _Process] = {}
        self._hinting: set[IsolatedAttempt] = set()
        """Those whose processes have not read enough for a hint of a signal."""
        self._timer: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._tasks = Tasks()

    def __len__(self) -> int:
        """Return the number of attempts without an ending."""
        return len(self._attempts)

    @property
    def problem(self) -> str | None:
        """Why isolated jobs wait; None while all is well."""
        return self._host.problem

    @property
    def is_prepared(self) -> bool:
        """Whether isolated jobs can run now, or no fork server starts: claimed sooner, they would await an import."""
        return self._host.is_settled

    async def wait_prepared(self) -> None:
        """Return when `is_prepared`."""
        await self._host.wait_settled()

    def start(self) -> None:
        """Start the fork server, so that it is ready before the first isolated job."""
        self._host.start()

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Run assignments, each as soon as a process is free. Returns at once."""
        self._attempts.submit(assignments)
        self._pump()

    def interrupt(self, id: str, attempt: int, reason: InterruptReason) -> None:  # noqa: A002 - the job's id
        """Stop an attempt as the executor does; a process that does not end by itself is killed."""
        self._perform(self._attempts.interrupt((id, attempt), reason, _now()))

    def give_back_waiting(self, kinds: Collection[str] | None = None) -> None:
        """End waiting attempts as not started; only those of `kinds`, if given."""
        self._perform(self._attempts.give_back_waiting(kinds))

    def beat(self) -> None:
        """Send a heartbeat to the processes, because this worker's loop runs."""
        beat = self._beat_now()
        for attempt in self._attempts.live:
            process = self._processes.get(attempt)
            if process is not None:
                process.line.send(beat)

    def signal_came(self, id: str, attempt: int) -> None:  # noqa: A002 - the job's id
        """End the waits of an attempt, because a signal may have come. Ignore unknown attempts."""
        for one in self._attempts.live:
            if (one.assignment.id, one.assignment.attempt) == (id, attempt) and one in self._processes:
                self._hint(one, self._processes[one].line)

    def _hint(self, attempt: IsolatedAttempt, line: ProcessLine) -> None:
        """Send a hint that must not be lost: renewals do not repeat it. One that waits for room stands for all."""
        if attempt in self._hinting or line.send(SignalCame()):
            return
        self._hinting.add(attempt)
        self._tasks.spawn(self._hint_later(attempt, line), f"hint for {attempt.assignment.id}")

    async def _hint_later(self, attempt: IsolatedAttempt, line: ProcessLine) -> None:
        try:
            await line.send_later(SignalCame())
        except OSError:
            # The process is gone, or reads its inbox when it opens its ledger.
            return
        finally:
            self._hinting.discard(attempt)

    async def wait_idle(self, timeout_s: float) -> None:
        """Return when no attempt runs or waits, or after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._attempts:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            return

    async def close(self, timeout_s: float) -> list[Assignment]:
        """Wait for running attempts, then end the fork server and all processes. Return attempts that had no ending."""
        await self.wait_idle(timeout_s)
        left = self._attempts.close()
        self._arm()
        await self._tasks.cancel_all()
        await self._host.stop()
        return left

    def _pump(self) -> None:
        if self._host.is_ready:
            for attempt in self._attempts.start_waiting():
                self._tasks.spawn(self._run(attempt), f"isolated {attempt.assignment.id}")

    async def _run(self, attempt: IsolatedAttempt) -> None:
        line, theirs = open_line()
        try:
            with theirs:
                number, exited = self._host.launch(theirs)
        except ForkServerGone:
            line.close()
            self._perform(self._attempts.not_launched(attempt))
            return
        self._processes[attempt] = _Process(number, line)
        exited.add_done_callback(partial(self._on_exited, attempt))
        try:
            await self._talk(attempt, line)
        except (OSError, EOFError, BadFrame, msgspec.MsgspecError) as error:
            if not isinstance(error, OSError | EOFError):
                job_id = attempt.assignment.id
                log.warning("an isolated process sent an unreadable frame", job_id=job_id, error=str(error))
            self._perform(self._attempts.hung_up(attempt, _now()))
        except Exception:
            log.exception("an isolated job could not be run", job_id=attempt.assignment.id)
            self._perform(self._attempts.failed(attempt, _now()))
        finally:
            line.close()

    async def _talk(self, attempt: IsolatedAttempt, line: ProcessLine) -> None:
        """Send the assignment, and pass on the reports of the process until it ends or closes its socket."""
        assignment = attempt.assignment
        await line.open()
        line.send(
            Run(
                msgspec.structs.replace(assignment, payload=None),
                msgspec.json.encode(assignment.payload),
                self._lease_s,
                self._renewal_s,
                self._beat_now(),
            )
        )
        begins_within_s = BEGINS_WITHIN_S if self._host.copies else inf
        self._perform(self._attempts.connected(attempt, _now(), begins_within_s=begins_within_s))
        while True:
            match await line.read():
                case Began():
                    self._attempts.began(attempt, _now())
                    self._arm()
                case ProgressMade(value):
                    self._on_progress([(assignment.id, assignment.attempt, value)])
                case Ask() as ask:
                    self._tasks.spawn(self._do_ledger_work(attempt, line, ask), f"ledger work of {assignment.id}")
                case last:
                    self._perform(self._attempts.ended(attempt, last.ending, _now()))
                    return

    async def _do_ledger_work(self, attempt: IsolatedAttempt, line: ProcessLine, ask: Ask) -> None:
        assignment = attempt.assignment
        key = (assignment.id, assignment.attempt)
        reply: Reply
        try:
            match ask.work:
                case AskOpen():
                    reply = OpenedReply(await self._ledger_work.open(key))
                case AskWrite(write):
                    reply = KeptReply(await self._ledger_work.write(key, write))
                case AskInbox():
                    signals, in_seq = await self._ledger_work.inbox(key)
                    reply = InboxReply(tuple(signals), in_seq)
        except (DurableError, LeaseLost) as error:
            reply = refusal_of(error)
        try:
            await line.deliver(paged(ask.number, reply))
        except OSError:
            # The process is gone; its end is reported elsewhere.
            return

    def _beat_now(self) -> Beat:
        return Beat(self._fence.proved_at, self._clock.now(), self._clock.monotonic())

    def _on_exited(self, attempt: IsolatedAttempt, exited: "asyncio.Future[int]") -> None:
        is_known = not exited.cancelled() and exited.exception() is None
        self._perform(self._attempts.exited(attempt, exited.result() if is_known else None, _now()))

    def _on_due(self, due_at: float) -> None:
        self._timer = None
        # A loop may call a timer a moment early.
        self._perform(self._attempts.due(max(due_at, _now())))

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            process = self._processes.get(effect.attempt)
            match effect:
                case StopHandler(_, reason) if process is not None:
                    process.line.send(Stop(reason))
                case KillProcess() if process is not None:
                    self._host.kill(process.number)
                case Settle(attempt, ending):
                    if process is not None:
                        process.line.close()
                    self._settle(attempt.assignment, ending)
                case FreePlace(attempt, lingers):
                    self._processes.pop(attempt, None)
                    if lingers:
                        log.warning("an isolated process does not end", job_id=attempt.assignment.id)
                    self._pump()
        self._arm()

    def _settle(self, assignment: Assignment, ending: Ending) -> None:
        if not self._attempts:
            self._idle.set()
        if isinstance(ending, Crashed):
            log.warning("a job ended its process", kind=assignment.kind, job_id=assignment.id, how=ending.how)
        self._on_ended([(assignment, ending)])

    def _arm(self) -> None:
        """Schedule the next deadline of the attempts."""
        due_at = self._attempts.due_at
        if self._timer is not None:
            if self._timer.when() == due_at:
                return
            self._timer.cancel()
            self._timer = None
        if due_at < inf:
            self._timer = asyncio.get_running_loop().call_at(due_at, self._on_due, due_at)


def _now() -> float:
    return asyncio.get_running_loop().time()
