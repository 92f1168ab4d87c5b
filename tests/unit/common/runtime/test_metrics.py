"""Metrics without locks say what the client library's own would say."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from acked_common.runtime.metrics import (
    COMMIT_BOUNDS_S,
    JOB_BOUNDS_S,
    RESPONSE_BOUNDS_S,
    LoopCounter,
    LoopHistogram,
    ScrapedGauge,
)

BOUNDS = (0.1, 1.0, 2.5)


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[CollectorRegistry]:
    """A registry of the test alone."""
    made = CollectorRegistry()
    monkeypatch.setattr("acked_common.runtime.metrics.REGISTRY", made)
    yield made


def samples(registry: CollectorRegistry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What a scraper reads."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


def test_a_counter_counts_by_its_labels(registry: CollectorRegistry) -> None:
    counter = LoopCounter("acked_test_total", "Help.", ("kind", "state"))
    assert samples(registry) == {}
    counter.begin(("a", "x"))
    counter.add(("a", "y"))
    counter.add(("a", "y"), 3)
    counter.begin(("a", "y"))
    assert samples(registry) == {
        ("acked_test_total", (("kind", "a"), ("state", "x"))): 0,
        ("acked_test_total", (("kind", "a"), ("state", "y"))): 4,
    }


def test_what_has_no_labels_is_there_from_the_start(registry: CollectorRegistry) -> None:
    LoopCounter("acked_test_total", "Help.")
    LoopHistogram("acked_test_seconds", "Help.", bounds=(1.0,))
    found = samples(registry)
    assert found["acked_test_total", ()] == found["acked_test_seconds_count", ()] == 0
    assert found["acked_test_seconds_bucket", (("le", "+Inf"),)] == 0


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.05, 0.1, 0.5, 1.0, 2.5, 2.6, 1e9]), st.integers(1, 3))))
def test_a_histogram_is_that_of_the_library(values: list[tuple[float, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        ours, theirs = CollectorRegistry(), CollectorRegistry()
        patch.setattr("acked_common.runtime.metrics.REGISTRY", ours)
        histogram = LoopHistogram("acked_test_seconds", "Help.", ("kind",), bounds=BOUNDS)
        library = Histogram("acked_test_seconds", "Help.", ["kind"], buckets=BOUNDS, registry=theirs)
        for value, times in values:
            histogram.of(("a",)).observe(value, times)
            for _ in range(times):
                library.labels("a").observe(value)
        assert samples(ours) == pytest.approx(samples(theirs))
        assert dict(histogram.counts()) == ({("a",): sum(times for _, times in values)} if values else {})


def test_a_gauge_is_read_at_each_scrape(registry: CollectorRegistry) -> None:
    gauge = ScrapedGauge("acked_test", "Help.", ("name",))
    assert samples(registry) == {}
    values = {"a": 1.0}
    gauge.read_from(lambda: [((name,), value) for name, value in values.items()])
    assert samples(registry) == {("acked_test", (("name", "a"),)): 1}
    values["a"] = 2.0
    assert samples(registry) == {("acked_test", (("name", "a"),)): 2}


def test_the_moment_at_which_a_series_began_is_not_exposed() -> None:
    own = CollectorRegistry()
    Counter("acked_test", "Help.", registry=own).inc()
    assert b"_created" not in generate_latest(own)
    assert b"_created" not in generate_latest(REGISTRY)


@pytest.mark.parametrize("bounds", [COMMIT_BOUNDS_S, JOB_BOUNDS_S, RESPONSE_BOUNDS_S])
def test_bounds_rise(bounds: tuple[float, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))
    assert len(bounds) <= 16
