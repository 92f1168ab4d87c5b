"""Which errors are one: what the group of an error depends on, and what an attempt keeps of it."""

from datetime import UTC, datetime

import pytest

from acked_common.model.attempts import (
    MAX_MESSAGE_CHARS,
    AttemptOutcome,
    EndedAttempt,
    error_group,
    folded,
    kept_error,
    with_group,
    worker_lost,
)
from acked_common.model.lifecycle import end_cancelled

CULPRIT = 'hello.greet: raise ValueError(f"no {name}")'


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("order 17 is gone", "order 4711 is gone"),
        ("took 1.5 s of 2,000", "took 17.25 s of 3"),
        ("no user 'alice'", "no user 'bob the builder'"),
        ('no user "alice"', 'no user "bob"'),
        ("GET https://a.example/x?y=1 failed", "GET http://b.example/other failed"),
        ("job 0198f0a1-0000-7000-8000-0123456789ab", "job 0198F0A1-1111-7fff-8abc-0123456789AB"),
        ("object at 0x7f3a1c", "object at 0xdeadbeef00"),
        ("digest 9f86d081884c7d65", "digest 2cf24dba5fb0a30e"),
        ("two\n  lines", "two lines"),
    ],
)
def test_error_group_of_what_varies_is_one(one: str, other: str) -> None:
    assert folded(one) == folded(other)
    assert error_group("mail", "ValueError", one) == error_group("mail", "ValueError", other)


@pytest.mark.parametrize("name", ["kind", "type", "message", "culprit"])
def test_error_group_differs_by_each_part(name: str) -> None:
    parts = {"kind": "mail", "type": "ValueError", "message": "no user", "culprit": CULPRIT}
    other = {**parts, name: parts[name] + "x"}
    assert error_group(*parts.values()) != error_group(*other.values())


def test_error_group_does_not_run_parts_together() -> None:
    assert error_group("ab", "c", "m") != error_group("a", "bc", "m")


def test_error_group_is_pinned() -> None:
    """Groups are stored, with what people wrote about them: another rule needs another `GROUP_VERSION`."""
    assert error_group("mail", "ValueError", "no user 'x' in 17 ms", CULPRIT) == "158c1a7f36bf9cd80"


def test_folding_a_long_message_is_bounded() -> None:
    assert len(folded("a " * 100_000)) <= 500


def test_kept_error_is_bounded_and_has_no_traceback() -> None:
    error = with_group({"type": "E", "message": "m" * 5000, "retryable": True, "attempt": 3, "traceback": "t"}, "mail")
    kept = kept_error(error)
    assert kept == {
        "type": "E",
        "message": "m" * (MAX_MESSAGE_CHARS - 1) + "…",
        "retryable": True,
        "group": error["group"],
    }


def test_lost_attempts_of_a_kind_are_one_group() -> None:
    assert worker_lost("mail", "worker-1")["group"] == worker_lost("mail", "worker-2")["group"]
    assert worker_lost("mail", "worker-1")["group"] != worker_lost("sms", "worker-1")["group"]


@pytest.mark.parametrize("outcome", AttemptOutcome)
def test_cancelled_job_runs_alone_next_if_it_may_have_ended_its_worker(outcome: AttemptOutcome) -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    ended = EndedAttempt(1, 1, "worker-1", at, at, outcome, worker_lost("mail", "worker-1"))
    transition = end_cancelled(at=at, retention_s=60.0, ended=ended)
    is_suspect = outcome in (AttemptOutcome.LOST, AttemptOutcome.CRASHED)
    assert transition.sets.get("suspect", False) is is_suspect
    assert ("suspect" in transition.clears) is not is_suspect
