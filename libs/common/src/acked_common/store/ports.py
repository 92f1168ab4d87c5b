"""OWNER of the storage ports: the verbs with which services read and move jobs, one `Protocol` a role.

Every verb may raise `StoreError`; none raises for a job that does not exist. There is no general update: a job moves
only by a `Move` (see `lifecycle`), applied as a compare-and-set. What is read for clients takes a tenant and returns
its jobs alone; what services do by themselves concerns all tenants.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from acked_common.model.events import JobUpdate
from acked_common.model.lifecycle import Move, Owner, State
from acked_common.model.minute_buckets import Bucket
from acked_common.model.pauses import KindPauses, Pause
from acked_common.model.principal import DEFAULT_TENANT
from acked_common.model.queue_place import QueuedShare
from acked_common.model.topics import Topic
from acked_common.store.census import Census, CensusSummary, KnownGroup, NoteChanges, TenantAttention
from acked_common.store.records import (
    Applied,
    BatchCount,
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
    WaitExtension,
    WorkerRecord,
)


class TransitionStore(Protocol):
    """What makes and moves jobs: for `background/job_writer` alone, which publishes what became queued."""

    async def insert(self, jobs: Sequence[NewJob]) -> list[Insertion]:
        """Stores new jobs, each on its own merit; never raises. Returns the outcomes in the same order.

        An idempotency key is held by one job of a tenant, as long as that job is stored. An id that exists already is
        STORED and stays as it is, so that the same jobs can be inserted again after an unknown outcome.
        """
        ...

    async def apply(self, moves: Sequence[Move]) -> list[Applied]:
        """Applies each move if its job is still as it was seen. Safe to repeat after an unknown outcome."""
        ...


class KeyStore(Protocol):
    """What intake needs to replay a request."""

    async def key_holder(self, tenant: str, key: str) -> KeyHolder | None:
        """Reads the job that holds an idempotency key, from the majority; None where none does, or does no longer."""
        ...


class BacklogStore(Protocol):
    """What the quotas of intake need."""

    async def count_waiting(self, *, at_most: int) -> int:
        """Counts the jobs that are live and run nowhere: queued, scheduled, waiting; `at_most` of each state."""
        ...

    async def count_waiting_by_tenant(self, *, at_most: int) -> dict[str, int]:
        """Counts the same for each tenant that has any. Reads the jobs themselves, so it takes much longer."""
        ...


class ClaimStore(Protocol):
    """What a worker needs to take jobs of a lane."""

    async def claim(
        self, ids: Sequence[UUID], *, kinds: Sequence[str], owner: Owner, lease_s: float, at: datetime
    ) -> list[ClaimedJob]:
        """Claims all of the jobs that are queued and of these kinds; returns those that are now the owner's.

        `at` is when the claim was requested; the lease begins when it takes hold, by the store's clock.
        """
        ...


class OutcomeStore(Protocol):
    """What a worker needs to see what became of jobs whose outcome it could not record."""

    async def get_many(self, ids: Sequence[UUID]) -> dict[UUID, Job]:
        """Reads those of the jobs that exist, of all tenants."""
        ...


class ProgressStore(Protocol):
    """What a worker needs to record progress."""

    async def report_progress(self, reports: Sequence[ProgressReport]) -> None:
        """Writes the newest progress of attempts that still run; raises no rev."""
        ...


class WatermarkStore(Protocol):
    """What a worker needs to tell how far it has consumed a lane."""

    async def raise_watermark(self, lane: str, taken_at: datetime) -> None:
        """Stores the newest `queued_at` that was taken from a lane; it never falls."""
        ...


class ClockStore(Protocol):
    """The one clock that all processes share."""

    async def server_time(self) -> datetime:
        """Reads the server's clock."""
        ...


class LeaseStore(ClockStore, Protocol):
    """What a worker needs to hold its jobs."""

    async def renew(self, ids: Sequence[UUID], *, boot: str, lease_s: float) -> dict[UUID, Lease]:
        """Renews the leases of the jobs that this worker process holds; returns how each of `ids` stands."""
        ...


class PresenceStore(Protocol):
    """Which worker processes there are."""

    async def refresh_worker(self, worker: WorkerRecord) -> bool:
        """Writes the worker's document; returns whether an operator requested that the worker drain."""
        ...

    async def forget_worker(self, boot: str) -> None:
        """Deletes the document of a worker process that has ended."""
        ...

    async def request_drain(self, boot: str) -> bool:
        """Requests that a worker process drain; False where it has no document."""
        ...

    async def workers(self, *, seen_within_s: float) -> list[WorkerRecord]:
        """Reads the workers that were seen lately."""
        ...


class KindStore(Protocol):
    """Which kinds there are."""

    async def register_kinds(self, kinds: Sequence[KindRecord]) -> None:
        """Makes kinds known, or refreshes them."""
        ...

    async def kinds(self) -> dict[str, KindRecord]:
        """Reads all known kinds, by name."""
        ...


class PauseStore(Protocol):
    """Which kinds are paused. The registration of a kind leaves its pauses as they are."""

    async def pause_kind(self, kind: str, pause: Pause) -> KindPauses | None:
        """Pauses a kind, unless it is paused already: the first pause stands. Returns the pauses of the kind after it;
        None where no worker has ever registered the kind. Safe to repeat."""
        ...

    async def resume_kind(self, kind: str, *, at: datetime) -> KindPauses | None:
        """Ends the pause of a kind at this instant, if it is paused; the rest as `pause_kind`."""
        ...

    async def pauses(self) -> dict[str, KindPauses]:
        """Reads the pauses, present and past, of all kinds that have any."""
        ...


