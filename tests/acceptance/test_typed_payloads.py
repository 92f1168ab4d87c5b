"""Payloads are checked by the handler's annotation: before the 202, in a rolling upgrade, and when a job starts."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from acked_common.model.lifecycle import Reason, State
from support.browser import Browser
from support.pages import url
from support.roles import says, shown
from support.stacks import TestStack, eventually, running_stack

HANDLER = '''"""Greets."""

import msgspec

from acked import Context, handler


class Greeting(msgspec.Struct):
    {field}


@handler("greet", version="{version}", max_attempts=50, backoff_base_s=0.1, backoff_cap_s=0.2)
async def greet(ctx: Context, payload: Greeting) -> dict:
    return {{"hello": payload.{name}, "took": type(payload).__name__, "version": "{version}"}}
'''
ONE = ("name", "name: str", "1")
TWO = ("names", "names: list[str]", "2")
THREE = ("names", "names: list[int]", "3")
WITHIN_S = 60.0


def write(folder: Path, handler: tuple[str, str, str]) -> None:
    name, field, version = handler
    (folder / "greet.py").write_text(HANDLER.format(name=name, field=field, version=version))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("handlers")
    write(made, ONE)
    return made


@pytest.fixture(scope="module")
def stack(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestStack]:
    with running_stack(tmp_path_factory.mktemp("stack"), environ={"ACKED_HANDLERS_DIR": str(folder)}) as started:
        yield started


def curl(stack: TestStack, body: dict[str, Any]) -> tuple[int, Any]:
    """Send a request as the documents show it; return the status and the body."""
    program = shutil.which("curl")
    assert program is not None
    url = f"http://localhost:{stack.port('intake')}/process"
    sent = [program, "-s", "-w", "\n%{http_code}", "-H", "Content-Type: application/json", "-d", json.dumps(body), url]
    shown = subprocess.run(sent, capture_output=True, text=True, check=True, timeout=30).stdout
    text, _, status = shown.rpartition("\n")
    return int(status), json.loads(text)


def greet(stack: TestStack, payload: Any) -> tuple[int, Any]:
    return curl(stack, {"kind": "greet", "payload": payload})


def kind(stack: TestStack) -> Any:
    return stack.call("GET", "/kinds/greet").body


def versions(stack: TestStack) -> set[str]:
    """The versions whose schemas count, as the kind's page has them."""
    return {one["version"] for one in kind(stack)["payload_schemas"]}


def newest_takes(stack: TestStack, member: str) -> bool:
    """Whether the payload has this member by the last registration."""
    listed = {one["kind"]: one for one in stack.call("GET", "/kinds").body["kinds"]}
    return f'"{member}":' in json.dumps(listed["greet"]["payload_schema"])


def test_a_payload_is_checked_before_the_202_and_given_as_its_type(stack: TestStack) -> None:
    status, refused = greet(stack, {"name": 7})
    assert (status, refused["type"]) == (422, "/problems/invalid-field")
    assert refused["errors"] == [{"pointer": "/payload/name", "detail": "must be a text, not a whole number"}]
    assert greet(stack, {})[1]["errors"] == [{"pointer": "/payload/name", "detail": "is missing; expected a text"}]

    status, accepted = greet(stack, {"name": "Ada"})
    assert status == 202
    job = stack.finished(accepted["id"])
    assert job["result"] == {"hello": "Ada", "took": "Greeting", "version": "1"}


def test_a_kind_without_a_type_takes_all(stack: TestStack) -> None:
    for payload in (7, [], None, {"name": 7}):
        assert curl(stack, {"kind": "noop", "payload": payload})[0] == 202
    listed = {one["kind"]: one for one in stack.call("GET", "/kinds").body["kinds"]}
    assert "payload_schema" not in listed["noop"]
    details = stack.call("GET", "/kinds/noop").body
    assert (details["payload_schemas"], details["is_payload_checked"]) == ([], False)


def test_the_schema_is_shown_with_the_kind(stack: TestStack) -> None:
    listed = {one["kind"]: one for one in stack.call("GET", "/kinds").body["kinds"]}
    shown = listed["greet"]["payload_schema"]
    assert jsonschema_rs.meta.is_valid(shown)
    assert jsonschema_rs.is_valid(shown, {"name": "Ada"}) and not jsonschema_rs.is_valid(shown, {"name": 7})
    assert kind(stack)["payload_schemas"] == [{"version": "1", "schema": shown}]
    assert kind(stack)["is_payload_checked"] is True


def test_the_page_of_the_kind_shows_its_schema_and_the_fault(stack: TestStack, browser: Browser) -> None:
    browser.open(url(stack, "/kinds/greet"))
    says(browser, "Payload \\(JSON Schema\\)", within_s=20)
    says(browser, "A payload that differs from it is refused\\.")
    says(browser, '"title": "Greeting"')
    shown(browser, "textbox", "^Payload").type('{"name": 7}')
    shown(browser, "button", "^Send job$").click()
    says(browser, "payload/name must be a text, not a whole number")


def test_a_rolling_upgrade_refuses_nothing_that_a_live_worker_takes(stack: TestStack, folder: Path) -> None:
    old, new = {"name": "Ada"}, {"names": ["Ada", "Grace"]}
    write(folder, TWO)
    stack.stack.scale({"worker": 2})
    eventually(lambda: versions(stack) == {"1", "2"}, within_s=WITHIN_S, what="both versions are served")

    sent = [greet(stack, payload) for payload in (old, new) * 5]
    assert [status for status, _ in sent] == [202] * 10
    status, refused = greet(stack, {"names": "Ada"})
    assert status == 422
    assert {error["pointer"] for error in refused["errors"]} == {"/payload/name", "/payload/names"}
    # Each reaches a worker that takes it, if not at once.
    jobs = [stack.finished(accepted["id"]) for _, accepted in sent]
    assert [job["state"] for job in jobs] == [State.SUCCEEDED] * 10
    assert [job["result"]["version"] for job in jobs] == ["1", "2"] * 5

    stack.stack.scale({"worker": 1})
    stack.stack.restart(["worker"], told=lambda line: None)
    eventually(lambda: versions(stack) == {"2"}, within_s=WITHIN_S, what="only the new version is served")
    assert greet(stack, new)[0] == 202
    eventually(lambda: greet(stack, old)[0] == 422, within_s=WITHIN_S, what="the old payload is refused")


def test_a_payload_that_its_handler_takes_no_more_fails_for_good(stack: TestStack, folder: Path) -> None:
    # A worker of the earlier version may have registered behind the new one; that one registers again each 30 s.
    eventually(lambda: newest_takes(stack, "names"), within_s=WITHIN_S, what="the new version registered last")
    stack.stack.scale({"worker": 0})
    eventually(lambda: stack.call("GET", "/workers").body["workers"] == [], within_s=WITHIN_S, what="no worker")
    # Without a worker the newest schema counts.
    assert greet(stack, {"names": [7]})[0] == 422
    status, waiting = greet(stack, {"names": ["Ada"]})
    assert status == 202

    write(folder, THREE)
    stack.stack.scale({"worker": 1})
    job = stack.finished(waiting["id"], wait_s=60.0)

    assert (job["state"], job["reason"], job["attempt"]) == (State.FAILED, Reason.PERMANENT_ERROR, 1)
    assert (job["error"]["type"], job["error"]["retryable"]) == ("InvalidPayload", False)
    assert "/names/0 must be a whole number, not a text" in job["error"]["message"]
    assert stack.finished(greet(stack, {"names": [7]})[1]["id"])["result"]["hello"] == [7]
