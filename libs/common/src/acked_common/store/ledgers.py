"""OWNER of the storage ports of ledgers (see `model/ledger`). All verbs may raise `StoreError`.

No verb deletes. A ledger is deleted a day after its job, by the store's own clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias
from uuid import UUID

from acked_common.model.ledger import (
    AlreadyKept,
    Fenced,
    InboxFull,
    JobLedger,
    LedgerEntry,
    LedgerFull,
    LedgerWrite,
    Opening,
    PendingSignals,
    Repeated,
    Signal,
    SignalGone,
    SignalPush,
)
from acked_common.model.lifecycle_waits import Waits

LOOKED_AT_AFTER = timedelta(days=1)
"""How long after its open the collector first checks whether the job of a ledger has ended."""
KEPT_BEHIND_JOB = timedelta(days=1)
"""How long a ledger outlives its job."""
PARTS_KEPT_BEHIND_LEDGER = timedelta(days=1)
"""How long the parts of a ledger outlive it."""

Written: TypeAlias = LedgerEntry | JobLedger | Fenced | AlreadyKept | SignalGone | LedgerFull
"""The outcome of a write: the entry as it is kept, or why it is not. A ledger says that it was there, and is open now:
the write that should open a missing one is not made."""


@dataclass(frozen=True, slots=True)
class Inbox:
    """The unread signals of a job, oldest first, and the number of signals ever received."""

    signals: Sequence[Signal] = ()
    in_seq: int = 0


@dataclass(frozen=True, slots=True)
class LedgerProgress:
    """The failures and crashes of a run when a durable call of it last had a new outcome."""

    run: int
    at_failures: int
    at_crashes: int = 0


@dataclass(frozen=True, slots=True)
class Collected:
    """The work of one page of the collector."""

    looked_at: int
    """Ledgers that were due; a full page means that more may be."""
    ended: int
    """Ledgers that got their end."""


@dataclass(frozen=True, slots=True)
class EntryPage:
    """Entries of a ledger without their values, in the order in which the calls began, or in the reverse order."""

    entries: Sequence[LedgerEntry]
    is_last: bool
    """Whether no further entry follows."""
    ended_early: Mapping[int, datetime] = field(default_factory=dict)
    """When an operator ended a wait, by the number of its entry."""


@dataclass(frozen=True, slots=True)
class LedgerSummary:
    """The figures of a ledger."""

    kept: int
    """Its entries, open ones included."""
    unread: int
    unread_names: Sequence[str]
    """The different names of the oldest `NAMES_READ` unread signals."""
    warned: str | None
    """A sentence about a limit that the ledger has nearly reached."""
    newest: LedgerEntry | None = None
    """The entry of the call that began last, without its value."""


NAMES_READ = 20


class LedgerStore(Protocol):
    """Open and write ledgers, for workers. Safe to repeat after an unknown outcome."""

    async def open_ledgers(self, openings: Sequence[Opening], *, at: datetime) -> list[JobLedger | Fenced]:
        """Open ledgers of different jobs, and make those that are missing. Return them in the same order.

        Each ledger is whole, up to 16 MiB, so the caller bounds how many it opens at once. Writes of an earlier attempt
        are in the ledger, or are refused from then on. `at` is now.
        """
        ...

    async def write_entries(self, writes: Sequence[LedgerWrite]) -> list[Written]:
        """Keep entries, of different jobs or of one, independently of each other. Return the outcomes in the same
        order, once the journals of a majority have them.

        A write that `opens` makes the ledger of its job, with the entry in it. If there is a ledger, it opens that one
        as `open_ledgers` does, keeps nothing, and its outcome is the ledger or `Fenced`.
        """
        ...

    async def read_inboxes(self, ids: Sequence[UUID]) -> dict[UUID, Inbox]:
        """Read the inboxes of those jobs that have a ledger, from the majority."""
        ...


class LedgerProgressStore(Protocol):
    """Read how far jobs came, for workers that record a failure."""

    async def read_progress(self, ids: Sequence[UUID]) -> dict[UUID, LedgerProgress]:
        """Read the progress of those jobs that have a ledger, from the majority."""
        ...


class LedgerReader(Protocol):
    """Read one ledger for a client, from the majority. None stands for a job of the tenant without one."""

    async def read_entries(
        self, job_id: UUID, *, tenant: str, after: int, limit: int, newest_first: bool = False
    ) -> EntryPage | None:
        """Read the entries behind the number `after`; 0 begins the list. Newest first, these are lower ones."""
        ...

    async def read_newest(self, job_id: UUID, *, tenant: str, limit: int) -> list[LedgerEntry] | None:
        """Read the newest entries with their values, newest first."""
        ...

    async def read_unread(self, job_id: UUID, *, tenant: str) -> Inbox | None:
        """Read the inbox, without the values of its signals."""
        ...

    async def read_summary(self, job_id: UUID, *, tenant: str) -> LedgerSummary | None:
        """Read the figures of a ledger."""
        ...

    async def read_ledger(self, job_id: UUID, *, tenant: str) -> JobLedger | None:
        """Read the ledger of a job of the tenant, from the majority; None for a job without one."""
        ...


class SignalStore(Protocol):
    """Put signals into inboxes, for gateways."""

    async def push_signal(self, push: SignalPush, *, at: datetime) -> PendingSignals | Repeated | InboxFull:
        """Put a signal into the inbox of a job; make the ledger if it is missing. Return its number, and the names with
        which it must be announced to the job."""
        ...

    async def unset_pending(self, job_id: UUID, *, in_seq: int) -> None:
        """Unset the mark of a signal that was announced to its job, unless a newer signal has set it again."""
        ...


class WaitStore(Protocol):
    """End waits early, for operators."""

    async def end_wait(self, job_id: UUID, *, tenant: str, waits: Waits, at: datetime) -> int | LedgerFull:
        """End the wait for which a job is parked, by `ledger_rules.ended_early`. Return how many calls that ended; 0 if
        the ledger has no such wait. Safe to repeat."""
        ...


class PendingSignalStore(Protocol):
    """Find signals whose senders died, for the sweeper of signals."""

    async def pending_signals(self, *, limit: int, older_than_s: float) -> list[PendingSignals]:
        """Return signals that are pending for longer than this by MongoDB's clock, longest pending first."""
        ...

    async def unset_pending(self, job_id: UUID, *, in_seq: int) -> None:
        """Unset a mark as `SignalStore.unset_pending` does."""
        ...


class LedgerKeeper(Protocol):
    """Keep ledgers as long as their jobs, and no longer."""

    async def keep_ledgers(self, ids: Sequence[UUID], *, at: datetime) -> None:
        """Unset the ends of ledgers. A retry calls this before it moves the job."""
        ...

    async def collect_ledgers(self, *, limit: int, at: datetime) -> Collected:
        """Check the jobs of ledgers that are due for it: set the end of those whose job has ended or is gone."""
        ...


class Ledgers(
    LedgerStore,
    LedgerProgressStore,
    LedgerReader,
    SignalStore,
    WaitStore,
    PendingSignalStore,
    LedgerKeeper,
    Protocol,
):
    """Every role at once."""


def deletion_of(job_deleted_at: datetime | None, at: datetime) -> datetime:
    """Return the end of the ledger of an ended job; None stands for a job that is gone already."""
    return max(at, job_deleted_at or at) + KEPT_BEHIND_JOB
