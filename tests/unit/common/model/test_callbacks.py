"""The ids, bodies and marks of callbacks."""

import inspect
import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked.kinds import http_guard
from acked_common.model import call_targets, interventions
from acked_common.model.call_targets import AllowedHosts, check_target, target_of
from acked_common.model.callbacks import (
    EVENTS,
    JobEnd,
    Source,
    body_of,
    delivery_id,
    ends_document,
    ends_from,
    webhook_id,
    with_callback,
)
from acked_common.model.ids import instant_of
from acked_common.model.lifecycle import State, Transition

AT = datetime(2026, 3, 4, 5, 6, 7, 89_000, UTC)
JOB = UUID("01a20d05-adf2-7315-9ee6-8162dae54aa3")
ENDS = st.builds(
    JobEnd,
    run=st.integers(1, 1000),
    event=st.sampled_from(EVENTS),
    at=st.just(AT),
    resend=st.integers(0, 50),
)


def test_delivery_id_is_a_uuid7_of_the_end() -> None:
    found = delivery_id(JOB, JobEnd(1, "job.failed", AT))
    assert (found.version, found.variant) == (7, "specified in RFC 4122")
    assert instant_of(found) == AT


@given(one=ENDS, other=ENDS)
def test_delivery_id_differs_exactly_with_the_end(one: JobEnd, other: JobEnd) -> None:
    assert (delivery_id(JOB, one) == delivery_id(JOB, other)) is (one == other)
    assert delivery_id(JOB, one) != delivery_id(UUID(int=JOB.int + 1), one)


def test_webhook_id_is_the_same_when_resent() -> None:
    assert webhook_id(JOB, JobEnd(2, "job.failed", AT)) == f"{JOB}_2_failed"
    assert webhook_id(JOB, JobEnd(2, "job.failed", AT, 3)) == f"{JOB}_2_failed"


def test_body_of_event_names_the_job_and_no_content() -> None:
    source = Source(JOB, "demo", AT - timedelta(seconds=9), "nightly", ("a", "b"))
    body = json.loads(body_of(source, JobEnd(2, "job.cancelled", AT)))
    assert (body["type"], body["timestamp"]) == ("job.cancelled", "2026-03-04T05:06:07.089Z")
    assert body["data"] == {
        "id": str(JOB),
        "kind": "demo",
        "state": State.CANCELLED.value,
        "run": 2,
        "batch": "nightly",
        "tags": ["a", "b"],
        "accepted_at": "2026-03-04T05:05:58.089Z",
        "finished_at": "2026-03-04T05:06:07.089Z",
        "links": {"status": f"/status/{JOB}"},
    }


@given(ends=st.lists(ENDS, unique_by=lambda end: end.key))
def test_stored_ends_are_read_back(ends: list[JobEnd]) -> None:
    stored = {end.key: ends_document(end) for end in ends}
    newer = {"9_lost_0": {"run": 9, "event": "job.lost", "at": AT, "resend": 0}}
    assert ends_from({**stored, **newer}) == tuple(sorted(ends))


def _retry() -> Transition:
    return interventions.retry(at=AT, grace_s=1.0, expires_in_s=60.0)


def test_retry_keeps_an_end_that_intake_has_not_seen() -> None:
    moved = with_callback(_retry(), state=State.FAILED, run=1, at=AT, is_open=True)
    assert moved.sets["callback_open"] is True
    assert moved.sets["callback_ends.1_failed_0"] == {"run": 1, "event": "job.failed", "at": AT, "resend": 0}


def test_retry_of_a_seen_end_marks_the_new_run_alone() -> None:
    moved = with_callback(_retry(), state=State.FAILED, run=1, at=AT, is_open=False)
    assert moved.sets.keys() - _retry().sets.keys() == {"callback_open"}


def test_edit_is_no_end_of_its_own() -> None:
    edit = interventions.edit(at=AT, state=State.FAILED, edited_to=JOB, retention_s=1.0)
    moved = with_callback(edit, state=State.FAILED, run=1, at=AT, is_open=True)
    assert "callback_open" in moved.clears
    assert "callback_ends.1_failed_0" in moved.sets
    assert with_callback(edit, state=State.FAILED, run=1, at=AT, is_open=False) == edit


def test_erasure_and_acts_on_live_jobs_change_no_mark() -> None:
    erase = interventions.erase(at=AT, state=State.FAILED)
    assert with_callback(erase, state=State.FAILED, run=1, at=AT, is_open=True) is erase
    cancel = interventions.cancel(at=AT, retention_s=1.0)
    assert with_callback(cancel, state=State.QUEUED, run=1, at=None, is_open=True) is cancel


@pytest.mark.parametrize("name", ["is_public", "literal_address", "check_name", "_entry", "_normal"])
def test_rules_of_targets_are_those_of_http_call(name: str) -> None:
    assert inspect.getsource(getattr(call_targets, name)) == inspect.getsource(getattr(http_guard, name))


def test_lists_and_networks_are_those_of_http_call() -> None:
    own, guard = inspect.getsource(AllowedHosts), inspect.getsource(http_guard.AllowList)
    assert own.replace("AllowedHosts", "AllowList") == guard
    for name in ("_LABEL", "_NAT64", "_GLOBAL_UNICAST", "_NEVER_PUBLIC"):
        assert getattr(call_targets, name) == getattr(http_guard, name)


ALLOWED = AllowedHosts.parse("127.0.0.1:8000,hook.internal")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hook?x=1",
        "https://1.1.1.1/",
        "https://[2606:4700::1111]/",
        "http://127.0.0.1:8000/",
        "http://hook.internal/x",
    ],
)
def test_target_that_may_be_called_is_accepted(url: str) -> None:
    check_target(target_of(url), ALLOWED)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "https://",
        "https:///x",
        "example.com",
        "https://a b/",
        "https://user@example.com/",
        "https://@example.com/",
        "https://exa\\mple.com/",
        "https://bücher.example/",
        "https://127.1/",
        "https://0x7f.0.0.1/",
        "https://example.com:99999/",
        "https://[::1",
    ],
)
def test_target_that_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"must|is not"):
        target_of(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "https://127.0.0.1/",
        "https://127.0.0.1:8001/",
        "https://localhost/",
        "https://LOCALHOST./",
        "https://a.localhost/",
        "https://169.254.169.254/latest",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::a00:1]/",
        "https://192.168.0.1/",
        "https://0.0.0.0/",
    ],
)
def test_target_inside_is_refused_with_how_to_allow_it(url: str) -> None:
    with pytest.raises(ValueError, match="ACKED_HTTP_CALL_ALLOW"):
        check_target(target_of(url), ALLOWED)
