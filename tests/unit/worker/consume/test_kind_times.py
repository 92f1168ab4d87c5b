"""What follows from the times of a kind and from the length of a lease."""

import pytest
from msgspec.structs import replace

from acked_common.model.options import JobOptions
from acked_common.store.records import ClaimedJob
from acked_worker.consume.in_flight import InFlight
from acked_worker.consume.kind_times import KindTimes
from support.factories import kind_record
from support.fields import filled

KINDS = {"demo": kind_record("demo", "demo", timeout_s=60.0, timeout_limit_s=90.0)}
TIMES = KindTimes(KINDS, lease_s=30.0, renewal_s=8.0)
HELD = InFlight(filled(ClaimedJob), "lane", 0.0)


@pytest.mark.parametrize(("asked", "timeout_s"), [(None, 60.0), (70.0, 70.0), (100.0, 90.0)])
def test_timeout_is_that_of_the_job_within_its_kind(asked: float | None, timeout_s: float) -> None:
    assert TIMES.timeout_of(replace(HELD.job, kind="demo", options=JobOptions(timeout_s=asked))) == timeout_s


def test_job_starts_with_time_left_for_a_renewal() -> None:
    assert 0 < TIMES.starts_within(["demo"]) <= 30.0 - TIMES.renewal_s


def test_one_write_renews_all_attempts() -> None:
    assert list(TIMES.renewals([HELD, HELD])) == [(30.0, [HELD, HELD])]


def test_nothing_held_needs_no_write() -> None:
    assert list(TIMES.renewals([])) == []


def test_claim_is_never_shorter_than_the_fence_believes() -> None:
    assert TIMES.lease_of_claim(["demo"]) >= TIMES.shortest_lease_s
