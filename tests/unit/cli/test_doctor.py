"""`doctor`, `dev` and `completion`."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from acked_cli.commands import dev
from acked_cli.input.words import BadInput
from support.cli import Reply, Server, acked
from support.client_flows import ACCEPTED, STATUS, status

ID = STATUS["id"]


def prepare(server: Server, *, may: list[str], number: str = version("acked-cli"), ready: str = "ready") -> None:
    own = {"tenant": "acme", "client": "ada", "permissions": may, "token_id": "t", "expires_at": None}
    server.on("GET", "/readyz", {"status": ready, "parts": {"mongodb": "ok"}})
    server.on("GET", "/openapi.json", {"info": {"version": number}})
    server.on("GET", "/tokens", {"own": own, "asks_for_tokens": True, "is_complete": True, "tokens": []})
    server.on("POST", "/process", Reply(ACCEPTED, 202))
    server.on("GET", f"/status/{ID}", status(state="succeeded", finished_at=STATUS["accepted_at"]))


def outcomes(records: list[Any]) -> dict[str, str]:
    return {record["check"]: record["outcome"] for record in records}


def test_doctor_runs_one_job(server: Server) -> None:
    prepare(server, may=["submit", "read"])
    ended = acked("doctor")
    assert ended.code == 0, ended.err
    names = ["gateway", "intake", "versions", "clocks", "token", "round trip of noop"]
    assert outcomes(ended.records) == dict.fromkeys(names, "ok")
    assert "client ada of tenant acme may submit, read" in ended.out


def test_doctor_submits_nothing_without_the_permission(server: Server) -> None:
    prepare(server, may=["read"], number="0.0.1", ready="degraded")
    ended = acked("doctor")
    found = outcomes(ended.records)
    assert (found["round trip"], found["versions"], found["gateway"], ended.code) == (
        "skipped",
        "warning",
        "warning",
        0,
    )
    assert not server.sent("POST", "/process")


def test_doctor_tells_a_clock_that_differs(server: Server) -> None:
    prepare(server, may=["read"])
    then = format_datetime(datetime.now(UTC) - timedelta(minutes=5), usegmt=True)
    server.on("GET", "/readyz", Reply({"status": "ready", "parts": {}}, 200, {"Date": then}))
    record = next(one for one in acked("doctor").records if one["check"] == "clocks")
    assert record["outcome"] == "warning" and "gateway -300 s" in record["detail"].replace("-301", "-300")


def test_doctor_of_nothing_is_unreachable(server: Server) -> None:
    ended = acked("doctor", "--gateway", "http://127.0.0.1:1", "--intake", "http://127.0.0.1:1")
    assert ended.code == 5 and outcomes(ended.records) == {"gateway": "error", "intake": "error"}
    assert all("./just up" in record["advice"] for record in ended.records)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for mark in dev.MARKS:
        (tmp_path / mark).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / mark).touch()
    (tmp_path / "handlers").mkdir()
    (tmp_path / "just").write_text('#!/bin/sh\necho "$@" >> restarts\necho "because of $1"\nexit $(cat code)\n')
    (tmp_path / "just").chmod(0o755)
    (tmp_path / "code").write_text("0")
    return tmp_path


def test_checkout_is_found_from_inside_alone(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert dev.find_checkout(checkout / "handlers") == checkout
    with pytest.raises(BadInput, match="not inside a checkout"):
        dev.find_checkout(tmp_path_factory.mktemp("elsewhere"))


def test_changed_handler_restarts_the_workers(checkout: Path) -> None:
    handler = checkout / "handlers" / "hello.py"
    handler.write_text("x = 1\n")
    found = dev.react(checkout, checkout / "handlers", [handler, checkout / "handlers" / "gone.py"])
    assert (found["outcome"], found["changed"]) == ("restarted", ["hello.py", "gone.py"])
    assert (checkout / "restarts").read_text() == "restart worker\n"
    (checkout / "code").write_text("3")
    found = dev.react(checkout, checkout / "handlers", [handler])
    assert (found["outcome"], found["output"]) == ("./just exited with 3", ["because of restart"])


def test_handler_that_is_no_python_restarts_nothing(checkout: Path) -> None:
    handler = checkout / "handlers" / "hello.py"
    handler.write_text("def (\n")
    found = dev.react(checkout, checkout / "handlers", [handler])
    assert found["outcome"] == "not restarted" and "hello.py: " in found["output"][0]
    assert not (checkout / "restarts").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(server: Server, shell: str) -> None:
    ended = acked("completion", shell)
    assert ended.code == 0 and "_ACKED_COMPLETE" in ended.out
