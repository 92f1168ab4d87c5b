"""Commands by filter: always previewed, asked for on a terminal, refused on a pipe without --yes."""

import shlex
from typing import Any

import pytest

from acked_cli.input.words import BadInput, parse_duration_s, parse_filter, parse_rate
from acked_client import JobFilter
from support.cli import Reply, Server, acked, problem
from support.client_flows import STATUS, status

AT = STATUS["accepted_at"]
ID = STATUS["id"]
ACTION = "0198a000-0000-7000-8000-00000000000a"


def preview(count: int) -> dict[str, Any]:
    error = {"type": "ValueError", "message": "no \x1b[31morder"}
    examples = [
        {"id": f"{ID[:-2]}{n:02}", "kind": "x", "state": "failed", "error": error} for n in range(min(count, 20))
    ]
    return {
        "action": "retry",
        "count": count,
        "count_is_exact": True,
        "examples": examples,
        "plan": "the-plan",
        "planned_at": AT,
    }


def bulk(**changes: Any) -> dict[str, Any]:
    found = {
        "id": ACTION,
        "action": "retry",
        "state": "done",
        "matched": 7,
        "matched_is_exact": True,
        "done": 7,
        "refused": {},
        "refused_examples": [],
        "progress": 1.0,
        "rate_per_s": None,
        "by": {"client": "local", "token_id": None},
        "asked_at": AT,
        "planned_at": AT,
        "started_at": AT,
        "ended_at": AT,
    }
    return found | changes


def prepare(server: Server, **changes: Any) -> None:
    server.on("POST", "/bulk-actions", preview(7), Reply(bulk(state="running", done=0, ended_at=None), 202))
    server.on("GET", f"/bulk-actions/{ACTION}", bulk(**changes))


def bodies(server: Server) -> list[Any]:
    return [request.json for request in server.sent("POST", "/bulk-actions")]


WORDS = shlex.split("retry --where 'state=failed kind=x error=g1' --rate 20/s --reason fixed")
FILTER = {"state": "failed", "kind": "x", "error.group": "g1"}


def test_pipe_without_yes_changes_nothing(server: Server) -> None:
    prepare(server)
    ended = acked(*WORDS)
    assert (ended.code, ended.out) == (2, "")
    assert [body["dry_run"] for body in bodies(server)] == [True]
    assert "7 jobs match" in ended.err and "add --yes" in ended.err and "and 2 others" in ended.err
    assert ended.err.count("ValueError") == 5 and "\x1b" not in ended.err


def test_yes_sends_the_plan_of_the_preview(server: Server) -> None:
    prepare(server)
    ended = acked(*WORDS, "--yes")
    assert ended.code == 0, ended.err
    dry, real = bodies(server)
    assert dry == {"action": "retry", "filter": FILTER, "dry_run": True}
    assert real == {"action": "retry", "filter": FILTER, "plan": "the-plan", "rate_per_s": 20, "reason": "fixed"}
    assert [record["done"] for record in ended.records] == [7]


@pytest.mark.parametrize(("typed", "sent"), [("y\n", 2), ("yes\n", 2), ("\n", 1), ("no\n", 1), ("", 1)])
def test_terminal_is_asked(server: Server, typed: str, sent: int) -> None:
    prepare(server)
    ended = acked(*WORDS, typed=typed, on_terminal=True)
    assert ended.code == 0 and "retry these 7 jobs? [y/N]" in ended.err
    assert len(bodies(server)) == sent


def test_dry_run_shows_the_preview_alone(server: Server) -> None:
    prepare(server)
    ended = acked(*WORDS, "--dry-run")
    assert (ended.code, ended.records[0]["count"], len(bodies(server))) == (0, 7, 1)


def test_nothing_that_matches_is_no_failure(server: Server) -> None:
    server.on("POST", "/bulk-actions", preview(0))
    assert acked(*WORDS).code == 0 and len(bodies(server)) == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"refused": {"moved": 2}}, 4), ({"state": "aborted"}, 1), ({"state": "failed", "failure": "a defect"}, 1)],
)
def test_end_of_the_action_is_told(server: Server, changes: dict[str, Any], code: int) -> None:
    prepare(server, **changes)
    assert acked(*WORDS, "--yes").code == code


def test_ids_move_one_by_one_and_refusals_concern_their_job(server: Server) -> None:
    other = f"{ID[:-1]}2"
    server.on("POST", f"/jobs/{ID}/cancel", problem("wrong-state", 409))
    server.on("POST", f"/jobs/{other}/cancel", status(id=other, state="cancelled"))
    ended = acked("cancel", ID, other)
    assert ended.code == 4
    assert [record.get("state", record.get("problem", {}).get("name")) for record in ended.records] == [
        "wrong-state",
        "cancelled",
    ]


def test_resolve_sends_the_outcome(server: Server) -> None:
    server.on("GET", f"/status/{ID}", status(state="failed"))
    server.on("POST", f"/jobs/{ID}/resolve", status(state="succeeded"))
    assert acked("resolve", ID, "--as", "succeeded", "--result", "[1]", "--note", "by phone").code == 0
    (request,) = server.sent("POST", f"/jobs/{ID}/resolve")
    assert request.json == {"state": "succeeded", "result": [1], "note": "by phone"}
    assert acked("resolve", ID, "--as", "done").code == 2


def test_filters_are_read() -> None:
    assert parse_filter("state=failed tag='a b' since=8h") == JobFilter(state="failed", tag="a b", since="8h")
    assert parse_filter("error.group=g waiting-for=sleep") == JobFilter(error_group="g", waiting_for="sleep")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "all jobs"),
        ("failed", "not a field"),
        ("satte=failed", "did you mean state"),
        ("state=", "no value"),
        ("state=a state=b", "twice"),
        ("tag='a", "can't be read"),
        ("worker=w", "not a field"),
    ],
)
def test_filters_without_a_meaning_are_refused(text: str, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        parse_filter(text)


def test_rates_and_durations_are_read() -> None:
    assert [parse_rate(text) for text in ("20/s", "2.5", "90/min")] == [20, 2.5, 1.5]
    assert [parse_duration_s(text) for text in ("90", "1.5m", "8h", "2d", "500ms")] == [90, 90, 28_800, 172_800, 0.5]
    for bad in ("0/s", "x", "20/h", "-1", ""):
        with pytest.raises(BadInput):
            parse_rate(bad)
    for bad in ("1w", "-1s", "", "s"):
        with pytest.raises(BadInput):
            parse_duration_s(bad)
