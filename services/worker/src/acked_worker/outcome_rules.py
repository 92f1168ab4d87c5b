"""Which transition follows from how an attempt ended. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from acked_common import lifecycle
from acked_common.backoff import Backoff
from acked_common.lifecycle import Reason, Transition
from acked_common.store import ClaimedJob, KindRecord
from acked_worker.outcome import Crashed, Ending, ErrorInfo, Failed, Interrupted, InterruptReason, Succeeded, TimedOut


@dataclass(frozen=True, slots=True)
class Defaults:
    """Durations in seconds that hold where a job names none."""

    grace_s: float
    expires_in_s: float
    retention_s: float


def transition_after(
    ending: Ending, job: ClaimedJob, kind: KindRecord, defaults: Defaults, *, cancelling: bool, at: datetime
) -> Transition | None:
    """The transition that records the ending; None for an attempt that owns its job no more.

    A handler that returned has finished, whatever was asked meanwhile; else the cancel flag wins.
    """
    if isinstance(ending, Succeeded):
        return lifecycle.succeed(at=at, result=ending.result_json, retention_s=defaults.retention_s)
    if isinstance(ending, Interrupted) and ending.reason is InterruptReason.LEASE_LOST:
        return None
    if cancelling or (isinstance(ending, Interrupted) and ending.reason is InterruptReason.CANCELLED):
        return lifecycle.end_cancelled(at=at, retention_s=defaults.retention_s)
    if isinstance(ending, Interrupted):
        never_started = ending.reason is InterruptReason.NOT_STARTED
        return lifecycle.release(
            at=at,
            reason=Reason.NOT_STARTED if never_started else Reason.DRAINED,
            grace_s=defaults.grace_s,
            expires_in_s=job.expires_in_s or defaults.expires_in_s,
        )
    if isinstance(ending, Crashed):
        return lifecycle.crash(
            at=at,
            how=ending.how,
            crashes=job.crashes,
            attempt=job.attempt,
            delay_s=Backoff(kind.backoff_base_s, kind.backoff_cap_s).delay_s(job.crashes + 1),
            retention_s=defaults.retention_s,
        )
    return _after_failure(ending, job, kind, defaults, at)


def _after_failure(
    ending: Failed | TimedOut, job: ClaimedJob, kind: KindRecord, defaults: Defaults, at: datetime
) -> Transition:
    retryable = isinstance(ending, TimedOut) or ending.retryable
    failures = job.failures + 1
    exhausted = failures >= (job.max_attempts or kind.max_attempts)
    error = _error(ending.error, job.attempt)
    if not retryable or exhausted:
        return lifecycle.fail(at=at, error=error, retention_s=defaults.retention_s, exhausted=retryable)
    after_s = ending.after_s if isinstance(ending, Failed) else None
    delay_s = Backoff(kind.backoff_base_s, kind.backoff_cap_s).delay_s(failures, retry_after_s=after_s)
    return lifecycle.back_off(at=at, error=error, delay_s=delay_s)


def _error(error: ErrorInfo, attempt: int) -> Mapping[str, Any]:
    fields: dict[str, Any] = {
        "type": error.type,
        "message": error.message,
        "retryable": error.retryable,
        "attempt": attempt,
    }
    if error.traceback is not None:
        fields["traceback"] = error.traceback
    return fields
