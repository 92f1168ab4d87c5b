"""What no honest client sends, over raw connections: refused or cut off, never a 500, and nobody else notices."""

import asyncio
import gzip
import itertools
import random
import socket
from collections.abc import Iterator
from contextlib import closing

import aiohttp
import pytest

from support.contract import assert_problem, raw_answer
from support.stacks import TestStack, eventually

ENVIRON = {
    "ACKED_HEAD_TIMEOUT_S": "1",
    "ACKED_BODY_TIMEOUT_S": "1",
    "ACKED_FIRST_BYTE_TIMEOUT_S": "2",
    "ACKED_IDLE_TIMEOUT_S": "3",
}
WITHIN_S = 30.0
AT_ONCE = 16
ROUNDS = 2
JSON_TYPE = b"Content-Type: application/json\r\n"
GOOD = b'{"kind": "noop", "delay_s": 3600}'


def request(body: bytes, *headers: bytes, target: bytes = b"/process", method: bytes = b"POST") -> bytes:
    lines = [b"%s %s HTTP/1.1" % (method, target), b"Host: localhost", *headers]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", body])


def posted(body: bytes) -> bytes:
    return request(body, JSON_TYPE.strip())


def hostile_bodies() -> Iterator[tuple[str, bytes]]:
    for what, payload in {
        "deep array": b"[" * 100_000,
        "deep array, closed": b"[" * 50_000 + b"]" * 50_000,
        "deep object": b'{"a":' * 50_000,
        "2^70": b"%d" % 2**70,
        "5,000 digits": b"9" * 5000,
        "1e999": b"1e999",
        "NaN": b"NaN",
        "surrogate": b'"\\ud800"',
        "not UTF-8": b'"\xff\xfe"',
        "NUL in a key": b'{"\\u0000": 1}',
        "raw NUL": b"\x00",
        "twice": b'{"a": 1, "a": 2}',
        "twice, escaped": b'{"a": 1, "\\u0061": 2}',
        "many keys twice": b"{" + b",".join(b'"%d":0' % (n % 1000) for n in range(3000)) + b"}",
        "cut off": b'{"a": [1, 2',
    }.items():
        yield what, posted(b'{"kind": "noop", "payload": ' + payload + b"}")
    yield "a key of 1 MB", posted(b'{"kind": "noop", "payload": {"' + b"k" * 2**20 + b'": 1}}')
    yield "a field of 200 KB", posted(b'{"kind": "noop", "' + b"k" * 200_000 + b'": 1}')
    yield "20,000 unknown fields", posted(b"{" + b",".join(b'"%d":0' % n for n in range(20_000)) + b"}")
    for value in (
        b"[]",
        b"1",
        b"null",
        b'"x"',
        b'{"kind": {"$ne": 1}}',
        b'{"kind": 1}',
        b'{"kind": "noop", "tags": {}}',
    ):
        yield f"wrong type {value!r}", posted(value)
    yield "gzip", request(gzip.compress(GOOD), JSON_TYPE.strip(), b"Content-Encoding: gzip")
    bomb = gzip.compress(bytes(20_000_000))
    yield "gzip bomb", request(bomb, JSON_TYPE.strip(), b"Content-Encoding: gzip")
    yield "gzip, undeclared", posted(gzip.compress(GOOD))
    yield "no type", request(GOOD)
    yield "two types", request(GOOD, JSON_TYPE.strip(), JSON_TYPE.strip())


def hostile_heads() -> Iterator[tuple[str, bytes]]:
    whole = posted(GOOD)
    for cut in (1, 5, 20, 60, len(whole) - 1):
        yield f"the first {cut} bytes", whole[:cut]
    yield "8 MB in a header", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\na: " + b"x" * 8 * 2**20 + b"\r\n\r\n"
    yield "8 MB of headers", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 1_400_000 + b"\r\n"
    yield "8 MB of target", b"GET /" + b"x" * 8 * 2**20 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    yield "64 KB of target", request(b"", target=b"/status/" + b"x" * 64_000, method=b"GET")
    yield "NUL in the target", request(b"", target=b"/status/\x00", method=b"GET")
    yield "%00 in the target", request(b"", target=b"/status/%00", method=b"GET")
    yield "no UTF-8 in the target", request(b"", target=b"/status/%ff%fe", method=b"GET")
    yield "bytes in the target", request(b"", target=b"/status/\xff", method=b"GET")
    yield "NUL in a header", request(b"", b"a: \x00", method=b"GET")
    yield "two lengths", posted(GOOD).replace(b"Content-Length", b"Content-Length: 5\r\nContent-Length", 1)
    yield "length and chunks", request(GOOD, JSON_TYPE.strip(), b"Transfer-Encoding: chunked")
    yield "negative length", posted(GOOD).replace(b"Content-Length: ", b"Content-Length: -", 1)
    yield "huge length", posted(GOOD).replace(b"Content-Length: ", b"Content-Length: 99999999999999999999", 1)
    yield (
        "a bad chunk",
        b"POST /process HTTP/1.1\r\nHost: a\r\n" + JSON_TYPE + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    )
    yield (
        "a huge chunk",
        (
            b"POST /process HTTP/1.1\r\nHost: localhost\r\n"
            + JSON_TYPE
            + b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\n"
            + b"x" * 400_000
        ),
    )
    yield "CONNECT", b"CONNECT a:1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    yield "HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield "HTTP/0.9", b"GET /\r\n\r\n"
    yield "TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256))
    upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    yield "half an upgrade", b"GET /ws/feed HTTP/1.1\r\nHost: localhost\r\n" + upgrade + b"\r\n"
    yield (
        "an upgrade with a body",
        b"POST /ws/feed HTTP/1.1\r\nHost: localhost\r\n" + upgrade + b"Content-Length: 9\r\n\r\n1",
    )
    version = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
    yield "a bad key", b"GET /ws/feed HTTP/1.1\r\nHost: localhost\r\n" + upgrade + version + b"\xff\r\n\r\n"
    yield (
        "a long line in an upgrade",
        b"GET /ws/feed?" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n" + upgrade + version + b"AAAA\r\n\r\n",
    )
    noise = random.Random(5)
    for number in range(10):
        yield f"noise {number}", noise.randbytes(3000)
    yield "pipelined noise", request(b"", target=b"/nowhere", method=b"GET") * 20 + noise.randbytes(3000)
    yield "10,000 requests at once", request(b"", target=b"/nowhere", method=b"GET") * 10_000


