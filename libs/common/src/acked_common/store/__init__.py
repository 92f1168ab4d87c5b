"""OWNER of the storage port: the verbs with which services read and move jobs, and what they answer.

There is no general update: a job moves only by a `Move` (see `lifecycle`), applied as a compare-and-set.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Protocol
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from acked_common.model.events import JobUpdate
from acked_common.model.lifecycle import HistoryEntry, Move, Owner, Seen, State
from acked_common.model.principal import DEFAULT_TENANT

LIST_SCAN_LIMIT = 10_000
"""Documents that one page of a list may look at before it answers with a token."""
LIST_FIRST_SPAN = 250
"""Of these, how many a page looks at first; twice as many then, while it finds too few and the looks are quick."""
LIST_WITHIN_S = 0.3
"""After so long a page looks at no more: the documents of large payloads take longer."""
LIST_BYTES = 2**20
"""A page with so much is full, however many jobs were asked for; one job is always in it."""


class StoreError(Exception):
    """The store could not answer; the caller may try again."""


class StoreUnavailable(StoreError):
    """No server could be reached in time: nothing was written."""


class OutcomeUnknown(StoreError):
    """The connection broke while a write was under way: it may or may not have happened."""


class SchemaMismatch(StoreError):
    """The database was made by another version, or `init` has not run yet."""


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
    batch: str | None = None
    tags: tuple[str, ...] = ()
    max_attempts: int | None = None
    timeout_s: float | None = None
    expires_in_s: float | None = None
    tenant: str = DEFAULT_TENANT
    key: IdempotencyKey | None = None


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
    batch: str | None = None
    tags: tuple[str, ...] = ()
    max_attempts: int | None = None
    timeout_s: float | None = None
    expires_in_s: float | None = None
    wake: datetime | None = None
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

    @property
    def seen(self) -> Seen:
        """What a move of this job has to find unchanged."""
        # A projection may lack the history.
        known = (self.history[-1].at if self.history else None, self.queued_at, self.started_at, self.finished_at)
        at = max((instant for instant in known if instant is not None), default=self.accepted_at)
        return Seen(self.id, self.state, self.rev, self.attempt, self.owner.nonce if self.owner else None, at=at)

    @property
    def seen_with_lease(self) -> Seen:
        """As `seen`; a renewal in between makes the move stale."""
        return replace(self.seen, wake=self.wake)


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
    batch: str | None = None
    tags: tuple[str, ...] = ()
    max_attempts: int | None = None
    timeout_s: float | None = None
    expires_in_s: float | None = None
    cancel_requested_at: datetime | None = None
    """Set only where it was read back: by a late claim, or because an outcome was stale."""
    suspect: bool = False

    @property
    def seen(self) -> Seen:
        """What a move of this job has to find unchanged."""
        asked_at = self.cancel_requested_at
        at = self.started_at if asked_at is None else max(self.started_at, asked_at)
        return Seen(self.id, State.RUNNING, self.rev, self.attempt, self.nonce, at=at)


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
    """A kind as workers registered it."""

    name: str
    lane: str
    version: str = "1"
    timeout_s: float = 900.0
    max_attempts: int = 5
    backoff_base_s: float = 1.0
    backoff_cap_s: float = 300.0
    bundle: int = 32
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

    wake: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class Reservation:
    """A queued job that is about to be published again: nobody looks at it before `wake`, if its wake is still the one
    that was seen."""

    id: UUID
    seen_wake: datetime
    wake: datetime


@dataclass(frozen=True, slots=True)
class ProgressReport:
    """The newest progress of one attempt; `progress` is a JSON text."""

    id: UUID
    attempt: int
    nonce: str
    progress: bytes


@dataclass(frozen=True, slots=True)
class Scope:
    """Which jobs of a tenant somebody follows: those with these ids, of this batch, of this kind; all where nothing is
    given."""

    ids: frozenset[UUID] | None = None
    batch: str | None = None
    kind: str | None = None
    tenant: str = DEFAULT_TENANT


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened to jobs since the last answer, in order."""

    news: Sequence[JobUpdate]
    is_current: bool
    """Whether all that had happened when the question was asked is told by now."""


class HistoryLost(StoreError):
    """The server no longer has the changes since the last answer: look anew."""


class JobChanges(Protocol):
    """The stream of all changes of jobs, from its opening on. One reader at a time."""

    async def read(self) -> Changes:
        """The next changes, none after a short while without any. Opens the stream, or takes it up where it was after
        an error. Raises `HistoryLost` where it can't, and begins anew with the next call; else `StoreError`."""
        ...

    async def open(self) -> None:
        """Opens the stream: what happens from now on will be told. Raises as `read` does."""
        ...

    async def close(self) -> None:
        """Ends the stream; the next call begins anew."""
        ...


