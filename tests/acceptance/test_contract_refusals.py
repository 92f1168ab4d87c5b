"""What `POST /process` refuses, how it says so, and that one bad request never harms its neighbours."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from acked_common.model.lifecycle import State
from support.contract import assert_problem, raw_answer
from support.stacks import TestStack, eventually

UNREADABLE: dict[str, tuple[bytes, str, str]] = {
    # name of the case: body, problem, pointer
    "truncated": (b'{"kind": "demo", "payload": {"a": [1, 2', "bad-json", "/payload/a"),
    "truncated in a text": (b'{"kind": "de', "bad-json", "/kind"),
    "two values": (b'{"kind": "demo"} {}', "bad-json", ""),
    "trailing comma": (b'{"kind": "demo",}', "bad-json", ""),
    "single quotes": (b"{'kind': 'demo'}", "bad-json", ""),
    "NaN": (b'{"kind": "demo", "payload": NaN}', "bad-json", "/payload"),
    "Infinity": (b'{"kind": "demo", "payload": {"a": [0, Infinity]}}', "bad-json", "/payload/a/1"),
    "-Infinity": (b'{"kind": "demo", "delay_s": -Infinity}', "bad-json", "/delay_s"),
    "overflow": (b'{"kind": "demo", "payload": 1e400}', "bad-number", "/payload"),
    "2**70": (b'{"kind": "demo", "payload": {"n": %d}}' % 2**70, "bad-number", "/payload/n"),
    "-2**70": (b'{"kind": "demo", "max_attempts": %d}' % -(2**70), "bad-number", "/max_attempts"),
    "5,000 digits": (b'{"kind": "demo", "payload": ' + b"1" * 5000 + b"}", "bad-number", "/payload"),
    "depth 33": (b'{"kind": "demo", "payload": ' + b"[" * 32 + b"]" * 32 + b"}", "too-deep", "/payload" + "/0" * 31),
    "depth 100,000": (b'{"kind": "demo", "payload": ' + b"[" * 100_000, "too-deep", "/payload" + "/0" * 31),
    "depth of objects": (b'{"kind": "demo", "payload": ' + b'{"a":' * 20_000, "too-deep", "/payload" + "/a" * 31),
    "lone surrogate": (b'{"kind": "demo", "payload": ["\\ud800"]}', "bad-text", "/payload/0"),
    "lone low surrogate": (b'{"kind": "demo", "payload": {"a": "\\udc00 x"}}', "bad-text", "/payload/a"),
    "surrogate in a tag": (b'{"kind": "demo", "tags": ["ok", "\\ud83d"]}', "bad-text", "/tags/1"),
    "NUL in a key": (b'{"kind": "demo", "payload": {"a\\u0000b": 1}}', "bad-text", "/payload"),
    "duplicate key": (b'{"kind": "demo", "payload": {"x": [{"a": 1, "a": 2}]}}', "duplicate-key", "/payload/x/0/a"),
    "duplicate escaped": (b'{"kind": "demo", "payload": {"a": 1, "\\u0061": 2}}', "duplicate-key", "/payload/a"),
    "duplicate field": (b'{"kind": "demo", "kind": "noop"}', "duplicate-key", "/kind"),
    "bad UTF-8": (b'{"kind": "demo", "payload": "caf\xe9"}', "bad-encoding", "/payload"),
    "overlong UTF-8": (b'{"kind": "demo", "payload": "\xc0\xaf"}', "bad-encoding", "/payload"),
    "surrogate in UTF-8": (b'{"kind": "demo", "payload": "\xed\xa0\x80"}', "bad-encoding", "/payload"),
    "UTF-16": ('{"kind": "demo"}'.encode("utf-16"), "bad-encoding", ""),
    "byte order mark": (b'\xef\xbb\xbf{"kind": "demo"}', "bad-encoding", ""),
}

UNUSABLE: dict[str, tuple[bytes, str, list[str]]] = {
    # name of the case: body, problem, pointers
    "array": (b"[1]", "invalid-field", [""]),
    "text": (b'"demo"', "invalid-field", [""]),
    "number": (b"1", "invalid-field", [""]),
    "null": (b"null", "invalid-field", [""]),
    "no kind": (b'{"payload": 1}', "invalid-field", ["/kind"]),
    "kind null": (b'{"kind": null}', "invalid-field", ["/kind"]),
    "kind number": (b'{"kind": 1}', "invalid-field", ["/kind"]),
    "kind empty": (b'{"kind": ""}', "invalid-field", ["/kind"]),
    "kind upper": (b'{"kind": "Demo"}', "invalid-field", ["/kind"]),
    "kind path": (b'{"kind": "../x"}', "invalid-field", ["/kind"]),
    "batch spaces": (b'{"kind": "demo", "batch": "a b"}', "invalid-field", ["/batch"]),
    "batch long": (b'{"kind": "demo", "batch": "%s"}' % (b"x" * 65), "invalid-field", ["/batch"]),
    "batch line break": (b'{"kind": "demo", "batch": "a\\n"}', "invalid-field", ["/batch"]),
    "tags text": (b'{"kind": "demo", "tags": "a"}', "invalid-field", ["/tags"]),
    "tags number": (b'{"kind": "demo", "tags": ["a", 1, ""]}', "invalid-field", ["/tags/1"]),
    "tags empty": (b'{"kind": "demo", "tags": ["a", ""]}', "invalid-field", ["/tags/1"]),
    "tags long": (b'{"kind": "demo", "tags": ["%s"]}' % (b"x" * 65), "invalid-field", ["/tags/0"]),
    "tags twice": (b'{"kind": "demo", "tags": ["a", "a"]}', "invalid-field", ["/tags/1"]),
    "tags many": (
        b'{"kind": "demo", "tags": [%s]}' % b",".join(b'"%d"' % n for n in range(17)),
        "invalid-field",
        ["/tags"],
    ),
    "delay text": (b'{"kind": "demo", "delay_s": "1"}', "invalid-field", ["/delay_s"]),
    "delay negative": (b'{"kind": "demo", "delay_s": -1}', "invalid-field", ["/delay_s"]),
    "delay over a year": (b'{"kind": "demo", "delay_s": 31536001}', "invalid-field", ["/delay_s"]),
    "delay true": (b'{"kind": "demo", "delay_s": true}', "invalid-field", ["/delay_s"]),
    "attempts zero": (b'{"kind": "demo", "max_attempts": 0}', "invalid-field", ["/max_attempts"]),
    "attempts decimal": (b'{"kind": "demo", "max_attempts": 2.0}', "invalid-field", ["/max_attempts"]),
    "attempts many": (b'{"kind": "demo", "max_attempts": 1001}', "invalid-field", ["/max_attempts"]),
    "timeout zero": (b'{"kind": "demo", "timeout_s": 0}', "invalid-field", ["/timeout_s"]),
    "timeout list": (b'{"kind": "demo", "timeout_s": [1]}', "invalid-field", ["/timeout_s"]),
    "expires negative": (b'{"kind": "demo", "expires_in_s": -0.1}', "invalid-field", ["/expires_in_s"]),
    "operators": (
        b'{"kind": {"$ne": 1}, "batch": {"$gt": ""}, "tags": {"$in": []}, "delay_s": {"$where": "sleep(9)"},'
        b' "max_attempts": {"$inc": 1}, "timeout_s": {"$type": 1}, "expires_in_s": {"$expr": {}}}',
        "invalid-field",
        ["/kind", "/batch", "/tags", "/delay_s", "/max_attempts", "/timeout_s", "/expires_in_s"],
    ),
    "two at once": (b'{"kind": 1, "delay_s": "x", "zzz": 1}', "invalid-field", ["/kind", "/delay_s", "/zzz"]),
    "unknown fields": (b'{"kind": "demo", "payloads": 1, "x/y~": 2}', "unknown-field", ["/payloads", "/x~1y~0"]),
    "operator as a field": (b'{"kind": "demo", "$where": "1"}', "unknown-field", ["/$where"]),
}


def send(stack: TestStack, body: bytes, **headers: str) -> Any:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return stack.call("POST", "/process", body, to="intake", headers=sent)


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_is_no_strict_json_is_refused(stack: TestStack, case: str) -> None:
    body, name, pointer = UNREADABLE[case]
    document = assert_problem(stack, send(stack, body), 400, name, pointers=[pointer])
    assert 0 <= document["offset"] <= len(body)


@pytest.mark.parametrize("case", UNUSABLE)
def test_fields_that_mean_nothing_are_refused(stack: TestStack, case: str) -> None:
    body, name, pointers = UNUSABLE[case]
    assert_problem(stack, send(stack, body), 422, name, pointers=pointers)


def test_a_misspelt_field_gets_a_hint(stack: TestStack) -> None:
    answer = send(stack, b'{"kind": "demo", "payloads": 1, "delays": 2}')
    document = assert_problem(stack, answer, 422, "unknown-field")
    assert [error["detail"] for error in document["errors"]] == [
        "is not a known field; did you mean 'payload'?",
        "is not a known field; did you mean 'delay_s'?",
    ]
    assert set(document["known_fields"]) == {
        *("kind", "payload", "delay_s", "batch", "tags", "max_attempts", "timeout_s", "expires_in_s"),
        *("edited_from", "callback"),
    }


def test_more_than_a_kind_allows_is_refused_with_its_limit(stack: TestStack) -> None:
    for field, value, limit in (("max_attempts", 4, "3"), ("timeout_s", 901, "900")):
        answer = stack.call("POST", "/process", {"kind": "test.fails", field: value}, to="intake")
        document = assert_problem(stack, answer, 422, "invalid-field", says="'test.fails'")
        (error,) = document["errors"]
        assert error["pointer"] == f"/{field}"
        assert error["detail"].endswith(f"allows {limit} at most")
    # Shipped kinds allow what a request can say.
    assert stack.process("noop", max_attempts=1000, timeout_s=31_536_000)
    kinds = {kind["kind"]: kind for kind in stack.call("GET", "/kinds").body["kinds"]}
    assert kinds["noop"]["max_attempts_limit"] == 1000
    assert kinds["test.permanent"]["max_attempts_limit"] == 10
    assert "max_attempts_limit" not in kinds["test.fails"]


def test_an_unknown_kind_is_refused_with_the_known_ones(stack: TestStack) -> None:
    answer = send(stack, b'{"kind": "dmo"}')
    document = assert_problem(stack, answer, 422, "unknown-kind", pointers=["/kind"], says="'dmo'")
    known = [kind["kind"] for kind in stack.call("GET", "/kinds").body["kinds"]]
    assert document["known_kinds"] == known
    assert {"demo", "noop", "flaky", "http_call"} <= set(known)


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({"Content_Type": "text/plain"}, "'text/plain'"),
        ({"Content_Type": "application/x-www-form-urlencoded"}, "not as application/json"),
        ({"Content_Type": "application/json; charset=latin-1"}, "UTF-8"),
        ({"Content_Type": ""}, "not as application/json"),
        ({"Content_Type": "application/json", "Content_Encoding": "gzip"}, "Content-Encoding"),
    ],
)
def test_only_plain_json_is_taken(stack: TestStack, headers: dict[str, str], says: str) -> None:
    document = assert_problem(
        stack, send(stack, b'{"kind": "demo"}', **headers), 415, "unsupported-media-type", says=says
    )
    assert document["example"].startswith("curl ")


@pytest.mark.parametrize(
    "media_type", ["application/json; charset=UTF-8", "Application/JSON", 'application/json;charset="utf-8"']
)
def test_other_spellings_of_json_are_taken(stack: TestStack, media_type: str) -> None:
    assert send(stack, b'{"kind": "noop"}', Content_Type=media_type).status == 202


def test_a_body_without_a_type_is_refused(stack: TestStack) -> None:
    with connected(stack) as line:
        line.sendall(b"POST /process HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}")
        answer = raw_answer(line)
    assert_problem(stack, answer, 415, "unsupported-media-type", says="no Content-Type")


def test_a_large_body_is_refused_before_it_is_sent(stack: TestStack) -> None:
    with connected(stack) as line:
        line.sendall(head("Content-Length: 300000"))
        answer = raw_answer(line)
    assert_problem(stack, answer, 413, "body-too-large", says="300,000")
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("more", [1, 400_000])
def test_a_large_body_is_refused(stack: TestStack, more: int) -> None:
    body = b'{"kind": "demo", "payload": "%s"}' % (b"x" * (256 * 1024 + more - 31))
    assert len(body) == 256 * 1024 + more
    assert_problem(stack, send(stack, body), 413, "body-too-large", says="262,144")


def test_a_large_body_of_unknown_length_is_refused(stack: TestStack) -> None:
    with connected(stack) as line:
        line.sendall(head("Transfer-Encoding: chunked"))
        chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
        line.sendall(chunk * 5)
        answer = raw_answer(line)
    assert_problem(stack, answer, 413, "body-too-large")


def test_a_client_that_leaves_half_way_leaves_nothing(stack: TestStack) -> None:
    before = stack.call("GET", "/jobs?page_size=1").body["jobs"]
    with connected(stack) as line:
        line.sendall(head("Content-Length: 40") + b'{"kind": "noop"}')
    assert stack.finished(stack.process("noop"))["state"] == State.SUCCEEDED
    newest = [job["id"] for job in stack.call("GET", "/jobs?page_size=2").body["jobs"]]
    assert newest[1:] == [job["id"] for job in before]


async def test_a_bad_request_never_harms_its_neighbours(stack: TestStack) -> None:
    """Each bad body among 50 good ones, all under way at once: they share group commits."""
    bad = [(body, 400) for body, _, _ in UNREADABLE.values()] + [(body, 422) for body, _, _ in UNUSABLE.values()]
    batch = f"good-{uuid4().hex}"
    url = f"http://127.0.0.1:{stack.intake_port}/process"
    sent = 0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=60)) as session:

        async def call(body: bytes) -> tuple[int, Any]:
            async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as answer:
                return answer.status, await answer.json(content_type=None)

        for body, status in bad:
            good = b'{"kind": "noop", "batch": "%s", "payload": {"$a.b": %d}}'
            calls = [call(good % (batch.encode(), n)) for n in range(50)]
            calls.insert(25, call(body))
            answers = await asyncio.gather(*calls)
            refused = answers.pop(25)
            assert refused[0] == status, refused
            assert {answer[0] for answer in answers} == {202}
            sent += len({answer[1]["id"] for answer in answers})
    assert sent == 50 * len(bad)
    eventually(lambda: stack.batch(batch) == {State.SUCCEEDED: sent}, within_s=20, what="every good one succeeds")


@contextmanager
def connected(stack: TestStack) -> Iterator[socket.socket]:
    with closing(socket.create_connection(("127.0.0.1", stack.intake_port), timeout=10)) as line:
        yield line


def head(length: str) -> bytes:
    return f"POST /process HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{length}\r\n\r\n".encode()
