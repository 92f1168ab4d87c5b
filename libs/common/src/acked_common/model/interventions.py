"""The transitions of operators and their bulk actions. Pure.

Each records its actor (`by`) in the job's history. Transitions that services make by themselves are in `lifecycle`.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from acked_common.model.lifecycle import (
    LIVE,
    PARKED,
    TERMINAL,
    UNOWNED,
    WAITING,
    Reason,
    State,
    Transition,
    queue_fields,
)
from acked_common.model.principal import Actor

CANCELLABLE = LIVE
RETRYABLE = frozenset({State.FAILED, State.CANCELLED})
EDITABLE = RETRYABLE
RESOLVABLE = frozenset({State.FAILED})
RUNNABLE_NOW = frozenset({State.SCHEDULED})
ENDABLE_NOW = frozenset({State.WAITING})
"""The states of jobs that a single command runs now by ending their wait. Bulk actions do not."""
ERASABLE = TERMINAL
RESOLVED_AS = (State.SUCCEEDED, State.FAILED)
"""The outcomes that a resolve can set, the usual one first."""

_OF_THE_END = frozenset({"result", "error", "progress", "note"})
_RUN_LEFTOVERS = _OF_THE_END | {"finished_at", "delete_at", "cancel_requested_at"}


def cancel(*, at: datetime, retention_s: float, by: Actor | None = None) -> Transition:
    """End a job that no worker runs. A mark for isolation stays, because the job may be retried."""
    return Transition(
        Reason.CANCELLED,
        leaves=UNOWNED,
        to=State.CANCELLED,
        at=at,
        sets={"finished_at": at, "delete_at": at + timedelta(seconds=retention_s)},
        clears=WAITING | PARKED | {"next_check_at", "cancel_requested_at"},
        by=by,
    )


def request_cancel(*, at: datetime, by: Actor | None = None) -> Transition:
    """Set the cancel flag of a running job, which its owner reads. The lease does not change."""
    return Transition(
        Reason.CANCEL_REQUESTED,
        leaves=CANCELLABLE - UNOWNED,
        to=State.RUNNING,
        at=at,
        sets={"cancel_requested_at": at},
        by=by,
    )


def retry(*, at: datetime, grace_s: float, expires_in_s: float, by: Actor | None = None) -> Transition:
    """Start a new run of a failed or cancelled job. A mark for isolation stays until an attempt clears it."""
    return Transition(
        Reason.RETRIED,
        leaves=RETRYABLE,
        to=State.QUEUED,
        at=at,
        sets={**queue_fields(at, grace_s, expires_in_s), "failures": 0, "crashes": 0},
        clears=_RUN_LEFTOVERS,
        adds={"run": 1},
        by=by,
    )


def resolve(
    *,
    at: datetime,
    to: State,
    result: bytes | None,
    note: str | None,
    retention_s: float,
    by: Actor | None = None,
) -> Transition:
    """Set the outcome of a failed job: a new run that ends at once, as succeeded or as failed."""
    if to not in RESOLVED_AS:
        raise ValueError("a job is resolved as succeeded or as failed")
    sets: dict[str, Any] = {
        "failures": 0,
        "crashes": 0,
        "finished_at": at,
        "delete_at": at + timedelta(seconds=retention_s),
    }
    if result is not None:
        sets["result"] = result
    if note is not None:
        sets["note"] = note
    # Result and note of an earlier resolve do not belong to this run.
    clears = {"result", "note"} - sets.keys()
    # The job no longer needs attention.
    clears |= {"error", "suspect"} if to is State.SUCCEEDED else {"error.group"}
    return Transition(
        Reason.RESOLVED,
        leaves=RESOLVABLE,
        to=to,
        at=at,
        sets=sets,
        clears=frozenset(clears),
        adds={"run": 1},
        by=by,
    )


def run_now(*, at: datetime, grace_s: float, expires_in_s: float, by: Actor | None = None) -> Transition:
    """End the delay or the back-off of a job."""
    return Transition(
        Reason.RUN_NOW,
        leaves=RUNNABLE_NOW,
        to=State.QUEUED,
        at=at,
        sets=queue_fields(at, grace_s, expires_in_s),
        clears=frozenset({"due_at"}),
        by=by,
    )


def end_wait(*, at: datetime, grace_s: float, expires_in_s: float, by: Actor | None = None) -> Transition:
    """Queue a parked job, the end of whose wait an operator has moved ahead. Its ledger must have that first: else the
    next attempt waits again."""
    return Transition(
        Reason.RUN_NOW,
        leaves=ENDABLE_NOW,
        to=State.QUEUED,
        at=at,
        sets=queue_fields(at, grace_s, expires_in_s),
        clears=PARKED,
        by=by,
    )


def edit(*, at: datetime, state: State, edited_to: UUID, retention_s: float, by: Actor | None = None) -> Transition:
    """Record that another job replaces an ended one: a new run that ends at once, in the same state.

    The error loses its group, because the job no longer needs attention.
    """
    if state not in EDITABLE:
        raise ValueError("a job is edited that failed or was cancelled")
    return Transition(
        Reason.EDITED,
        leaves=frozenset({state}),
        to=state,
        at=at,
        sets={"edited_to": edited_to, "finished_at": at, "delete_at": at + timedelta(seconds=retention_s)},
        clears=frozenset({"error.group"}),
        adds={"run": 1},
        by=by,
    )


def erase(*, at: datetime, state: State, by: Actor | None = None) -> Transition:
    """Remove payload, result, errors and attempts of an ended job. State, options and history stay."""
    if state not in ERASABLE:
        raise ValueError("a job is erased that has ended")
    return Transition(
        Reason.ERASED,
        leaves=frozenset({state}),
        to=state,
        at=at,
        sets={"payload": b"null", "erased_at": at},
        clears=_OF_THE_END | {"attempts", "tracebacks"},
        by=by,
    )
