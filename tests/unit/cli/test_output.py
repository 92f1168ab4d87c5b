"""Tables, lines and documents; nothing of a payload reaches a terminal as a control character."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked_cli.output.safe_text import safe, safe_json, safe_lines
from support.cli import Server, acked
from support.client_flows import STATUS, status

ID = STATUS["id"]
EVIL = "a\x1b]0;title\x07\x9b31m\x7f\u202e\n\r\tb"
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2066]")
ERROR = {"type": "ValueError", "message": EVIL, "retryable": False, "attempt": 1, "traceback": f"Traceback\n  {EVIL}"}


def job(**changes: Any) -> dict[str, Any]:
    found = {name: value for name, value in STATUS.items() if name not in ("result", "attempts")}
    return found | {"error": ERROR, "batch": "b"} | changes


def details() -> dict[str, Any]:
    attempt = {
        "run": 1,
        "attempt": 1,
        "worker": EVIL,
        "started_at": STATUS["accepted_at"],
        "ended_at": STATUS["accepted_at"],
        "outcome": "failed",
        "error": {"type": "E", "message": EVIL, "retryable": True},
    }
    return status(state="failed", error=ERROR, attempts=[attempt]) | {"payload": {EVIL: EVIL}}


@given(st.text())
def test_text_is_made_safe_for_a_terminal(text: str) -> None:
    assert not CONTROLS.search(safe(text)) and "\n" not in safe(text)
    assert all(not CONTROLS.search(line) for line in safe_lines(text))


@given(st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.dictionaries(st.text(), inner)))
def test_safe_json_is_the_same_json(value: Any) -> None:
    text = safe_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(text) == value
    assert not CONTROLS.search(text)


@pytest.mark.parametrize("form", ["table", "ndjson", "json"])
@pytest.mark.parametrize("verb", ["show", "jobs", "status"])
def test_control_characters_never_reach_the_terminal(server: Server, verb: str, form: str) -> None:
    server.on("GET", f"/jobs/{ID}", details())
    server.on("GET", f"/status/{ID}", status(error=ERROR, hint=EVIL))
    server.on("GET", "/jobs", {"jobs": [job()], "next_page_token": ""})
    words = [verb] if verb == "jobs" else [verb, ID]
    ended = acked(*words, "-o", form, on_terminal=form == "table")
    assert ended.code == 0, ended.err
    # Rich colours the table; its own sequences have this form.
    plain = re.sub("\x1b\\[[0-9;]*m", "", ended.out) if form == "table" else ended.out
    assert not CONTROLS.search(plain)
    assert ID in plain and "title" in plain


def test_refusals_are_made_safe_too(server: Server) -> None:
    from support.cli import problem

    server.on("GET", f"/status/{ID}", problem("wrong-state", 409, detail=EVIL))
    assert not CONTROLS.search(acked("status", ID).err)


def test_pipe_gets_lines_and_terminal_gets_a_table(server: Server) -> None:
    server.on("GET", "/jobs", {"jobs": [job(), job()], "next_page_token": ""})
    assert [record["id"] for record in acked("jobs").records] == [ID, ID]
    assert acked("jobs", on_terminal=True).out.startswith("\x1b") or "kind" in acked("jobs", on_terminal=True).out
    assert json.loads(acked("jobs", "-o", "json").out)[1]["id"] == ID
    assert acked("jobs", "-o", "table").out.splitlines()[0].split()[:3] == ["id", "kind", "state"]
    assert acked("jobs", "-o", "xml").code == 2


def test_no_color_is_obeyed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.on("GET", "/jobs", {"jobs": [job(state="failed")], "next_page_token": ""})
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[31m" in acked("jobs", on_terminal=True).out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in acked("jobs", on_terminal=True).out


def test_lists_are_no_longer_than_asked_for(server: Server) -> None:
    page = {"jobs": [job() for _ in range(3)], "next_page_token": "more"}
    server.on("GET", "/jobs", page, {"jobs": [job()], "next_page_token": ""})
    ended = acked("jobs", "state=failed", "worker=worker-1", "-n", "2")
    assert len(ended.records) == 2 and "there are more" in ended.err
    (request,) = server.sent("GET", "/jobs")
    assert request.path == "/jobs?state=failed&worker=worker-1&page_size=3"
    server.on("GET", "/jobs", page, {"jobs": [job()], "next_page_token": ""})
    assert len(acked("jobs", "--all").records) == 4
