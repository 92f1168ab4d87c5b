"""The moves by which a person, or a bulk action of theirs, changes what becomes of a job. Pure.

Each names who asked for it (`by`), which the job's history keeps. What services do by themselves is in `lifecycle`.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from acked_common.model.lifecycle import UNOWNED, WAITING, Reason, State, Transition, queue_fields
from acked_common.model.principal import Actor

_OF_THE_END = frozenset({"result", "error", "progress", "note"})
_RUN_LEFTOVERS = _OF_THE_END | {"finished_at", "delete_at", "cancel_requested_at"}


def cancel(*, at: datetime, retention_s: float, by: Actor | None = None) -> Transition:
    """A person ends a job that nobody runs; a suspect stays one, for it may be retried."""
    return Transition(
        Reason.CANCELLED,
        leaves=UNOWNED,
        to=State.CANCELLED,
        at=at,
        sets={"finished_at": at, "delete_at": at + timedelta(seconds=retention_s)},
        clears=WAITING | {"next_check_at", "cancel_requested_at"},
        by=by,
    )


def request_cancel(*, at: datetime, by: Actor | None = None) -> Transition:
    """A person ends a job that a worker runs: raise the flag that its owner sees. The lease stays as it is."""
    return Transition(
        Reason.CANCEL_REQUESTED,
        leaves=frozenset({State.RUNNING}),
        to=State.RUNNING,
        at=at,
        sets={"cancel_requested_at": at},
        by=by,
    )


def retry(*, at: datetime, grace_s: float, expires_in_s: float, by: Actor | None = None) -> Transition:
    """A person starts a new run of a failed or cancelled job; a suspect stays one until an attempt has cleared it."""
    return Transition(
        Reason.RETRIED,
        leaves=frozenset({State.FAILED, State.CANCELLED}),
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
    """A person decides the end of a failed job: a new run that ends at once, as succeeded or as failed."""
    if to not in (State.SUCCEEDED, State.FAILED):
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
    # What an earlier resolve left is no word on this run.
    clears = {"result", "note"} - sets.keys()
    # Nobody needs to attend to its error any more.
    clears |= {"error", "suspect"} if to is State.SUCCEEDED else {"error.group"}
    return Transition(
        Reason.RESOLVED,
        leaves=frozenset({State.FAILED}),
        to=to,
        at=at,
        sets=sets,
        clears=frozenset(clears),
        adds={"run": 1},
        by=by,
    )


def run_now(*, at: datetime, grace_s: float, expires_in_s: float, by: Actor | None = None) -> Transition:
    """A person ends the delay or the back-off of a job."""
    return Transition(
        Reason.RUN_NOW,
        leaves=frozenset({State.SCHEDULED}),
        to=State.QUEUED,
        at=at,
        sets=queue_fields(at, grace_s, expires_in_s),
        clears=frozenset({"due_at"}),
        by=by,
    )


def edit(*, at: datetime, state: State, edited_to: UUID, retention_s: float, by: Actor | None = None) -> Transition:
    """A person has put another job in the place of an ended one, which stays as it ended: a new run that ends at once.

    Its error loses the group: nobody needs to attend to it any more.
    """
    if state not in (State.FAILED, State.CANCELLED):
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
    """A person removes what an ended job was given and what came of it; its skeleton and history stay."""
    if not state.is_terminal:
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
