"""Which earlier attempts of a job are unsuccessful starts, by its history."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from acked_common.model.lifecycle import HistoryEntry, Reason, State
from acked_common.outcomes.outcome_rules import idle_starts, may_be_idle
from acked_common.store.mongo.documents import claimed_job_from, job_document
from support.factories import new_job

AT = datetime(2026, 1, 2, tzinfo=UTC)


def history(*reasons: Reason) -> list[HistoryEntry]:
    """A history; only its reasons matter."""
    return [HistoryEntry(rev, State.QUEUED, reason, rev, AT) for rev, reason in enumerate(reasons, 1)]


IDLE = (Reason.CLAIMED, Reason.NOT_STARTED)


@pytest.mark.parametrize("advance", [Reason.PARKED, Reason.WOKEN, Reason.SIGNALLED, Reason.RETRIED])
def test_idle_starts_count_from_the_newest_progress(advance: Reason) -> None:
    assert idle_starts(history(Reason.ACCEPTED, *IDLE * 9, Reason.CLAIMED, advance)) == 0
    assert idle_starts(history(*IDLE * 9, advance, *IDLE * 2, Reason.DUE, *IDLE, Reason.CLAIMED)) == 3


@pytest.mark.parametrize("started", [Reason.BACKING_OFF, Reason.CRASHED, Reason.DRAINED, Reason.LEASE_EXPIRED])
def test_attempts_that_started_are_no_idle_starts(started: Reason) -> None:
    assert idle_starts(history(Reason.ACCEPTED, *(Reason.CLAIMED, started) * 9, *IDLE, Reason.CLAIMED)) == 1
    assert idle_starts(history(*IDLE * 2, Reason.CLAIMED, started, *IDLE)) == 3


def test_attempts_bound_the_idle_starts() -> None:
    document = job_document(new_job(at=AT)) | {"started_at": AT}
    job = claimed_job_from(document, "nonce")
    assert [may_be_idle(replace(job, attempt=attempt)) for attempt in range(1, 6)] == [False] * 2 + [True] * 3
