"""OWNER of the storage ports of limited kinds. All verbs may raise `StoreError`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from acked_common.model.lifecycle import Owner
from acked_common.model.limits import KindLimit, Placement, TakenPlaces, WaitingJob
from acked_common.model.pauses import KindPauses
from acked_common.store.records import ClaimedJob

PLACED_WITHIN_S = 5.0
"""How long after the read of a limit a claim may take effect under it, by the store's clock."""
HELD_COUNTED = 10_000
"""The maximum of held jobs that are counted of a kind."""
TENANTS_AT_ONCE = 200
"""The maximum of tenants whose held jobs one read compares by age. The others follow with the next read."""


@dataclass(frozen=True, slots=True)
class Places:
    """The limits of kinds, and the places that are taken."""

    limits: Mapping[str, KindLimit]
    """Of kinds that have or had a limit."""
    taken: Mapping[str, TakenPlaces]
    """Of kinds with any."""
    until_at: datetime | None
    """By the store's clock: a claim under these limits takes effect before this instant, or not at all. None without
    any limit."""


@dataclass(frozen=True, slots=True)
class PlacedClaim:
    """A claim of jobs with their places. It can be repeated until its outcome is known."""

    placements: Sequence[Placement]
    owner: Owner
    lease_s: float
    at: datetime
    """When the claim was requested."""
    until_at: datetime | None


@dataclass(frozen=True, slots=True)
class LimitUse:
    """How much of a kind's limit is used."""

    running: int
    of_tenants: Mapping[str, int]
    """Running jobs of each tenant that has any."""
    held: int
    """Queued jobs that wait for a place, up to `HELD_COUNTED`."""


class LimitedClaimStore(Protocol):
    """Claim jobs of limited kinds, for workers."""

    async def read_places(self, kinds: Collection[str]) -> Places:
        """Read the limits of these kinds and the taken places, without any cache."""
        ...

    async def queued_jobs(self, ids: Sequence[UUID], *, kinds: Collection[str]) -> list[WaitingJob]:
        """Read those jobs that are queued, of these kinds and not expired."""
        ...

    async def held_jobs(self, kind: str, *, without: Collection[str], limit: int) -> list[WaitingJob]:
        """Read held jobs of a kind, oldest first, without those of these tenants. The cost does not depend on the
        number of held jobs."""
        ...

    async def claim_placed(self, claim: PlacedClaim) -> list[ClaimedJob]:
        """Claim those jobs that are queued and whose places are free. Return the jobs that the owner now holds."""
        ...

    async def hold_jobs(self, ids: Sequence[UUID]) -> None:
        """Mark those of these jobs that are queued as held. The sweeper checks them when they expire."""
        ...


class LimitStore(Protocol):
    """Change the limits of kinds, for gateways. The registration of a kind does not change its limit."""

    async def limit_kind(self, kind: str, limit: KindLimit) -> KindPauses | None:
        """Replace the limit of a kind. Return what holds the kind back afterwards; None if no worker has ever
        registered the kind."""
        ...

    async def read_places(self, kinds: Collection[str]) -> Places:
        """Read as `LimitedClaimStore.read_places` does."""
        ...

    async def unplaced_jobs(self, kinds: Collection[str]) -> list[WaitingJob]:
        """Read running jobs of these kinds that have no place."""
        ...

    async def adopt_jobs(self, placements: Sequence[Placement]) -> None:
        """Give places to those of these jobs that run without one, if the places are free."""
        ...

    async def take_turn(self, name: str, *, for_s: float) -> bool:
        """Take a lock as `SweepStore.take_turn` does."""
        ...


class LimitUseStore(Protocol):
    """Count how much of limits is used."""

    async def limit_use(self, kind: str) -> LimitUse:
        """Count the jobs of a kind that have a place, and those that wait for one."""
        ...
