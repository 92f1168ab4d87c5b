"""The lifecycle of a job: its states, and all transitions between them. Pure.

Each transition has a named constructor with its source states, target state and reason. A store applies a transition as
a compare-and-set on the values that the caller read (`Seen`), raises `rev` by one and appends the history entry in the
same write. `next_check_at`, the instant of the sweeper's next check, is present exactly while a job is live;
`delete_at`, the end of its retention, exactly when it has ended.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

from msgspec import Struct, field
from msgspec.structs import force_setattr, replace

from acked_common.model.attempts import AttemptOutcome, EndedAttempt, with_group
from acked_common.model.principal import DEFAULT_TENANT, Actor

HISTORY_KEPT = 49
"""The number of entries stored after the first one."""


class State(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    SCHEDULED = "scheduled"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether only an operator can move the job."""
        return self in TERMINAL


TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
LIVE = frozenset(State) - TERMINAL
UNOWNED = LIVE - {State.RUNNING}
FOR_WORKERS = UNOWNED - {State.WAITING}
"""The states of jobs that wait for workers, now or when they are due. Parked jobs wait for something else."""


class Reason(StrEnum):
    """Why a job last moved; several reasons lead to one state."""

    ACCEPTED = "accepted"
    CLAIMED = "claimed"
    COMPLETED = "completed"
    PERMANENT_ERROR = "permanent_error"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    BACKING_OFF = "backing_off"
    DRAINED = "drained"
    NOT_STARTED = "not_started"
    LEASE_EXPIRED = "lease_expired"
    CRASHED = "crashed"
    POISON = "poison"
    DUE = "due"
    EXPIRED = "expired"
    CANCEL_REQUESTED = "cancel_requested"
    CANCELLED = "cancelled"
    RETRIED = "retried"
    RESOLVED = "resolved"
    RUN_NOW = "run_now"
    EDITED = "edited"
    ERASED = "erased"
    PARKED = "parked"
    WOKEN = "woken"
    SIGNALLED = "signalled"


class Owner(Struct, frozen=True):
    """The owner of a running job: the worker's name, its process (`boot`) and the claim (`nonce`)."""

    worker: str
    boot: str
    nonce: str


class Seen(Struct, frozen=True):
    """The values that a caller read before a move; the transition applies only if they are unchanged."""

    id: UUID
    state: State
    rev: int
    attempt: int
    nonce: str | None = None
    next_check_at: datetime | None = None
    """The lease that was read, if a renewal in between must win; None if it does not matter."""
    at: datetime | None = None
    """When the job last moved, as far as the caller knows. Not compared, because `rev` is."""
    tenant: str = DEFAULT_TENANT
    """The tenant of the job, for counts. Not compared, because the id is."""
    signals: int | None = None
    """The signals that the caller has read; no more may have been announced to the job. None if it does not matter."""


class Transition(Struct, frozen=True):
    """One transition. `sets` and `clears` name fields of a job; `adds` has counters and their increments."""

    reason: Reason
    leaves: frozenset[State]
    to: State
    at: datetime
    sets: Mapping[str, Any] = field(default_factory=dict)
    clears: frozenset[str] = frozenset()
    adds: Mapping[str, int] = field(default_factory=dict)
    unless_cancelling: bool = False
    """Refused after a cancel request, because the flag wins over retry, release and take-back."""
    ended: EndedAttempt | None = None
    """The attempt that this transition ends without success; the job stores it."""
    by: Actor | None = None
    """The actor; None for transitions that services make by themselves."""

    def __post_init__(self) -> None:
        sets_check = "next_check_at" in self.sets
        if sets_check == self.to.is_terminal and self.leaves != {self.to}:
            raise ValueError(f"{self.reason}: a job has a next_check_at exactly while it is live")
        force_setattr(self, "sets", MappingProxyType(dict(self.sets)))


class Move(Struct, frozen=True):
    """A transition of one job, bound to the values that its caller read. Its instant is never earlier than that of the
    previous transition, although each process has its own clock."""

    seen: Seen
    transition: Transition
    until_at: datetime | None = None
    """By the store's clock: a write that comes then or later changes nothing. None where it may come at any time."""

    def __post_init__(self) -> None:
        if self.seen.state not in self.transition.leaves:
            raise WrongState(self.seen.state, self.transition.reason)
        if self.seen.at is not None and self.transition.at < self.seen.at:
            force_setattr(self, "transition", _not_before(self.seen.at, self.transition))

    @property
    def history_entry(self) -> "HistoryEntry":
        """The entry that this move appends."""
        return HistoryEntry(
            rev=self.seen.rev + 1,
            state=self.transition.to,
            reason=self.transition.reason,
            attempt=self.seen.attempt + self.transition.adds.get("attempt", 0),
            at=self.transition.at,
            by=self.transition.by,
        )