HOSTILE = dict(itertools.chain(hostile_bodies(), hostile_heads()))


async def statuses(port: int, sent: bytes) -> list[int]:
    """What a client that sends this is answered, until the server ends the connection, as it does with idle ones."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send() -> None:
        try:
            writer.write(sent)
            await writer.drain()
        except ConnectionError:
            pass

    sending = asyncio.create_task(send())
    found: list[int] = []
    try:
        async with asyncio.timeout(WITHIN_S):
            while True:
                line = (await reader.readuntil(b"\r\n")).split()
                assert line[0].startswith(b"HTTP/1."), line
                found.append(int(line[1]))
                head = await reader.readuntil(b"\r\n\r\n") if found[-1] != 101 else b""
                length = next((int(h[15:]) for h in head.lower().split(b"\r\n") if h.startswith(b"content-length:")), 0)
                body = await reader.readexactly(length)
                assert found[-1] < 500, body
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        await sending
        # What was not taken never will be; a plain close would wait for it.
        writer.transport.abort()
        try:
            await writer.wait_closed()
        except ConnectionError:
            pass
    return found


async def neighbours(port: int, until: asyncio.Event) -> list[int]:
    """Honest clients meanwhile, and what they are answered."""
    found: list[int] = []

    async def client(session: aiohttp.ClientSession) -> None:
        while not until.is_set():
            headers = {"Content-Type": "application/json"}
            async with session.post(f"http://127.0.0.1:{port}/process", data=GOOD, headers=headers) as answer:
                await answer.read()
                found.append(answer.status)

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(client(session) for _ in range(4)))
    return found


@pytest.mark.long
@pytest.mark.parametrize("service", ["intake", "gateway"])
async def test_hostile_requests_get_a_4xx_or_are_cut_off(stack: TestStack, service: str) -> None:
    port = stack.port(service)
    files_before = stack.metric("process_open_fds", to=service)
    is_over = asyncio.Event()
    posting = asyncio.create_task(neighbours(stack.intake_port, is_over))
    at_once = asyncio.Semaphore(AT_ONCE)
    wrong: list[tuple[str, list[int]]] = []

    async def attack(what: str, sent: bytes) -> None:
        async with at_once:
            found = await statuses(port, sent)
        if not all(400 <= status < 500 for status in found):
            wrong.append((what, found))

    try:
        await asyncio.gather(*(attack(what, sent) for _ in range(ROUNDS) for what, sent in HOSTILE.items()))
    finally:
        is_over.set()
    answered = await posting
    assert not wrong
    assert len(answered) > 10
    assert set(answered) == {202}
    eventually(
        lambda: stack.metric("process_open_fds", to=service) <= files_before + 10, within_s=10, what="files are closed"
    )
    for status in range(500, 506):
        if status != 503:
            assert stack.metric("acked_http_requests_total", f'{{route="/process",status="{status}"}}', to=service) == 0


def test_what_is_cut_off_is_refused_where_an_answer_can_be_given(stack: TestStack) -> None:
    async def of(what: str) -> list[int]:
        return await statuses(stack.intake_port, HOSTILE[what])

    assert asyncio.run(of("8 MB in a header")) == [431]
    assert asyncio.run(of("8 MB of headers")) == [431]
    assert asyncio.run(of("8 MB of target")) == [431]
    assert asyncio.run(of("the first 60 bytes")) == [408]
    assert asyncio.run(of("the first 1 bytes")) == [408]
    assert asyncio.run(of("a key of 1 MB")) == [413]
    assert asyncio.run(of("deep array")) == [400]
    assert asyncio.run(of("gzip bomb")) == [415]
    assert asyncio.run(of("TLS")) == [400]


def test_a_body_that_does_not_come_is_refused_in_time(stack: TestStack) -> None:
    with closing(socket.create_connection(("127.0.0.1", stack.intake_port), timeout=10)) as line:
        line.sendall(request(GOOD, JSON_TYPE.strip())[:-10])
        # Answered while the client says nothing more; the socket's timeout bounds the wait.
        answer = raw_answer(line)
        assert_problem(stack, answer, 408, "slow-body", says="1 s")
        assert line.recv(1) == b"", "the connection is closed"
