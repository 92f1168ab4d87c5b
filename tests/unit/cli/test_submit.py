"""`submit` and `submit-many`: what is sent, and what stands on the pipe."""

import json
from pathlib import Path

import pytest

from support.cli import Reply, Server, acked, problem
from support.client_flows import ACCEPTED, STATUS, status

LINES = {"Content-Type": "application/x-ndjson"}


def outcome(line: int, key: str) -> dict[str, object]:
    return {"line": line, "status": 202, "idempotency_key": key, **ACCEPTED}


def test_submission_has_its_own_key_each_time(server: Server) -> None:
    server.on("POST", "/process", Reply(ACCEPTED, 202))
    words = ["submit", "hello", "-p", '{"n": 1}', "--delay", "2m", "--tag", "a", "--tag", "b", "--batch", "x"]
    ended, again = acked(*words), acked(*words)
    assert (ended.code, again.code) == (0, 0)
    first, second = server.sent("POST", "/process")
    assert first.json == {"kind": "hello", "payload": {"n": 1}, "delay_s": 120, "tags": ["a", "b"], "batch": "x"}
    keys = [request.headers["idempotency-key"] for request in (first, second)]
    assert len(set(keys)) == 2
    assert ended.records[0] == {"id": STATUS["id"], "kind": "hello", "idempotency_key": keys[0], "replayed": False}


@pytest.mark.parametrize("word", ["@file", "-"])
def test_payload_comes_from_file_or_pipe(server: Server, tmp_path: Path, word: str) -> None:
    server.on("POST", "/process", Reply(ACCEPTED, 202))
    (tmp_path / "payload").write_text('["ä"]')
    given = f"@{tmp_path / 'payload'}" if word == "@file" else word
    assert acked("submit", "hello", "-p", given, "--key", "mine", typed='["ä"]').code == 0
    (request,) = server.sent("POST", "/process")
    assert request.json["payload"] == ["ä"] and request.headers["idempotency-key"] == "mine"


def test_waiting_shows_the_result_and_tells_a_failure(server: Server) -> None:
    server.on("POST", "/process", Reply(ACCEPTED, 202))
    server.on("GET", f"/status/{STATUS['id']}", status(state="succeeded", result={"n": 1}), status(state="failed"))
    ended = acked("submit", "hello", "--wait")
    assert (ended.code, ended.records[0]["result"]) == (0, {"n": 1})
    assert acked("submit", "hello", "--wait").code == 1


def test_lost_submission_names_its_key(server: Server) -> None:
    server.on("POST", "/process", problem("outcome-unknown", 503))
    ended = acked("submit", "hello", "--retry-for", "0", "--key", "mine")
    assert ended.code == 5 and "repeating the command with --key mine" in ended.err


def test_lost_lines_name_the_prefix_that_repeats_them(server: Server) -> None:
    server.on("POST", "/process", problem("outcome-unknown", 503))
    ended = acked("submit-many", "-", "--key-prefix", "june", "--retry-for", "0", typed='{"kind": "a"}\n')
    assert (ended.code, ended.out) == (5, "")
    assert "repeat the command with --key-prefix june" in ended.err and "--key june" not in ended.err


def test_lines_have_their_outcomes_in_order(server: Server, tmp_path: Path) -> None:
    rows = [
        '{"kind": "a"}',
        "",
        "{",
        '{"kind": "a", "idempotency_key": "own"}',
        '{"kind": "a", "tagz": []}',
        '{"n": 1}',
    ]
    (tmp_path / "rows").write_text("\n".join([*rows, '{"kind": "b"}']))
    refused = {"line": 3, "status": 422, "problem": json.loads(problem("unknown-kind", 422).body)}
    body = "".join(f"{json.dumps(row)}\n" for row in (outcome(1, "p:1"), outcome(2, "own"), refused))
    server.on("POST", "/process", Reply(body.encode(), 200, LINES))
    ended = acked("submit-many", str(tmp_path / "rows"), "--key-prefix", "p")
    assert ended.code == 4, ended.err
    assert [row["line"] for row in ended.records] == [1, 3, 4, 5, 6, 7]
    assert [row.get("problem", {}).get("name") for row in ended.records] == [
        None,
        "bad-line",
        None,
        "bad-line",
        "bad-line",
        "unknown-kind",
    ]
    (request,) = server.sent("POST", "/process")
    keys = [json.loads(line)["idempotency_key"] for line in request.body.splitlines()]
    assert keys == ["p:1", "own", "p:7"], "keys count lines, so a corrected line changes no other key"
    assert "4 of 6 lines were refused" in ended.err


def test_lines_without_a_prefix_name_the_one_that_resumes(server: Server) -> None:
    ended = acked("submit-many", "-", typed="\n")
    assert (ended.code, ended.out) == (0, "") and "--key-prefix" in ended.err


def test_edit_makes_a_job_of_another_payload(server: Server) -> None:
    path = f"/jobs/{STATUS['id']}/edit"
    server.on("POST", path, Reply({**ACCEPTED, "id": "new"}, 202))
    ended = acked("edit", STATUS["id"], "-p", '{"n": 2}')
    assert ended.records == [{"id": "new", "edited_from": STATUS["id"]}], ended.err
    assert server.sent("POST", path)[0].json == {"payload": {"n": 2}}
    assert acked("edit", STATUS["id"]).code == 2
