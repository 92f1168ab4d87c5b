"""What the feed believes of workers' reports: what follows on the stream, from who owns the attempt."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from acked_common.events import JobEvent, JobNews, ProgressEvent
from acked_common.ids import new_id
from acked_common.lifecycle import Reason, State
from acked_gateway.job_table import MAX_PROGRESS_BYTES, JobTable

AT = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
ME, OTHER = "boot-me", "boot-other"


def event(job_id: UUID, rev: int, state: State, attempt: int = 1) -> JobEvent:
    return JobEvent(job_id, rev, state, Reason.CLAIMED.value, attempt, AT)


def claimed(job_id: UUID, rev: int = 2, attempt: int = 1, boot: str = ME, tenant: str = "default") -> JobNews:
    return JobNews(job_id, "k", "b", event(job_id, rev, State.RUNNING, attempt), boot=boot, tenant=tenant)


def ended(job_id: UUID, rev: int = 3) -> JobNews:
    return JobNews(job_id, "k", "b", event(job_id, rev, State.SUCCEEDED))


def progress(job_id: UUID, second: int = 1, attempt: int = 1) -> ProgressEvent:
    return ProgressEvent(job_id, attempt, b'{"n":1,"at":"2026-01-02T03:04:%02d.000Z"}' % second)


@pytest.fixture
def table() -> JobTable:
    return JobTable()


@pytest.fixture
def job(table: JobTable) -> UUID:
    """A job whose first attempt is ours."""
    job_id = new_id()
    assert table.take(claimed(job_id))
    return job_id


def test_the_next_transition_of_the_own_attempt_is_told_at_once_and_once(table: JobTable, job: UUID) -> None:
    told = table.report(ME, event(job, 3, State.SUCCEEDED))
    assert told == JobNews(job, "k", "b", event(job, 3, State.SUCCEEDED))
    assert table.report(ME, event(job, 3, State.SUCCEEDED)) is None
    assert not table.take(ended(job))
    assert table.take(JobNews(job, "k", "b", event(job, 4, State.QUEUED)))


def test_whose_job_it_is_is_what_the_stream_has_said(table: JobTable) -> None:
    looked, streamed = new_id(), new_id()
    table.seed(claimed(looked, tenant="acme"))
    table.take(claimed(streamed, tenant="globex"))
    for job_id, tenant in ((looked, "acme"), (streamed, "globex")):
        for told in (
            table.report_progress(ME, progress(job_id, 1)),
            table.take_progress(job_id, progress(job_id, 2).progress),
            table.report(ME, event(job_id, 3, State.SUCCEEDED)),
        ):
            assert told is not None
            assert told.tenant == tenant


@pytest.mark.parametrize(("boot", "rev", "attempt"), [(OTHER, 3, 1), (ME, 4, 1), (ME, 2, 1), (ME, 3, 2), ("", 3, 1)])
def test_what_is_not_next_or_not_its_own_is_left_to_the_stream(
    table: JobTable, job: UUID, boot: str, rev: int, attempt: int
) -> None:
    assert table.report(boot, event(job, rev, State.SUCCEEDED, attempt)) is None
    assert table.take(ended(job))


def test_a_job_that_the_stream_has_not_shown_is_left_to_it(table: JobTable) -> None:
    assert table.report(ME, event(new_id(), 2, State.RUNNING)) is None
    assert table.report_progress(ME, progress(new_id())) is None


def test_an_attempt_that_was_taken_over_is_no_longer_its_own(table: JobTable, job: UUID) -> None:
    table.take(JobNews(job, "k", "b", event(job, 3, State.QUEUED)))
    assert table.report(ME, event(job, 4, State.SUCCEEDED)) is None
    table.take(claimed(job, 4, 2, OTHER))
    assert table.report(ME, event(job, 5, State.SUCCEEDED)) is None
    assert table.report_progress(ME, progress(job)) is None
    assert table.report_progress(OTHER, progress(job, attempt=2)) is not None


def test_a_cancel_that_is_asked_for_leaves_the_owner(table: JobTable, job: UUID) -> None:
    table.take(JobNews(job, "k", "b", event(job, 3, State.RUNNING)))
    assert table.report(ME, event(job, 4, State.CANCELLED)) is not None


def test_progress_is_told_with_how_the_job_stands_and_only_forward(table: JobTable, job: UUID) -> None:
    first, second = progress(job, 1), progress(job, 2)
    assert table.report_progress(ME, second) == JobNews(job, "k", "b", event(job, 2, State.RUNNING), second.progress)
    assert table.report_progress(ME, first) is None
    assert table.take_progress(job, second.progress) is None
    assert table.take_progress(job, progress(job, 3).progress) is not None
    table.take(ended(job))
    assert table.take_progress(job, progress(job, 4).progress) is None


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b'{"n":1}', b'{"at":1}', b'{"at":"x"', b'{"at":"x","n":"' + b"x" * MAX_PROGRESS_BYTES + b'"}'],
)
def test_progress_that_is_no_good_text_is_dropped(table: JobTable, job: UUID, text: bytes) -> None:
    assert table.report_progress(ME, ProgressEvent(job, 1, text)) is None
    assert table.take_progress(job, text) is None


def test_a_look_makes_jobs_known_that_the_stream_has_not_shown(table: JobTable, job: UUID) -> None:
    looked = new_id()
    table.seed(claimed(looked, boot=OTHER))
    table.seed(claimed(job, rev=9, boot=OTHER))
    assert table.report(OTHER, event(looked, 3, State.FAILED)) is not None
    assert table.report(ME, event(job, 3, State.FAILED)) is not None


def test_the_oldest_are_forgotten() -> None:
    table = JobTable(kept=3)
    jobs = [new_id() for _ in range(5)]
    for job_id in jobs:
        table.take(ended(job_id))
    assert table.forgotten == 2
    assert [table.take(ended(job_id)) for job_id in jobs[2:]] == [False] * 3
    assert table.take(ended(jobs[0]))


def test_one_that_is_ahead_of_the_stream_is_not_forgotten() -> None:
    table = JobTable(kept=3)
    ahead, *others = [new_id() for _ in range(6)]
    table.take(claimed(ahead))
    assert table.report(ME, event(ahead, 3, State.SUCCEEDED)) is not None
    for job_id in others:
        table.take(ended(job_id))
    assert not table.take(ended(ahead))
    for job_id in others:
        table.take(ended(job_id, rev=4))
    assert table.take(ended(ahead)), "the stream has shown it, so it could go"


def test_a_long_job_s_progress_is_told_however_much_moves_beside_it() -> None:
    table = JobTable(kept=3)
    long = new_id()
    table.take(claimed(long))
    for second in range(1, 50):
        table.take(ended(new_id()))
        assert table.report_progress(ME, progress(long, second)) is not None
    assert table.take_progress(long, progress(long, 59).progress) is not None


def test_more_run_than_are_kept() -> None:
    table = JobTable(kept=3)
    running = [new_id() for _ in range(100)]
    for job_id in running:
        table.take(claimed(job_id))
    assert table.forgotten == 0
    for job_id in running:
        assert table.report(ME, event(job_id, 3, State.SUCCEEDED)) is not None
        assert not table.take(ended(job_id))
    table.take(ended(new_id()))
    assert table.forgotten == 98


def test_what_the_stream_shows_again_is_told_once(table: JobTable, job: UUID) -> None:
    assert not table.take(claimed(job))
    assert table.take(ended(job))
    assert not table.take(ended(job))
    assert not table.take(claimed(job))
