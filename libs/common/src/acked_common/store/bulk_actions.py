"""The storage ports of bulk actions: the choice of jobs, and the actions. All verbs may raise `StoreError`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol
from uuid import UUID

from acked_common.model.bulk_actions import Abort, BulkAction, JobChoice
from acked_common.store.records import Job


class Added(Enum):
    """The outcome of adding an action."""

    ADDED = "added"
    TENANT_FULL = "tenant-full"
    """The tenant has the maximum of unfinished actions."""
    ALL_FULL = "all-full"
    """All tenants together have the maximum of unfinished actions."""


@dataclass(frozen=True, slots=True)
class ChosenCount:
    """The number of jobs of a choice, or a lower bound."""

    count: int
    is_exact: bool


@dataclass(frozen=True, slots=True)
class ChosenJobs:
    """Some of the jobs of a choice, by rising id. `next_after` continues after the last scanned job, None ends the
    list. So a page may be empty although more jobs follow."""

    jobs: Sequence[Job]
    next_after: UUID | None


@dataclass(frozen=True, slots=True)
class BulkPage:
    """One page of actions, newest first; `next_before` continues it, None ends it."""

    actions: Sequence[BulkAction]
    next_before: UUID | None


@dataclass(frozen=True, slots=True)
class TakenAction:
    """An action that its taker holds until an instant of the store's clock, unless it renews the lease."""

    action: BulkAction
    until_at: datetime


@dataclass(frozen=True, slots=True)
class RenewedLease:
    """Until when the owner holds an action, by the store's clock, and whether its abort was asked for."""

    until_at: datetime
    abort_asked: bool


class ChoiceStore(Protocol):
    """The jobs that a bulk action concerns. They are read without payload, result and attempts."""

    async def newest_id(self, tenant: str) -> UUID | None:
        """Read the highest id of the tenant's jobs."""
        ...

    async def count(self, choice: JobChoice, *, up_to: UUID, at_most: int, within_s: float) -> ChosenCount:
        """Count jobs up to an id in bounded steps, until `at_most` jobs or the time limit is reached."""
        ...

    async def jobs_in(self, choice: JobChoice, *, up_to: UUID, after: UUID | None, limit: int) -> ChosenJobs:
        """Read jobs after `after`, up to `up_to`. Scans a bounded number of them."""
        ...

    async def jobs_of(self, tenant: str, ids: Sequence[UUID]) -> dict[UUID, Job]:
        """Read the jobs that exist and belong to the tenant."""
        ...


class BulkStore(Protocol):
    """Stores actions and their leases."""

    async def add(self, action: BulkAction, ids: Sequence[UUID]) -> Added:
        """Store a new action, with its ids if it has no choice. Safe to repeat."""
        ...

    async def get(self, action_id: UUID, *, tenant: str) -> BulkAction | None:
        """Read an action of the tenant."""
        ...

    async def list(self, tenant: str, *, page_size: int, before: UUID | None = None) -> BulkPage:
        """Read a page of the tenant's actions, newest first."""
        ...

    async def ids_of(self, action_id: UUID) -> Sequence[UUID]:
        """Read the ids of an action, sorted; empty if it has ended."""
        ...

    async def take(self, owner: str, *, lease_s: float, but: Sequence[UUID]) -> TakenAction | None:
        """Take the oldest action without an owner, except these. The lease begins now, by MongoDB's clock."""
        ...

    async def renew(self, ids: Sequence[UUID], *, owner: str, lease_s: float) -> Mapping[UUID, RenewedLease]:
        """Renew the leases of the actions that the owner holds, and return them. A returned lease may be shorter than
        the stored one."""
        ...

    async def give_back(self, owner: str) -> None:
        """End all leases of the owner, so that others can take its actions at once."""
        ...

    async def save(self, action: BulkAction, *, owner: str) -> BulkAction | None:
        """Write the progress of an action, if the owner holds it and its stored number is one below. Safe to repeat.
        Return the stored action, which may contain a requested abort; None if the owner has lost it."""
        ...

    async def request_abort(self, action_id: UUID, abort: Abort, *, tenant: str) -> BulkAction | None:
        """Request the abort of an action of the tenant; a repeated request changes nothing. Return the action
        afterwards; None if the tenant has none with this id."""
        ...
