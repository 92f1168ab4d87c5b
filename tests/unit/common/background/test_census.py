"""Who counts, how often, and what the figures show of it."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import Metric

from acked_common.background import census as census_module
from acked_common.background.census import FRESH_FOR_S, LONGEST_PAUSE_S, SHORTEST_PAUSE_S, CensusLoop, pause_s
from acked_common.model.kind_labels import KindLabels
from acked_common.model.lifecycle import State
from acked_common.store.census import CensusSummary, KindCount
from acked_common.store.errors import StoreUnavailable
from support.factories import ManualClock, failed, insert, new_job
from support.parts import ShakyStore


class Bench:
    """Two gateways over one store."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = ShakyStore(self.clock)
        self.one, self.other = CensusLoop(self.store, self.clock), CensusLoop(self.store, self.clock)

    @property
    def counted(self) -> int:
        return self.store.calls.count("count_census")

    async def look(self, after_s: float = 0.0) -> None:
        self.clock.advance(after_s)
        await self.one.look()
        await self.other.look()


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_of_all_gateways_one_counts_and_all_read(bench: Bench) -> None:
    await insert(bench.store, *(new_job(kind="a", at=bench.clock.now()) for _ in range(3)))
    await bench.look()
    await bench.look()
    assert bench.counted == 1
    for gateway in (bench.one, bench.other):
        found = gateway.fresh()
        assert found is not None
        assert [(kind.kind, dict(kind.states)) for kind in found.kinds] == [("a", {State.QUEUED: 3})]


async def test_the_next_count_is_due_after_a_pause(bench: Bench) -> None:
    await bench.look()
    await bench.look(SHORTEST_PAUSE_S - 0.1)
    assert bench.counted == 1
    await bench.look(0.2)
    assert bench.counted == 2


def test_a_long_count_has_a_long_pause() -> None:
    assert pause_s(0.01) == SHORTEST_PAUSE_S
    assert pause_s(0.5) == 10.0
    assert pause_s(60.0) == LONGEST_PAUSE_S < FRESH_FOR_S


async def test_a_long_count_of_another_gateway_is_waited_for(bench: Bench) -> None:
    await bench.look()
    found = await bench.store.read_census()
    assert found is not None
    bench.store._summary = CensusSummary(found.counted_at, 1.0, found.kinds, found.inexact)
    await bench.look(20.9)
    assert bench.counted == 1
    await bench.look(0.2)
    assert bench.counted == 2


async def test_a_count_that_fails_leaves_the_last_one(bench: Bench) -> None:
    await bench.look()
    first = bench.one.fresh()
    bench.store.failures["count_census"] = [StoreUnavailable("slow")]
    with pytest.raises(StoreUnavailable):
        await bench.look(SHORTEST_PAUSE_S + 0.1)
    assert bench.one.fresh() == first is not None
    # Who failed waits, as if it had counted; the other one may try.
    await bench.one.look()
    assert bench.counted == 2
    await bench.look(SHORTEST_PAUSE_S + 0.1)
    assert bench.counted == 3


