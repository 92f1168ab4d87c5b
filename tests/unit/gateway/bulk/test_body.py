"""What a body of `POST /bulk-actions` may say, and how it is refused."""

import json
from datetime import timedelta
from typing import Any

import pytest

from acked_common.http.problems import Problem, ProblemError
from acked_common.model.bulk_actions import MOST_IDS, BulkResolution, BulkVerb, JobChoice
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import LIVE, TERMINAL, State
from acked_common.model.lifecycle_waits import NO_SIGNAL
from acked_gateway.bulk.body import FIELDS, choice_of, parse_wish
from support.factories import ManualClock

NOW = ManualClock().now()
ID = str(new_id())


def parse(**members: Any) -> Any:
    return parse_wish(json.dumps({"action": "retry", "filter": {"kind": "k"}, **members}).encode())


def refusal(members: Any) -> Problem:
    with pytest.raises(ProblemError) as caught:
        parse_wish(json.dumps(members).encode())
    return caught.value.problem


def test_every_field_is_read() -> None:
    wish = parse(rate_per_s=2, dry_run=True, reason="because")
    assert (wish.verb, wish.filter, wish.rate_per_s) == (BulkVerb.RETRY, {"kind": "k"}, 2.0)
    assert (wish.dry_run, wish.reason, wish.plan, wish.ids) == (True, "because", None, ())
    assert parse(plan="p").plan == "p"
    resolved = parse(action="resolve", resolution={"state": "failed", "result": {"a": 1}, "note": "n"})
    assert resolved.resolution == BulkResolution(State.FAILED, b'{"a":1}', "n")


def test_ids_are_sorted() -> None:
    ids = [new_id() for _ in range(3)]
    wish = parse_wish(json.dumps({"action": "cancel", "ids": [str(one) for one in reversed(ids)]}).encode())
    assert wish.ids == tuple(ids)
    assert choice_of(wish, "acme", NOW) is None


@pytest.mark.parametrize(
    ("action", "states"),
    [
        ("retry", {State.FAILED}),
        ("cancel", LIVE),
        ("resolve", {State.FAILED}),
        ("run_now", {State.SCHEDULED}),
        ("erase", TERMINAL),
    ],
)
def test_a_filter_without_a_state_means_what_the_action_moves(action: str, states: set[State]) -> None:
    extra = {"resolution": {"state": "succeeded"}} if action == "resolve" else {}
    choice = choice_of(parse(action=action, **extra), "acme", NOW)
    assert choice == JobChoice("acme", tuple(sorted(states)), kind="k")


def test_a_filter_is_read_as_a_choice() -> None:
    wanted = {"state": "cancelled", "kind": "k", "batch": "b", "tag": "t", "since": "90m", "until": "1h"}
    choice = choice_of(parse(filter=wanted), "acme", NOW)
    hour = timedelta(hours=1)
    assert choice == JobChoice(
        "acme", (State.CANCELLED,), kind="k", batch="b", tag="t", since_at=NOW - 1.5 * hour, until_at=NOW - hour
    )
    absolute = choice_of(parse(filter={"error.group": "1ab", "since": "2026-01-02T03:04:05+01:00"}), "acme", NOW)
    assert absolute is not None
    assert (absolute.states, absolute.error_group) == ((State.FAILED,), "1ab")
    assert absolute.since_at is not None and absolute.since_at.isoformat() == "2026-01-02T02:04:05+00:00"


