"""Which transition follows from the end of an attempt, where a crash or a lost job is among it."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from acked_common.lifecycle import MAX_CRASHES, Reason, State
from acked_common.store import ClaimedJob, KindRecord
from acked_common.store.documents import claimed_job_from, job_document
from acked_worker.outcome import Crashed, Interrupted, InterruptReason
from acked_worker.outcome_rules import Defaults, transition_after
from support.factories import new_job

AT = datetime(2026, 1, 2, tzinfo=UTC)
KIND = KindRecord("demo", "demo", max_attempts=1, backoff_base_s=2.0, backoff_cap_s=60.0)
DEFAULTS = Defaults(grace_s=10.0, expires_in_s=3600.0, retention_s=86400.0)


@pytest.fixture
def job() -> ClaimedJob:
    document = job_document(new_job(at=AT)) | {"started_at": AT, "attempt": 2, "suspect": True}
    return claimed_job_from(document, "nonce")


@pytest.mark.parametrize("crashes", range(MAX_CRASHES))
def test_crashes_back_off_until_they_are_too_many_whatever_the_attempts_are(job: ClaimedJob, crashes: int) -> None:
    job = replace(job, crashes=crashes)
    found = transition_after(Crashed("exit code 1"), job, KIND, DEFAULTS, cancelling=False, at=AT)
    assert found is not None
    assert found.adds == {"crashes": 1}
    if crashes + 1 < MAX_CRASHES:
        assert (found.to, found.reason) == (State.SCHEDULED, Reason.CRASHED)
        assert 0 <= (found.sets["due_at"] - AT).total_seconds() <= 2.0 * 2**crashes
    else:
        assert (found.to, found.reason) == (State.FAILED, Reason.POISON)


def test_the_cancel_flag_wins_over_a_crash(job: ClaimedJob) -> None:
    found = transition_after(Crashed("exit code 1"), job, KIND, DEFAULTS, cancelling=True, at=AT)
    assert found is not None and found.to is State.CANCELLED


@pytest.mark.parametrize("reason", [InterruptReason.DRAINED, InterruptReason.NOT_STARTED])
def test_a_suspect_that_did_not_start_stays_one(job: ClaimedJob, reason: InterruptReason) -> None:
    found = transition_after(Interrupted(reason), job, KIND, DEFAULTS, cancelling=False, at=AT)
    assert found is not None and found.to is State.QUEUED
    assert ("suspect" in found.clears) is (reason is InterruptReason.DRAINED)
