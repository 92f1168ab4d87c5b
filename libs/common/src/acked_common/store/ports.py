"""OWNER of the storage ports: the verbs with which services read and move jobs, one `Protocol` per role.

Every verb may raise `StoreError`; none raises for a job that does not exist. There is no general update: a job moves
only by a `Move` (see `lifecycle`), applied as a compare-and-set. Reads for clients take a tenant and return
only its jobs; other verbs concern all tenants.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from acked_common.model.batch_ends import BatchEnds
from acked_common.model.events import JobUpdate
from acked_common.model.ledger import PendingSignals
from acked_common.model.lifecycle import HistoryEntry, Move, Owner, State
from acked_common.model.minute_buckets import Bucket
from acked_common.model.pauses import KindPauses, Pause
from acked_common.model.principal import DEFAULT_TENANT
from acked_common.model.queue_place import QueuedShare
from acked_common.model.topics import Topic
from acked_common.store.census import Census, CensusSummary, KnownGroup, NoteChanges, TenantAttention
from acked_common.store.ledgers import LedgerProgressStore
from acked_common.store.parked import Announced, ResumedJob, ResumeOrder
from acked_common.store.records import (
    Applied,
    BatchCount,
    BatchPage,
    Changes,
    ClaimedJob,
    Insertion,
    Job,
    JobFilter,
    JobPage,
    KeyHolder,
    KindRecord,
    Lease,
    NewJob,
    ProgressReport,
    Reservation,
    Revision,
    SweepPosition,
    TopicCount,
    WaitExtension,
    WorkerRecord,
)


class TransitionStore(Protocol):
    """Create and move jobs. Only `background/job_writer` uses it, because it publishes jobs that became queued."""

    async def insert(self, jobs: Sequence[NewJob]) -> list[Insertion]:
        """Store new jobs independently of each other. Return the outcomes in the same order. Never raises.

        One job of a tenant holds an idempotency key, as long as that job is stored. A job whose id already exists is
        STORED and unchanged, so the same jobs can be inserted again after an unknown outcome.
        """
        ...

    async def apply(self, moves: Sequence[Move]) -> list[Applied]:
        """Apply each move whose job has not changed since it was read. Safe to repeat after an unknown outcome."""
        ...

    async def resume(self, ids: Sequence[UUID], order: ResumeOrder) -> list[ResumedJob]:
        """Queue those jobs that are parked and whose wait has ended by MongoDB's clock. Return all that were queued
        under the nonce of the order and still are. Safe to repeat after an unknown outcome."""
        ...

    async def announce(self, pending: PendingSignals, order: ResumeOrder) -> Announced | None:
        """Announce signals to a job. A parked job that waits for one of the names is queued; to another live job, its
        number of signals is raised. A job that is parked for other reasons, or has ended, is not changed. Return None
        without a job of this id. Safe to repeat after an unknown outcome."""
        ...


class KeyStore(Protocol):
    """Read the holders of idempotency keys, for intake."""

    async def key_holder(self, tenant: str, key: str) -> KeyHolder | None:
        """Read the job that holds an idempotency key, from the majority; None if no stored job holds it."""
        ...


class BacklogStore(Protocol):
    """Count waiting jobs, for the quotas of intake."""

    async def count_waiting(self, *, at_most: int) -> int:
        """Count live jobs that wait for workers (queued, scheduled), up to `at_most` of each state."""
        ...

    async def count_waiting_by_tenant(self, *, at_most: int) -> dict[str, int]:
        """Count the same per tenant. This reads documents instead of index keys, so it takes much longer."""
        ...

    async def crowds_parked(self, *, at_least: int) -> dict[str, int]:
        """Count the parked jobs of tenants that have at least so many; nothing of other tenants."""
        ...


class ClaimStore(Protocol):
    """Claim jobs of a lane, for workers."""

    async def claim(
        self, ids: Sequence[UUID], *, kinds: Sequence[str], owner: Owner, lease_s: float, at: datetime
    ) -> list[ClaimedJob]:
        """Claim those jobs that are queued and of these kinds. Return the jobs that the owner now holds.

        `at` is when the claim was requested. The lease begins when the claim takes effect, by MongoDB's clock.
        """
        ...


class OutcomeStore(Protocol):
    """Read jobs whose outcome a worker could not record, and how far jobs came that are about to fail."""

    async def get_many(self, ids: Sequence[UUID]) -> dict[UUID, Job]:
        """Read the jobs that exist, of all tenants."""
        ...

    async def histories(self, ids: Sequence[UUID]) -> dict[UUID, Sequence[HistoryEntry]]:
        """Read the histories of the jobs that exist, of all tenants, each oldest entry first."""
        ...

    def ledgers(self) -> LedgerProgressStore:
        """Return the ledgers of the same database."""
        ...

    async def workers(self, *, seen_within_s: float) -> list[WorkerRecord]:
        """Read the workers as `PresenceStore.workers` does."""
        ...


class ProgressStore(Protocol):
    """Record progress, for workers."""

    async def report_progress(self, reports: Sequence[ProgressReport]) -> None:
        """Write the newest progress of attempts that still run, without raising `rev`."""
        ...


class WatermarkStore(Protocol):
    """Record how far workers have consumed each lane."""

    async def raise_watermark(self, lane: str, taken_at: datetime) -> None:
        """Store the newest `queued_at` that was consumed from a lane; the stored value never falls."""
        ...


class ClockStore(Protocol):
    """The one clock that all processes share."""

    async def server_time(self) -> datetime:
        """Read MongoDB's clock."""
        ...


