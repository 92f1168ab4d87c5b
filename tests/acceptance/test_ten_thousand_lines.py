"""10,000 lines of a client with a token, 7 of them broken, over connections that are cut: each good line is one job."""

import json
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from acked_client import Acked, Submission
from acked_common.api.routes import LINES
from acked_common.model.lifecycle import State
from support.access import Client, make_token
from support.loop_thread import LoopThread
from support.nonce import nonce
from support.stacks import TestStack, eventually
from support.tcp_proxy import Proxy

ENVIRON = {"ACKED_ACCESS": "tokens", "ACKED_RATE_BURST": "100000"}
"""The default lets a client send 10,000 requests at once, and here all lines are sent several times."""
NONCE = nonce()
NUMBER = 10_000
BROKEN = 7
GOOD = NUMBER - BROKEN
WITHIN_S = 120.0
PROGRAM = Path(sys.executable).with_name("acked")
KIND = "noop"


@pytest.fixture(scope="module")
def client(stack: TestStack) -> Client:
    return Client(stack, make_token(stack, "submit", "read", tenant="acme"))


@pytest.fixture
def drawn() -> random.Random:
    return random.Random(NONCE)


@pytest.fixture
def broken(drawn: random.Random) -> list[int]:
    """The numbers of the broken lines, from 1."""
    return sorted(drawn.sample(range(1, NUMBER + 1), BROKEN))


def lines_of(batch: str, broken: list[int], *, keys: bool) -> list[bytes]:
    """The lines of a batch, of which some lack their end."""
    lines = []
    for number in range(1, NUMBER + 1):
        fields: dict[str, Any] = {"kind": KIND, "batch": batch, "payload": {"n": number, "nonce": NONCE}}
        if keys:
            fields["idempotency_key"] = f"{batch}-{number}"
        line = json.dumps(fields).encode()
        lines.append(line[:-2] if number in broken else line)
    return lines


def jobs_in(client: Client, batch: str) -> dict[str, int]:
    answer = client.call("GET", f"/batches/{batch}")
    return dict(answer.body["states"]) if answer.status == 200 else {}


def all_ran_once(client: Client, batch: str) -> None:
    eventually(
        lambda: jobs_in(client, batch) == {State.SUCCEEDED: GOOD}, within_s=WITHIN_S, what="each good line is one job"
    )


@contextmanager
def cut_at(stack: TestStack, byte: int) -> Iterator[Proxy]:
    """A proxy in front of intake that cuts the connection which carries this byte of all requests."""
    thread = LoopThread("proxy")
    proxy = Proxy("127.0.0.1", stack.intake_port)
    proxy.cuts_at = byte
    thread.run(proxy.start())
    try:
        yield proxy
        assert proxy.cuts_at is None, "it was cut"
    finally:
        thread.run(proxy.close())
        thread.stop()


def test_cut_request_sent_again_makes_each_job_once(
    client: Client, stack: TestStack, drawn: random.Random, broken: list[int]
) -> None:
    batch = f"raw-{NONCE}"
    body = b"\n".join(lines_of(batch, broken, keys=True))
    cut = drawn.randrange(len(body))
    head = (
        f"POST /process HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {client.token}\r\n"
        f"Content-Type: {LINES}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", stack.intake_port)) as connection:
        connection.sendall(head.encode() + body[:cut])
    answer = client.call("POST", "/process", body, to="intake", headers={"Content-Type": LINES})
    assert answer.status == 200, answer.raw[:500]
    outcomes = [json.loads(line) for line in answer.raw.splitlines()]
    assert [one["line"] for one in outcomes] == list(range(1, NUMBER + 1))
    assert [one["line"] for one in outcomes if one["status"] != 202] == broken, (NONCE, cut)
    assert len({one["id"] for one in outcomes if one["status"] == 202}) == GOOD
    all_ran_once(client, batch)


def test_client_goes_on_over_a_cut(client: Client, stack: TestStack, drawn: random.Random, broken: list[int]) -> None:
    batch = f"client-{NONCE}"
    rows = [
        Submission(kind="" if number in broken else KIND, payload={"n": number, "nonce": NONCE}, batch=batch)
        for number in range(1, NUMBER + 1)
    ]
    size = sum(len(line) for line in lines_of(batch, [], keys=True))
    with cut_at(stack, drawn.randrange(size)) as proxy:
        intake = f"http://127.0.0.1:{proxy.port}"
        with Acked(f"http://localhost:{stack.gateway_port}", intake=intake, token=client.token) as acked:
            found = list(acked.submit_many(rows, key_prefix=batch))
    assert [row.index for row in found] == list(range(NUMBER))
    assert [row.index + 1 for row in found if row.error is not None] == broken
    assert len({row.job.id for row in found if row.job is not None}) == GOOD
    all_ran_once(client, batch)


def test_command_sent_again_after_a_cut_makes_each_job_once(
    client: Client, stack: TestStack, drawn: random.Random, broken: list[int], tmp_path: Path
) -> None:
    batch, file, token = f"cli-{NONCE}", tmp_path / "rows.ndjson", tmp_path / "token"
    lines = lines_of(batch, broken, keys=False)
    file.write_bytes(b"\n".join(lines))
    token.touch(mode=0o600)
    token.write_text(client.token)
    words = [str(PROGRAM), "submit-many", str(file), "--key-prefix", batch, "--token-file", str(token)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ACKED_")}
    environ = kept | {"ACKED_GATEWAY": f"http://localhost:{stack.gateway_port}"}

    def acked(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*words, *more], env=environ, capture_output=True, text=True, timeout=WITHIN_S, check=False
        )

    with cut_at(stack, drawn.randrange(file.stat().st_size)) as proxy:
        first = acked("--intake", f"http://127.0.0.1:{proxy.port}", "--retry-for", "0s")
    assert first.returncode == 5 and f"--key-prefix {batch}" in first.stderr, first.stderr
    ended = acked()
    found = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == 4 and [row["line"] for row in found] == list(range(1, NUMBER + 1)), ended.stderr
    assert [row["line"] for row in found if "problem" in row] == broken
    ids = {row["line"]: row["id"] for row in found if "id" in row}
    assert len(set(ids.values())) == GOOD
    for row in map(json.loads, first.stdout.splitlines()):
        assert "problem" in row or row["id"] == ids[row["line"]]
    all_ran_once(client, batch)
