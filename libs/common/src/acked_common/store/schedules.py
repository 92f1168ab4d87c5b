"""The storage ports of schedules. All verbs may raise `StoreError`."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol
from uuid import UUID

from acked_common.model.schedules import Schedule

ScheduleKey = tuple[str, str]
"""Tenant and name."""


class ScheduleAdded(Enum):
    """The outcome of adding a schedule."""

    ADDED = "added"
    EXISTS = "exists"
    """The tenant has one of this name."""
    TENANT_FULL = "tenant-full"
    """The tenant has `MOST_OF_TENANT`."""
    ALL_FULL = "all-full"
    """All tenants together have `MOST_IN_ALL`."""


@dataclass(frozen=True, slots=True)
class SchedulePage:
    """One page of schedules, by name; `next_after` continues it, None ends it."""

    schedules: Sequence[Schedule]
    next_after: str | None


class ScheduleStore(Protocol):
    """Define, read and change schedules, for gateways."""

    async def add(self, schedule: Schedule) -> ScheduleAdded:
        """Store a new schedule."""
        ...

    async def get(self, name: str, *, tenant: str) -> Schedule | None:
        """Read a schedule of the tenant, from the majority."""
        ...

    async def list(self, tenant: str, *, page_size: int, after: str | None = None) -> SchedulePage:
        """Read a page of the tenant's schedules, by name, without payloads and without all but the newest firing."""
        ...

    async def replace(self, schedule: Schedule) -> bool:
        """Replace a schedule whose stored `rev` is one below. Return whether this write did it. Safe to repeat."""
        ...

    async def remove(self, name: str, *, tenant: str) -> bool:
        """Delete a schedule. Return whether there was one."""
        ...


class DueScheduleStore(Protocol):
    """Find due schedules and write what was decided, for intakes."""

    async def due(self, *, limit: int) -> Sequence[Schedule]:
        """Read the schedules that are due by MongoDB's clock, longest due first."""
        ...

    async def save_progress(self, schedules: Sequence[Schedule], *, nonce: UUID) -> set[ScheduleKey]:
        """Write the progress of each schedule whose stored `rev` is one below. Return those that this call wrote;
        `nonce` identifies it. Safe to repeat."""
        ...
