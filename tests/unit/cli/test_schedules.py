"""`schedules`: the definition that options stand for, and what is shown."""

import re
from typing import Any

import msgspec
import pytest

from acked_client import Firing, ScheduleBackfill, ScheduleDetails, ScheduleSummary
from acked_client.model.schedules import PreviewedInstant
from support.cli import Reply, Server, acked, problem
from support.client_flows import backfill, firing, schedule

PATH = "/schedules/nightly"
EVIL = "a\x1b]0;title\x07"
INSTANT = {
    "at": "2026-11-25T01:30:00.000Z",
    "local": "2026-11-25T02:30:00+01:00",
    "fires_at": "2026-11-25T01:30:04.000Z",
}


def written(found: Any, struct: type[Any]) -> Any:
    """A response as the program writes it: the same, but for the digits of instants."""
    return msgspec.to_builtins(msgspec.convert(found, struct))


SHOWN = written(schedule(), ScheduleDetails)


def listed(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in schedule(**changes).items() if name != "payload"}


def test_options_are_the_whole_definition(server: Server) -> None:
    server.on("PUT", PATH, Reply(schedule(), 201))
    words = [
        "--cron",
        "30 2 * * *",
        "--timezone",
        "Europe/Berlin",
        "-p",
        '{"full": true}',
        "--tag",
        "a",
        "--batch",
        "b",
    ]
    words += ["--overlap", "queue_one", "--catch-up", "2h", "--jitter", "30s", "--paused"]
    words += ["--from", "2026-01-01T00:00:00Z", "--until", "2027-01-01T00:00:00Z"]
    ended = acked("schedules", "put", "nightly", "noop", *words)
    assert ended.code == 0 and ended.records == [SHOWN], ended.err
    (request,) = server.sent("PUT", PATH)
    assert request.json == {
        "kind": "noop",
        "cron": "30 2 * * *",
        "timezone": "Europe/Berlin",
        "payload": {"full": True},
        "tags": ["a"],
        "batch": "b",
        "overlap": "queue_one",
        "catch_up_s": 7200,
        "jitter_s": 30,
        "paused": True,
        "from": "2026-01-01T00:00:00Z",
        "until": "2027-01-01T00:00:00Z",
    }


def test_options_that_are_left_out_are_not_sent(server: Server) -> None:
    server.on("PUT", PATH, schedule(cron=None, timezone=None, every_s=900))
    assert acked("schedules", "put", "nightly", "noop", "--every", "15m").code == 0
    assert server.sent("PUT", PATH)[0].json == {"kind": "noop", "every_s": 900}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--cron"),
        (["--cron", "@daily", "--every", "1h"], "give one of --cron"),
        (["--every", "500ms"], "whole number of seconds"),
        (["--every", "soon"], "not a duration"),
        (["--every", "1h", "--overlap", "maybe"], "cancel_running"),
        (["--every", "1h", "-p", "null"], "null"),
    ],
    ids=["neither", "both", "half", "word", "overlap", "null"],
)
def test_definition_that_has_no_meaning_is_not_sent(server: Server, words: list[str], message: str) -> None:
    ended = acked("schedules", "put", "nightly", "noop", *words)
    assert (ended.code, ended.out, server.received) == (2, "", []) and message in ended.err


def test_refusal_names_the_field(server: Server) -> None:
    errors = [{"pointer": "/cron", "detail": "has six fields"}]
    server.on("PUT", PATH, problem("invalid-field", 422, errors=errors))
    ended = acked("schedules", "put", "nightly", "noop", "--cron", "* * * * * *")
    assert ended.code == 4 and "/cron: has six fields" in ended.err
    server.on("PUT", PATH, problem("too-many-schedules", 429))
    ended = acked("schedules", "put", "nightly", "noop", "--cron", "@daily", "--retry-for", "0")
    assert ended.code == 4 and "acked schedules lists them" in ended.err


def test_list_is_a_table_on_a_terminal(server: Server) -> None:
    paused = {"client": "ada", "reason": EVIL, "since": "2026-11-24T10:06:45.759Z"}
    rows = [
        listed(paused=paused, next_at=None, last_firing=firing(outcome="skipped", why="overlap", job=None)),
        listed(name="often", cron=None, timezone=None, every_s=300),
    ]
    server.on("GET", "/schedules", {"schedules": rows, "next_page_token": ""})
    shown = acked("schedules", on_terminal=True).out
    assert "30 2 * * * Europe/Berlin" in shown and "every 300 s" in shown and "skipped: overlap" in shown
    assert "by ada since 2026-11-24 10:06:45Z" in shown and "\x1b]" not in shown and r"\x1b]" in shown
    assert acked("schedules").records == written(rows, list[ScheduleSummary])
    ended = acked("schedules", "-n", "1")
    assert len(ended.records) == 1 and "there are more" in ended.err