class LeaseStore(ClockStore, Protocol):
    """Renew leases, for workers."""

    async def renew(self, ids: Sequence[UUID], *, boot: str, lease_s: float) -> dict[UUID, Lease]:
        """Renew the leases that this worker process holds. Return the state of the lease of each id."""
        ...


class PresenceStore(Protocol):
    """The documents of worker processes."""

    async def refresh_worker(self, worker: WorkerRecord) -> bool:
        """Write the worker's document. Return whether an operator has requested a drain of this worker."""
        ...

    async def forget_worker(self, boot: str) -> None:
        """Delete the document of a worker process that has ended."""
        ...

    async def request_drain(self, boot: str) -> bool:
        """Request the drain of a worker process. Return False if it has no document."""
        ...

    async def workers(self, *, seen_within_s: float) -> list[WorkerRecord]:
        """Read the workers whose documents were refreshed within this time."""
        ...


class KindStore(Protocol):
    """The registered kinds."""

    async def register_kinds(self, kinds: Sequence[KindRecord]) -> None:
        """Register kinds, or refresh them. The schema of a kind joins those that were registered lately."""
        ...

    async def kinds(self) -> dict[str, KindRecord]:
        """Read all registered kinds, by name."""
        ...


class PauseStore(Protocol):
    """The pauses of kinds. The registration of a kind does not change its pauses."""

    async def pause_kind(self, kind: str, pause: Pause) -> KindPauses | None:
        """Pause a kind, unless it is already paused. Return the pauses of the kind afterwards; None if no worker has
        ever registered the kind. Safe to repeat."""
        ...

    async def resume_kind(self, kind: str, *, at: datetime) -> KindPauses | None:
        """End the pause of a kind at this instant, if it is paused. Return as `pause_kind` does."""
        ...

    async def pauses(self) -> dict[str, KindPauses]:
        """Read what holds kinds back: pauses and limits, of all kinds that have or had any."""
        ...


class SweepStore(ClockStore, Protocol):
    """Find and republish jobs, for the sweeper."""

    async def live_jobs(
        self, state: State, *, limit: int, after: SweepPosition | None = None, kinds: Sequence[str] | None = None
    ) -> list[Job]:
        """Read live jobs in one state whose next check is due by MongoDB's clock, longest due first, without
        payloads."""
        ...

    async def take_turn(self, name: str, *, for_s: float) -> bool:
        """Take a lock for this time by MongoDB's clock. Return False while another process has it."""
        ...

    async def reserve(self, reservations: Sequence[Reservation], *, nonce: str) -> set[UUID]:
        """Reserve queued jobs that have not changed: move their next checks and count a republication of each. Return
        the ids that this call reserved. Of several callers, one gets each job; `nonce` identifies the call."""
        ...

    async def extend_waits(self, extensions: Sequence[WaitExtension]) -> None:
        """Move the expiry of queued jobs whose expiry has not changed; skip all others."""
        ...

    async def give_back(self, ids: Sequence[UUID], *, nonce: str, next_check_at: datetime) -> None:
        """Undo the reservations of jobs that were not published. The next check of each is `next_check_at`."""
        ...

    async def watermarks(self) -> dict[str, datetime]:
        """Read the watermarks of all lanes."""
        ...


class CensusStore(Protocol):
    """Count and read the census, for gateways."""

    async def take_turn(self, name: str, *, for_s: float) -> bool:
        """Take a lock as `SweepStore.take_turn` does."""
        ...

    async def count_census(self, *, at: datetime) -> Census:
        """Count live jobs by kind, and failed jobs by tenant and group, each up to a bound (see `store/census`)."""
        ...

    async def write_census(self, counted: Census) -> None:
        """Replace the census. Each tenant's part and the summary are replaced atomically."""
        ...

    async def read_census(self) -> CensusSummary | None:
        """Read the newest summary; None before the first census."""
        ...


