"""The places of a limited kind: no interleaving of claims, ends and changes of the limit starts a job beyond it."""

import random
from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest

from acked_common.model import limits
from acked_common.model.ids import new_id
from acked_common.model.limits import (
    MOST_RUNNING,
    KindLimit,
    Placement,
    TakenPlaces,
    WaitingJob,
    adopting,
    full_tenants,
    open_bound,
    open_places,
    places_for,
    places_left,
)
from support.factories import ManualClock

AT = ManualClock().now()


def limit(running: int | None = None, per_tenant: int | None = None) -> KindLimit:
    return KindLimit(running, per_tenant, "ann", None, None, AT)


def jobs(*tenants: str) -> list[WaitingJob]:
    """Waiting jobs of these tenants, oldest first."""
    return [WaitingJob(new_id(), "demo", tenant, AT + timedelta(seconds=n)) for n, tenant in enumerate(tenants)]


@pytest.mark.parametrize(
    ("most", "taken", "bound", "left"),
    [
        (5, set(), 5, 5),
        (5, {0, 3}, 5, 3),
        (5, {0, 1, 2, 3, 4}, 5, 0),
        (5, {15, 16, 17}, 2, 2),
        (5, {0, 15, 16, 17}, 2, 1),
        (5, {4, 15}, 3, 3),
        (5, {5}, 4, 4),
        (5, set(range(20)), 0, 0),
        (1, {7, 8}, 0, 0),
    ],
)
def test_each_place_beyond_the_limit_closes_one_below_it(most: int, taken: set[int], bound: int, left: int) -> None:
    assert (open_bound(most, taken), places_left(most, taken)) == (bound, left)
    assert all(place < bound for place in open_places(most, taken, spread=3))


def test_the_bound_is_the_greatest_that_keeps_the_sum() -> None:
    chance = random.Random(7)
    for _ in range(2000):
        most = chance.randrange(1, 8)
        taken = {chance.randrange(12) for _ in range(chance.randrange(10))}
        keeps = [b for b in range(most + 1) if b + sum(place >= b for place in taken) <= most]
        assert open_bound(most, taken) == max(keeps, default=0)


def test_the_oldest_start_and_a_full_tenant_delays_no_other() -> None:
    waiting = jobs("a", "a", "a", "b", "a", "c")
    found = places_for(limit(4, 2), TakenPlaces({0}, {"a": {0}}), list(reversed(waiting)))
    assert [one.id for one in found] == [waiting[0].id, waiting[3].id, waiting[5].id]
    assert len({one.place for one in found}) == 3 and 0 not in {one.place for one in found}
    assert [one.tenant_place for one in found] == [1, 0, 0]
    assert places_for(limit(1), TakenPlaces({0}, {"a": {0}}), waiting) == []
    assert full_tenants(limit(4, 2), TakenPlaces({0, 1, 2}, {"a": {0, 7}, "b": {1}})) == ["a"]
    assert full_tenants(limit(4), TakenPlaces({0, 1, 2}, {"a": {0, 7}})) == []


def test_a_limit_of_one_sort_bounds_nothing_else() -> None:
    many = jobs(*("a", "b") * 50)
    assert len(places_for(limit(per_tenant=3), TakenPlaces(), many)) == 6
    assert len(places_for(limit(7), TakenPlaces(), many)) == 7


def test_jobs_that_run_already_get_places_beyond_all_others() -> None:
    running = jobs("a", "b", "a")
    found = adopting(limit(5, 1), TakenPlaces({2, MOST_RUNNING + 3}, {"a": {0}}), running)
    assert [one.place for one in found] == [MOST_RUNNING + 4, MOST_RUNNING + 5, MOST_RUNNING + 6]
    assert [one.tenant_place for one in found] == [MOST_RUNNING, MOST_RUNNING, MOST_RUNNING + 1]


class Kind:
    """A limited kind as the unique indexes guard it, and workers that read and write at different instants."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.most = limit(chance.randrange(1, 6), chance.choice([None, 1, 2]))
        self.running: dict[int, tuple[str, int]] = {}
        """The tenant and its number, by the place of the kind."""
        for n, job in enumerate(jobs(*(chance.choice("ab") for _ in range(chance.randrange(9))))):
            # Left over from a greater limit, in any places.
            self.running[n * 2 + chance.randrange(2)] = (job.tenant, n + 3)
        self.views: list[Sequence[tuple[str, Placement]]] = []

    def taken(self) -> TakenPlaces:
        tenants: dict[str, set[int]] = {}
        for tenant, place in self.running.values():
            tenants.setdefault(tenant, set()).add(place)
        return TakenPlaces(set(self.running), tenants)

    def read(self) -> None:
        """A worker reads the places and chooses; it will write later."""
        waiting = jobs(*(self.chance.choice("ab") for _ in range(self.chance.randrange(1, 4))))
        tenant_of = {job.id: job.tenant for job in waiting}
        found = places_for(self.most, self.taken(), waiting, spread=self.chance.randrange(9))
        self.views.append([(tenant_of[one.id], one) for one in found])

    def write(self) -> None:
        """A worker writes what it chose; MongoDB refuses places that are taken."""
        if not self.views:
            return
        for tenant, one in self.views.pop(self.chance.randrange(len(self.views))):
            assert one.place is not None and one.tenant_place is not None
            taken = self.taken()
            if one.place in taken.of_kind or one.tenant_place in taken.of_tenants.get(tenant, set()):
                continue
            self.running[one.place] = (tenant, one.tenant_place)
            self.check(tenant)

    def check(self, tenant: str) -> None:
        assert self.most.running is not None and len(self.running) <= self.most.running, "a start beyond the limit"
        own = sum(by == tenant for by, _ in self.running.values())
        assert self.most.per_tenant is None or own <= self.most.per_tenant, "a start beyond the limit of a tenant"

    def end(self) -> None:
        if self.running:
            del self.running[self.chance.choice(list(self.running))]


def play(seed: int) -> int:
    """Interleave; return how many starts there were."""
    kind = Kind(random.Random(seed))
    starts = 0
    for _ in range(40):
        before = len(kind.running)
        act: Callable[[], None] = kind.chance.choice([kind.read, kind.read, kind.write, kind.write, kind.end])
        act()
        starts += max(0, len(kind.running) - before)
    return starts


def test_no_interleaving_starts_a_job_beyond_the_limit() -> None:
    assert sum(play(seed) for seed in range(1000)) > 3000, "jobs do start"


def test_the_lowest_free_places_would_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def lowest(most: int, taken: set[int]) -> int:
        return most if len(taken) < most else 0

    monkeypatch.setattr(limits, "open_bound", lowest)
    with pytest.raises(AssertionError, match="beyond the limit"):
        for seed in range(1000):
            play(seed)
