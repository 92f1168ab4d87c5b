"""No field of a claimed job or of a kind is lost on its way to the handler and back. Every test walks the fields."""

from datetime import UTC, datetime
from operator import attrgetter

import pytest
from msgspec.structs import replace

from acked import Kind, KindOptions
from acked.context import Attempt, Context
from acked.testing import RecordingAttempt
from acked_common.outcomes.outcome import ErrorInfo, Failed
from acked_common.outcomes.outcome_rules import Defaults, transition_after
from acked_common.store.records import ClaimedJob, KindRecord
from acked_worker.consume.claimed_jobs import assignment_of, claimed_event
from acked_worker.consume.in_flight import InFlight
from acked_worker.execute.attempt import Assignment, RunningAttempt
from acked_worker.handlers.registration import kind_record
from acked_worker.isolate.frames import LENGTH_BYTES, Beat, Run, decode_to_process, framed
from support.fields import fields_of, filled, two_of, variants, walked

AT = datetime(2026, 1, 2, tzinfo=UTC)
RENAMED = {"is_suspect": "suspect"}
CHOSEN_BY_THE_WORKER = {"timeout_s"}
JOB = filled(ClaimedJob)


def assigned(job: ClaimedJob) -> Assignment:
    return assignment_of(InFlight(job, "lane", 0.0), 60.0)


@pytest.mark.parametrize("name", sorted(set(walked(Assignment)) - CHOSEN_BY_THE_WORKER))
def test_each_field_of_an_assignment_is_the_claimed_jobs(name: str) -> None:
    other = dict(variants(JOB))[RENAMED.get(name, name)]
    assert attrgetter(name)(assigned(other)) != attrgetter(name)(assigned(JOB))


def running(assignment: Assignment) -> RunningAttempt:
    kind = filled(Kind, function=print, options=KindOptions())
    return RunningAttempt(assignment, kind, 60.0, lambda attempt, progress: None, lambda: None)


NOT_TOLD = {
    # The payload is an argument of its own, the timeout the deadline; alone or not makes no difference to a handler.
    *("payload", "timeout_s", "is_suspect"),
    # They say when an attempt ends and what follows, not what it does.
    *("options.max_attempts", "options.timeout_s", "options.expires_in_s"),
}


@pytest.mark.parametrize("name", walked(Assignment))
def test_each_field_of_an_assignment_is_told_to_the_handler(name: str) -> None:
    told = name.removeprefix("options.")
    if name in NOT_TOLD:
        assert not hasattr(Context, told)
        return
    assignment = filled(Assignment)
    assert getattr(Context(running(assignment)), told) == attrgetter(name)(assignment)


def test_all_attempts_have_what_a_context_asks_for() -> None:
    asked = {name for name in vars(Attempt) if not name.startswith("_")}
    for attempt in (running(filled(Assignment)), RecordingAttempt()):
        assert {name for name in asked if not hasattr(attempt, name)} == set()


@pytest.mark.parametrize("name", walked(Assignment))
def test_a_process_of_its_own_gets_each_field(name: str) -> None:
    assignment = dict(variants(filled(Assignment)))[name]
    sent = Run(replace(assignment, payload=None), b"1", 1.0, 1.0, Beat(1.0, AT, 1.0))
    found = decode_to_process(framed(sent)[LENGTH_BYTES:])
    assert isinstance(found, Run)
    assert found == sent and (name == "payload" or attrgetter(name)(found.assignment) == attrgetter(name)(assignment))


OPTIONS = filled(KindOptions, lane="shared", backoff_base_s=2.0, backoff_cap_s=77.0)


@pytest.mark.parametrize("name", [name for name in fields_of(KindOptions) if name != "replace"])
def test_each_option_of_a_handler_is_registered(name: str) -> None:
    """But for `replace`, which is of no concern to others."""

    def record(options: KindOptions) -> KindRecord:
        return kind_record(filled(Kind, function=print, is_async=True, options=options), slots=200, seen_at=AT)

    assert getattr(record(OPTIONS), name) == getattr(OPTIONS, name) != getattr(record(KindOptions()), name)


@pytest.mark.parametrize("name", fields_of(ErrorInfo))
def test_each_field_of_an_error_is_recorded(name: str) -> None:
    def recorded(error: ErrorInfo) -> object:
        defaults = filled(Defaults)
        found = transition_after(
            Failed(error, False), JOB, filled(KindRecord), defaults, worker="w", cancelling=False, at=AT
        )
        assert found is not None
        return found.sets["error"]

    error = filled(ErrorInfo)
    assert recorded(dict(variants(error))[name]) != recorded(error)


@pytest.mark.parametrize("name", ["id", "rev", "attempt"])
def test_the_event_of_a_claim_is_that_of_its_job(name: str) -> None:
    assert getattr(claimed_event(dict(variants(JOB))[name]), name) == two_of(fields_of(ClaimedJob)[name])[1]
