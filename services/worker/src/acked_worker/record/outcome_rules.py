"""Which transition follows from how an attempt ended. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from acked_common.model import lifecycle, poison
from acked_common.model.attempts import AttemptOutcome, EndedAttempt, error_group, kept_error, with_group
from acked_common.model.backoff import Backoff
from acked_common.model.lifecycle import Reason, Transition
from acked_common.store.records import ClaimedJob, KindRecord
from acked_worker.execute.outcome import (
    Crashed,
    Ending,
    ErrorInfo,
    Failed,
    Interrupted,
    InterruptReason,
    Succeeded,
    TimedOut,
)

FREE_STARTS = 2
IDLE_STARTS = Backoff(2.0, 60.0)
"""Between starts of which nothing came, beyond the free ones."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """Durations in seconds that hold where a job names none."""

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
    """The transition that records the ending; None for an attempt that owns its job no more. `worker` is the name that
    a kept attempt has. `suspect`: it ran when one of the worker's own jobs made the worker stop; if it runs again, then
    alone.

    A handler that returned has finished, whatever was asked meanwhile; else the cancel flag wins. An attempt that
    failed, timed out or crashed stays with its job in either case.
    """
    if isinstance(ending, Succeeded):
        return lifecycle.succeed(at=at, result=ending.result_json, retention_s=defaults.retention_s)
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
        expires_in_s=job.options.expires_in_s or defaults.expires_in_s,
        suspect=suspect and not never_started,
        delay_s=_delay_of_idle_start(job) if never_started else 0.0,
    )


def _delay_of_idle_start(job: ClaimedJob) -> float:
    """A start of which nothing came is repeated at once at first; then later and later, whatever the cause is."""
    idle = job.attempt - 1 - job.failures - job.crashes
    return 0.0 if idle < FREE_STARTS else IDLE_STARTS.delay_s(1 + idle - FREE_STARTS)


def _after_crash(ending: Crashed, job: ClaimedJob, kind: KindRecord, defaults: Defaults, at: datetime) -> Transition:
    return poison.crash(
        at=at,
        how=ending.how,
        crashes=job.crashes,
        attempt=job.attempt,
        delay_s=Backoff(kind.backoff_base_s, kind.backoff_cap_s).delay_s(job.crashes + 1),
        retention_s=defaults.retention_s,
    )


def _after_failure(
    ending: Failed | TimedOut, job: ClaimedJob, kind: KindRecord, defaults: Defaults, at: datetime, suspect: bool
) -> Transition:
    retryable = isinstance(ending, TimedOut) or ending.retryable
    failures = job.failures + 1
    exhausted = failures >= kind.attempts_of(job.options.max_attempts)
    error = _error(ending.error, job.attempt)
    if not retryable or exhausted:
        return lifecycle.fail(at=at, error=error, retention_s=defaults.retention_s, exhausted=retryable)
    after_s = ending.after_s if isinstance(ending, Failed) else None
    delay_s = Backoff(kind.backoff_base_s, kind.backoff_cap_s).delay_s(failures, retry_after_s=after_s)
    return lifecycle.back_off(at=at, error=error, delay_s=delay_s, suspect=suspect)


def _grouped(error: Mapping[str, Any], ending: Ending, kind: str) -> dict[str, Any]:
    """The error with its group. A job's crashes and its end as poison have one cause, and messages of their own."""
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
    return fields