@pytest.mark.parametrize(("text", "name"), [("signal:paid", "paid"), ("sleep", NO_SIGNAL)])
def test_a_filter_names_what_parked_jobs_wait_for(text: str, name: str) -> None:
    choice = choice_of(parse(action="cancel", filter={"waiting_for": text, "kind": "k"}), "acme", NOW)
    assert choice == JobChoice("acme", (State.WAITING,), kind="k", waiting_for=name)


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no action": ({"filter": {"kind": "k"}}, "/action", "is missing"),
    "another action": ({"action": "snooze", "ids": [ID]}, "/action", "one of retry, cancel"),
    "neither filter nor ids": ({"action": "retry"}, "/filter", "either filter or ids"),
    "both": ({"action": "retry", "filter": {"kind": "k"}, "ids": [ID]}, "/filter", "not both"),
    "an empty filter": ({"action": "retry", "filter": {}}, "/filter", "every job"),
    "a filter of nulls": ({"action": "retry", "filter": {"kind": None}}, "/filter", "every job"),
    "no object": ({"action": "retry", "filter": "kind=k"}, "/filter", "an object"),
    "a typo in the filter": ({"action": "retry", "filter": {"satte": "failed"}}, "/filter/satte", "'state'"),
    "a retry of a success": ({"action": "retry", "filter": {"state": "succeeded"}}, "/filter/state", "contradicts"),
    "a cancel of a failure": ({"action": "cancel", "filter": {"state": "failed"}}, "/filter/state", "contradicts"),
    "a cancel of a group": (
        {"action": "cancel", "filter": {"error.group": "1a"}},
        "/filter/error.group",
        "contradicts",
    ),
    "a group of cancelled ones": (
        {"action": "retry", "filter": {"error.group": "1a", "state": "cancelled"}},
        "/filter/state",
        "leave state out",
    ),
    "a retry of parked jobs": (
        {"action": "retry", "filter": {"waiting_for": "sleep"}},
        "/filter/waiting_for",
        "parked",
    ),
    "a state of no parked job": (
        {"action": "cancel", "filter": {"waiting_for": "sleep", "state": "queued"}},
        "/filter/state",
        "leave state out",
    ),
    "a bad wait": ({"action": "cancel", "filter": {"waiting_for": "paid"}}, "/filter/waiting_for", "signal:paid"),
    "an unknown state": ({"action": "retry", "filter": {"state": "lost"}}, "/filter/state", "one of"),
    "a bad kind": ({"action": "retry", "filter": {"kind": "A B"}}, "/filter/kind", "name of a kind"),
    "a bad instant": ({"action": "retry", "filter": {"since": "yesterday"}}, "/filter/since", "duration back"),
    "a date": ({"action": "retry", "filter": {"since": "2026-01-02"}}, "/filter/since", "an instant"),
    "an instant of no zone": ({"action": "retry", "filter": {"until": "2026-01-02T03:04:05"}}, "/filter/until", "an"),
    "no ids": ({"action": "retry", "ids": []}, "/ids", "1 to 10,000"),
    "an id twice": ({"action": "retry", "ids": [ID, ID]}, "/ids/1", "repeats /ids/0"),
    "no id": ({"action": "retry", "ids": ["x"]}, "/ids/0", "UUID"),
    "a rate of 0": ({"action": "retry", "ids": [ID], "rate_per_s": 0}, "/rate_per_s", "0.1 to 1000"),
    "a rate of a text": ({"action": "retry", "ids": [ID], "rate_per_s": "9"}, "/rate_per_s", "a number"),
    "a rate of true": ({"action": "retry", "ids": [ID], "rate_per_s": True}, "/rate_per_s", "a number"),
    "a dry run of 1": ({"action": "retry", "ids": [ID], "dry_run": 1}, "/dry_run", "true or false"),
    "a plan of a dry run": ({"action": "retry", "ids": [ID], "dry_run": True, "plan": "p"}, "/plan", "without dry_run"),
    "a resolve without an end": ({"action": "resolve", "ids": [ID]}, "/resolution", "is missing"),
    "an end of a retry": (
        {"action": "retry", "ids": [ID], "resolution": {"state": "failed"}},
        "/resolution",
        "only with the action resolve",
    ),
    "another end": ({"action": "resolve", "ids": [ID], "resolution": {"state": "queued"}}, "/resolution/state", "one"),
    "a typo in the end": (
        {"action": "resolve", "ids": [ID], "resolution": {"state": "failed", "nots": "x"}},
        "/resolution/nots",
        "'note'",
    ),
    "a large result": (
        {"action": "resolve", "ids": [ID], "resolution": {"state": "failed", "result": "x" * 70_000}},
        "/resolution/result",
        "each job",
    ),
    "a long reason": ({"action": "retry", "ids": [ID], "reason": "x" * 1001}, "/reason", "1,000"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_mistake_is_named_with_what_to_do(name: str) -> None:
    members, pointer, words = REFUSED[name]
    found = refusal(members)
    assert (found.name, found.status) == ("invalid-field", 422)
    assert [error["pointer"] for error in found.errors] == [pointer]
    assert words in found.errors[0]["detail"]


def test_an_unknown_field_is_refused() -> None:
    found = refusal({"action": "retry", "filter": {"kind": "k"}, "dryrun": True})
    assert (found.name, found.status) == ("unknown-field", 422)
    assert found.errors[0]["pointer"] == "/dryrun"
    assert "'dry_run'" in found.errors[0]["detail"]
    assert found.extra["known_fields"] == FIELDS


@pytest.mark.parametrize("body", [b"[]", b"3", b'"retry"'])
def test_only_an_object_is_a_body(body: bytes) -> None:
    with pytest.raises(ProblemError) as caught:
        parse_wish(body)
    assert caught.value.problem.status == 422


@pytest.mark.parametrize("body", [b"", b"{", b'{"action": "retry", "action": "retry"}'])
def test_what_is_no_strict_json_is_refused(body: bytes) -> None:
    with pytest.raises(ProblemError) as caught:
        parse_wish(body)
    assert caught.value.problem.status == 400


def test_many_ids_fit_and_more_do_not() -> None:
    ids = [str(new_id()) for _ in range(MOST_IDS + 1)]
    assert len(parse_wish(json.dumps({"action": "erase", "ids": ids[1:]}).encode()).ids) == MOST_IDS
    assert "at most 10,000" in refusal({"action": "erase", "ids": ids}).errors[0]["detail"]