def test_show_has_the_newest_firings_in_a_table_alone(server: Server) -> None:
    found = [firing(job_state="succeeded"), firing(outcome="missed", why="catch-up", count=7, job=None, detail=EVIL)]
    server.on("GET", PATH, schedule(payload={"full": True}))
    server.on("GET", f"{PATH}/firings", {"firings": found})
    shown = acked("schedules", "show", "nightly", on_terminal=True).out
    plain = re.sub("\x1b\\[[0-9;]*m", "", shown)
    assert "newest firings" in plain and "catch-up" in plain and "full" in plain and "\x1b" not in plain
    assert acked("schedules", "show", "nightly").records == [SHOWN | {"payload": {"full": True}}]
    assert acked("schedules", "firings", "nightly").records == written(found, list[Firing])
    assert len(server.sent("GET", f"{PATH}/firings")) == 2


def test_next_instants(server: Server) -> None:
    body = {"timezone": "Europe/Berlin", "time_zone_data": "2026f", "instants": [INSTANT]}
    server.on("GET", f"{PATH}/next", body)
    ended = acked("schedules", "next", "nightly", "-n", "3")
    assert ended.records == [written(INSTANT, PreviewedInstant)] and "time-zone data 2026f" in ended.err
    assert server.sent("GET", f"{PATH}/next")[0].path == f"{PATH}/next?count=3"
    assert acked("schedules", "next", "nightly", "-n", "0").code == 2


def test_pause_resume_and_delete(server: Server) -> None:
    for method, path in (("POST", f"{PATH}/pause"), ("POST", f"{PATH}/resume"), ("GET", PATH), ("DELETE", PATH)):
        server.on(method, path, schedule())
    assert acked("schedules", "pause", "nightly", "--reason", "moving").records == [SHOWN]
    assert acked("schedules", "resume", "nightly").records == [SHOWN]
    assert acked("schedules", "delete", "nightly").records == [SHOWN]
    assert server.sent("POST", f"{PATH}/pause")[0].json == {"reason": "moving"}
    assert acked("schedules", "pause", "none").code == 3


def test_run_now_shows_its_firing(server: Server) -> None:
    asked = firing(trigger="run_now", outcome="asked", job=None)
    server.on("GET", f"{PATH}/firings", {"firings": []})
    server.on("POST", f"{PATH}/run-now", Reply(asked, 202))
    assert acked("schedules", "run-now", "nightly").records == [written(asked, Firing)]


def test_backfill_shows_how_far_it_is(server: Server) -> None:
    found = backfill(started=3, ended_at="2026-11-08T00:00:01.000Z")
    server.on("POST", f"{PATH}/backfill", Reply(found, 202))
    words = ["--from", "2026-11-01T00:00:00Z", "--until", "2026-11-08T00:00:00Z", "-n", "9"]
    ended = acked("schedules", "backfill", "nightly", *words)
    assert ended.records == [written(found, ScheduleBackfill)] and "acked schedules show nightly" in ended.err
    sent = server.sent("POST", f"{PATH}/backfill")[0].json
    assert sent == {"from": "2026-11-01T00:00:00Z", "until": "2026-11-08T00:00:00Z", "limit": 9}
    assert acked("schedules", "backfill", "nightly").code == 2
    server.on("GET", "/schedules", {"schedules": [listed(backfill=found)], "next_page_token": ""})
    assert "ended: 3 started, 0 had a job, 0 refused" in acked("schedules", on_terminal=True).out


def test_options_stand_behind_the_verb_of_the_group(server: Server) -> None:
    ended = acked("schedules", "-n", "5", "show", "nightly")
    assert ended.code == 2 and "after show" in ended.err


def test_definition_is_previewed_and_not_stored(server: Server) -> None:
    preview = {"timezone": "UTC", "time_zone_data": "2026c", "instants": [INSTANT]}
    server.on("POST", f"{PATH}/next", preview)
    ended = acked("schedules", "put", "nightly", "noop", "--cron", "@daily", "--dry-run")
    assert ended.code == 0 and len(ended.records) == 1, ended.err
    assert "2026c" in ended.err
    (request,) = server.received
    assert (request.method, request.json) == ("POST", {"kind": "noop", "cron": "@daily"})
