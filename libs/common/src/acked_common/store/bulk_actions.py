"""The ports to bulk actions: which jobs one concerns, and where actions are kept. All verbs may raise `StoreError`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol
from uuid import UUID

from acked_common.model.bulk_actions import Abort, BulkAction, JobChoice
from acked_common.store.records import Job


class Added(Enum):
    """What became of a new action."""

    ADDED = "added"
    TENANT_FULL = "tenant-full"
    """As many of the tenant's actions are under way as may be."""
    ALL_FULL = "all-full"
    """As many of all tenants are under way as may be."""


@dataclass(frozen=True, slots=True)
class ChosenCount:
    """How many jobs a choice has, or at least has."""

    count: int
    is_exact: bool


@dataclass(frozen=True, slots=True)
class ChosenJobs:
    """Some of the jobs of a choice, by rising id. `next_after` continues behind what was looked at, None ends it; so
    there may be no jobs and more to come."""

    jobs: Sequence[Job]
    next_after: UUID | None


@dataclass(frozen=True, slots=True)
class BulkPage:
    """One page of actions, newest first; `next_before` continues it, None ends it."""

    actions: Sequence[BulkAction]
    next_before: UUID | None


class ChoiceStore(Protocol):
    """Which jobs a bulk action concerns. Jobs are read without payload, result and attempts."""

    async def newest_id(self, tenant: str) -> UUID | None:
        """Reads the highest id of the tenant's jobs."""
        ...

    async def count(self, choice: JobChoice, *, up_to: UUID, at_most: int, within_s: float) -> ChosenCount:
        """Counts jobs up to an id, in bounded steps, until there are `at_most` or the time is over."""
        ...

    async def jobs_in(self, choice: JobChoice, *, up_to: UUID, after: UUID | None, limit: int) -> ChosenJobs:
        """Reads jobs behind `after` up to `up_to`. Looks at a bounded number of them."""
        ...

    async def jobs_of(self, tenant: str, ids: Sequence[UUID]) -> dict[UUID, Job]:
        """Reads those of the jobs that exist and are the tenant's."""
        ...


class BulkStore(Protocol):
    """Where actions are kept, and who carries them out."""

    async def add(self, action: BulkAction, ids: Sequence[UUID]) -> Added:
        """Keeps a new action, and the ids that it concerns where it has no choice. Safe to repeat."""
        ...

    async def get(self, action_id: UUID, *, tenant: str) -> BulkAction | None:
        """Reads an action of the tenant."""
        ...

    async def list(self, tenant: str, *, page_size: int, before: UUID | None = None) -> BulkPage:
        """Reads a page of the tenant's actions, newest first."""
        ...

    async def ids_of(self, action_id: UUID) -> Sequence[UUID]:
        """Reads the ids that an action concerns, sorted; none of one that has ended."""
        ...

    async def take(self, owner: str, *, lease_s: float, but: Sequence[UUID]) -> BulkAction | None:
        """Takes the oldest action that nobody holds, but for some. The lease begins now, by the store's clock."""
        ...

    async def renew(self, ids: Sequence[UUID], *, owner: str, lease_s: float) -> Mapping[UUID, bool]:
        """Renews the leases of those of the actions that the owner holds; returns of each of them whether its abort was
        asked for."""
        ...

    async def give_back(self, owner: str) -> None:
        """Ends the leases of all actions that the owner holds, so that another takes them at once."""
        ...

    async def save(self, action: BulkAction, *, owner: str) -> BulkAction | None:
        """Writes how an action stands, if the owner holds it and its number is one below; safe to repeat. Returns it as
        it stands then, with an abort that was asked for; None if it is not the owner's any more."""
        ...

    async def request_abort(self, action_id: UUID, abort: Abort, *, tenant: str) -> BulkAction | None:
        """Asks for the end of an action of the tenant; the first who asks counts. Returns the action as it is then, an
        ended one unchanged; None where the tenant has none of this id."""
        ...
