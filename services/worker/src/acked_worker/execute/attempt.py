"""One claimed attempt: what the executor is given, and what it knows of it while it runs."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from acked import Kind
from acked_common.model.options import NO_OPTIONS, JobOptions
from acked_worker.execute.outcome import Interrupted, InterruptReason, TimedOut, timed_out
from acked_worker.process import forks

if TYPE_CHECKING:
    import asyncio


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
    """Runs alone in a process."""


class RunningAttempt:
    """An assignment on its way. The context of its handler looks at it (see `acked.context.Attempt`).

    Each field is written by one side only, named in its comment, and read by the other.
    """

    __slots__ = (
        "_report",
        "_wait_for_fence",
        "assignment",
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
    ) -> None:
        self.assignment = assignment
        self.kind_spec = kind
        self.deadline = deadline
        self._report = report
        self._wait_for_fence = wait_for_fence
        # Plumbing loop: when to look next, why it should stop, whether another attempt may own its job by now, and
        # whether its ending has been given out.
        self.due = deadline
        self.overdue = False
        self.interrupted: InterruptReason | None = None
        self.has_lost_job = False
        self.settled = False
        # Where the handler runs: how far it is, and whether it was told to stop.
        self.entered = False
        self.ended = False
        self.stop_delivered = False
        self.stop_seen = False
        self.task: asyncio.Task[None] | None = None
        # The pool, under its lock: the thread that runs it, and whether that thread was given up.
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
        """What the request asked for."""
        return self.assignment.options

    @property
    def asked_to_stop(self) -> bool:
        """What its handler reads, at the gate; else as `is_stopping`. No plumbing opens the gate of a forked child."""
        if not forks.in_child:
            self._wait_for_fence()
        return self.is_stopping

    @property
    def is_stopping(self) -> bool:
        """Whether it is past its deadline or was interrupted."""
        return self.overdue or self.interrupted is not None

    def seen_stopping(self) -> None:
        """Its handler knows that it should stop."""
        self.stop_seen = True

    def report_progress(self, progress: dict[str, Any]) -> None:
        """Its handler reports progress; nobody listens any more once it has ended, nor to a forked child."""
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


def ending_of_stop(attempt: RunningAttempt, where: str | None = None) -> TimedOut | Interrupted:
    """Return the ending of an attempt that was stopped; `where` is the traceback of what it was doing."""
    if attempt.interrupted is not None:
        return Interrupted(attempt.interrupted)
    return timed_out(attempt.assignment.timeout_s, where)
