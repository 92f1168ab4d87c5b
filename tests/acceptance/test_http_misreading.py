"""A 202 is for what was sent: requests that one party could read in another way than the next."""

import socket
from contextlib import closing

import pytest

from acked_common.model.lifecycle import State
from support.contract import assert_problem, raw_answer
from support.stacks import TestStack

WITHIN_S = 30.0
BODY = b'{"kind":"noop","payload":{"order":7}}'
JSON_TYPE = b"Content-Type: application/json\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)


def post(headers: bytes, *, target: bytes = b"/process") -> bytes:
    return b"POST %s HTTP/1.1\r\nHost: localhost\r\n%s%s\r\n" % (target, JSON_TYPE, headers)


def connect(stack: TestStack) -> closing[socket.socket]:
    return closing(socket.create_connection(("127.0.0.1", stack.intake_port), timeout=WITHIN_S))


@pytest.mark.parametrize("offered", [b"h2c", b"TLS/1.0", b"websocket"])
def test_requests_that_offer_an_upgrade_keep_their_bodies(stack: TestStack, offered: bytes) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: " + offered + b"\r\n"
    with connect(stack) as line:
        for sent in (post(upgrade + LENGTH) + BODY, post(upgrade + CHUNKED) + CHUNKS, post(LENGTH) + BODY):
            line.sendall(sent)
            answer = raw_answer(line)
            assert answer.status == 202, answer.raw
            assert answer.body["kind"] == "noop"
            job = stack.finished(answer.body["id"])
            assert job["state"] == State.SUCCEEDED
            assert stack.call("GET", f"/jobs/{job['id']}").body["payload"] == {"order": 7}


def test_a_trailer_authorizes_and_declares_nothing(stack: TestStack) -> None:
    head = b"POST /process HTTP/1.1\r\nHost: localhost\r\n" + CHUNKED + b"\r\n"
    with connect(stack) as line:
        line.sendall(head + CHUNKS[:-2] + JSON_TYPE + b"\r\n")
        assert_problem(stack, raw_answer(line), 415, "unsupported-media-type")


def test_a_transfer_coding_that_is_not_served_is_refused(stack: TestStack) -> None:
    with connect(stack) as line:
        line.sendall(post(b"Transfer-Encoding: gzip, chunked\r\n") + CHUNKS)
        assert_problem(stack, raw_answer(line), 501, "unsupported-transfer-coding")
        assert line.recv(1) == b""


def test_the_host_of_an_absolute_target_counts(stack: TestStack) -> None:
    with connect(stack) as line:
        line.sendall(post(LENGTH, target=b"http://evil.example/process") + BODY)
        assert_problem(stack, raw_answer(line), 421, "host-not-allowed")
        line.sendall(post(LENGTH, target=b"http://localhost/process") + BODY)
        assert raw_answer(line).status == 202
