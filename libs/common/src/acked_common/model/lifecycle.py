"""The life of a job: its states, and the only moves between them. Pure.

Each transition has a named constructor that says which states it may leave, where it leads and why. A store applies a
transition as a compare-and-set on what the caller saw (`Seen`), raises `rev` by one and appends the history entry in
the same write. `next_check_at`, the instant of the sweeper's next check, is present exactly while a job is live;
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
"""Entries kept behind the first one."""


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
        """Whether nothing but a person moves the job on."""
        return self in TERMINAL


TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
LIVE = frozenset(State) - TERMINAL
UNOWNED = LIVE - {State.RUNNING}


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


class Owner(Struct, frozen=True):
    """Who holds a running job: the worker's name, its process (`boot`) and the claim (`nonce`)."""

    worker: str
    boot: str
    nonce: str


class Seen(Struct, frozen=True):
    """What a caller read of a job before it moves it; the transition applies only if it is still so."""

    id: UUID
    state: State
    rev: int
    attempt: int
    nonce: str | None = None
    next_check_at: datetime | None = None
    """The lease that was read, where a renewal in between has to win; None where it doesn't matter."""
    at: datetime | None = None
    """When the job last moved, as far as the caller knows; not compared: `rev` is."""
    tenant: str = DEFAULT_TENANT
    """Whose job it is, for counts; not compared: the id is."""


class Transition(Struct, frozen=True):
    """One move. `sets` and `clears` name fields of a job, `adds` counters and by how much they rise."""

    reason: Reason
    leaves: frozenset[State]
    to: State
    at: datetime
    sets: Mapping[str, Any] = field(default_factory=dict)
    clears: frozenset[str] = frozenset()
    adds: Mapping[str, int] = field(default_factory=dict)
    unless_cancelling: bool = False
    """Refused while a cancel is asked for: the flag wins over retry, release and take-back."""
    ended: EndedAttempt | None = None
    """The attempt that this ends without success; its job keeps it."""
    by: Actor | None = None
    """Who asked for it; None for what services do by themselves."""

    def __post_init__(self) -> None:
        sets_check = "next_check_at" in self.sets
        if sets_check == self.to.is_terminal and self.leaves != {self.to}:
            raise ValueError(f"{self.reason}: a job has a next_check_at exactly while it is live")
        force_setattr(self, "sets", MappingProxyType(dict(self.sets)))


class Move(Struct, frozen=True):
    """A transition of one job, bound to what its caller saw. It happens no earlier than the one that it follows: each
    process has a clock of its own, and a history has one order."""

    seen: Seen
    transition: Transition

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
    """The transition at a later instant; every instant that it sets counts from its own."""
    by = at - transition.at
    sets = {name: value + by if isinstance(value, datetime) else value for name, value in transition.sets.items()}
    ended = transition.ended
    return replace(transition, at=at, sets=sets, ended=None if ended is None else replace(ended, ended_at=at))


class HistoryEntry(Struct, frozen=True):
    """One line of a job's history."""

    rev: int
    state: State
    reason: str
    """A `Reason`, or the word of a newer version."""
    attempt: int
    at: datetime
    by: Actor | None = None


class WrongState(Exception):
    """A transition was asked of a job whose state it can't leave."""

    def __init__(self, state: State, reason: Reason) -> None:
        super().__init__(f"a job that is {state.value} can't be {reason.value.replace('_', ' ')}")
        self.state = state
        self.reason = reason


OWNED = frozenset({"owner"})
"""What an attempt clears in any case."""
# What an attempt clears that came to an end of its own: it held the job, and its process is still there.
_CLEARED = OWNED | {"suspect"}
_SUSPECT: Mapping[bool, dict[str, Any]] = {True: {"suspect": True}, False: {}}
WAITING = frozenset({"due_at", "queued_at", "expires_at", "republished", "reserved_by"})
"""What only a job has that waits."""


def queue_fields(at: datetime, grace_s: float, expires_in_s: float) -> dict[str, Any]:
    """The fields of a job that is queued at this instant."""
    expires_at = at + timedelta(seconds=expires_in_s)
    return {
        "next_check_at": min(at + timedelta(seconds=grace_s), expires_at),
        "expires_at": expires_at,
        "queued_at": at,
        "republished": 0,
    }


def accept_fields(*, at: datetime, delay_s: float, grace_s: float, expires_in_s: float) -> dict[str, Any]:
    """The fields of a new job that belong to its lifecycle: queued at once, or scheduled for `delay_s` later."""
    if delay_s > 0:
        due_at = at + timedelta(seconds=delay_s)
        return {"state": State.SCHEDULED, "due_at": due_at, "next_check_at": due_at}
    return {"state": State.QUEUED, **queue_fields(at, grace_s, expires_in_s)}