class AttentionStore(Protocol):
    """Read failed jobs by group, and store notes on groups."""

    async def read_attention(self, *, tenant: str) -> TenantAttention:
        """Read the newest census of a tenant and the records of its groups."""
        ...

    async def known_group(self, group: str, *, tenant: str) -> KnownGroup | None:
        """Read the record of a group; None if no census has found the group."""
        ...

    async def note_group(self, group: str, changes: NoteChanges, *, tenant: str) -> KnownGroup | None:
        """Change the notes on a group. Return its record afterwards; None as in `known_group`."""
        ...


class JobReader(Protocol):
    """Read one job for a client, and wait for it to move."""

    async def get(self, job_id: UUID, *, tenant: str = DEFAULT_TENANT) -> Job | None:
        """Read one job of the tenant, from the majority; None for a job of another tenant."""
        ...

    async def revisions(self, ids: Sequence[UUID]) -> dict[UUID, Revision]:
        """Read rev and state of the jobs that exist, of all tenants."""
        ...


class JobLists(JobReader, Protocol):
    """List jobs and count batches, for the gateway."""

    async def list_jobs(self, job_filter: JobFilter, *, page_size: int, before: UUID | None = None) -> JobPage:
        """Read a page of jobs, newest first, without payloads and results."""
        ...

    async def count_batch(self, batch: str, *, tenant: str = DEFAULT_TENANT) -> BatchCount | None:
        """Count one batch of the tenant from the index; None if no job has this batch name."""
        ...

    async def batch_ends(self, batch: str, *, tenant: str = DEFAULT_TENANT) -> BatchEnds | None:
        """Count over time when jobs of a batch ended, from the index; None if no job has this batch name.

        Reads at most `list_limits.BATCH_ENDS_READ` jobs of each terminal state, twice.
        """
        ...

    async def list_batches(self, tenant: str, *, page_size: int, before: UUID | None = None) -> BatchPage:
        """Read a page of batches by their newest job, newest first. A short page may have a next one."""
        ...


class MinuteStore(Protocol):
    """The minute buckets of processes (see `minute_buckets`)."""

    async def add_minutes(self, boot: str, number: int, buckets: Sequence[Bucket]) -> None:
        """Add the counts of a process. `number` identifies the write: a repetition with the same number and buckets
        after an unknown outcome adds nothing twice."""
        ...

    async def minutes(self, tenant: str | None, kind: str | None, *, step_s: int, since_at: datetime) -> list[Bucket]:
        """Read the buckets of one series that begin at an instant or later, newest first; a bounded number."""
        ...

    async def kind_totals(
        self, tenant: str, kinds: Sequence[str], *, step_s: int, since_at: datetime
    ) -> dict[str, dict[str, int]]:
        """Add up the counts of `COUNTED` of each of a tenant's kinds since an instant, over at most `MOST_READ`
        buckets in all. Kinds without any are left out."""
        ...


class QueueStore(Protocol):
    """Count queued jobs."""

    async def queued_by_kind(self, *, at_most: int) -> list[QueuedShare]:
        """Count queued jobs of all tenants by kind and age. Count at most `at_most` jobs: those that the sweeper checks
        first, which are roughly those that wait longest."""
        ...


class JobChanges(Protocol):
    """The stream of all changes of jobs since it was opened. One reader at a time."""

    async def read(self) -> Changes:
        """Read the next changes; empty after a short while without any. Opens the stream, or resumes it after an error.
        Raises `HistoryLost` if it can't resume, in which case the next call opens a new stream; else `StoreError`."""
        ...

    async def open(self) -> None:
        """Open the stream: later changes will be read. Raises as `read` does."""
        ...

    async def close(self) -> None:
        """End the stream; the next call opens a new one."""
        ...


class SnapshotStore(Protocol):
    """Read the snapshots of the live feed."""

    async def look(self, topic: Topic, *, limit: int) -> list[JobUpdate] | None:
        """Read the state of each job of a topic; None if there are more than `limit` jobs."""
        ...

    async def count(self, topic: Topic, *, at_most: int) -> TopicCount:
        """Count the jobs of a topic by state; in a batch, up to `list_limits.BATCH_COUNTED` jobs of each state. For a
        kind or all jobs, count only live and failed ones, because no index could count other ended jobs, each state
        over at most `at_most` jobs: live ones over those of all tenants, in the sweeper's order; failed ones over the
        tenant's own."""
        ...


class HealthStore(ClockStore, Protocol):
    """Check whether the store can be used."""

    async def check_schema(self) -> None:
        """Raise `SchemaMismatch` unless `init` of this version has run."""
        ...


class IdentityStore(Protocol):
    """The identity of the database."""

    async def database_id(self) -> str | None:
        """Return the id of this database; None if an earlier version of `init` created it."""
        ...
