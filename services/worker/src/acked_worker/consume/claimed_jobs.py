"""Convert claimed jobs to assignments and reports. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from acked_common.model.events import JobEvent
from acked_common.model.lifecycle import Reason, State
from acked_common.store.records import ClaimedJob
from acked_worker.consume.in_flight import InFlight
from acked_worker.execute.attempt import Assignment

_decode = msgspec.json.Decoder().decode


def split_late(
    jobs: Sequence[ClaimedJob], *, now: datetime, starts_within_s: float
) -> tuple[Sequence[ClaimedJob], Sequence[ClaimedJob]]:
    """Return the jobs that may start, and those that were claimed too long ago.

    The reply to such a claim was late, or the process was suspended, so the lease may expire before it is renewed.
    """
    oldest_at = now - timedelta(seconds=starts_within_s)
    late = [job for job in jobs if job.started_at < oldest_at]
    return ([job for job in jobs if job.started_at >= oldest_at], late) if late else (jobs, late)


def assignment_of(held: InFlight, timeout_s: float) -> Assignment:
    """Return the assignment of a claimed job."""
    job = held.job
    return Assignment(
        id=held.id,
        kind=job.kind,
        run=job.run,
        attempt=job.attempt,
        failures=job.failures,
        payload=_decode(job.payload),
        timeout_s=timeout_s,
        options=job.options,
        is_suspect=job.suspect,
    )


def claimed_event(job: ClaimedJob) -> JobEvent:
    """Return the newest transition of a job that was just claimed."""
    reason, at = Reason.CLAIMED, job.started_at
    if job.cancel_requested_at is not None:
        reason, at = Reason.CANCEL_REQUESTED, job.cancel_requested_at
    return JobEvent(job.id, job.rev, State.RUNNING, reason, job.attempt, at)
