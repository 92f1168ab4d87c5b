"""The records of the store: new jobs, jobs, claimed jobs, leases, kinds, workers. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from acked_common.model.attempts import EndedAttempt
from acked_common.model.callbacks import Callback, JobEnd
from acked_common.model.events import JobUpdate
from acked_common.model.lifecycle import HistoryEntry, Owner, Seen, State
from acked_common.model.lifecycle_waits import Waits
from acked_common.model.options import NO_OPTIONS, JobOptions
from acked_common.model.pauses import CountedPauses, Wait
from acked_common.model.payload_schemas import PayloadSchema
from acked_common.model.principal import DEFAULT_TENANT

RUNNING_JOBS_KEPT = 20
"""Running jobs in a worker's document: it is written every two seconds."""


class Insertion(Enum):
    """The outcome of inserting one job."""

    STORED = "stored"
    """It is in the journals of a majority."""
    NOT_STORED = "not-stored"
    """It is not stored and will not be."""
    KEY_TAKEN = "key-taken"
    """It is not stored: another job, which a majority has, holds its idempotency key."""
    UNKNOWN = "unknown"
    """It may be stored, or may still arrive."""


class Applied(Enum):
    """The outcome of one move."""

    APPLIED = "applied"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A client's name for a request, which persists it once; `fingerprint` distinguishes requests."""

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
    """A request to be persisted. `lifecycle` has the fields of `lifecycle.accept_fields`."""

    id: UUID
    kind: str
    payload: bytes
    accepted_at: datetime
    lifecycle: Mapping[str, Any]
    options: JobOptions = NO_OPTIONS
    tenant: str = DEFAULT_TENANT
    key: IdempotencyKey | None = None
    edited_from: UUID | None = None
    callback: Callback | None = None
    callback_endpoints: tuple[str, ...] = ()


class Job(Struct, frozen=True):
    """A stored job. `payload`, `progress` and `result` are JSON texts; instants are aware UTC."""

    id: UUID
    kind: str
    state: State
    reason: str
    rev: int
    run: int
    attempt: int
    failures: int
    crashes: int
    """Crashes of this run: isolated processes that the job ended."""
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
    """The job's worker was lost while it ran, so the next attempt runs isolated."""
    progress: bytes | None = None
    result: bytes | None = None
    error: Mapping[str, Any] | None = None
    note: str | None = None
    attempts: tuple[EndedAttempt, ...] = ()
    """The newest unsuccessful attempts, oldest first."""
    edited_from: UUID | None = None
    """The job that this one replaces."""
    edited_to: UUID | None = None
    """The job that replaces this one."""
    erased_at: datetime | None = None
    """When an operator removed payload, result and errors."""
    counted_pauses: CountedPauses | None = None
    """The pauses of the kind that `expires_at` already counts, perhaps those of an earlier wait."""
    waits: Waits | None = None
    """Why the job is parked; None in every other state."""
    signals: int = 0
    """The number of signals that were announced to the job."""
    is_held: bool = False
    """Whether the job is queued without a message, and waits for a place of its kind's limit (see `limits`)."""
    callback: Callback | None = None
    callback_endpoints: tuple[str, ...] = ()
    callback_open: bool = False
    """Whether the next end, or the last one of an ended job, has no delivery as far as is known (see `callbacks`)."""
    callback_ends: tuple[JobEnd, ...] = ()
    """Earlier ends without a delivery, and requests to send one again."""
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
        """As `seen`; in addition, a renewal in between makes the move stale."""
        return replace(self.seen, next_check_at=self.next_check_at)


class ClaimedJob(Struct, frozen=True):
    """The part of a running job that its new owner needs and reads back. `payload` is a JSON text."""

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
    """When the claim was requested; never before the job was queued, even if clocks differ."""
    options: JobOptions = NO_OPTIONS
    cancel_requested_at: datetime | None = None
    """Set only if it was read back: by a late claim, or because an outcome was stale."""
    suspect: bool = False
    tenant: str = DEFAULT_TENANT
    """Read back only if clients need tokens; otherwise all jobs belong to this tenant."""

    @property
    def seen(self) -> Seen:
        """What a move of this job has to find unchanged."""
        asked_at = self.cancel_requested_at
        at = self.started_at if asked_at is None else max(self.started_at, asked_at)
        return Seen(self.id, State.RUNNING, self.rev, self.attempt, self.nonce, at=at, tenant=self.tenant)