class JobStore(Protocol):
    """Where jobs are kept. All verbs may raise `StoreError`; none raises for a job that is not there.

    What answers clients asks for one tenant's jobs (`get`, `list_jobs`, `count_batch`, `look`, `count`); what services
    do by themselves concerns all.
    """

    async def insert(self, jobs: Sequence[NewJob]) -> list[Insertion]:
        """Keeps new jobs, each on its own merit; never raises. Same order as given.

        An idempotency key is held by one job of a tenant, as long as that job is kept. An id that is there already is
        STORED and stays as it is, so that the same jobs can be given again after an unknown outcome.
        """
        ...

    async def key_holder(self, tenant: str, key: str) -> KeyHolder | None:
        """The job that holds an idempotency key, from the majority; None where none does, or does no longer."""
        ...

    async def get(self, job_id: UUID, *, tenant: str = DEFAULT_TENANT) -> Job | None:
        """One job of the tenant, from the majority; another tenant's is not there."""
        ...

    async def get_many(self, ids: Sequence[UUID]) -> dict[UUID, Job]:
        """Those of the jobs that exist, whosever they are."""
        ...

    async def claim(
        self, ids: Sequence[UUID], *, kinds: Sequence[str], owner: Owner, lease_s: float, at: datetime
    ) -> list[ClaimedJob]:
        """Takes all of the jobs that are queued and of these kinds; answers those that are now the owner's.

        `at` is when the claim was asked for; the lease begins when it takes hold, by the store's clock.
        """
        ...

    async def apply(self, moves: Sequence[Move]) -> list[Applied]:
        """Applies each move if its job is still as it was seen. Safe to repeat after an unknown outcome."""
        ...

    async def renew(self, ids: Sequence[UUID], *, boot: str, lease_s: float) -> dict[UUID, Lease]:
        """Prolongs the leases of the jobs that this worker process holds; answers how each of `ids` stands."""
        ...

    async def report_progress(self, reports: Sequence[ProgressReport]) -> None:
        """Writes the newest progress of attempts that still run; raises no rev."""
        ...

    async def live_jobs(
        self, state: State, *, limit: int, after: SweepPosition | None = None, kinds: Sequence[str] | None = None
    ) -> list[Job]:
        """Live jobs in one state whose wake has come by the server's clock, oldest wake first, without payloads."""
        ...

    async def take_turn(self, name: str, *, for_s: float) -> bool:
        """Takes a turn that one process at a time has, for so long by the server's clock; False while it is taken."""
        ...

    async def reserve(self, reservations: Sequence[Reservation], *, nonce: str) -> set[UUID]:
        """Moves the wakes of jobs that still are queued as they were seen, and counts a republication of each; answers
        those that this call got. Of all who saw a job one gets it; `nonce` is that of one call."""
        ...

    async def give_back(self, ids: Sequence[UUID], *, nonce: str, wake: datetime) -> None:
        """Undoes reservations of jobs that were not published after all: they are looked at again at `wake`."""
        ...

    async def revisions(self, ids: Sequence[UUID]) -> dict[UUID, Revision]:
        """Rev and state of those of the jobs that exist, whosever they are."""
        ...

    async def list_jobs(self, job_filter: JobFilter, *, page_size: int, before: UUID | None = None) -> JobPage:
        """Jobs, newest first, without payloads and results."""
        ...

    async def count_batch(self, batch: str, *, tenant: str = DEFAULT_TENANT) -> BatchCount | None:
        """Counts of one batch of the tenant from the index; None where no job of it carries the name."""
        ...

    async def look(self, scope: Scope, *, limit: int) -> list[JobUpdate] | None:
        """How each job of a scope stands; None where there are more than `limit`."""
        ...

    async def count(self, scope: Scope, *, at_most: int) -> dict[State, int]:
        """Jobs of a batch by state. Of a kind and of all jobs: only live and failed ones, because the ended ones have
        no index that could count them. Each state is counted over at most `at_most` jobs: live ones over those of all
        tenants, in the sweeper's order; failed ones over the tenant's own."""
        ...

    async def count_waiting(self, *, at_most: int) -> int:
        """How many jobs are live and run nowhere: queued, scheduled, waiting. Of each state `at_most` are counted."""
        ...

    async def count_waiting_by_tenant(self, *, at_most: int) -> dict[str, int]:
        """The same for each tenant that has any. Reads the jobs themselves, so it takes much longer."""
        ...

    def changes(self) -> JobChanges:
        """A stream of changes; not open yet."""
        ...

    async def register_kinds(self, kinds: Sequence[KindRecord]) -> None:
        """Makes kinds known, or refreshes them."""
        ...

    async def kinds(self) -> dict[str, KindRecord]:
        """All known kinds by name."""
        ...

    async def refresh_worker(self, worker: WorkerRecord) -> bool:
        """Keeps or refreshes the worker's document; answers whether somebody asked the worker to drain."""
        ...

    async def forget_worker(self, boot: str) -> None:
        """The worker process has ended."""
        ...

    async def request_drain(self, boot: str) -> bool:
        """Asks a worker process to drain; False where it has no document."""
        ...

    async def workers(self, *, seen_within_s: float) -> list[WorkerRecord]:
        """Workers that were seen lately."""
        ...

    async def raise_watermark(self, lane: str, taken_at: datetime) -> None:
        """Notes the newest `queued_at` that was taken from a lane; it never falls."""
        ...

    async def watermarks(self) -> dict[str, datetime]:
        """The watermark of each lane that was ever consumed."""
        ...

    async def server_time(self) -> datetime:
        """The server's clock."""
        ...

    async def database_id(self) -> str | None:
        """What tells this database from all others; None where an earlier version of `init` made it."""
        ...

    async def check_schema(self) -> None:
        """Raises `SchemaMismatch` unless `init` of this version has run."""
        ...
