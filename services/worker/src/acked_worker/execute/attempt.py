"""One claimed attempt: its assignment, and its state while it runs."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from acked import Kind
from acked_common.model.options import NO_OPTIONS, JobOptions
from acked_common.outcomes.outcome import Interrupted, InterruptReason, Parked, TimedOut, timed_out
from acked_worker.execute.attempt_calls import AttemptCalls, AttemptPort
from acked_worker.process import forks


class Assignment(msgspec.Struct, frozen=True):
    """One claimed attempt of a job, ready to run. `payload` is the decoded JSON value."""

    id: str
    kind: str
    run: int
    attempt: int
    failures: int
    payload: object
    timeout_s: float
    options: JobOptions = NO_OPTIONS
    is_suspect: bool = False
    """Whether it runs isolated."""


LedgerOf = Callable[["RunningAttempt", asyncio.AbstractEventLoop, asyncio.AbstractEventLoop], AttemptPort]
"""Makes the port of an attempt, which is called on the first loop and does its work on the second one."""


class RunningAttempt:
    """A running assignment. The context of its handler reads it (see `acked.context.Attempt`).

    Each field is written by one side only, named in its comment, and read by the other.
    """

    __slots__ = (
        "_make_ledger",
        "_report",
        "_wait_for_fence",
        "assignment",
        "calls",
        "deadline",
        "due",
        "ended",
        "entered",
        "has_lost_job",
        "interrupted",
        "is_lost",
        "kind_spec",
        "overdue",
        "settled",
        "stop_delivered",
        "stop_seen",
        "task",
        "thread_id",
    )

    def __init__(
        self,
        assignment: Assignment,
        kind: Kind,
        deadline: float,
        report: Callable[["RunningAttempt", dict[str, Any]], None],
        wait_for_fence: Callable[[], None],
        make_ledger: Callable[["RunningAttempt"], AttemptPort] | None = None,
    ) -> None:
        """`make_ledger` makes the port of durable calls; None where nothing keeps them."""
        self.assignment = assignment
        self.kind_spec = kind
        self.deadline = deadline
        self._report = report
        self._wait_for_fence = wait_for_fence
        self._make_ledger = make_ledger
        # Plumbing loop: the next check, why it should stop, whether another attempt may own its job by now, and whether
        # its ending has been delivered.
        self.due = deadline
        self.overdue = False
        self.interrupted: InterruptReason | None = None
        self.has_lost_job = False
        self.settled = False
        # Handler side: its stage, and whether it was asked to stop.
        self.entered = False
        self.ended = False
        self.stop_delivered = False
        self.stop_seen = False
        self.calls = AttemptCalls()
        self.task: asyncio.Task[None] | None = None
        # The pool, under its lock: the thread that runs it, and whether that thread was abandoned.
        self.thread_id: int | None = None
        self.is_lost = False

    @property
    def id(self) -> str:
        """The job's id."""
        return self.assignment.id

    @property
    def kind(self) -> str:
        """The job's kind."""
        return self.assignment.kind

    @property
    def run(self) -> int:
        """The job's run."""
        return self.assignment.run

    @property
    def attempt(self) -> int:
        """The number of this start."""
        return self.assignment.attempt

    @property
    def failures(self) -> int:
        """Earlier failures of this run."""
        return self.assignment.failures

    @property
    def options(self) -> JobOptions:
        """The options of the request."""
        return self.assignment.options

    @property
    def ledger(self) -> AttemptPort | None:
        """The port of durable calls, made at the first use; for the handler side."""
        if self.calls.port is None and self._make_ledger is not None:
            self.calls.port = self._make_ledger(self)
        return self.calls.port

    def in_main(self) -> bool:
        """Return whether the caller is the handler's own task or thread."""
        if not self.kind_spec.is_async:
            return threading.get_ident() == self.thread_id
        try:
            return self.task is not None and asyncio.current_task() is self.task
        except RuntimeError:
            # In a thread that the handler started.
            return False

    @property
    def asked_to_stop(self) -> bool:
        """Whether the handler should stop. Waits at the fence first, except in a forked child, where no plumbing opens
        it."""
        if not forks.in_child:
            self._wait_for_fence()
        return self.is_stopping

    @property
    def is_stopping(self) -> bool:
        """Whether it is past its deadline or was interrupted."""
        return self.overdue or self.interrupted is not None

    def seen_stopping(self) -> None:
        """Note that the handler knows that it should stop."""
        self.stop_seen = True

    def report_progress(self, progress: dict[str, Any]) -> None:
        """Report progress of the handler. Ignored after the end of the attempt, and in a forked child."""
        if forks.in_child:
            return
        self._wait_for_fence()
        if not self.ended and not self.settled and not self.has_lost_job:
            self._report(self, progress)


def ending_before_start(attempt: RunningAttempt) -> Interrupted:
    """Return the ending of an attempt that was stopped before its handler began.

    Its time was up through no fault of the job, unless it was interrupted.
    """
    return Interrupted(attempt.interrupted or InterruptReason.NOT_STARTED)


def ending_of_stop(attempt: RunningAttempt, where: str | None = None) -> TimedOut | Interrupted | Parked:
    """Return the ending of an attempt that was stopped; `where` is its traceback at that moment.

    One that has parked had nothing left to do: only a cancel or a lost job goes before that.
    """
    if attempt.interrupted not in (InterruptReason.CANCELLED, InterruptReason.LEASE_LOST):
        decided = attempt.calls.ending
        if decided is not None:
            return decided
    if attempt.interrupted is not None:
        return Interrupted(attempt.interrupted)
    return timed_out(attempt.assignment.timeout_s, where)
