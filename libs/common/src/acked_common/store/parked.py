"""OWNER of the storage ports of parked jobs. All verbs may raise `StoreError`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from acked_common.model.lifecycle import State, Transition
from acked_common.model.queue_place import QueuedShare
from acked_common.store.records import Revision, SweepPosition


@dataclass(frozen=True, slots=True)
class ResumedJob:
    """A job that a resume has queued."""

    id: UUID
    kind: str
    queued_at: datetime
    rev: int


@dataclass(frozen=True, slots=True)
class ResumeOrder:
    """The resume of many jobs: `transition` is a `lifecycle_waits.wake`, whose expiry jobs with one of their own
    replace. `nonce` identifies the call, so that it can be repeated."""

    transition: Transition
    expires_in_s: float
    grace_s: float
    nonce: str


@dataclass(frozen=True, slots=True)
class Announced:
    """A job to which signals were announced, as it is afterwards."""

    id: UUID
    kind: str
    state: State
    attempt: int
    boot: str | None
    """The worker process that runs the job; None if none does."""
    woken_at: datetime | None
    """When this call queued the job; None if it did not."""


class ParkedStore(Protocol):
    """Find parked jobs whose wait has ended, for the resumer."""

    async def take_turn(self, name: str, *, for_s: float, holder: str | None = None) -> bool:
        """Take a lock as `SweepStore.take_turn` does. A `holder` that has it extends it."""
        ...

    async def tenants_to_resume(self, *, limit: int) -> list[str]:
        """Return tenants with parked jobs whose next check is due by MongoDB's clock, longest due first."""
        ...

    async def waits_ended(self, tenant: str, *, limit: int, after: SweepPosition | None = None) -> list[SweepPosition]:
        """Return the parked jobs of a tenant whose next check is due, longest due first, after a position."""
        ...

    async def of_other_kinds(self, ids: Sequence[UUID], kinds: Collection[str]) -> set[UUID]:
        """Return those of the jobs whose kind is none of these."""
        ...

    async def queued_by_kind(self, *, at_most: int) -> list[QueuedShare]:
        """Count queued jobs as `QueueStore.queued_by_kind` does."""
        ...

    async def revisions(self, ids: Sequence[UUID]) -> dict[UUID, Revision]:
        """Read rev and state of the jobs that exist, as `JobReader.revisions` does."""
        ...