class SweepStore(ClockStore, Protocol):
    """What the sweeper needs."""

    async def live_jobs(
        self, state: State, *, limit: int, after: SweepPosition | None = None, kinds: Sequence[str] | None = None
    ) -> list[Job]:
        """Reads live jobs in one state whose next check is due by the server's clock, longest due first, without
        payloads."""
        ...

    async def take_turn(self, name: str, *, for_s: float) -> bool:
        """Takes a lock that one process at a time has, for so long by the server's clock; False while it is taken."""
        ...

    async def reserve(self, reservations: Sequence[Reservation], *, nonce: str) -> set[UUID]:
        """Moves the next checks of jobs that still are queued as they were seen, and counts a republication of each;
        returns those that this call got. Of all who saw a job one gets it; `nonce` is that of one call."""
        ...

    async def extend_waits(self, extensions: Sequence[WaitExtension]) -> None:
        """Moves the expiry of jobs that are queued and expire as they were seen to; leaves all others as they are."""
        ...

    async def give_back(self, ids: Sequence[UUID], *, nonce: str, next_check_at: datetime) -> None:
        """Undoes reservations of jobs that were not published after all: they are checked again at `next_check_at`."""
        ...

    async def watermarks(self) -> dict[str, datetime]:
        """Reads the watermark of each lane that was ever consumed."""
        ...


class CensusStore(Protocol):
    """What the gateway that counts what stands needs, and those that show it."""

    async def take_turn(self, name: str, *, for_s: float) -> bool:
        """As `SweepStore.take_turn`."""
        ...

    async def count_census(self, *, at: datetime) -> Census:
        """Counts live jobs by kind, and failed ones by tenant and group, each up to a bound (see `store/census`)."""
        ...

    async def write_census(self, counted: Census) -> None:
        """Replaces the census: the part of each tenant at once, and the summary at once."""
        ...

    async def read_census(self) -> CensusSummary | None:
        """Reads the newest summary; None before the first census."""
        ...


class AttentionStore(Protocol):
    """What the gateway needs to show failed jobs by group, and to keep what people note on groups."""

    async def read_attention(self, *, tenant: str) -> TenantAttention:
        """Reads the newest census of a tenant and what is known of its groups."""
        ...

    async def known_group(self, group: str, *, tenant: str) -> KnownGroup | None:
        """Reads what is known of a group; None for one that no census has met."""
        ...

    async def note_group(self, group: str, changes: NoteChanges, *, tenant: str) -> KnownGroup | None:
        """Changes the notes on a group and returns what is known of it then; None as `known_group`."""
        ...


class JobReader(Protocol):
    """What reads one job for a client, and waits for it to move."""

    async def get(self, job_id: UUID, *, tenant: str = DEFAULT_TENANT) -> Job | None:
        """Reads one job of the tenant, from the majority; None for another tenant's."""
        ...

    async def revisions(self, ids: Sequence[UUID]) -> dict[UUID, Revision]:
        """Reads rev and state of those of the jobs that exist, of all tenants."""
        ...


class JobLists(JobReader, Protocol):
    """What the gateway needs to list jobs and to count batches."""

    async def list_jobs(self, job_filter: JobFilter, *, page_size: int, before: UUID | None = None) -> JobPage:
        """Reads a page of jobs, newest first, without payloads and results."""
        ...

    async def count_batch(self, batch: str, *, tenant: str = DEFAULT_TENANT) -> BatchCount | None:
        """Counts one batch of the tenant from the index; None where no job of it carries the name."""
        ...


class MinuteStore(Protocol):
    """Minute buckets: what processes have counted (see `minute_buckets`)."""

    async def add_minutes(self, boot: str, number: int, buckets: Sequence[Bucket]) -> None:
        """Adds what a process counted, its write of this number. Safe to repeat with the same number and buckets after
        an unknown outcome: each is added once."""
        ...

    async def minutes(self, tenant: str | None, kind: str | None, *, step_s: int, since_at: datetime) -> list[Bucket]:
        """Reads the buckets of one series that begin at an instant or later, newest first; a bounded number."""
        ...


class QueueStore(Protocol):
    """What waits for workers."""

    async def queued_by_kind(self, *, at_most: int) -> list[QueuedShare]:
        """Counts queued jobs of all tenants by kind and by when they were queued, over at most `at_most` of them: those
        that the sweeper looks at first, which are about those that wait longest."""
        ...


class JobChanges(Protocol):
    """The stream of all changes of jobs, from its opening on. One reader at a time."""

    async def read(self) -> Changes:
        """Reads the next changes, none after a short while without any. Opens the stream, or resumes it after an
        error. Raises `HistoryLost` where it can't, and begins anew with the next call; else `StoreError`."""
        ...

    async def open(self) -> None:
        """Opens the stream: what happens from now on will be read. Raises as `read` does."""
        ...

    async def close(self) -> None:
        """Ends the stream; the next call begins anew."""
        ...


class SnapshotStore(Protocol):
    """What the live feed needs to begin with."""

    async def look(self, topic: Topic, *, limit: int) -> list[JobUpdate] | None:
        """Reads how each job of a topic stands; None where there are more than `limit`."""
        ...

    async def count(self, topic: Topic, *, at_most: int) -> dict[State, int]:
        """Counts jobs of a batch by state. Of a kind and of all jobs: only live and failed ones, because the ended ones
        have no index that could count them. Each state is counted over at most `at_most` jobs: live ones over those of
        all tenants, in the sweeper's order; failed ones over the tenant's own."""
        ...


class HealthStore(ClockStore, Protocol):
    """What tells whether the store can be used."""

    async def check_schema(self) -> None:
        """Raises `SchemaMismatch` unless `init` of this version has run."""
        ...


class IdentityStore(Protocol):
    """Which database this is."""

    async def database_id(self) -> str | None:
        """Return what tells this database from all others; None if an earlier version of `init` made it."""
        ...