@dataclass(frozen=True, slots=True)
class Lease:
    """The result of a renewal for one job that the worker believes it holds."""

    id: UUID
    attempt: int
    nonce: str | None
    rev: int
    cancel_requested: bool
    signals: int = 0
    """The number of signals that were announced to the job."""


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
    """The maximum that a request may set; None, as registered by workers of earlier versions: `max_attempts`."""
    timeout_limit_s: float | None = None
    """The same for `timeout_s`."""
    schemas: tuple[PayloadSchema, ...] = ()
    """Those that workers registered lately, the newest first. `payload_schema` is that of the last registration."""

    @property
    def most_attempts(self) -> int:
        """The maximum of failures of any job of the kind."""
        return self.max_attempts_limit or self.max_attempts

    @property
    def most_timeout_s(self) -> float:
        """The maximum duration of any attempt of the kind."""
        return self.timeout_limit_s or self.timeout_s

    def attempts_of(self, asked: int | None) -> int:
        """Return the effective attempts of a job, which may have been accepted when the kind allowed more."""
        return self.max_attempts if asked is None else min(asked, self.most_attempts)

    def timeout_of(self, asked: float | None) -> float:
        """Return the effective timeout of a job, as `attempts_of` does."""
        return self.timeout_s if asked is None else min(asked, self.most_timeout_s)


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A job that a worker runs."""

    id: UUID
    kind: str
    attempt: int
    started_at: datetime
    tenant: str = DEFAULT_TENANT


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """A worker's document, refreshed with its renewals."""

    boot: str
    name: str
    kinds: tuple[str, ...]
    slots: int
    running: int
    finished: int
    version: str
    since_at: datetime
    seen_at: datetime
    running_jobs: tuple[RunningJob, ...] = ()
    """Those that run longest, at most `RUNNING_JOBS_KEPT`; none of workers of an earlier version."""
    drain_requested: bool = False
    """Whether an operator has asked the worker to leave. Only `request_drain` writes it."""
    schemas: Mapping[str, str] = field(default_factory=dict)
    """The digest of the payload schema of each kind that has one. A worker of an earlier version has none."""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """The filter of a list; a job must match every part that is set."""

    state: State | None = None
    kind: str | None = None
    batch: str | None = None
    tag: str | None = None
    tenant: str = DEFAULT_TENANT
    """The tenant of the jobs; no filter covers several tenants."""
    error_group: str | None = None
    """Only failed jobs have a group; `attempts.UNGROUPED` selects those without a group that need attention."""
    since_at: datetime | None = None
    """Accepted at this instant or later, by the job's id."""
    until_at: datetime | None = None
    """Accepted before this instant, by the job's id."""
    worker: str | None = None
    """Running on this worker now; with another state than `running`, no job matches."""
    waiting_for: str | None = None
    """Only parked jobs wait: for a signal of this name, or for an instant alone, `lifecycle_waits.NO_SIGNAL`."""


@dataclass(frozen=True, slots=True)
class JobPage:
    """One page of a list, newest first; `next_before` continues it, None ends it."""

    jobs: Sequence[Job]
    next_before: UUID | None


@dataclass(frozen=True, slots=True)
class BatchCount:
    """The jobs of a batch by state, and when the first was accepted and the last accepted or finished."""

    states: Mapping[State, int]
    first_at: datetime
    last_at: datetime
    is_exact: bool = True
    """False for a batch of more than `list_limits.BATCH_COUNTED` jobs. Then at most so many are counted in each state,
    the newest ones, and `last_at` covers only these."""


@dataclass(frozen=True, slots=True)
class TopicCount:
    """The jobs of a topic by state, and what the count cost."""

    states: Mapping[State, int]
    at_most: int | None
    """The most jobs that were counted in each state; None if all jobs of the topic are counted."""
    looked_at: int
    """The keys or documents that were read."""


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """A batch in a list: its jobs by state, counted up to `list_limits.BATCH_JOBS_COUNTED`."""

    name: str
    newest_id: UUID
    """Of its job that was accepted last."""
    states: Mapping[State, int]
    is_exact: bool
    """Whether all of its jobs were counted."""


@dataclass(frozen=True, slots=True)
class BatchPage:
    """One page of a list of batches, newest first; `next_before` continues it, None ends it."""

    batches: Sequence[BatchSummary]
    next_before: UUID | None


@dataclass(frozen=True, slots=True)
class SweepPosition:
    """The position at which a page of live jobs ended."""

    next_check_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class Reservation:
    """A queued job that is about to be republished. Its next check moves from `seen_check_at`, which must be unchanged,
    to `next_check_at`."""

    id: UUID
    seen_check_at: datetime
    next_check_at: datetime


@dataclass(frozen=True, slots=True)
class WaitExtension:
    """A queued job whose kind was paused while it waited. Its expiry is extended if it has not changed."""

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
    """The changes of jobs since the last read, in order."""

    updates: Sequence[JobUpdate]
    is_current: bool
    """Whether all changes from before the read have been returned by now."""
