"""Map the ending of an attempt to its transition. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from acked_common.model import lifecycle, lifecycle_waits, poison
from acked_common.model.attempts import AttemptOutcome, EndedAttempt, error_group, kept_error, with_group
from acked_common.model.backoff import Backoff
from acked_common.model.lifecycle import HistoryEntry, Reason, Transition
from acked_common.outcomes.outcome import (
    Crashed,
    Ending,
    ErrorInfo,
    Failed,
    Interrupted,
    InterruptReason,
    Parked,
    Succeeded,
    TimedOut,
)
from acked_common.store.records import ClaimedJob, KindRecord

FREE_STARTS = 2
MOST_FAILURES = 20
"""A run fails after so many times its maximum of attempts, in failures or in crashes, whatever progress its durable
calls made."""
IDLE_STARTS = Backoff(2.0, 60.0)
"""The delays between unsuccessful starts, after the immediate ones."""
_ADVANCES = frozenset({Reason.PARKED, Reason.WOKEN, Reason.SIGNALLED, Reason.RETRIED})
"""Reasons after which unsuccessful starts count from 0: the job waited, went on, or began a new run."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """Default durations, in seconds, for jobs without their own."""

    grace_s: float
    expires_in_s: float
    retention_s: float


def transition_after(
    ending: Ending,
    job: ClaimedJob,
    kind: KindRecord,
    defaults: Defaults,
    *,
    worker: str,
    cancelling: bool,
    at: datetime,
    suspect: bool = False,
) -> Transition | None:
    """Return the transition that records the ending; None if the attempt no longer owns its job.

    `worker` is the name in a recorded attempt. `suspect`: the attempt ran when a job of the worker made the worker
    stop, so its next attempt runs isolated. A handler that returned has succeeded, even after a cancel request;
    otherwise the cancel flag wins. A failed, timed-out or crashed attempt is recorded in either case.
    """
    if isinstance(ending, Succeeded):
        return lifecycle.succeed(at=at, result=ending.result_json, retention_s=defaults.retention_s)
    if isinstance(ending, Parked):
        if cancelling:
            return lifecycle.end_cancelled(at=at, retention_s=defaults.retention_s)
        return lifecycle_waits.park(at=at, waits=ending.waits)
    if isinstance(ending, Interrupted):
        return _after_interrupt(ending, job, defaults, cancelling=cancelling, at=at, suspect=suspect)
    transition = (
        _after_crash(ending, job, kind, defaults, at)
        if isinstance(ending, Crashed)
        else _after_failure(ending, job, kind, defaults, at, suspect)
    )
    error = _grouped(transition.sets["error"], ending, job.kind)
    ended = EndedAttempt(
        run=job.run,
        attempt=job.attempt,
        worker=worker,
        started_at=job.started_at,
        ended_at=at,
        outcome=_OUTCOMES[type(ending)],
        error=kept_error(error),
        traceback=error.get("traceback"),
    )
    if cancelling:
        return lifecycle.end_cancelled(at=at, retention_s=defaults.retention_s, ended=ended)
    return replace(transition, sets={**transition.sets, "error": error}, ended=ended)


_OUTCOMES: Mapping[type[Ending], AttemptOutcome] = {
    Failed: AttemptOutcome.FAILED,
    TimedOut: AttemptOutcome.TIMED_OUT,
    Crashed: AttemptOutcome.CRASHED,
}


def _after_interrupt(
    ending: Interrupted, job: ClaimedJob, defaults: Defaults, *, cancelling: bool, at: datetime, suspect: bool
) -> Transition | None:
    if ending.reason is InterruptReason.LEASE_LOST:
        return None
    if cancelling or ending.reason is InterruptReason.CANCELLED:
        return lifecycle.end_cancelled(at=at, retention_s=defaults.retention_s)
    never_started = ending.reason is InterruptReason.NOT_STARTED
    return lifecycle.release(
        at=at,
        reason=Reason.NOT_STARTED if never_started else Reason.DRAINED,
        grace_s=defaults.grace_s,
        expires_in_s=_expires_in_s(job, defaults),
        suspect=suspect and not never_started,
        delay_s=_delay_of_idle_start(ending.idle_starts) if never_started else 0.0,
    )


def after_signal(job: ClaimedJob, defaults: Defaults, at: datetime) -> Transition:
    """Return the transition of a park that is refused because a signal has come: the job is queued at once."""
    return lifecycle.release(
        at=at,
        reason=Reason.SIGNALLED,
        grace_s=defaults.grace_s,
        expires_in_s=_expires_in_s(job, defaults),
    )


def _expires_in_s(job: ClaimedJob, defaults: Defaults) -> float:
    return job.options.expires_in_s or defaults.expires_in_s


def idle_starts(history: Sequence[HistoryEntry]) -> int:
    """Return how many attempts did not start since the job last parked, resumed or began a new run.

    Attempts that started are none, however they ended. `history` is that of the job, oldest entry first; of more idle
    starts than it has, the delay is at its maximum already.
    """
    found = 0
    for entry in reversed(history):
        if entry.reason in _ADVANCES:
            break
        found += entry.reason == Reason.NOT_STARTED
    return found


def may_be_idle(job: ClaimedJob) -> bool:
    """Return whether earlier attempts may not have started so often that the next start is delayed.

    This bound needs no read. Attempts that were parked, drained or lost count in it too.
    """
    return job.attempt - 1 >= FREE_STARTS


def _delay_of_idle_start(idle: int) -> float:
    """Return the delay after an unsuccessful start: none at first, then growing, for any cause."""
    return 0.0 if idle < FREE_STARTS else IDLE_STARTS.delay_s(1 + idle - FREE_STARTS)


def _after_crash(ending: Crashed, job: ClaimedJob, kind: KindRecord, defaults: Defaults, at: datetime) -> Transition:
    # As with failures, what counts are crashes without progress.
    crashes = job.crashes + 1
    stalled = max(1, crashes - ending.progressed_at_crashes)
    most = MOST_FAILURES * kind.attempts_of(job.options.max_attempts)
    return poison.crash(
        at=at,
        how=ending.how,
        crashes=stalled - 1,
        attempt=job.attempt,
        delay_s=Backoff(kind.backoff_base_s, kind.backoff_cap_s).delay_s(stalled),
        retention_s=defaults.retention_s,
        ends_at=crashes if crashes >= most else None,
    )


def _after_failure(
    ending: Failed | TimedOut, job: ClaimedJob, kind: KindRecord, defaults: Defaults, at: datetime, suspect: bool
) -> Transition:
    retryable = isinstance(ending, TimedOut) or ending.retryable
    # What counts are failures without progress: a job of many steps may fail often.
    failures = job.failures + 1
    stalled = max(1, failures - ending.progressed_at_failures)
    attempts = kind.attempts_of(job.options.max_attempts)
    exhausted = stalled >= attempts or failures >= MOST_FAILURES * attempts
    error = _error(ending.error, job.attempt)
    if not retryable or exhausted:
        return lifecycle.fail(at=at, error=error, retention_s=defaults.retention_s, exhausted=retryable)
    after_s = ending.after_s if isinstance(ending, Failed) else None
    delay_s = Backoff(kind.backoff_base_s, kind.backoff_cap_s).delay_s(stalled, retry_after_s=after_s)
    return lifecycle.back_off(at=at, error=error, delay_s=delay_s, suspect=suspect)


def _grouped(error: Mapping[str, Any], ending: Ending, kind: str) -> dict[str, Any]:
    """Return the error with its group. Crashes and poison of a job have one cause but different messages."""
    if isinstance(ending, Crashed):
        return {**error, "group": error_group(kind, error["type"], ending.how)}
    return with_group(error, kind)


def _error(error: ErrorInfo, attempt: int) -> Mapping[str, Any]:
    fields: dict[str, Any] = {
        "type": error.type,
        "message": error.message,
        "retryable": error.retryable,
        "attempt": attempt,
    }
    if error.culprit is not None:
        fields["culprit"] = error.culprit
    if error.traceback is not None:
        fields["traceback"] = error.traceback
    if error.details is not None:
        fields["details"] = dict(error.details)
    return fields
