"""The exit codes, as docs/cli.md has them."""

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from acked_cli.invocation.exit_codes import ExitCode
from support.cli import Reply, Server, acked, problem
from support.client_flows import ACCEPTED, STATUS, status

ID = STATUS["id"]
GONE = "http://127.0.0.1:1"
STATUS_OF = ("GET", f"/status/{ID}")
COMMAND = ("POST", f"/jobs/{ID}/retry")
PROCESS = ("POST", "/process")
DOCUMENT = Path(__file__).parents[3] / "docs" / "cli.md"

CASES: dict[str, tuple[int, str, tuple[str, str], Any]] = {
    "a status": (0, f"status {ID}", STATUS_OF, status()),
    "a failed job, not waited for": (0, f"status {ID}", STATUS_OF, status(state="failed")),
    "a job that succeeded": (0, f"status {ID} --wait", STATUS_OF, status(state="succeeded")),
    "a job that failed": (1, f"status {ID} --wait", STATUS_OF, status(state="failed")),
    "a job that was cancelled": (1, f"status {ID} --wait", STATUS_OF, status(state="cancelled")),
    "a job that goes on": (1, f"status {ID} --wait --timeout 0s", STATUS_OF, status()),
    "an unknown verb": (2, "sbumit demo", PROCESS, ACCEPTED),
    "an unknown option": (2, "submit demo --dely 3", PROCESS, ACCEPTED),
    "a missing argument": (2, "submit", PROCESS, ACCEPTED),
    "a payload that is no JSON": (2, "submit demo -p {", PROCESS, ACCEPTED),
    "a payload with a name twice": (2, 'submit demo -p {"a":1,"a":2}', PROCESS, ACCEPTED),
    "a payload of null": (2, "submit demo -p null", PROCESS, ACCEPTED),
    "a payload of NaN": (2, "submit demo -p NaN", PROCESS, ACCEPTED),
    "a file that is missing": (2, "submit demo -p @/no/such/file", PROCESS, ACCEPTED),
    "a duration that is none": (2, "submit demo --delay soon", PROCESS, ACCEPTED),
    "a filter without a meaning": (2, "jobs satte=failed", STATUS_OF, status()),
    "a timeout without a wait": (2, f"status {ID} --timeout 3s", STATUS_OF, status()),
    "no job": (2, "retry", COMMAND, status()),
    "a rate without a filter": (2, f"retry {ID} --rate 5/s", COMMAND, status()),
    "an address that is none": (2, f"status {ID} --gateway localhost:8080", STATUS_OF, status()),
    "options before the verb of a group": (2, "workers -o json drain worker-1", STATUS_OF, status()),
    "a job that is missing": (3, f"status {ID}", STATUS_OF, problem("not-found", 404)),
    "a kind that is missing": (3, "pause demo", ("POST", "/kinds/demo/pause"), problem("not-found", 404)),
    "a wrong state": (4, f"erase {ID}", ("POST", f"/jobs/{ID}/erase"), problem("wrong-state", 409)),
    "an invalid field": (4, "submit demo", PROCESS, problem("invalid-field", 422)),
    "an unknown kind": (4, "submit demo", PROCESS, problem("unknown-kind", 422, known_kinds=["demo"])),
    "no token": (4, f"status {ID}", STATUS_OF, problem("no-token", 401)),
    "a missing permission": (4, f"status {ID}", STATUS_OF, problem("missing-permission", 403)),
    "a rate that is exceeded": (4, f"status {ID} --retry-for 0", STATUS_OF, problem("rate-limited", 429)),
    "nobody there": (5, f"status {ID} --gateway {GONE} --retry-for 0", STATUS_OF, status()),
    "a service that can't": (5, f"status {ID} --retry-for 0", STATUS_OF, problem("busy", 503)),
    "another server": (5, f"status {ID}", STATUS_OF, Reply(b"<html>", 404, {"Content-Type": "text/html"})),
}


@pytest.mark.parametrize("name", CASES)
def test_exit_code_of(name: str, server: Server) -> None:
    code, command, route, reply = CASES[name]
    server.on(*route, reply)
    ended = acked(*command.split())
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err
    if code == ExitCode.USAGE:
        assert server.received == [], "nothing is sent"
    if code >= ExitCode.USAGE:
        assert ended.out == "" and ended.err.strip(), "what is wrong stands on standard error"


def test_document_has_each_exit_code() -> None:
    rows = dict(re.findall(r"^\| (\d+) \| ([^|]+) \|$", DOCUMENT.read_text(), re.MULTILINE))
    assert rows.keys() == {str(int(code)) for code in ExitCode}


def test_each_code_has_a_case() -> None:
    assert {code for code, *_ in CASES.values()} == set(range(6))


def test_version_is_that_of_the_package() -> None:
    ended = acked("--version")
    assert (ended.code, ended.out, ended.err) == (0, f"acked {version('acked-cli')}\n", "")
