"""Which claimed jobs start, and what is reported of a claim. How fields travel is in `test_fields`."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from acked_common.model.lifecycle import Reason, State
from acked_common.store.records import ClaimedJob
from acked_worker.consume.claimed_jobs import claimed_event, split_late
from support.fields import filled

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def claimed(age_s: float, **fields: object) -> ClaimedJob:
    return replace(filled(ClaimedJob), started_at=NOW - timedelta(seconds=age_s), **fields)


def test_claims_of_their_time_all_start() -> None:
    jobs = [claimed(0), claimed(20)]
    assert split_late(jobs, now=NOW, starts_within_s=20) == (jobs, [])


def test_late_claims_are_apart_in_order() -> None:
    jobs = [claimed(21), claimed(1), claimed(30)]
    assert split_late(jobs, now=NOW, starts_within_s=20) == ([jobs[1]], [jobs[0], jobs[2]])


@pytest.mark.parametrize(("asked_at", "reason"), [(None, Reason.CLAIMED), (NOW, Reason.CANCEL_REQUESTED)])
def test_event_of_a_claim_tells_of_a_cancel(asked_at: datetime | None, reason: Reason) -> None:
    job = claimed(1, cancel_requested_at=asked_at)
    event = claimed_event(job)
    assert (event.state, event.reason, event.at) == (State.RUNNING, reason, asked_at or job.started_at)
