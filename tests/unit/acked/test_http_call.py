"""`http_call` against a real server on loopback."""

import asyncio
import base64
import gzip
import random
import socket
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from acked import Permanent, RetryLater, json_values
from acked.kinds import settings
from acked.kinds.http_answer import HttpCallError
from acked.kinds.http_body import MAX_BODY_BYTES
from acked.kinds.http_call import http_call
from acked.kinds.http_guard import Refused
from acked.resources import close_resources
from acked.testing import RecordingAttempt

JSON = "application/json"
Answering = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Server:
    """Answers as it is told and keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[web.BaseRequest] = []
        self.bodies: list[bytes] = []
        self.answering: Answering = self.fine
        self.url = ""

    async def fine(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({"fine": True})

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        self.bodies.append(await request.read())
        return await self.answering(request)


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    made = Server()
    runner = web.ServerRunner(web.Server(made.handle), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0]
    made.url = f"http://{host}:{port}"
    monkeypatch.setenv(settings.HTTP_CALL_ALLOW, f"{host}:{port}")
    yield made
    await close_resources()
    await runner.cleanup()


async def call(payload: Any, **attempt: Any) -> dict[str, Any]:
    return await http_call(RecordingAttempt(id="j", run=2, **attempt).context, payload)


def answers(status: int, **more: Any) -> Answering:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, **more)

    return answer


async def test_a_call_and_its_result(server: Server) -> None:
    result = await call(
        {"url": f"{server.url}/orders?x=1", "json": {"item": 7}, "headers": {"authorization": "Bearer t"}}
    )
    assert (result["status"], result["json"]) == (200, {"fine": True})
    assert result["headers"]["content-type"].startswith("application/json")
    (request,) = server.requests
    assert (request.method, request.path_qs, server.bodies) == ("POST", "/orders?x=1", [b'{"item":7}'])
    assert request.headers["Idempotency-Key"] == "j:2"
    assert request.headers["Authorization"] == "Bearer t"
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers.getall("Accept-Encoding") == ["identity"]


async def test_all_calls_of_a_loop_share_a_session(server: Server) -> None:
    for _ in range(3):
        await call({"url": server.url})
    assert len({request.transport for request in server.requests}) == 1


async def test_a_host_that_is_not_allowed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.HTTP_CALL_ALLOW, "")
    for url in (
        server.url,
        server.url.replace("http:", "https:"),
        server.url.replace("127.0.0.1", "[::ffff:127.0.0.1]"),
    ):
        with pytest.raises(Refused):
            await call({"url": url})
    assert server.requests == []


async def test_a_name_that_leads_inside(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.HTTP_CALL_ALLOW, "")
    port = server.url.rsplit(":", 1)[1]
    with pytest.raises(Refused, match="its name resolves to an address that is not public"):
        await call({"url": f"https://localhost:{port}/"})
    assert server.requests == []


async def test_redirects_are_not_followed(server: Server) -> None:
    server.answering = answers(302, headers={"location": f"{server.url}/inside"})
    with pytest.raises(Permanent, match="redirects are not followed") as caught:
        await call({"url": f"{server.url}/start?key=hidden"})
    assert "hidden" not in str(caught.value)
    assert len(server.requests) == 1
    result = await call({"url": f"{server.url}/start", "expect": 302})
    assert result["headers"]["location"] == f"{server.url}/inside"


@pytest.mark.parametrize(("status", "error"), [(500, HttpCallError), (429, HttpCallError), (404, Permanent)])
async def test_failures(server: Server, status: int, error: type[Exception]) -> None:
    server.answering = answers(status)
    with pytest.raises(error, match=f"returned {status}"):
        await call({"url": server.url})
    assert (await call({"url": server.url, "expect": [200, status]}))["status"] == status


async def test_retry_after_is_honoured(server: Server) -> None:
    server.answering = answers(503, headers={"retry-after": "17"})
    with pytest.raises(RetryLater) as caught:
        await call({"url": server.url})
    assert caught.value.after_s == 17.0


async def test_a_long_answer_is_cut_without_reading_on(server: Server) -> None:
    release = asyncio.Event()

    async def long(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"x" * (MAX_BODY_BYTES + 1))
        # The rest never comes: a call that waits for it runs into its timeout.
        await release.wait()
        return response

    server.answering = long
    result = await call({"url": server.url, "timeout_s": 5})
    assert (len(result["body"]), result["truncated"]) == (MAX_BODY_BYTES, True)
    release.set()


async def test_an_answer_of_the_full_size_is_whole(server: Server) -> None:
    server.answering = answers(200, body=b"x" * MAX_BODY_BYTES)
    result = await call({"url": server.url})
    assert (len(result["body"]), "truncated" in result) == (MAX_BODY_BYTES, False)


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(b'{"a":1}', mtime=0)),
        ("x-gzip", gzip.compress(b'{"a"', mtime=0) + gzip.compress(b":1}", mtime=0)),
        ("GZIP, identity", gzip.compress(b'{"a":1}', mtime=0) + b"\0\0"),
        ("deflate", zlib.compress(b'{"a":1}')),
        ("deflate", zlib.compress(b'{"a":1}', wbits=-15)),
        ("identity", b'{"a":1}'),
    ],
)
async def test_a_packed_response_is_unpacked(server: Server, coding: str, packed: bytes) -> None:
    server.answering = answers(200, body=packed, headers={"content-encoding": coding, "content-type": JSON})
    result = await call({"url": server.url})
    assert result["json"] == {"a": 1}
    assert result["headers"]["content-encoding"] == coding


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("br", b"\x0b\x03\x80{}\x03"),
        ("gzip", b"plain"),
        ("gzip, gzip", gzip.compress(b"a", mtime=0)),
        ("deflate", b"\xff\xff\xff"),
    ],
)
async def test_what_can_not_be_unpacked_is_kept_exactly(server: Server, coding: str, body: bytes) -> None:
    server.answering = answers(200, body=body, headers={"content-encoding": coding})
    result = await call({"url": server.url})
    assert base64.b64decode(result["body_base64"]) == body
    assert result.keys() == {"status", "headers", "body_base64"}


async def test_a_gzip_bomb_is_cut(server: Server) -> None:
    bomb = gzip.compress(b"x" * 2**26)
    server.answering = answers(200, body=bomb[: MAX_BODY_BYTES - 1], headers={"content-encoding": "gzip"})
    result = await call({"url": server.url})
    assert (len(result["body"]), result["truncated"]) == (MAX_BODY_BYTES, True)


async def test_a_packed_response_that_breaks_off_is_tried_again(server: Server) -> None:
    server.answering = answers(200, body=gzip.compress(b"abc" * 100)[:-9], headers={"content-encoding": "gzip"})
    with pytest.raises(HttpCallError, match="ends too early"):
        await call({"url": server.url})


async def test_a_long_packed_response_is_cut(server: Server) -> None:
    noise = random.Random(1).randbytes(MAX_BODY_BYTES * 2).hex().encode()
    server.answering = answers(200, body=gzip.compress(noise), headers={"content-encoding": "gzip"})
    result = await call({"url": server.url})
    assert result["truncated"] is True
    assert noise.startswith(result["body"].encode())


async def test_a_header_that_is_not_utf_8_does_not_lose_the_result(server: Server) -> None:
    async def latin(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(
            b'HTTP/1.1 200 OK\r\nETag: "M\xfcller"\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok'
        )
        request.transport.close()
        return web.Response()

    server.answering = latin
    result = await call({"url": server.url})
    assert result["headers"]["etag"] == '"M\xfcller"'
    assert json_values.encode(result)


@pytest.mark.parametrize(("timeout_s", "left_s"), [(0.05, 900.0), (30.0, 0.05)])
async def test_a_slow_answer(server: Server, timeout_s: float, left_s: float) -> None:
    release = asyncio.Event()

    async def slow(request: web.BaseRequest) -> web.StreamResponse:
        await release.wait()
        return web.Response()

    server.answering = slow
    deadline = RecordingAttempt().deadline - 900.0 + left_s
    with pytest.raises(HttpCallError, match="timed out after"):
        await call({"url": server.url, "timeout_s": timeout_s}, deadline=deadline)
    release.set()


async def test_nobody_listens(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        monkeypatch.setenv(settings.HTTP_CALL_ALLOW, f"127.0.0.1:{port}")
        with pytest.raises(HttpCallError, match="failed: ClientConnectorError"):
            await call({"url": f"http://127.0.0.1:{port}/?key=hidden"})


async def test_a_connection_that_breaks(server: Server) -> None:
    async def break_off(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    server.answering = break_off
    with pytest.raises(HttpCallError, match="failed: "):
        await call({"url": server.url})


async def test_cookies_are_not_kept(server: Server) -> None:
    server.answering = answers(200, headers={"set-cookie": "a=b"})
    for _ in range(2):
        await call({"url": server.url})
    assert "Cookie" not in server.requests[1].headers


async def test_no_proxy_of_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1/")
    assert (await call({"url": server.url}))["status"] == 200
