"""Which transition follows from the end of an attempt."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from acked_common.model.attempts import MAX_MESSAGE_CHARS, AttemptOutcome, EndedAttempt, error_group
from acked_common.model.lifecycle import Reason, State, Transition
from acked_common.model.lifecycle_waits import Waits
from acked_common.model.options import JobOptions
from acked_common.model.poison import MAX_CRASHES
from acked_common.outcomes.outcome import (
    Crashed,
    Ending,
    ErrorInfo,
    Failed,
    Interrupted,
    InterruptReason,
    Parked,
    Succeeded,
    failed,
    raised,
    timed_out,
)
from acked_common.outcomes.outcome_rules import (
    FREE_STARTS,
    MOST_FAILURES,
    Defaults,
    after_signal,
    transition_after,
)
from acked_common.store.mongo.documents import claimed_job_from, job_document
from acked_common.store.records import ClaimedJob
from support.factories import kind_record, new_job

AT = datetime(2026, 1, 2, tzinfo=UTC)
WORKER = "worker-7"
KIND = kind_record("demo", "demo", max_attempts=1, backoff_base_s=2.0, backoff_cap_s=60.0)
DEFAULTS = Defaults(grace_s=10.0, expires_in_s=3600.0, retention_s=86400.0)


@pytest.fixture
def job() -> ClaimedJob:
    document = job_document(new_job(at=AT)) | {"started_at": AT, "attempt": 2, "suspect": True}
    return claimed_job_from(document, "nonce")


@pytest.mark.parametrize("crashes", range(MAX_CRASHES))
def test_crashes_back_off_until_they_are_too_many_whatever_the_attempts_are(job: ClaimedJob, crashes: int) -> None:
    job = replace(job, crashes=crashes)
    found = transition_after(Crashed("exit code 1"), job, KIND, DEFAULTS, worker=WORKER, cancelling=False, at=AT)
    assert found is not None
    assert found.adds == {"crashes": 1}
    if crashes + 1 < MAX_CRASHES:
        assert (found.to, found.reason) == (State.SCHEDULED, Reason.CRASHED)
        assert 0 <= (found.sets["due_at"] - AT).total_seconds() <= 2.0 * 2**crashes
    else:
        assert (found.to, found.reason) == (State.FAILED, Reason.POISON)


def crashed(job: ClaimedJob, crashes: int, progressed_at: int, attempts: int = 1) -> Transition:
    """What follows from a crash behind so many others."""
    found = transition_after(
        Crashed("exit code 1", progressed_at),
        replace(job, crashes=crashes),
        dataclasses.replace(KIND, max_attempts=attempts),
        DEFAULTS,
        worker=WORKER,
        cancelling=False,
        at=AT,
    )
    assert found is not None
    return found


def test_crashes_count_from_the_newest_progress(job: ClaimedJob) -> None:
    for crashes in range(10):
        found = crashed(job, crashes, crashes)
        assert found.reason is Reason.CRASHED and "crash 1 of 3" in found.sets["error"]["message"]
        assert 0 <= (found.sets["due_at"] - AT).total_seconds() <= 2.0
    assert [crashed(job, 7 + more, 7).reason for more in range(MAX_CRASHES)] == [
        *[Reason.CRASHED] * (MAX_CRASHES - 1),
        Reason.POISON,
    ]


def test_run_ends_at_many_crashes_whatever_its_progress(job: ClaimedJob) -> None:
    for attempts in (1, 5):
        most = MOST_FAILURES * attempts
        assert crashed(job, most - 2, most - 2, attempts).reason is Reason.CRASHED
        last = crashed(job, most - 1, most - 1, attempts)
        assert last.reason is Reason.POISON and f"{most} times" in last.sets["error"]["message"]


def test_the_cancel_flag_wins_over_a_crash(job: ClaimedJob) -> None:
    found = transition_after(Crashed("exit code 1"), job, KIND, DEFAULTS, worker=WORKER, cancelling=True, at=AT)
    assert found is not None and found.to is State.CANCELLED


@pytest.mark.parametrize("cancelling", [False, True])
def test_handler_that_returned_has_succeeded_whatever_was_asked(job: ClaimedJob, cancelling: bool) -> None:
    found = transition_after(Succeeded(b"7"), job, KIND, DEFAULTS, worker=WORKER, cancelling=cancelling, at=AT)
    assert found is not None and (found.to, found.reason) == (State.SUCCEEDED, Reason.COMPLETED)
    assert found.sets == {"result": b"7", "finished_at": AT, "delete_at": AT + timedelta(seconds=86400)}


@pytest.mark.parametrize("cancelling", [False, True])
def test_attempt_that_lost_its_lease_records_nothing(job: ClaimedJob, cancelling: bool) -> None:
    lost = Interrupted(InterruptReason.LEASE_LOST)
    assert transition_after(lost, job, KIND, DEFAULTS, worker=WORKER, cancelling=cancelling, at=AT) is None


@pytest.mark.parametrize(
    ("ending", "cancelling"),
    [
        (Interrupted(InterruptReason.CANCELLED), False),
        (Interrupted(InterruptReason.DRAINED), True),
        (Interrupted(InterruptReason.NOT_STARTED), True),
        (failed("T", "m", retryable=True), True),
        (timed_out(1.0), True),
    ],
)
def test_cancelled_attempt_without_a_result_is_cancelled(job: ClaimedJob, ending: Ending, cancelling: bool) -> None:
    found = transition_after(ending, job, KIND, DEFAULTS, worker=WORKER, cancelling=cancelling, at=AT)
    assert found is not None and found.to is State.CANCELLED
    assert found.sets["delete_at"] == AT + timedelta(seconds=86400)


@pytest.mark.parametrize(("own_s", "expires_in_s"), [(None, 3600.0), (77.0, 77.0)])
@pytest.mark.parametrize(
    ("interrupted", "reason"),
    [(InterruptReason.DRAINED, Reason.DRAINED), (InterruptReason.NOT_STARTED, Reason.NOT_STARTED)],
)
def test_released_job_waits_as_long_as_it_asked_for(
    job: ClaimedJob, own_s: float | None, expires_in_s: float, interrupted: InterruptReason, reason: Reason
) -> None:
    job = replace(job, options=JobOptions(expires_in_s=own_s), attempt=1)
    found = transition_after(Interrupted(interrupted), job, KIND, DEFAULTS, worker=WORKER, cancelling=False, at=AT)
    assert found is not None and (found.to, found.reason) == (State.QUEUED, reason)
    assert found.sets["expires_at"] == AT + timedelta(seconds=expires_in_s)
    assert found.sets["next_check_at"] == AT + timedelta(seconds=10)
    # A drained or idle start is no failure of the job.
    assert not {"failures", "crashes"} & found.adds.keys()


@pytest.mark.parametrize("ending", [failed("T", "m", retryable=True), timed_out(1.0)])
@pytest.mark.parametrize(("failures", "is_last"), [(0, False), (1, False), (2, True), (3, True)])
def test_attempt_that_may_be_repeated_is_until_none_is_left(
    job: ClaimedJob, ending: Ending, failures: int, is_last: bool
) -> None:
    kind = kind_record("demo", "demo", max_attempts=3, backoff_base_s=2.0, backoff_cap_s=60.0)
    found = transition_after(
        ending, replace(job, failures=failures), kind, DEFAULTS, worker=WORKER, cancelling=False, at=AT
    )
    assert found is not None and found.adds == {"failures": 1}
    expected = (State.FAILED, Reason.ATTEMPTS_EXHAUSTED) if is_last else (State.SCHEDULED, Reason.BACKING_OFF)
    assert (found.to, found.reason) == expected
    if not is_last:
        assert 0 <= (found.sets["due_at"] - AT).total_seconds() <= 2.0 * 2**failures


def test_permanent_error_fails_at_once_and_says_so(job: ClaimedJob) -> None:
    kind = kind_record("demo", "demo", max_attempts=3)
    ending = failed("T", "m", retryable=False)
    found = transition_after(ending, job, kind, DEFAULTS, worker=WORKER, cancelling=False, at=AT)
    assert found is not None and (found.to, found.reason) == (State.FAILED, Reason.PERMANENT_ERROR)


def test_time_that_the_handler_asked_for_is_waited(job: ClaimedJob) -> None:
    kind = kind_record("demo", "demo", max_attempts=3, backoff_base_s=2.0, backoff_cap_s=60.0)
    ending = Failed(ErrorInfo("RetryLater", "m", retryable=True), retryable=True, after_s=120.0)
    found = transition_after(ending, job, kind, DEFAULTS, worker=WORKER, cancelling=False, at=AT)
    assert found is not None and found.sets["due_at"] == found.sets["next_check_at"] == AT + timedelta(seconds=120)


@pytest.mark.parametrize("traceback", [None, "Traceback …"])
def test_error_names_its_attempt_and_has_a_traceback_if_there_is_one(job: ClaimedJob, traceback: str | None) -> None:
    ending = Failed(ErrorInfo("T", "m", retryable=False, traceback=traceback), retryable=False)
    found = transition_after(ending, job, KIND, DEFAULTS, worker=WORKER, cancelling=False, at=AT)
    assert found is not None
    own = {} if traceback is None else {"traceback": traceback}
    group = error_group("demo", "T", "m")
    assert found.sets["error"] == {"type": "T", "message": "m", "retryable": False, "attempt": 2, "group": group, **own}


CULPRIT = "mail.send: raise ValueError()"
ERROR = ErrorInfo("T", "order 17 is gone", retryable=True, traceback="Traceback …", culprit=CULPRIT)
GROUP = error_group("demo", "T", "order 18 is gone", CULPRIT)
KEPT: dict[str, tuple[Ending, AttemptOutcome, dict[str, object], str | None]] = {
    "failed": (
        Failed(ERROR, True),
        AttemptOutcome.FAILED,
        {"type": "T", "message": "order 17 is gone", "retryable": True, "culprit": CULPRIT, "group": GROUP},
        "Traceback …",
    ),
    "timed out": (
        timed_out(1.0, "where"),
        AttemptOutcome.TIMED_OUT,
        {
            "type": "TimedOut",
            "message": "the attempt exceeded its timeout of 1 s",
            "retryable": True,
            "group": error_group("demo", "TimedOut", "the attempt exceeded its timeout of 2 s"),
        },
        "where",
    ),
    "crashed": (
        Crashed("exit code 1"),
        AttemptOutcome.CRASHED,
        {
            "type": "Crashed",
            "message": "the handler ended its process (exit code 1); crash 1 of 3",
            "retryable": True,
            "group": error_group("demo", "Crashed", "exit code 1"),
        },
        None,
    ),
}


@pytest.mark.parametrize("cancelling", [False, True])
@pytest.mark.parametrize("case", KEPT)
def test_attempt_without_success_is_kept_with_its_error(job: ClaimedJob, case: str, cancelling: bool) -> None:
    ending, outcome, error, traceback = KEPT[case]
    at = AT + timedelta(seconds=5)
    found = transition_after(ending, job, KIND, DEFAULTS, worker=WORKER, cancelling=cancelling, at=at)
    assert found is not None
    assert found.ended == EndedAttempt(1, 2, WORKER, AT, at, outcome, error, traceback)
    if cancelling:
        assert (found.to, "error" in found.sets) == (State.CANCELLED, False)
    else:
        assert found.sets["error"]["group"] == error["group"]


@pytest.mark.parametrize("cancelling", [False, True])
@pytest.mark.parametrize(
    "ending", [Succeeded(b"1"), *map(Interrupted, set(InterruptReason) - {InterruptReason.LEASE_LOST})]
)
def test_attempt_that_succeeded_or_was_stopped_is_not_kept(job: ClaimedJob, ending: Ending, cancelling: bool) -> None:
    found = transition_after(ending, job, KIND, DEFAULTS, worker=WORKER, cancelling=cancelling, at=AT)
    assert found is not None and found.ended is None


def test_crashes_and_their_end_as_poison_are_one_group(job: ClaimedJob) -> None:
    groups = set()
    for crashes in range(MAX_CRASHES):
        claimed = replace(job, crashes=crashes)
        found = transition_after(
            Crashed(f"exit code {crashes}"), claimed, KIND, DEFAULTS, worker=WORKER, cancelling=False, at=AT
        )
        assert found is not None
        groups.add(found.sets["error"]["group"])
    assert groups == {error_group("demo", "Crashed", "exit code 9")}


def test_a_long_message_is_whole_in_the_newest_error_alone(job: ClaimedJob) -> None:
    ending = failed("T", "m" * 4000, retryable=True)
    found = transition_after(ending, job, KIND, DEFAULTS, worker=WORKER, cancelling=False, at=AT)
    assert found is not None and found.ended is not None
    assert (len(found.sets["error"]["message"]), len(found.ended.error["message"])) == (4000, MAX_MESSAGE_CHARS)


@pytest.mark.parametrize("reason", [InterruptReason.DRAINED, InterruptReason.NOT_STARTED])
def test_a_suspect_that_did_not_start_stays_one(job: ClaimedJob, reason: InterruptReason) -> None:
    found = transition_after(Interrupted(reason), job, KIND, DEFAULTS, worker=WORKER, cancelling=False, at=AT)
    assert found is not None and found.to is State.QUEUED
    assert ("suspect" in found.clears) is (reason is InterruptReason.DRAINED)


def test_drained_job_of_a_worker_that_a_job_stopped_is_a_suspect(job: ClaimedJob) -> None:
    drained = Interrupted(InterruptReason.DRAINED)
    found = transition_after(
        drained, replace(job, suspect=False), KIND, DEFAULTS, worker=WORKER, cancelling=False, at=AT, suspect=True
    )
    assert found is not None and (found.to, found.reason) == (State.QUEUED, Reason.DRAINED)
    assert found.sets["suspect"] is True and "suspect" not in found.clears


def test_failed_job_of_a_worker_that_a_job_stopped_is_a_suspect(job: ClaimedJob) -> None:
    ending = failed("ValueError", "it broke", retryable=True)
    several = dataclasses.replace(KIND, max_attempts=5)
    found = transition_after(ending, job, several, DEFAULTS, worker=WORKER, cancelling=False, at=AT, suspect=True)
    assert found is not None and (found.to, found.adds) == (State.SCHEDULED, {"failures": 1})
    assert found.sets["suspect"] is True and "suspect" not in found.clears


@pytest.mark.parametrize("idle", range(13))
def test_starts_of_which_nothing_came_are_ever_further_apart(job: ClaimedJob, idle: int) -> None:
    """Whatever the cause is, no job runs in circles."""
    not_started = Interrupted(InterruptReason.NOT_STARTED, idle)
    found = transition_after(not_started, job, KIND, DEFAULTS, worker=WORKER, cancelling=False, at=AT)
    assert found is not None and found.reason is Reason.NOT_STARTED
    if idle < FREE_STARTS:
        assert found.to is State.QUEUED
    else:
        assert found.to is State.SCHEDULED
        assert found.sets["next_check_at"] == found.sets["due_at"]
        assert 0 <= (found.sets["due_at"] - AT).total_seconds() <= min(60.0, 2.0 * 2 ** (idle - FREE_STARTS))


@pytest.mark.parametrize(
    ("asked", "limit", "holds"), [(None, None, 3), (None, 9, 3), (2, None, 2), (50, None, 3), (50, 9, 9), (7, 9, 7)]
)
def test_attempts_of_an_older_job_are_the_smaller_of_both(
    job: ClaimedJob, asked: int | None, limit: int | None, holds: int
) -> None:
    kind = kind_record("demo", "demo", max_attempts=3, max_attempts_limit=limit)
    for failures in range(12):
        claimed = replace(job, options=JobOptions(max_attempts=asked), failures=failures)
        found = transition_after(
            raised(ValueError("no")), claimed, kind, DEFAULTS, worker=WORKER, cancelling=False, at=AT
        )
        assert found is not None
        assert (found.reason is Reason.ATTEMPTS_EXHAUSTED) is (failures + 1 >= holds)


@pytest.mark.parametrize(
    ("asked", "limit", "holds"),
    [(None, None, 30), (None, 90, 30), (2.5, None, 2.5), (500, None, 30), (500, 90, 90), (70, 90, 70)],
)
def test_timeout_of_an_older_job_is_the_smaller_of_both(asked: float | None, limit: float | None, holds: float) -> None:
    assert kind_record("demo", "demo", timeout_s=30.0, timeout_limit_s=limit).timeout_of(asked) == holds


PARKED = Parked(Waits("sleep", "cool-off", AT + timedelta(days=30)), in_seq=3)


def test_a_handler_that_waits_is_parked_until_then(job: ClaimedJob) -> None:
    found = transition_after(PARKED, job, KIND, DEFAULTS, worker=WORKER, cancelling=False, at=AT)
    assert found is not None and (found.to, found.reason) == (State.WAITING, Reason.PARKED)
    assert found.sets["next_check_at"] == AT + timedelta(days=30)
    assert not found.adds and found.ended is None


def test_the_cancel_flag_wins_over_a_park(job: ClaimedJob) -> None:
    found = transition_after(PARKED, job, KIND, DEFAULTS, worker=WORKER, cancelling=True, at=AT)
    assert found is not None and found.to is State.CANCELLED


@pytest.mark.parametrize(("own_s", "expires_in_s"), [(None, 3600.0), (77.0, 77.0)])
def test_a_park_that_missed_a_signal_queues_the_job(job: ClaimedJob, own_s: float | None, expires_in_s: float) -> None:
    found = after_signal(replace(job, options=JobOptions(expires_in_s=own_s)), DEFAULTS, AT)
    assert (found.to, found.reason) == (State.QUEUED, Reason.SIGNALLED)
    assert found.sets["expires_at"] == AT + timedelta(seconds=expires_in_s)
    assert not found.adds


@pytest.mark.parametrize("ending", [failed("T", "m", retryable=True), timed_out(1.0)])
def test_failures_count_from_the_last_progress(job: ClaimedJob, ending: Failed) -> None:
    kind = dataclasses.replace(KIND, max_attempts=3, backoff_base_s=2.0)
    job = replace(job, failures=9, options=JobOptions())
    for progressed_at, state in ((0, State.FAILED), (7, State.FAILED), (8, State.SCHEDULED), (9, State.SCHEDULED)):
        found = transition_after(
            dataclasses.replace(ending, progressed_at_failures=progressed_at),
            job,
            kind,
            DEFAULTS,
            worker=WORKER,
            cancelling=False,
            at=AT,
        )
        assert found is not None and found.to is state
        if state is State.SCHEDULED:
            assert (found.sets["due_at"] - AT).total_seconds() <= 2.0 * 2 ** (9 - progressed_at)


@pytest.mark.parametrize(("failures", "state"), [(0, State.SCHEDULED), (1, State.FAILED)])
def test_a_run_ends_after_many_failures_whatever_its_progress(job: ClaimedJob, failures: int, state: State) -> None:
    kind = dataclasses.replace(KIND, max_attempts=2)
    before = MOST_FAILURES * 2 - 2 + failures
    ending = dataclasses.replace(failed("T", "m", retryable=True), progressed_at_failures=before)
    job = replace(job, failures=before, options=JobOptions())
    found = transition_after(ending, job, kind, DEFAULTS, worker=WORKER, cancelling=False, at=AT)
    assert found is not None and found.to is state
