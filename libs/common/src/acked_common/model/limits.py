"""The limit of a kind on its running jobs, and the places that enforce it. Pure.

Each running job of a limited kind has a *place*: a number of its kind, and a number of its kind and tenant. The claim
writes both with the owner, in one write, and the end of the attempt removes them with the owner. A unique index over
each number prevents two running jobs from having one place, so no lock and no counter is needed, and no crash leaks a
place. Places `0` to `limit - 1` therefore bound the running jobs, whatever number of workers claims at once.

A limit that is lowered leaves jobs in places beyond it. Each of these must keep one place below the limit empty, and
two workers that read at different instants must agree on which. So a claim uses only places below the greatest `bound`
for which `bound` and the taken places from `bound` on add up to at most the limit (`open_bound`). No claim takes a
place from its bound on. So the taken ones there can only become fewer, and of several claims the one with the greatest
bound alone keeps the sum. The lowest free places would not do: with places 0 and 15 to 17 taken and a limit of 5, two
workers would each fill one of the places 1 to 4.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import datetime
from uuid import UUID

from msgspec import Struct

MOST_RUNNING = 10_000
"""The greatest limit. A claim reads all taken places of a kind."""
SPREAD = 1024
"""Numbers among which claims choose if only tenants are limited, so that they rarely choose the same."""


class KindLimit(Struct, frozen=True):
    """How many jobs of a kind may run at once, and who limited them. A removed limit has neither number."""

    running: int | None
    """Over all workers and tenants."""
    per_tenant: int | None
    """Of one tenant, each."""
    client: str
    token_id: str | None
    """None if the services require no tokens."""
    reason: str | None
    since_at: datetime

    @property
    def is_set(self) -> bool:
        """Whether it limits anything. After a removal it still names the kinds whose held jobs workers must take."""
        return self.running is not None or self.per_tenant is not None


class WaitingJob(Struct, frozen=True):
    """The part of a job that the choice of places needs."""

    id: UUID
    kind: str
    tenant: str
    queued_at: datetime


class TakenPlaces(Struct, frozen=True):
    """The places that running jobs of one kind have: numbers of the kind, and of each tenant."""

    of_kind: Set[int] = frozenset()
    of_tenants: Mapping[str, Set[int]] = {}


class Placement(Struct, frozen=True):
    """A job and its place; a job of a kind without a limit has none."""

    id: UUID
    place: int | None = None
    tenant_place: int | None = None


def open_bound(limit: int, taken: Iterable[int]) -> int:
    """Return the greatest bound for which the bound and the taken places from it on add up to at most `limit`."""
    bound = limit
    for place in sorted(taken, reverse=True):
        # Each place at or beyond the bound lowers it by one, which may put further places beyond it.
        if place < bound:
            break
        bound -= 1
    return max(0, bound)


def open_places(limit: int | None, taken: Set[int], *, spread: int) -> list[int]:
    """Return the free places that may be taken, in an order that begins at `spread`."""
    bound = len(taken) + SPREAD if limit is None else open_bound(limit, taken)
    free = [place for place in range(bound) if place not in taken]
    begin = spread % len(free) if free else 0
    return free[begin:] + free[:begin]


def places_for(
    limit: KindLimit, taken: TakenPlaces, waiting: Sequence[WaitingJob], *, spread: int = 0
) -> list[Placement]:
    """Return the places of those jobs of one kind that may start, oldest first."""
    of_kind = iter(open_places(limit.running, taken.of_kind, spread=spread))
    of_tenants: dict[str, list[int]] = {}
    found: list[Placement] = []
    for job in sorted(waiting, key=lambda job: (job.queued_at, job.id)):
        if job.tenant not in of_tenants:
            own = taken.of_tenants.get(job.tenant, frozenset())
            of_tenants[job.tenant] = open_places(limit.per_tenant, own, spread=spread)
        if not (left := of_tenants[job.tenant]):
            continue
        if (place := next(of_kind, None)) is None:
            break
        found.append(Placement(job.id, place, left.pop(0)))
    return found


def full_tenants(limit: KindLimit, taken: TakenPlaces) -> list[str]:
    """Return the tenants that may start no job of the kind now."""
    if limit.per_tenant is None:
        return []
    return [tenant for tenant, own in taken.of_tenants.items() if not places_left(limit.per_tenant, own)]


def places_left(limit: int, taken: Set[int]) -> int:
    """Return how many places are free under a limit."""
    bound = open_bound(limit, taken)
    return bound - sum(place < bound for place in taken)


def adopting(limit: KindLimit, taken: TakenPlaces, running: Sequence[WaitingJob]) -> list[Placement]:
    """Return places beyond all limits and all taken ones for jobs that run without one.

    They began before the limit, or under a worker that had not read it. They are never stopped, and count from now on.
    """
    place = max(taken.of_kind, default=-1)
    place = max(place, (limit.running or 0) - 1, MOST_RUNNING - 1)
    last: dict[str, int] = {}
    found: list[Placement] = []
    for job in running:
        own = last.get(job.tenant)
        if own is None:
            own = max(*taken.of_tenants.get(job.tenant, frozenset()), (limit.per_tenant or 0) - 1, MOST_RUNNING - 1)
        place, last[job.tenant] = place + 1, own + 1
        found.append(Placement(job.id, place, last[job.tenant]))
    return found
