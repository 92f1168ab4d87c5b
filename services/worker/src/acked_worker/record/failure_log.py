"""The log line of a failed attempt. Pure.

It contains the line of the user's code but no message: a message may quote the payload, and more people read logs than
jobs. `GET /jobs/{id}` shows the message.
"""

from acked_common.model.attempts import EndedAttempt
from acked_common.model.lifecycle import State, Transition
from acked_common.runtime.limited_log import Line
from acked_common.store.records import ClaimedJob

FAILED = "attempt failed"


def failure_line(transition: Transition, ended: EndedAttempt, job: ClaimedJob) -> Line:
    """Return the log line of an attempt that this transition ended: a warning if the job has failed with it."""
    due_at = transition.sets.get("due_at")
    fields = {
        "job_id": str(job.id),
        "kind": job.kind,
        "attempt": ended.attempt,
        "worker": ended.worker,
        "outcome": ended.outcome.value,
        "group": group_of(ended),
        "type": ended.error["type"],
        "culprit": ended.error.get("culprit"),
        "duration_s": round((ended.ended_at - ended.started_at).total_seconds(), 3),
        "reason": transition.reason.value,
        "will_retry_in_s": None if due_at is None else round((due_at - transition.at).total_seconds(), 3),
    }
    return Line(FAILED, fields, is_grave=transition.to is State.FAILED)


def group_of(ended: EndedAttempt) -> str:
    """Return the group of the error, by which log lines are limited."""
    group: str = ended.error["group"]
    return group