async def test_a_long_count_that_fails_has_its_pause_too(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = 0

    async def fails(**_: object) -> None:
        nonlocal counts
        counts += 1
        bench.clock.advance(1.0)
        raise StoreUnavailable("it took too long")

    monkeypatch.setattr(bench.store, "count_census", fails)
    for after_s in (0.0, 19.9):
        bench.clock.advance(after_s)
        with suppress(StoreUnavailable):
            await bench.one.look()
        assert counts == 1
    bench.clock.advance(0.2)
    with pytest.raises(StoreUnavailable):
        await bench.one.look()
    assert counts == 2


async def test_without_the_store_a_census_gets_too_old(bench: Bench) -> None:
    await bench.look()
    bench.store.is_away = True
    bench.clock.advance(FRESH_FOR_S)
    with pytest.raises(StoreUnavailable):
        await bench.one.look()
    assert bench.one.fresh() is not None
    bench.clock.advance(0.1)
    assert bench.one.fresh() is None


async def test_a_census_of_the_future_is_counted_anew(bench: Bench) -> None:
    await bench.look()
    bench.clock.advance(SHORTEST_PAUSE_S + 1.0)
    bench.clock.jump(-100.0)
    bench.store._turns.clear()
    await bench.one.look()
    assert bench.counted == 2


@pytest.fixture
def figures(bench: Bench) -> Iterator[CollectorRegistry]:
    """The figures of the first gateway."""
    census_module._shown.show(bench.one)
    registry = CollectorRegistry()
    registry.register(census_module._shown)
    yield registry


def _values(registry: CollectorRegistry) -> dict[str, float]:
    families: list[Metric] = list(registry.collect())
    return {
        f"{sample.name} {' '.join(sample.labels.values())}": sample.value
        for family in families
        for sample in family.samples
    }


async def test_figures_tell_jobs_by_kind_and_state(bench: Bench, figures: CollectorRegistry) -> None:
    assert _values(figures) == {}
    at = bench.clock.now()
    await insert(bench.store, *(new_job(kind="a", at=at - timedelta(seconds=n)) for n in range(3)))
    await insert(bench.store, new_job(kind="b", at=at, delay_s=60.0))
    await failed(bench.store, kind="b", at=at)
    await bench.look()
    assert _values(figures) == {
        "acked_jobs a queued": 3.0,
        "acked_jobs b scheduled": 1.0,
        "acked_jobs b failed": 1.0,
        "acked_oldest_waiting_seconds a": 2.0,
        "acked_attention_jobs a": 0.0,
        "acked_attention_jobs b": 1.0,
    }


async def test_the_oldest_job_ages_between_counts(bench: Bench, figures: CollectorRegistry) -> None:
    await insert(bench.store, new_job(kind="a", at=bench.clock.now()))
    await bench.look()
    bench.clock.advance(59.0)
    assert _values(figures)["acked_oldest_waiting_seconds a"] == 59.0


async def test_figures_that_may_be_wrong_are_gone(bench: Bench, figures: CollectorRegistry) -> None:
    await insert(bench.store, new_job(kind="a", at=bench.clock.now()))
    await bench.look()
    bench.clock.advance(FRESH_FOR_S + 0.1)
    assert _values(figures) == {}


async def test_a_snoozed_group_needs_no_attention_until_its_time_is_over(
    bench: Bench, figures: CollectorRegistry
) -> None:
    await failed(bench.store, kind="a", at=bench.clock.now())
    await bench.look()
    until = bench.clock.now() + timedelta(seconds=30)
    assert await bench.store.note_group("ungrouped", {"snoozed_until": until}, tenant="default") is not None
    await bench.look(3.0)
    assert _values(figures)["acked_attention_jobs a"] == 0.0
    assert _values(figures)["acked_jobs a failed"] == 1.0
    await bench.look(30.0)
    assert _values(figures)["acked_attention_jobs a"] == 1.0


async def test_kinds_beyond_the_bound_share_their_figures(
    bench: Bench, figures: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(census_module, "kind_label", KindLabels(most=1).of)
    at = bench.clock.now()
    ages_s = {"a": 1, "b": 50, "c": 20}
    await insert(bench.store, *(new_job(kind=kind, at=at - timedelta(seconds=age)) for kind, age in ages_s.items()))
    await bench.look()
    found = _values(figures)
    assert (found["acked_jobs a queued"], found["acked_jobs other queued"]) == (1.0, 2.0)
    assert found["acked_oldest_waiting_seconds other"] == 50.0


def test_the_figures_are_registered() -> None:
    assert {"acked_jobs", "acked_oldest_waiting_seconds", "acked_attention_jobs"} <= {
        family.name for family in REGISTRY.collect()
    }


def test_an_age_is_never_below_nothing(bench: Bench, figures: CollectorRegistry) -> None:
    at = bench.clock.now()
    kinds = [KindCount("a", {State.QUEUED: 1}, at + timedelta(seconds=1), 0)]
    bench.one._newest = CensusSummary(at, 0.0, kinds, frozenset())
    assert _values(figures)["acked_oldest_waiting_seconds a"] == 0.0