def _not_before(at: datetime, transition: Transition) -> Transition:
    """Return the transition at a later instant, with all instants that it sets moved accordingly."""
    by = at - transition.at
    sets = {name: value + by if isinstance(value, datetime) else value for name, value in transition.sets.items()}
    ended = transition.ended
    return replace(transition, at=at, sets=sets, ended=None if ended is None else replace(ended, ended_at=at))


class HistoryEntry(Struct, frozen=True):
    """One entry of a job's history."""

    rev: int
    state: State
    reason: str
    """A `Reason`, or the reason of a newer version."""
    attempt: int
    at: datetime
    by: Actor | None = None


class WrongState(Exception):
    """The transition can't leave the state of the job."""

    def __init__(self, state: State, reason: Reason) -> None:
        super().__init__(f"a job that is {state.value} can't be {reason.value.replace('_', ' ')}")
        self.state = state
        self.reason = reason


OWNED = frozenset({"owner"})
"""Fields that the end of every attempt clears."""
CLEARED = OWNED | {"suspect"}
"""Fields that an attempt clears if it ended by itself, so its process survived."""
_SUSPECT: Mapping[bool, dict[str, Any]] = {True: {"suspect": True}, False: {}}
WAITING = frozenset({"due_at", "queued_at", "expires_at", "republished", "reserved_by"})
"""Fields that only a job has that is queued or scheduled."""
PARKED = frozenset({"waits"})
"""Fields that only a parked job has."""


def queue_fields(at: datetime, grace_s: float, expires_in_s: float) -> dict[str, Any]:
    """Return the fields of a job that is queued at this instant."""
    expires_at = at + timedelta(seconds=expires_in_s)
    return {
        "next_check_at": min(at + timedelta(seconds=grace_s), expires_at),
        "expires_at": expires_at,
        "queued_at": at,
        "republished": 0,
    }


def accept_fields(*, at: datetime, delay_s: float, grace_s: float, expires_in_s: float) -> dict[str, Any]:
    """Return the lifecycle fields of a new job: queued, or scheduled for `delay_s` later."""
    if delay_s > 0:
        due_at = at + timedelta(seconds=delay_s)
        return {"state": State.SCHEDULED, "due_at": due_at, "next_check_at": due_at}
    return {"state": State.QUEUED, **queue_fields(at, grace_s, expires_in_s)}


def claim(*, at: datetime, owner: Owner, lease_s: float) -> Transition:
    """Claim the job for a worker: one more attempt, under a lease."""
    return Transition(
        Reason.CLAIMED,
        leaves=frozenset({State.QUEUED}),
        to=State.RUNNING,
        at=at,
        sets={
            "owner": {"worker": owner.worker, "boot": owner.boot, "nonce": owner.nonce},
            "started_at": at,
            "next_check_at": at + timedelta(seconds=lease_s),
        },
        clears=WAITING | {"progress"},
        adds={"attempt": 1},
    )


def succeed(*, at: datetime, result: bytes, retention_s: float) -> Transition:
    """End the job with the handler's result; `result` is its JSON text."""
    return Transition(
        Reason.COMPLETED,
        leaves=frozenset({State.RUNNING}),
        to=State.SUCCEEDED,
        at=at,
        sets={"result": result, "finished_at": at, "delete_at": at + timedelta(seconds=retention_s)},
        clears=CLEARED | {"next_check_at", "error", "cancel_requested_at"},
    )


def fail(*, at: datetime, error: Mapping[str, Any], retention_s: float, exhausted: bool) -> Transition:
    """End the job as failed: a permanent error, or no attempts are left."""
    return Transition(
        Reason.ATTEMPTS_EXHAUSTED if exhausted else Reason.PERMANENT_ERROR,
        leaves=frozenset({State.RUNNING}),
        to=State.FAILED,
        at=at,
        sets={"error": dict(error), "finished_at": at, "delete_at": at + timedelta(seconds=retention_s)},
        clears=CLEARED | {"next_check_at"},
        adds={"failures": 1},
        unless_cancelling=True,
    )


