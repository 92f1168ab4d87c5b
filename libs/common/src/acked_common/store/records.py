"""What a store takes and returns: new jobs, jobs, claimed jobs, leases, kinds, workers. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from acked_common.model.attempts import EndedAttempt
from acked_common.model.events import JobUpdate
from acked_common.model.lifecycle import HistoryEntry, Owner, Seen, State
from acked_common.model.options import NO_OPTIONS, JobOptions
from acked_common.model.pauses import CountedPauses, Wait
from acked_common.model.principal import DEFAULT_TENANT


class Insertion(Enum):
    """What became of one new job."""

    STORED = "stored"
    """It is in the journals of a majority."""
    NOT_STORED = "not-stored"
    """It is not there and will not come."""
    KEY_TAKEN = "key-taken"
    """It is not there: another job, kept by a majority, holds its idempotency key."""
    UNKNOWN = "unknown"
    """It may be there, or may yet come."""


class Applied(Enum):
    """What became of one move."""

    APPLIED = "applied"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """What a client names a request with, so that it is kept once; `fingerprint` tells one request from another."""

    text: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """The job that holds an idempotency key of a tenant, as it was when it was accepted."""

    id: UUID
    kind: str
    state: State
    accepted_at: datetime
    fingerprint: bytes


class NewJob(Struct, frozen=True):
    """A request that is about to be kept. `lifecycle` holds the fields of `lifecycle.accept_fields`."""

    id: UUID
    kind: str
    payload: bytes
    accepted_at: datetime
    lifecycle: Mapping[str, Any]
    options: JobOptions = NO_OPTIONS
    tenant: str = DEFAULT_TENANT
    key: IdempotencyKey | None = None
    edited_from: UUID | None = None


class Job(Struct, frozen=True):
    """A job as it is kept. `payload`, `progress` and `result` are JSON texts; instants are aware UTC."""

    id: UUID
    kind: str
    state: State
    reason: str
    rev: int
    run: int
    attempt: int
    failures: int
    crashes: int
    """Processes that the job ended in this run, each while it ran alone."""
    accepted_at: datetime
    payload: bytes
    first_state: State
    history: tuple[HistoryEntry, ...] = ()
    options: JobOptions = NO_OPTIONS
    next_check_at: datetime | None = None
    queued_at: datetime | None = None
    expires_at: datetime | None = None
    republished: int = 0
    due_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    owner: Owner | None = None
    cancel_requested: bool = False
    suspect: bool = False
    """Its worker was lost while it ran: the next attempt runs alone in a process."""
    progress: bytes | None = None
    result: bytes | None = None
    error: Mapping[str, Any] | None = None
    note: str | None = None
    attempts: tuple[EndedAttempt, ...] = ()
    """The newest ones that did not succeed, oldest first."""
    edited_from: UUID | None = None
    """The job in whose place a person has put this one."""
    edited_to: UUID | None = None
    """The job that a person has put in the place of this one."""
    erased_at: datetime | None = None
    """When a person removed payload, result and errors."""
    counted_pauses: CountedPauses | None = None
    """What of its kind's pauses `expires_at` takes into account; of an earlier wait, perhaps."""

    tenant: str = DEFAULT_TENANT

    @property
    def wait(self) -> Wait | None:
        """How long the job may wait for a worker; None unless it is queued."""
        if self.queued_at is None or self.expires_at is None:
            return None
        return Wait(self.queued_at, self.expires_at, self.counted_pauses)

    @property
    def seen(self) -> Seen:
        """What a move of this job has to find unchanged."""
        # A projection may lack the history.
        known = (self.history[-1].at if self.history else None, self.queued_at, self.started_at, self.finished_at)
        at = max((instant for instant in known if instant is not None), default=self.accepted_at)
        nonce = self.owner.nonce if self.owner else None
        return Seen(self.id, self.state, self.rev, self.attempt, nonce, at=at, tenant=self.tenant)

    @property
    def seen_with_lease(self) -> Seen:
        """As `seen`; a renewal in between makes the move stale."""
        return replace(self.seen, next_check_at=self.next_check_at)


