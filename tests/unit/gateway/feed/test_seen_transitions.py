"""What the feed believes: transitions of the stream, and progress that carries the nonce of the claim."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from acked_common.model.events import JobEvent, JobUpdate, ProgressEvent
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import Reason, State
from acked_gateway.feed.seen_transitions import MAX_PROGRESS_BYTES, SeenTransitions
from support.factories import origin

AT = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
ME, OTHER = "nonce-of-me", "nonce-of-another"


def event(job_id: UUID, rev: int, state: State, attempt: int = 1) -> JobEvent:
    return JobEvent(job_id, rev, state, Reason.CLAIMED.value, attempt, AT)


def claimed(job_id: UUID, rev: int = 2, attempt: int = 1, nonce: str | None = ME, tenant: str = "default") -> JobUpdate:
    return JobUpdate(job_id, origin("k", "b", tenant=tenant), event(job_id, rev, State.RUNNING, attempt), nonce=nonce)


def ended(job_id: UUID, rev: int = 3) -> JobUpdate:
    return JobUpdate(job_id, origin("k", "b"), event(job_id, rev, State.SUCCEEDED))


def progress(job_id: UUID, second: int = 1, attempt: int = 1, nonce: str = ME) -> ProgressEvent:
    return ProgressEvent(job_id, attempt, b'{"n":1,"at":"2026-01-02T03:04:%02d.000Z"}' % second, nonce)


@pytest.fixture
def table() -> SeenTransitions:
    return SeenTransitions()


@pytest.fixture
def job(table: SeenTransitions) -> UUID:
    """A job whose first attempt is ours."""
    job_id = new_id()
    assert table.record(claimed(job_id))
    return job_id


def test_whose_job_it_is_is_what_the_stream_has_said(table: SeenTransitions) -> None:
    looked, streamed = new_id(), new_id()
    table.seed(claimed(looked, tenant="acme"))
    table.record(claimed(streamed, tenant="globex"))
    for job_id, tenant in ((looked, "acme"), (streamed, "globex")):
        for told in (
            table.report_progress(progress(job_id, 1)),
            table.record_progress(job_id, progress(job_id, 2).progress),
        ):
            assert told is not None
            assert told.origin.tenant == tenant


def test_progress_without_the_nonce_of_its_claim_is_dropped(table: SeenTransitions, job: UUID) -> None:
    for nonce in ("", OTHER, ME[:-1], ME + "x", "nöt ascii", "\ud800"):
        assert table.report_progress(progress(job, 9, nonce=nonce)) is None
    assert table.report_progress(progress(job, 1)) is not None, "what was forged hides nothing"


def test_progress_of_an_attempt_without_owner_is_dropped(table: SeenTransitions) -> None:
    unowned = new_id()
    table.record(claimed(unowned, nonce=None))
    assert table.report_progress(progress(unowned, nonce="")) is None


def test_progress_of_an_unknown_job_is_left_to_the_stream(table: SeenTransitions) -> None:
    assert table.report_progress(progress(new_id())) is None


def test_an_attempt_that_was_taken_over_is_no_longer_its_own(table: SeenTransitions, job: UUID) -> None:
    table.record(JobUpdate(job, origin("k", "b"), event(job, 3, State.QUEUED)))
    assert table.report_progress(progress(job)) is None
    table.record(claimed(job, 4, 2, OTHER))
    assert table.report_progress(progress(job)) is None
    assert table.report_progress(progress(job, attempt=2)) is None
    assert table.report_progress(progress(job, attempt=1, nonce=OTHER)) is None
    assert table.report_progress(progress(job, attempt=2, nonce=OTHER)) is not None


def test_a_cancel_that_is_asked_for_leaves_the_owner(table: SeenTransitions, job: UUID) -> None:
    table.record(JobUpdate(job, origin("k", "b"), event(job, 3, State.RUNNING)))
    assert table.report_progress(progress(job)) is not None


def test_progress_is_told_with_how_the_job_stands_and_only_forward(table: SeenTransitions, job: UUID) -> None:
    first, second = progress(job, 1), progress(job, 2)
    assert table.report_progress(second) == JobUpdate(
        job, origin("k", "b"), event(job, 2, State.RUNNING), second.progress
    )
    assert table.report_progress(first) is None
    assert table.record_progress(job, second.progress) is None
    assert table.record_progress(job, progress(job, 3).progress) is not None
    table.record(ended(job))
    assert table.record_progress(job, progress(job, 4).progress) is None


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b'{"n":1}', b'{"at":1}', b'{"at":"x"', b'{"at":"x","n":"' + b"x" * MAX_PROGRESS_BYTES + b'"}'],
)
def test_progress_that_is_no_good_text_is_dropped(table: SeenTransitions, job: UUID, text: bytes) -> None:
    assert table.report_progress(ProgressEvent(job, 1, text, ME)) is None
    assert table.record_progress(job, text) is None


def test_a_look_makes_jobs_known_that_the_stream_has_not_shown(table: SeenTransitions, job: UUID) -> None:
    looked = new_id()
    table.seed(claimed(looked, nonce=OTHER))
    table.seed(claimed(job, rev=9, nonce=OTHER))
    assert table.report_progress(progress(looked, nonce=OTHER)) is not None
    assert table.report_progress(progress(job)) is not None, "the stream was first"


def test_the_oldest_are_forgotten() -> None:
    table = SeenTransitions(kept=3)
    jobs = [new_id() for _ in range(5)]
    for job_id in jobs:
        table.record(ended(job_id))
    assert table.forgotten == 2
    assert [table.record(ended(job_id)) for job_id in jobs[2:]] == [False] * 3
    assert table.record(ended(jobs[0]))


def test_a_long_job_s_progress_is_told_however_much_moves_beside_it() -> None:
    table = SeenTransitions(kept=3)
    long = new_id()
    table.record(claimed(long))
    for second in range(1, 50):
        table.record(ended(new_id()))
        assert table.report_progress(progress(long, second)) is not None
    assert table.record_progress(long, progress(long, 59).progress) is not None


def test_more_run_than_are_kept() -> None:
    table = SeenTransitions(kept=3)
    running = [new_id() for _ in range(100)]
    for job_id in running:
        table.record(claimed(job_id))
    assert table.forgotten == 0
    for job_id in running:
        assert table.record(ended(job_id))
    table.record(ended(new_id()))
    assert table.forgotten == 98


def test_what_the_stream_shows_again_is_told_once(table: SeenTransitions, job: UUID) -> None:
    assert not table.record(claimed(job))
    assert table.record(ended(job))
    assert not table.record(ended(job))
    assert not table.record(claimed(job))