def back_off(*, at: datetime, error: Mapping[str, Any], delay_s: float, suspect: bool = False) -> Transition:
    """Retry the failed attempt after `delay_s`; with `suspect` isolated, since it may have stopped its worker."""
    due_at = at + timedelta(seconds=delay_s)
    return Transition(
        Reason.BACKING_OFF,
        leaves=frozenset({State.RUNNING}),
        to=State.SCHEDULED,
        at=at,
        sets={"error": dict(error), "due_at": due_at, "next_check_at": due_at} | _SUSPECT[suspect],
        clears=OWNED if suspect else CLEARED,
        adds={"failures": 1},
        unless_cancelling=True,
    )


def release(
    *,
    at: datetime,
    grace_s: float,
    expires_in_s: float,
    reason: Reason = Reason.DRAINED,
    suspect: bool = False,
    delay_s: float = 0.0,
) -> Transition:
    """Release the job, because its worker drains or could not start its handler. This is not a failure.

    An attempt that did not start keeps a mark for isolation. `suspect` sets the mark: a job of the worker caused the
    drain, since it was not requested from outside. The job is queued after `delay_s`.
    """
    due_at = at + timedelta(seconds=delay_s)
    queued = queue_fields(at, grace_s, expires_in_s)
    return Transition(
        reason,
        leaves=frozenset({State.RUNNING}),
        to=State.SCHEDULED if delay_s > 0 else State.QUEUED,
        at=at,
        sets=({"due_at": due_at, "next_check_at": due_at} if delay_s > 0 else queued) | _SUSPECT[suspect],
        clears=OWNED if suspect or reason is Reason.NOT_STARTED else CLEARED,
        unless_cancelling=True,
    )


def take_back(*, at: datetime, grace_s: float, expires_in_s: float, ended: EndedAttempt | None = None) -> Transition:
    """Queue the job again after its lease has expired, marked for isolation.

    The expiry does not show which job ended the worker, so it is not counted as a failure; the next attempt runs
    isolated.
    """
    return Transition(
        Reason.LEASE_EXPIRED,
        leaves=frozenset({State.RUNNING}),
        to=State.QUEUED,
        at=at,
        sets={**queue_fields(at, grace_s, expires_in_s), "suspect": True},
        clears=OWNED,
        unless_cancelling=True,
        ended=ended,
    )


def become_due(*, at: datetime, grace_s: float, expires_in_s: float) -> Transition:
    """Queue the job after its delay or back-off."""
    return Transition(
        Reason.DUE,
        leaves=frozenset({State.SCHEDULED}),
        to=State.QUEUED,
        at=at,
        sets=queue_fields(at, grace_s, expires_in_s),
        clears=frozenset({"due_at"}),
    )


def expire(
    *, at: datetime, waited_s: float, kind: str, attempt: int, retention_s: float, is_held: bool = False
) -> Transition:
    """Fail the job, because no worker claimed it in time. A held job has waited for a place of its kind's limit."""
    message = (
        f"no worker claimed the job within {waited_s:g} s. Check that a worker that serves kind {kind!r} runs "
        "(GET /workers), then retry the job."
    )
    if is_held:
        message = (
            f"no place was free within {waited_s:g} s: the running jobs of kind {kind!r} are limited (GET /kinds). "
            "Raise the limit, or send such jobs with a longer expires_in_s, then retry the job."
        )
    error = with_group({"type": "Expired", "message": message, "retryable": False, "attempt": attempt}, kind)
    return Transition(
        Reason.EXPIRED,
        leaves=frozenset({State.QUEUED}),
        to=State.FAILED,
        at=at,
        sets={"error": error, "finished_at": at, "delete_at": at + timedelta(seconds=retention_s)},
        clears=WAITING | {"next_check_at"},
    )


def end_cancelled(*, at: datetime, retention_s: float, ended: EndedAttempt | None = None) -> Transition:
    """Cancel a job with the cancel flag, whose attempt ended without success or lost its lease.

    A lost or crashed attempt may have ended its worker, so a retry of the job runs isolated.
    """
    is_suspect = ended is not None and ended.outcome in (AttemptOutcome.LOST, AttemptOutcome.CRASHED)
    return Transition(
        Reason.CANCELLED,
        leaves=frozenset({State.RUNNING}),
        to=State.CANCELLED,
        at=at,
        sets={"finished_at": at, "delete_at": at + timedelta(seconds=retention_s)} | _SUSPECT[is_suspect],
        clears=(OWNED if is_suspect else CLEARED) | {"next_check_at", "cancel_requested_at"},
        ended=ended,
    )