class ClaimedJob(Struct, frozen=True):
    """A running job as its new owner has to know it; no more than that is read back. `payload` is a JSON text."""

    id: UUID
    kind: str
    payload: bytes
    rev: int
    run: int
    attempt: int
    failures: int
    crashes: int
    nonce: str
    """The claim that owns the attempt."""
    started_at: datetime
    """When the claim was asked for; never before the job was queued, whatever the clocks say."""
    options: JobOptions = NO_OPTIONS
    cancel_requested_at: datetime | None = None
    """Set only where it was read back: by a late claim, or because an outcome was stale."""
    suspect: bool = False
    tenant: str = DEFAULT_TENANT
    """Read back only where clients show tokens; elsewhere all jobs are of this one."""

    @property
    def seen(self) -> Seen:
        """What a move of this job has to find unchanged."""
        asked_at = self.cancel_requested_at
        at = self.started_at if asked_at is None else max(self.started_at, asked_at)
        return Seen(self.id, State.RUNNING, self.rev, self.attempt, self.nonce, at=at, tenant=self.tenant)


@dataclass(frozen=True, slots=True)
class Lease:
    """What a renewal found of one job that the worker believes to hold."""

    id: UUID
    attempt: int
    nonce: str | None
    rev: int
    cancel_requested: bool


@dataclass(frozen=True, slots=True)
class Revision:
    """The part of a job that a waiter compares."""

    rev: int
    state: State


@dataclass(frozen=True, slots=True)
class KindRecord:
    """A kind as workers registered it. `acked.KindOptions` owns the defaults of a handler."""

    name: str
    lane: str
    version: str
    timeout_s: float
    max_attempts: int
    backoff_base_s: float
    backoff_cap_s: float
    bundle: int
    payload_schema: Mapping[str, Any] | None = None
    seen_at: datetime | None = None
    max_attempts_limit: int | None = None
    """The most that a request may ask for; None: no more than `max_attempts`. So it is where a worker of an earlier
    version registered the kind."""
    timeout_limit_s: float | None = None
    """The same of `timeout_s`."""

    @property
    def most_attempts(self) -> int:
        """The most failures that any job of the kind may have."""
        return self.max_attempts_limit or self.max_attempts

    @property
    def most_timeout_s(self) -> float:
        """The longest that any attempt of the kind may take."""
        return self.timeout_limit_s or self.timeout_s

    def attempts_of(self, asked: int | None) -> int:
        """What holds for a job that asks for so many. It may have been accepted when the kind allowed more."""
        return self.max_attempts if asked is None else min(asked, self.most_attempts)

    def timeout_of(self, asked: float | None) -> float:
        """What holds for a job that asks for so long; as `attempts_of`."""
        return self.timeout_s if asked is None else min(asked, self.most_timeout_s)


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """What a worker says of itself, refreshed with its renewals."""

    boot: str
    name: str
    kinds: tuple[str, ...]
    slots: int
    running: int
    finished: int
    version: str
    since_at: datetime
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs a list shows; every part that is given must fit."""

    state: State | None = None
    kind: str | None = None
    batch: str | None = None
    tag: str | None = None
    tenant: str = DEFAULT_TENANT
    """Whose jobs; there is no filter over several tenants."""
    error_group: str | None = None
    """Only failed jobs have one; `attempts.UNGROUPED` selects those whose error has none and needs attention."""
    since_at: datetime | None = None
    """Accepted at this instant or later, by the job's id."""
    until_at: datetime | None = None
    """Accepted before this instant, by the job's id."""


@dataclass(frozen=True, slots=True)
class JobPage:
    """One page of a list, newest first; `next_before` continues it, None ends it."""

    jobs: Sequence[Job]
    next_before: UUID | None


@dataclass(frozen=True, slots=True)
class BatchCount:
    """What a batch holds: jobs by state, and between which instants its jobs were accepted and finished."""

    states: Mapping[State, int]
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class SweepPosition:
    """Where a look over live jobs stopped."""

    next_check_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class Reservation:
    """A queued job that is about to be published again: no sweeper checks it before `next_check_at`, if its next check
    is still the one that was seen, `seen_check_at`."""

    id: UUID
    seen_check_at: datetime
    next_check_at: datetime


@dataclass(frozen=True, slots=True)
class WaitExtension:
    """A queued job whose kind was paused while it waited: it may wait longer, if it expires as it was seen to."""

    id: UUID
    seen_expires_at: datetime
    wait: Wait


@dataclass(frozen=True, slots=True)
class ProgressReport:
    """The newest progress of one attempt; `progress` is a JSON text."""

    id: UUID
    attempt: int
    nonce: str
    progress: bytes


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened to jobs since the last answer, in order."""

    updates: Sequence[JobUpdate]
    is_current: bool
    """Whether all that had happened when the question was asked is told by now."""
