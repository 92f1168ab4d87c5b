"""Tokens as clients and operators meet them: made, rotated and revoked, on HTTP and on the feed; the recipes' own."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from acked_common.accounts.grants import Account
from deploy.native.launch import service_environment
from deploy.native.layout import ROOT
from support.access import Client, id_of, make_token, problem_name, recipe, token_of_recipe
from support.browser import running_browser
from support.contract import assert_problem
from support.freezing import freeze
from support.stacks import TestStack, eventually

ENVIRON = {"ACKED_ACCESS": "tokens", "ACKED_RENEWAL_S": "0.8"}
OWN_SERVERS = True
"""A gateway is started by hand with the account that services have on private servers."""
EFFECT_WITHIN_S = 5.0
"""What the documents promise of a revocation."""
BUSY_MACHINE_S = 5.0


@pytest.fixture(scope="module")
def all_of_acme(stack: TestStack) -> Client:
    """A client that may do everything a client may."""
    return Client(stack, make_token(stack, "submit", "read", "operate", client="everything"))


@contextmanager
def feed(stack: TestStack, **headers: str) -> Iterator[ClientConnection]:
    url = f"ws://127.0.0.1:{stack.gateway_port}/ws/feed"
    with connect(url, additional_headers=headers, proxy=None, compression=None) as line:
        yield line


def closed_with(line: ClientConnection, within_s: float) -> int:
    """The code with which the line is closed."""
    end = time.monotonic() + within_s
    while True:
        try:
            line.recv(timeout=max(0.01, end - time.monotonic()))
        except ConnectionClosed as closed:
            assert closed.rcvd is not None
            return closed.rcvd.code


def subscribe(line: ClientConnection, scope: Any) -> dict[str, Any]:
    """The snapshot of a new subscription."""
    line.send(json.dumps({"type": "subscribe", "sub": 1, "scope": scope}))
    while True:
        frame: dict[str, Any] = json.loads(line.recv(timeout=10))
        if frame["type"] in ("snapshot", "error"):
            return frame


def test_a_token_works_at_once_and_is_shown_once(stack: TestStack) -> None:
    token = token_of_recipe(stack, "submit", "read", client="fresh")
    client = Client(stack, token)
    job_id = client.process()
    assert client.call("GET", f"/status/{job_id}", to="intake").status == 200
    listed = recipe(stack, "list")
    assert listed.returncode == 0
    (line,) = [line for line in listed.stdout.splitlines() if id_of(token) in line]
    assert line.split()[1:4] == ["acme", "fresh", "submit,read"]
    assert line.endswith("active")
    assert token[19:] not in listed.stdout


def test_unknown_kind_names_no_kinds_to_submitters(stack: TestStack, all_of_acme: Client) -> None:
    submitter = Client(stack, make_token(stack, "submit", client="submits"))
    calls: list[tuple[str, str, Any, str]] = [
        ("POST", "/process", {"kind": "nope"}, "intake"),
        ("POST", "/load-test?count=1&kind=nope", None, "gateway"),
        ("GET", "/load-test?count=1&kind=nope", None, "gateway"),
    ]
    for method, path, body, to in calls:
        hidden = submitter.call(method, path, body, to=to)
        assert_problem(stack, hidden, 422, "unknown-kind", says="nope")
        assert b"http_call" not in hidden.raw
        assert "demo" in all_of_acme.call(method, path, body, to=to).body["known_kinds"]


def test_tracebacks_and_paths_are_shown_to_operators_alone(stack: TestStack, all_of_acme: Client) -> None:
    job_id = all_of_acme.process("test.fails", max_attempts=1, batch="with-traceback")
    reader = Client(stack, make_token(stack, "read", client="reads"))
    paths = [f"/status/{job_id}?wait_s=20", f"/status/{job_id}", f"/jobs/{job_id}", "/jobs?batch=with-traceback"]
    for path in paths:
        for to in ("gateway", "intake") if path.startswith("/status") else ("gateway",):
            mine, theirs = all_of_acme.call("GET", path, to=to), reader.call("GET", path, to=to)
            assert (mine.status, theirs.status) == (200, 200)
            assert b"Traceback" in mine.raw
            assert b'"error":{' in theirs.raw
            assert b"Traceback" not in theirs.raw
            assert b".py" not in theirs.raw


@pytest.mark.long
def test_a_client_rotates_over_two_tokens(stack: TestStack) -> None:
    words = ("make", "--client", "rotates", "--tenant", "acme", "--may", "read")
    first, second = (make_token(stack, "read", client="rotates") for _ in range(2))
    refused = recipe(stack, *words)
    assert refused.returncode == 2
    assert "has 2 active tokens: revoke the unused one" in refused.stderr
    assert refused.stdout == ""
    assert [Client(stack, token).call("GET", "/jobs").status for token in (first, second)] == [200, 200]
    assert recipe(stack, "revoke", id_of(first)).returncode == 0
    third = make_token(stack, "read", client="rotates")
    assert [Client(stack, token).call("GET", "/jobs").status for token in (second, third)] == [200, 200]
    last = token_of_recipe(stack, "read", client="rotates", more=("--replace",))
    assert Client(stack, last).call("GET", "/jobs").status == 200
    for token in (first, second, third):
        eventually(
            lambda token=token: Client(stack, token).call("GET", "/jobs").status == 401,  # type: ignore[misc]
            within_s=EFFECT_WITHIN_S,
            what="those before it are refused",
        )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("make", "--client", "x", "--may", "rule"), "known are: submit, read, operate, worker, signal"),
        (("make", "--client", "x", "--tenant", "acme", "--may", "worker"), "belongs to the tenant default"),
        (("make", "--client", "X Y", "--may", "read"), "client 'X Y'"),
        (("revoke", "nobody"), "./just token list shows them"),
    ],
)
def test_the_recipe_says_what_is_wrong(stack: TestStack, words: tuple[str, ...], says: str) -> None:
    done = recipe(stack, *words)
    assert done.returncode != 0
    assert says in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("service", ["gateway", "intake"])
def test_a_revoked_token_is_refused_everywhere_soon(stack: TestStack, service: str) -> None:
    token = make_token(stack, "read", client=f"leaves-{service}")
    client = Client(stack, token)
    assert client.call("GET", "/kinds", to=service).status == 200
    assert recipe(stack, "revoke", id_of(token)).returncode == 0
    revoked_at = time.monotonic()
    eventually(
        lambda: client.call("GET", "/kinds", to=service).status == 401,
        within_s=EFFECT_WITHIN_S + BUSY_MACHINE_S,
        what="401",
    )
    assert time.monotonic() - revoked_at < EFFECT_WITHIN_S + BUSY_MACHINE_S
    assert_problem(stack, client.call("GET", "/kinds", to=service), 401, "unknown-token")


def test_a_token_expires(stack: TestStack) -> None:
    seconds = 4.0
    token = token_of_recipe(stack, "read", client="short", more=("--days", str(seconds / 86400)))
    client = Client(stack, token)
    with feed(stack, **client.headers) as line:
        assert subscribe(line, {"all": True})["type"] == "snapshot"
        assert client.call("GET", "/jobs").status == 200
        assert closed_with(line, within_s=seconds + EFFECT_WITHIN_S + BUSY_MACHINE_S) == 4401
    assert client.call("GET", "/jobs").status == 401


@pytest.mark.parametrize("way", ["header", "message"])
def test_the_feed_ends_with_its_token(stack: TestStack, way: str) -> None:
    token = make_token(stack, "read", client=f"follows-{way}")
    headers = Client(stack, token).headers if way == "header" else {}
    with feed(stack, **headers) as line:
        if way == "message":
            line.send(json.dumps({"type": "authenticate", "token": token}))
        assert subscribe(line, {"all": True})["type"] == "snapshot"
        assert recipe(stack, "revoke", id_of(token)).returncode == 0
        assert closed_with(line, within_s=EFFECT_WITHIN_S + BUSY_MACHINE_S) == 4401


def test_the_feed_waits_for_a_token_no_longer_than_five_seconds(stack: TestStack) -> None:
    with feed(stack) as line:
        opened_at = time.monotonic()
        assert json.loads(line.recv(timeout=10))["problem"]["type"] == "/problems/no-token"
        assert closed_with(line, within_s=5) == 4401
        assert 4 < time.monotonic() - opened_at < 5 + BUSY_MACHINE_S


@pytest.mark.parametrize(
    "first",
    [
        '{"type":"subscribe","sub":1,"scope":{"all":true}}',
        "{",
        json.dumps({"type": "authenticate", "token": "x" * 2000}),
        b"x",
    ],
)
def test_the_feed_tells_nothing_before_the_token(stack: TestStack, first: str | bytes) -> None:
    with feed(stack) as line:
        line.send(first)
        assert json.loads(line.recv(timeout=10))["problem"]["type"] == "/problems/no-token"
        assert closed_with(line, within_s=5) == 4401


@pytest.mark.parametrize("path", ["/ws/feed", "/ws/worker"])
def test_a_token_in_the_url_of_a_websocket_is_refused(stack: TestStack, path: str) -> None:
    token = token_of_recipe(stack, "read", client="url", more=("--replace",))
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{stack.gateway_port}{path}?token={token}", proxy=None)
    assert refused.value.response.status_code == 400
    assert json.loads(refused.value.response.body or b"")["type"] == "/problems/token-in-url"


def test_a_token_in_a_url_is_refused_and_said_why(stack: TestStack, all_of_acme: Client) -> None:
    answer = all_of_acme.call("GET", f"/jobs?access_token={all_of_acme.token}")
    assert_problem(stack, answer, 400, "token-in-url", says="logs")


def test_a_second_token_on_one_connection_is_refused(stack: TestStack, all_of_acme: Client) -> None:
    with feed(stack, **all_of_acme.headers) as line:
        line.send(json.dumps({"type": "authenticate", "token": all_of_acme.token}))
        assert json.loads(line.recv(timeout=10))["type"] == "hello"
        assert json.loads(line.recv(timeout=10))["problem"]["type"] == "/problems/bad-message"
        assert subscribe(line, {"all": True})["type"] == "snapshot", "the connection goes on"


def test_a_long_poll_ends_with_its_token(stack: TestStack, all_of_acme: Client) -> None:
    token = make_token(stack, "read", client="waits")
    job_id = all_of_acme.process(delay_s=3600)
    assert recipe(stack, "revoke", id_of(token)).returncode == 0
    answer = Client(stack, token).call("GET", f"/status/{job_id}?wait_s={EFFECT_WITHIN_S + BUSY_MACHINE_S}")
    assert answer.status == 401, "whether it was refused at the beginning or at the end"


def test_a_load_test_is_the_callers_own(stack: TestStack, all_of_acme: Client) -> None:
    batch = f"lt-{uuid4().hex[:8]}"
    answer = all_of_acme.call("POST", f"/load-test?count=20&kind=noop&batch={batch}")
    assert (answer.status, answer.body["persisted"]) == (200, 20)
    assert all_of_acme.call("GET", f"/batches/{batch}").body["total"] == 20
    other = Client(stack, make_token(stack, "read", tenant="globex", client="looks"))
    assert other.call("GET", f"/batches/{batch}").status == 404


def test_one_batch_name_is_a_batch_of_each_tenant(stack: TestStack, all_of_acme: Client) -> None:
    batch = f"b-{uuid4().hex[:8]}"
    other = Client(stack, make_token(stack, "submit", "read", tenant="globex", client="same-batch"))
    for client, count in ((all_of_acme, 2), (other, 3)):
        for _ in range(count):
            client.process(batch=batch, delay_s=3600)
    assert [client.call("GET", f"/batches/{batch}").body["total"] for client in (all_of_acme, other)] == [2, 3]


def test_the_page_opens_without_a_token_and_starts_nothing(stack: TestStack) -> None:
    page = stack.call("GET", "/load-test?count=1", headers={"Accept": "text/html"})
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")
    assert_problem(stack, stack.call("GET", "/load-test?count=1"), 401, "no-token")


def test_the_page_takes_a_token_and_keeps_it_out_of_the_address(
    stack: TestStack, all_of_acme: Client, tmp_path: Path
) -> None:
    with running_browser(tmp_path) as browser:
        browser.open(f"http://127.0.0.1:{stack.gateway_port}/load-test?count=20&kind=noop")
        browser.wait_for("document.querySelector('input[name=token]')", within_s=20)
        browser.run(
            "const { form } = document.querySelector('input[name=token]');"
            "form.elements.token.value = arguments[0];"
            "form.requestSubmit();",
            all_of_acme.token,
        )
        browser.wait_for_text("doing", "All 20 jobs have ended", within_s=40)
        batch = browser.run('return document.getElementById("batch-name").textContent')
        assert all_of_acme.call("GET", f"/batches/{batch}").body["total"] == 20
        assert all_of_acme.token not in str(browser.run("return location.href + document.documentElement.outerHTML"))


def test_work_is_done_and_told_to_its_tenant(stack: TestStack, all_of_acme: Client) -> None:
    with feed(stack, **all_of_acme.headers) as line:
        assert subscribe(line, {"kind": "demo"})["type"] == "snapshot"
        job_id = all_of_acme.process("demo", payload={"seconds": 0})
        states = []
        while "succeeded" not in states:
            frame = json.loads(line.recv(timeout=20))
            states += [event["state"] for event in frame.get("events", ()) if event["id"] == job_id]
        assert states == ["queued", "running", "succeeded"]


def test_the_recipes_have_a_token_of_their_own(stack: TestStack) -> None:
    layout = stack.stack.layout
    file = layout.secrets / "operator-token"
    assert file.stat().st_mode & 0o777 == 0o600
    token = file.read_text()
    assert recipe(stack, "revoke", id_of(token)).returncode == 0
    eventually(
        lambda: Client(stack, token).call("GET", "/jobs").status == 401,
        within_s=EFFECT_WITHIN_S + BUSY_MACHINE_S,
        what="it is revoked",
    )
    assert stack.stack.scale({"worker": 1}), "the next recipe makes another one"
    assert file.read_text() != token


def test_known_tokens_work_while_the_database_is_away_and_nobody_is_called_unknown(
    stack: TestStack, all_of_acme: Client
) -> None:
    garbage = Client(stack, all_of_acme.token[:6] + "a" * 12 + all_of_acme.token[18:])
    assert all_of_acme.call("GET", "/kinds").status == 200
    pid = stack.stack.parts.pid("mongod")
    freeze(pid)
    try:
        assert all_of_acme.call("GET", "/kinds").status == 200
        started_at = time.monotonic()
        answer = garbage.call("GET", "/kinds")
        assert (answer.status, problem_name(answer)) == (503, "access-unknown")
        assert answer.headers["retry-after"]
        assert time.monotonic() - started_at < 5 + BUSY_MACHINE_S
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: garbage.call("GET", "/kinds").status == 401, within_s=30, what="now it is known to be unknown")


def test_a_service_that_others_may_reach_does_not_start_without_tokens(stack: TestStack) -> None:
    layout = stack.stack.layout
    environ = service_environment(layout, {"PATH": "/usr/bin:/bin", "ACKED_HOST": "0.0.0.0"}, Account.GATEWAY)
    for module in ("acked_gateway", "acked_intake"):
        done = subprocess.run(
            [str(layout.venv_python), "-m", module],
            env=environ,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2
        assert "ACKED_ACCESS=tokens" in done.stderr
        assert "./just token make" in done.stderr
