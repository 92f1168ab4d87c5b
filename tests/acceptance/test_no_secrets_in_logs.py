"""Whatever goes wrong, no log of any process holds a token, a secret, a key, a payload or a result."""

import base64
import http.client
import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from uuid import uuid4

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from acked_common.model.lifecycle import State
from support.access import Client, id_of, make_token, recipe, token_of_recipe
from support.freezing import freeze
from support.stacks import TestStack, eventually

# At this level libraries say most.
ENVIRON = {"ACKED_ACCESS": "tokens", "ACKED_LOG_LEVEL": "debug"}
OWN_SERVERS = True
"""They freeze, and their logs are read too."""


def mark(what: str) -> str:
    """A text that occurs nowhere else."""
    return f"{what}-{uuid4().hex}"


def forms(text: str) -> set[bytes]:
    """The text as logs may hold it: plain, and in base64 at each of its three offsets."""
    raw = text.encode()
    shifted = (base64.b64encode(b"x" * offset + raw)[4:-4] for offset in range(3))
    return {raw, *shifted}


@contextmanager
def frozen(stack: TestStack, part: str) -> Iterator[None]:
    """A server that answers nothing for a while."""
    pid = stack.stack.parts.pid(part)
    freeze(pid)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def raw_call(stack: TestStack, head: str, body: bytes = b"") -> None:
    """Bytes that no client library would send."""
    with closing(http.client.HTTPConnection("127.0.0.1", stack.intake_port, timeout=10)) as connection:
        connection.connect()
        connection.sock.sendall(head.encode() + body)
        connection.sock.recv(4096)


def logs(stack: TestStack) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(stack.stack.layout.logs.iterdir()) if file.is_file()}


def test_no_log_holds_what_is_nobodys_business(stack: TestStack) -> None:
    marks = {name: mark(name) for name in ("payload", "result", "error", "note", "key", "cookie", "garbage", "query")}
    token = token_of_recipe(stack, "submit", "read", "operate", client="marked")
    revoked = make_token(stack, "read", client="revoked")
    worker = make_token(stack, "worker", tenant="default", client="marked-worker")
    secrets = {
        **marks,
        **{f"token {number}": text[19:] for number, text in enumerate((token, revoked, worker))},
        "worker secret": (stack.stack.layout.secrets / "worker").read_text().strip(),
        **{file.name: file.read_text().strip() for file in stack.stack.layout.secrets.iterdir() if "-" in file.name},
        "operator token": (stack.stack.layout.secrets / "operator-token").read_text()[19:],
    }
    client = Client(stack, token)
    headers = {"Idempotency-Key": marks["key"], "Cookie": f"session={marks['cookie']}"}

    def send(kind: str, text: str, **fields: object) -> int:
        body = {"kind": kind, "payload": {"mark": text}, **fields}
        return client.call(
            "POST", "/process", body, to="intake", headers=headers | {"Idempotency-Key": mark("k")}
        ).status

    # What goes well, and what fails in a handler.
    done = client.process("test.echo", payload={"mark": marks["result"]})
    spilt = client.process("test.spills", payload={"mark": marks["error"]})
    assert (
        client.call(
            "POST", "/process", {"payload": marks["payload"], "kind": "noop"}, to="intake", headers=headers
        ).status
        == 202
    )
    for job_id, state in ((done, State.SUCCEEDED), (spilt, State.FAILED)):
        eventually(
            lambda job_id=job_id, state=state: client.call("GET", f"/status/{job_id}").body["state"] == state,  # type: ignore[misc]
            within_s=20,
            what="it ends",
        )
    resolution = {"state": "succeeded", "result": marks["result"], "note": marks["note"]}
    assert client.call("POST", f"/jobs/{spilt}/resolve", resolution).status == 200

    # What is refused.
    assert send("no.such.kind", marks["payload"]) == 422
    for body in (
        f'{{"kind": "noop", "payload": "{marks["payload"]}"',
        f'{{"kind": "noop", "{marks["payload"]}": 1}}',
        f'{{"payload": {{"{marks["payload"]}": 1, "{marks["payload"]}": 2}}, "kind": "noop"}}',
    ):
        assert client.call("POST", "/process", body.encode(), to="intake").status in (400, 422)
    for service in ("gateway", "intake"):
        for shown in (marks["garbage"], token[:-4] + "aaaa", revoked + "x"):
            assert Client(stack, shown).call("GET", "/kinds", to=service).status == 401
        assert client.call("GET", f"/kinds?token={token}", to=service).status == 400
        assert client.call("GET", f"/status/{marks['query']}?wait_s={marks['query']}", to=service).status == 422
    raw_call(
        stack, f"GET /kinds HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{marks['cookie']}\r\n\r\n"
    )
    raw_call(stack, f"{marks['garbage']}\r\n\r\n")
    url = f"ws://127.0.0.1:{stack.gateway_port}"
    for path, shown in (("/ws/feed", marks["garbage"]), ("/ws/worker", marks["garbage"]), ("/ws/worker", token)):
        with pytest.raises(InvalidStatus):
            connect(url + path, additional_headers={"Authorization": f"Bearer {shown}"}, proxy=None)
    for first in (json.dumps({"type": "authenticate", "token": marks["garbage"]}), marks["payload"]):
        with connect(f"{url}/ws/feed", proxy=None) as line:
            line.send(first)
            line.recv(timeout=10)
    with connect(f"{url}/ws/worker", additional_headers={"Authorization": f"Bearer {worker}"}, proxy=None) as line:
        line.send(json.dumps({"type": "hello", "boot": marks["garbage"], "protocol": 1}))
        with pytest.raises(Exception, match="4000"):
            line.recv(timeout=10)
    with connect(f"{url}/ws/feed", additional_headers=client.headers, proxy=None) as line:
        line.send(json.dumps({"type": "subscribe", "sub": 1, "scope": {marks["payload"]: 1}}))
        line.recv(timeout=10)

    # What breaks.
    with ThreadPoolExecutor(8) as pool:
        with frozen(stack, "mongod"):
            statuses = list(pool.map(lambda _: send("noop", marks["payload"]), range(8)))
            assert set(statuses) == {503}
            client.call("GET", f"/jobs/{done}")
            client.call("POST", f"/jobs/{done}/resolve", resolution)
        eventually(lambda: send("noop", marks["payload"]) == 202, within_s=30, what="it accepts again")
        with frozen(stack, "rabbitmq"):
            assert set(pool.map(lambda _: send("test.echo", marks["result"]), range(8))) == {202}
        stack.stack.parts.kill("mongod")
        list(pool.map(lambda _: send("test.echo", marks["result"]), range(8)))
        eventually(lambda: send("test.echo", marks["result"]) == 202, within_s=60, what="it accepts again")
    stack.stack.parts.kill("worker-1")
    assert recipe(stack, "revoke", id_of(revoked)).returncode == 0
    eventually(lambda: client.call("GET", "/jobs").status == 200, within_s=30, what="all is well again")

    found = logs(stack)
    assert {"gateway-1.log", "intake-1.log", "worker-1.log", "mongod.log", "rabbitmq.log"} <= found.keys()
    assert all(found[name] for name in ("gateway-1.log", "intake-1.log", "worker-1.log", "mongod.log")), (
        "they say something"
    )
    assert b'"attempt failed"' in found["worker-1.log"], "also of a handler that fails with its payload in its words"
    held = {
        (name, what): text[max(0, text.index(form) - 300) : text.index(form) + 100]
        for name, text in found.items()
        for what, secret in secrets.items()
        for form in forms(secret)
        if form in text
    }
    assert not held
