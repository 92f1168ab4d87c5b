"""How long jobs waited is observed a bundle at once; slots are read when they are scraped."""

import pytest
from msgspec.structs import replace
from prometheus_client import REGISTRY

from acked_common.model.kind_labels import OTHER, KindLabels
from acked_common.store.records import ClaimedJob
from acked_worker.consume import start_metrics
from acked_worker.consume.slots import Slots
from acked_worker.consume.start_metrics import count_started, watch_slots
from support.fields import filled

WAIT = "acked_job_wait_seconds"


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def claimed(kind: str) -> ClaimedJob:
    return replace(filled(ClaimedJob), kind=kind)


def test_each_job_of_a_bundle_counts_with_the_wait_of_the_bundle() -> None:
    count_started([claimed("waits")] * 3, waited_s=4.0)
    assert value(f"{WAIT}_count", kind="waits") == 3
    assert value(f"{WAIT}_sum", kind="waits") == 12.0
    assert value(f"{WAIT}_bucket", kind="waits", le="2.5") == 0
    assert value(f"{WAIT}_bucket", kind="waits", le="5.0") == 3


def test_clocks_that_differ_make_no_negative_wait() -> None:
    count_started([claimed("ahead")], waited_s=-0.5)
    assert value(f"{WAIT}_sum", kind="ahead") == 0.0
    assert value(f"{WAIT}_bucket", kind="ahead", le="0.001") == 1


def test_waits_of_kinds_beyond_the_bound_are_observed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    before = value(f"{WAIT}_count", kind=OTHER) or 0
    monkeypatch.setattr(start_metrics, "kind_label", KindLabels(most=1).of)
    for number in range(5):
        count_started([claimed(f"crowd-{number}")] * 2, waited_s=1.0)
    assert value(f"{WAIT}_count", kind="crowd-0") == 2
    assert value(f"{WAIT}_count", kind=OTHER) == before + 8


def test_slots_are_those_of_the_pool_that_the_kind_shares() -> None:
    pool, threads = Slots(200), Slots(16)
    watch_slots({"one": pool, "two": pool, "plain": threads})
    pool.take("lane", 7)
    assert [value("acked_slots", kind=kind) for kind in ("one", "two", "plain")] == [200, 200, 16]
    assert [value("acked_slots_busy", kind=kind) for kind in ("one", "two", "plain")] == [7, 7, 0]