def claim(*, at: datetime, owner: Owner, lease_s: float) -> Transition:
    """A worker takes the job: one more attempt, under a lease."""
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
    """The handler returned; `result` is its JSON text."""
    return Transition(
        Reason.COMPLETED,
        leaves=frozenset({State.RUNNING}),
        to=State.SUCCEEDED,
        at=at,
        sets={"result": result, "finished_at": at, "delete_at": at + timedelta(seconds=retention_s)},
        clears=_CLEARED | {"next_check_at", "error", "cancel_requested_at"},
    )


def fail(*, at: datetime, error: Mapping[str, Any], retention_s: float, exhausted: bool) -> Transition:
    """The attempt failed and nothing is tried again: a permanent error, or no attempts are left."""
    return Transition(
        Reason.ATTEMPTS_EXHAUSTED if exhausted else Reason.PERMANENT_ERROR,
        leaves=frozenset({State.RUNNING}),
        to=State.FAILED,
        at=at,
        sets={"error": dict(error), "finished_at": at, "delete_at": at + timedelta(seconds=retention_s)},
        clears=_CLEARED | {"next_check_at"},
        adds={"failures": 1},
        unless_cancelling=True,
    )


def back_off(*, at: datetime, error: Mapping[str, Any], delay_s: float, suspect: bool = False) -> Transition:
    """The attempt failed and is tried again after `delay_s`. A `suspect` of having made its worker stop runs alone."""
    due_at = at + timedelta(seconds=delay_s)
    return Transition(
        Reason.BACKING_OFF,
        leaves=frozenset({State.RUNNING}),
        to=State.SCHEDULED,
        at=at,
        sets={"error": dict(error), "due_at": due_at, "next_check_at": due_at} | _SUSPECT[suspect],
        clears=OWNED if suspect else _CLEARED,
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
    """A worker gives the job back, because it drains or could not start its handler; that is no failure.

    What has not started has shown nothing: a suspect stays one. With `suspect` it becomes one: the drain was not asked
    for from outside, so one of the worker's own jobs has caused it. After `delay_s` it is queued again.
    """
    due_at = at + timedelta(seconds=delay_s)
    queued = queue_fields(at, grace_s, expires_in_s)
    return Transition(
        reason,
        leaves=frozenset({State.RUNNING}),
        to=State.SCHEDULED if delay_s > 0 else State.QUEUED,
        at=at,
        sets=({"due_at": due_at, "next_check_at": due_at} if delay_s > 0 else queued) | _SUSPECT[suspect],
        clears=OWNED if suspect or reason is Reason.NOT_STARTED else _CLEARED,
        unless_cancelling=True,
    )


def take_back(*, at: datetime, grace_s: float, expires_in_s: float, ended: EndedAttempt | None = None) -> Transition:
    """The lease ran out: the job waits for another worker, as a suspect of having ended the one that it had.

    It says nothing of whose fault that was, so it counts nothing: the next attempt runs alone in a process.
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
    """The delay or the back-off is over."""
    return Transition(
        Reason.DUE,
        leaves=frozenset({State.SCHEDULED}),
        to=State.QUEUED,
        at=at,
        sets=queue_fields(at, grace_s, expires_in_s),
        clears=frozenset({"due_at"}),
    )


def expire(*, at: datetime, waited_s: float, kind: str, attempt: int, retention_s: float) -> Transition:
    """No worker took the job in the time that it may wait."""
    message = (
        f"no worker took the job within {waited_s:g} s. Check that a worker that serves kind {kind!r} runs "
        "(GET /workers), then retry the job."
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
    """The attempt of a job with the cancel flag ended without success, or its lease ran out.

    One that was lost or crashed may have ended its worker: a retry of the job runs it alone in a process.
    """
    is_suspect = ended is not None and ended.outcome in (AttemptOutcome.LOST, AttemptOutcome.CRASHED)
    return Transition(
        Reason.CANCELLED,
        leaves=frozenset({State.RUNNING}),
        to=State.CANCELLED,
        at=at,
        sets={"finished_at": at, "delete_at": at + timedelta(seconds=retention_s)} | _SUSPECT[is_suspect],
        clears=(OWNED if is_suspect else _CLEARED) | {"next_check_at", "cancel_requested_at"},
        ended=ended,
    )
