"""Many requests as lines of one, sent as programs send them: broken lines, cut connections, clients that read late."""

import json
import random
import socket
from typing import Any

import pytest

from acked_common.api.routes import LINES
from acked_common.model.lifecycle import State
from support.nonce import nonce
from support.stacks import TestStack, eventually

NONCE = nonce()
NUMBER = 10_000
BROKEN = 7
PIECE = 64 * 1024


def lines_of(batch: str, number: int, broken: frozenset[int] = frozenset()) -> list[bytes]:
    """Requests with keys of the batch, of which some lack their end."""
    lines = []
    for n in range(number):
        line = json.dumps({"kind": "noop", "idempotency_key": f"{batch}-{n}", "batch": batch, "payload": [NONCE, n]})
        lines.append((line[:-2] if n in broken else line).encode())
    return lines


def send(stack: TestStack, lines: list[bytes]) -> list[dict[str, Any]]:
    answer = stack.call("POST", "/process", b"\n".join(lines), to="intake", headers={"Content-Type": LINES})
    assert (answer.status, answer.headers["content-type"]) == (200, LINES), answer.raw[:500]
    return [json.loads(line) for line in answer.raw.splitlines()]


def jobs_in(stack: TestStack, batch: str) -> int:
    return sum(stack.batch(batch).values())


@pytest.mark.alone
def test_a_cut_request_is_sent_again(stack: TestStack) -> None:
    drawn = random.Random(NONCE)
    batch = f"lines-{NONCE}"
    broken = frozenset(drawn.sample(range(NUMBER), BROKEN))
    lines = lines_of(batch, NUMBER, broken)
    body = b"\n".join(lines)
    cut = drawn.randrange(len(body))
    with socket.create_connection(("127.0.0.1", stack.intake_port)) as connection:
        head = (
            f"POST /process HTTP/1.1\r\nHost: localhost\r\nContent-Type: {LINES}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        connection.sendall(head.encode() + body[:cut])
    whole_lines = body[:cut].count(b"\n")
    assert jobs_in(stack, batch) <= whole_lines

    outcomes = send(stack, lines)
    assert [each["line"] for each in outcomes] == [*range(1, NUMBER + 1)]
    refused = {each["line"] - 1: each for each in outcomes if each["status"] != 202}
    assert refused.keys() == broken, (NONCE, cut)
    assert {each["problem"]["type"] for each in refused.values()} == {"/problems/bad-json"}
    ids = {each["id"] for each in outcomes if each["status"] == 202}
    assert len(ids) == NUMBER - BROKEN
    eventually(
        lambda: stack.batch(batch) == {State.SUCCEEDED: NUMBER - BROKEN}, within_s=120, what="each job has run once"
    )
    again = send(stack, lines)
    assert {each["id"] for each in again if each["status"] == 202} == ids
    assert all(each["replayed"] for each in again if each["status"] == 202)
    assert jobs_in(stack, batch) == NUMBER - BROKEN


def test_a_client_may_send_everything_before_it_reads(stack: TestStack) -> None:
    batch = f"late-{NONCE}"
    number = 2_000
    body = b"\n".join(lines_of(batch, number)) + b"\n"
    with socket.create_connection(("127.0.0.1", stack.intake_port), timeout=60) as connection:
        # A response is about as large as the request; the client has no room for it.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        head = (
            f"POST /process HTTP/1.1\r\nHost: localhost\r\nContent-Type: {LINES}\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        connection.sendall(head.encode())
        for start in range(0, len(body), PIECE):
            piece = body[start : start + PIECE]
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        connection.sendall(b"0\r\n\r\n")
        eventually(lambda: jobs_in(stack, batch) == number, within_s=60, what="every line is persisted")
        received = b""
        while not received.endswith(b"0\r\n\r\n"):
            piece = connection.recv(PIECE)
            assert piece, "the connection was closed before the end of the response"
            received += piece
    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.count(b'"status":202') == number
