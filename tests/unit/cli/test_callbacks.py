"""Callbacks: what a submission names, deliveries, and secrets that are shown once."""

import json
from pathlib import Path

import pytest

from support.cli import Reply, Server, acked, problem
from support.client_flows import ACCEPTED, STATUS, delivery

ID, URL = STATUS["id"], "https://hooks.example/x"
LIST = f"/jobs/{ID}/callbacks"
MADE = {"id": "cs_2", "made_at": STATUS["accepted_at"], "ends_at": None}
BEFORE = {"id": "cs_1", "made_at": STATUS["accepted_at"], "ends_at": "2026-11-25T10:06:45.759Z"}
VALUE = "whsec_shown-once"


def test_submission_names_what_is_called(server: Server) -> None:
    server.on("POST", "/process", Reply(ACCEPTED, 202))
    assert acked("submit", "hello", "--callback", URL).code == 0
    assert acked("submit", "hello", "--callback", URL, "--on", "failed", "--on", "cancelled").code == 0
    first, second = server.sent("POST", "/process")
    assert first.json == {"kind": "hello", "callback": {"url": URL}}
    assert second.json["callback"] == {"url": URL, "events": ["job.failed", "job.cancelled"]}


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--on", "failed"], "needs --callback"), (["--callback", URL, "--on", "running"], "not 'running'")],
    ids=["without-url", "no-end"],
)
def test_event_that_is_none_is_not_sent(server: Server, words: list[str], message: str) -> None:
    ended = acked("submit", "hello", *words)
    assert (ended.code, server.received) == (2, []) and message in ended.err


def test_lines_have_callbacks(server: Server, tmp_path: Path) -> None:
    wanted = {"url": URL, "events": ["job.failed"]}
    broken = ["x", {"events": []}, {"url": URL, "secret": "s"}, {"url": URL, "events": "job.failed"}]
    rows = [{"kind": "a", "callback": one} for one in (wanted, {"url": URL}, None, *broken)]
    (tmp_path / "rows").write_text("\n".join(json.dumps(row) for row in rows))
    body = "".join(
        f"{json.dumps({'line': line, 'status': 202, 'idempotency_key': f'p:{line}', **ACCEPTED})}\n"
        for line in (1, 2, 3)
    )
    server.on("POST", "/process", Reply(body.encode(), 200, {"Content-Type": "application/x-ndjson"}))
    ended = acked("submit-many", str(tmp_path / "rows"), "--key-prefix", "p")
    assert ended.code == 4 and ["problem" in row for row in ended.records] == [False] * 3 + [True] * 4
    (request,) = server.sent("POST", "/process")
    sent = [json.loads(line).get("callback") for line in request.body.splitlines()]
    assert sent == [wanted, {"url": URL}, None]


def test_deliveries_say_how_their_newest_attempt_ended(server: Server) -> None:
    evil = delivery()
    evil["attempts"][0]["error"] = "a\x1b]0;title\x07"
    server.on("GET", LIST, {"deliveries": [evil, delivery(id="other", attempts=[])], "next_page_token": ""})
    shown = acked("callbacks", ID, on_terminal=True).out
    assert "job.succeeded" in shown and r"\x1b]0;title" in shown and "\x1b]" not in shown
    assert [record["id"] for record in acked("callbacks", ID).records] == [evil["id"], "other"]


@pytest.mark.parametrize("named", [True, False], ids=["named", "newest"])
def test_event_is_sent_again(server: Server, named: bool) -> None:
    newest = delivery(id="newest", resend=1)
    chosen = delivery()["id"] if named else "newest"
    resent = {"id": "again", "webhook_id": newest["webhook_id"], "resend": 2}
    server.on("GET", LIST, {"deliveries": [newest, delivery()], "next_page_token": ""})
    server.on("POST", f"{LIST}/{chosen}/resend", Reply(resent, 202))
    ended = acked("resend", ID, *([chosen] if named else []))
    assert ended.records == [resent], ended.err


def test_job_without_a_delivery_has_nothing_to_send_again(server: Server) -> None:
    server.on("GET", LIST, {"deliveries": [], "next_page_token": ""})
    ended = acked("resend", ID)
    assert (ended.code, ended.out, server.sent("POST", LIST)) == (3, "", []) and "no delivery" in ended.err
    assert (acked("callbacks", ID).code, acked("callbacks", "unknown").code) == (0, 3)


@pytest.mark.parametrize("form", ["table", "ndjson", "json"])
def test_made_secret_is_shown_and_says_that_it_is_this_once(server: Server, form: str) -> None:
    server.on("GET", "/callback-secrets", {"secrets": [BEFORE]})
    server.on("POST", "/callback-secrets", Reply(MADE | {"secret": VALUE}, 201))
    ended = acked("callback-secrets", "make", "-o", form)
    assert ended.code == 0 and ended.out.count(VALUE) == 1 and VALUE not in ended.err
    assert "shown only now" in ended.err


def test_secrets_are_listed_and_ended(server: Server) -> None:
    server.on("GET", "/callback-secrets", {"secrets": [MADE, BEFORE]})
    server.on("POST", "/callback-secrets/cs_1/end", {"secrets": [MADE]})
    assert [record["id"] for record in acked("callback-secrets").records] == ["cs_2", "cs_1"]
    assert [record["id"] for record in acked("callback-secrets", "end", "cs_1").records] == ["cs_2"]
    assert acked("callback-secrets", "end", "cs_9").code == 3
    server.on("POST", "/callback-secrets", problem("two-secrets", 409))
    ended = acked("callback-secrets", "make")
    assert ended.code == 4 and "acked callback-secrets end ID" in ended.err


def test_deliveries_of_all_jobs_are_selected_by_state(server: Server) -> None:
    first, second = delivery(), delivery(id="other")
    server.on(
        "GET",
        "/callbacks",
        {"deliveries": [first], "next_page_token": "next"},
        {"deliveries": [second], "next_page_token": ""},
    )
    ended = acked("callbacks", "--state", "failed")
    assert [record["id"] for record in ended.records] == [first["id"], "other"], ended.err
    assert all("state=failed" in request.path for request in server.sent("GET", "/callbacks"))
    assert "page_token=next" in server.received[1].path


def test_group_lists_unless_it_is_given_a_command(server: Server) -> None:
    server.on("GET", LIST, {"deliveries": [delivery()], "next_page_token": ""})
    for words in ([ID], ["list", ID], ["-n", "5", ID], [ID, "-o", "json"]):
        assert acked("callbacks", *words).code == 0, words
    assert len(server.sent("GET", LIST)) == 4
    ended = acked("callbacks", ID, "--state", "failed")
    assert ended.code == 2 and "leave the id out" in ended.err
    assert "listen" in acked("callbacks", "--help").out
