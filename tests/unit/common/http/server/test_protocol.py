"""What a client may cost before its request is there: on a real server, over real connections."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from acked_common.http.edge import Edge
from acked_common.http.request_guards import RequestGuards
from acked_common.http.requests import read_bounded
from acked_common.http.server import connection_watch
from acked_common.http.server.connection_watch import RESERVED_CONNECTIONS
from acked_common.http.server.protocol import MAX_PIPELINED
from acked_common.http.server.serve import server_config
from acked_common.http.settings import HttpLimits
from support.web_server import WebServer, serving

WITHIN_S = 10.0
LONG = HttpLimits(connections=1000, first_byte_s=60, head_s=60, body_s=60, idle_s=60)
GET = b"GET /quick HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /body HTTP/1.1\r\nHost: localhost\r\n"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


class Client:
    """One connection, written to as a test likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(WITHIN_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            lines = (line.partition(":") for line in head[1:] if line)
            headers = {name.lower(): value.strip() for name, _, value in lines}
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
            return int(head[0].split()[1]), headers, body

    async def problem(self) -> str:
        """The name of the problem that ends the connection."""
        status, headers, body = await self.answer()
        document = json.loads(body)
        assert document["status"] == status
        assert headers["content-type"] == "application/problem+json"
        assert headers["connection"] == "close"
        assert headers["x-content-type-options"] == "nosniff"
        await self.is_closed()
        return str(document["type"]).removeprefix("/problems/")

    async def is_closed(self) -> None:
        async with asyncio.timeout(WITHIN_S):
            assert await self.reader.read() == b""
        self.writer.close()


class Bench:
    """A server, and what its application sees."""

    def __init__(self, web: WebServer) -> None:
        self._web = web
        self._writers: list[asyncio.StreamWriter] = []
        self.began = asyncio.Event()
        self.may_end = asyncio.Event()
        self.ended = asyncio.Event()

    async def connect(self, sent: bytes = b"") -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._web.port)
        self._writers.append(writer)
        writer.write(sent)
        return Client(reader, writer)

    async def empties(self) -> None:
        """Until no connection is left."""
        async with asyncio.timeout(WITHIN_S):
            while self._web.sockets:  # noqa: ASYNC110 - uvicorn sets no event of ours
                await asyncio.sleep(0)

    def leave(self) -> None:
        for writer in self._writers:
            writer.close()


Serve = Callable[[HttpLimits], AbstractAsyncContextManager[Bench]]


@pytest.fixture
def serve() -> Serve:
    @asynccontextmanager
    async def made(limits: HttpLimits) -> AsyncIterator[Bench]:
        bench: Bench

        async def quick(_: Request) -> Response:
            return PlainTextResponse("quick")

        async def body(request: Request) -> Response:
            bench.began.set()
            try:
                return PlainTextResponse(str(len(await read_bounded(request, 2**20))))
            finally:
                bench.ended.set()

        async def slow(_: Request) -> Response:
            bench.began.set()
            await bench.may_end.wait()
            return PlainTextResponse("slow")

        async def follow(websocket: WebSocket) -> None:
            await websocket.accept()
            while (await websocket.receive())["type"] != "websocket.disconnect":
                pass
            bench.ended.set()

        app = Starlette(
            routes=[
                Route("/quick", quick, methods=["GET", "POST"]),
                Route("/healthz", quick),
                Route("/body", body, methods=["POST"]),
                Route("/slow", slow),
                WebSocketRoute("/ws", follow),
            ],
        )
        app.middleware_stack = Edge(app.build_middleware_stack(), checks=[RequestGuards().check])
        async with serving(server_config(app, limits)) as web:
            bench = Bench(web)
            try:
                yield bench
            finally:
                bench.may_end.set()
                bench.leave()

    return made


def closed(why: str) -> float:
    return REGISTRY.get_sample_value("acked_http_closed_total", {"why": why}) or 0.0


async def test_a_silent_connection_is_closed_without_a_word(serve: Serve) -> None:
    before = closed("first-byte")
    async with serve(replace(LONG, first_byte_s=0.1)) as bench:
        silent = await bench.connect()
        empty = await bench.connect(b"\r\n")
        await silent.is_closed()
        await empty.is_closed()
        await bench.empties()
    assert closed("first-byte") == before + 2


@pytest.mark.parametrize("sent", [b"G", b"GET /quick HTTP/1.1\r\n", GET[:-2], UPGRADE, GET + b"GET"])
async def test_a_head_must_be_whole_in_time(serve: Serve, sent: bytes) -> None:
    async with serve(replace(LONG, head_s=0.1)) as bench:
        slow = await bench.connect(sent)
        if sent.startswith(GET):
            assert (await slow.answer())[0] == 200
        assert await slow.problem() == "slow-head"
        await bench.empties()


async def test_to_trickle_wins_no_time(serve: Serve) -> None:
    async with serve(replace(LONG, head_s=0.3)) as bench:
        slow = await bench.connect(b"GET /quick HTTP/1.1\r\n")
        refused = asyncio.create_task(slow.problem())
        async with asyncio.timeout(WITHIN_S):
            while not refused.done():
                slow.send(b"a: b\r\n")
                await asyncio.wait({refused}, timeout=0.02)
        assert await refused == "slow-head"


@pytest.mark.parametrize(
    "sent",
    [
        POST + b"Content-Length: 5\r\n\r\n",
        POST + b"Content-Length: 5\r\n\r\n1234",
        POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
        POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        GET + POST + b"Content-Length: 5\r\n\r\n",
    ],
)
async def test_a_body_must_be_whole_in_time(serve: Serve, sent: bytes) -> None:
    async with serve(replace(LONG, body_s=0.1)) as bench:
        slow = await bench.connect(sent)
        if sent.startswith(GET):
            assert (await slow.answer())[0] == 200
        if b"Expect" in sent:
            assert (await slow.answer())[0] == 100
        assert await slow.problem() == "slow-body"
        async with asyncio.timeout(WITHIN_S):
            await bench.ended.wait()
        await bench.empties()


async def test_a_body_that_nobody_reads_must_end_too(serve: Serve) -> None:
    async with serve(replace(LONG, body_s=0.1)) as bench:
        slow = await bench.connect(POST.replace(b"/body", b"/quick") + b"Content-Length: 5\r\n\r\n1")
        assert (await slow.answer())[0] == 200
        await slow.is_closed()
        await bench.empties()


async def test_a_route_that_waits_is_left_when_its_body_does_not_come(serve: Serve) -> None:
    async with serve(replace(LONG, body_s=0.1)) as bench:
        slow = await bench.connect(b"GET /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n")
        assert await slow.problem() == "slow-body"


async def test_time_in_which_the_server_reads_nothing_does_not_count(serve: Serve) -> None:
    async with serve(replace(LONG, body_s=0.1)) as bench:
        size = 2**20
        head = b"GET /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size
        waiting = await bench.connect(head + bytes(size))
        reading = asyncio.create_task(waiting.answer())
        await asyncio.wait({reading}, timeout=0.5)
        assert not reading.done()
        bench.may_end.set()
        assert (await reading)[0] == 200


async def test_an_idle_connection_is_kept_for_its_time(serve: Serve) -> None:
    async with serve(replace(LONG, idle_s=0.2)) as bench:
        client = await bench.connect()
        for _ in range(3):
            client.send(GET)
            status, headers, _ = await client.answer()
            assert (status, headers.get("connection")) == (200, None)
        client.send(b"\r\n")
        await client.is_closed()


async def test_a_running_request_has_no_limit_here(serve: Serve) -> None:
    async with serve(HttpLimits(1000, 0.05, 0.05, 0.05, 0.05)) as bench:
        client = await bench.connect(GET.replace(b"/quick", b"/slow"))
        reading = asyncio.create_task(client.answer())
        await asyncio.wait({reading}, timeout=0.6)
        assert not reading.done()
        bench.may_end.set()
        assert (await reading)[2] == b"slow"
        await client.is_closed()


async def test_a_websocket_has_no_limit_here(serve: Serve) -> None:
    async with serve(HttpLimits(1000, 0.05, 0.05, 0.05, 0.05)) as bench:
        client = await bench.connect(UPGRADE + b"\r\n")
        assert (await client.answer())[0] == 101
        await asyncio.wait({asyncio.create_task(bench.ended.wait())}, timeout=0.6)
        assert not bench.ended.is_set()


@pytest.mark.parametrize(
    "head",
    [b"GET /%s HTTP/1.1\r\n", b"GET / HTTP/1.1\r\na: %s\r\n", b"GET / HTTP/1.1\r\n%s: a\r\n", UPGRADE + b"a: %s\r\n"],
)
async def test_a_head_is_refused_while_it_is_read(serve: Serve, head: bytes) -> None:
    async with serve(LONG) as bench:
        client = await bench.connect(head.partition(b"%s")[0])
        reading = asyncio.create_task(client.answer())
        sent = 0
        async with asyncio.timeout(WITHIN_S):
            while not reading.done() and sent < 8 * 2**20:
                client.send(b"x" * 16384)
                sent += 16384
                await asyncio.wait({reading}, timeout=0.005)
        assert sent < 2**20
        status, _, body = await reading
        assert (status, json.loads(body)["type"]) == (431, "/problems/headers-too-large")


@pytest.mark.parametrize("sent", [b"a: " + b"x" * 40_000, b"aaaa: b\r\n" * 8000])
async def test_a_large_head_that_comes_whole_is_refused_too(serve: Serve, sent: bytes) -> None:
    async with serve(LONG) as bench:
        client = await bench.connect(GET[:-2] + sent + b"\r\n\r\n")
        status, _, body = await client.answer()
        assert (status, json.loads(body)["type"]) == (431, "/problems/headers-too-large")


async def test_many_small_parts_of_a_head_are_counted_as_one(serve: Serve) -> None:
    async with serve(LONG) as bench:
        client = await bench.connect(GET[:-2])
        for _ in range(30):
            client.send(b"a: %s\r\n" % (b"x" * 1000))
            await client.writer.drain()
        client.send(b"\r\n")
        assert (await client.answer())[0] == 200


@pytest.mark.parametrize(
    "piece", [b"1;" + b"x" * 9000 + b"\r\n", b"0\r\n" + b"a: b\r\n" * 2000], ids=["extension", "trailer"]
)
async def test_what_surrounds_chunks_is_limited(serve: Serve, piece: bytes) -> None:
    async with serve(LONG) as bench:
        client = await bench.connect(POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n")
        await bench.began.wait()
        client.send(piece)
        reading = asyncio.create_task(client.problem())
        async with asyncio.timeout(WITHIN_S):
            while not reading.done():
                client.send(b"x" * 8192 if piece.startswith(b"1") else b"a: b\r\n" * 2000)
                await asyncio.wait({reading}, timeout=0.01)
        assert await reading in ("headers-too-large", "bad-http")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_no_http_is_a_400(serve: Serve, sent: bytes) -> None:
    async with serve(LONG) as bench:
        assert await (await bench.connect(sent)).problem() == "bad-http"
        await bench.empties()


@pytest.mark.parametrize("bad", [b"\x00\x01nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nbad header\r\n\r\n"])
async def test_garbage_behind_a_request_does_not_take_its_answer(serve: Serve, bad: bytes) -> None:
    async with serve(LONG) as bench:
        client = await bench.connect(GET.replace(b"/quick", b"/slow") + bad)
        await bench.began.wait()
        bench.may_end.set()
        assert (await client.answer())[2] == b"slow"
        assert await client.problem() == "bad-http"


async def test_a_bad_body_behind_a_request_is_answered_behind_it(serve: Serve) -> None:
    async with serve(LONG) as bench:
        bad = POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"
        client = await bench.connect(GET.replace(b"/quick", b"/slow") + bad)
        await bench.began.wait()
        bench.may_end.set()
        assert (await client.answer())[2] == b"slow"
        assert await client.problem() == "bad-http"
        assert not bench.ended.is_set()


async def test_requests_without_waiting_are_answered_in_order_up_to_a_number(serve: Serve) -> None:
    async with serve(LONG) as bench:
        client = await bench.connect(GET * MAX_PIPELINED)
        for _ in range(MAX_PIPELINED):
            assert (await client.answer())[0] == 200
        flood = await bench.connect(GET * 5000)
        for _ in range(MAX_PIPELINED + 1):
            assert (await flood.answer())[0] == 200
        assert await flood.problem() == "bad-http"


async def test_a_full_server_lets_go_who_only_waits(serve: Serve) -> None:
    before = closed("evicted")
    async with serve(replace(LONG, connections=20)) as bench:
        idle = await bench.connect(GET)
        await idle.answer()
        slow = [await bench.connect(b"GET /quick HTTP/1.1\r\n") for _ in range(60)]
        for _ in range(5):
            assert (await (await bench.connect(GET)).answer())[0] == 200
        await slow[0].is_closed()
    assert closed("evicted") >= before + 40


async def test_a_server_full_of_running_requests_still_tells_its_health(serve: Serve) -> None:
    async with serve(replace(LONG, connections=20)) as bench:
        running = [await bench.connect(GET.replace(b"/quick", b"/slow")) for _ in range(20)]
        for _ in range(RESERVED_CONNECTIONS * 2):
            health = await bench.connect(GET.replace(b"/quick", b"/healthz"))
            status, headers, _ = await health.answer()
            assert (status, headers["connection"]) == (200, "close")
            await health.is_closed()
        other = await bench.connect(GET)
        assert await other.problem() == "busy"
        bench.may_end.set()
        for client in running:
            assert (await client.answer())[0] == 200
        again = await bench.connect(GET)
        assert (await again.answer())[0] == 200


async def test_beyond_the_reserve_connections_are_refused(serve: Serve) -> None:
    async with serve(replace(LONG, connections=1)) as bench:
        running = await bench.connect(GET.replace(b"/quick", b"/slow"))
        await bench.began.wait()
        more = [await bench.connect(GET.replace(b"/quick", b"/slow")) for _ in range(RESERVED_CONNECTIONS)]
        for each in more:
            assert await each.problem() == "busy"
        bench.may_end.set()
        assert (await running.answer())[0] == 200


async def test_a_thousand_slow_clients_are_ended_little_by_little(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_watch, "TICK_S", 0.05)
    async with serve(replace(LONG, head_s=0.2)) as bench:
        slow = [await bench.connect(b"GET / HTTP/1.1\r\n") for _ in range(200)]
        assert {await each.problem() for each in slow} == {"slow-head"}
        await bench.empties()


async def test_a_refused_client_that_stays_is_left(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_watch, "GOODBYE_S", 0.1)
    async with serve(LONG) as bench:
        client = await bench.connect(b"nonsense\r\n\r\n")
        assert (await client.answer())[0] == 400
        await bench.empties()


@pytest.mark.parametrize(
    "sent",
    [
        UPGRADE.replace(b"/ws", b"/ws?" + b"x" * 9000) + b"\r\n",
        UPGRADE + b"a: " + b"x" * 9000 + b"\r\n\r\n",
        UPGRADE + b"a: b\r\n" * 200 + b"\r\n",
    ],
)
async def test_a_handshake_that_can_not_be_read_ends_the_connection(serve: Serve, sent: bytes) -> None:
    async with serve(LONG) as bench:
        assert await (await bench.connect(sent)).problem() == "bad-http"
        await bench.empties()


async def test_who_leaves_before_the_answers_to_many_requests_breaks_nothing(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(LONG) as bench:
        client = await bench.connect(GET.replace(b"/quick", b"/slow") + GET * 3)
        await bench.began.wait()
        client.writer.transport.abort()
        bench.may_end.set()
        await bench.empties()
        again = await bench.connect(GET)
        assert (await again.answer())[0] == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_connections_are_counted_until_they_are_gone(serve: Serve) -> None:
    def count() -> Any:
        return REGISTRY.get_sample_value("acked_http_connections")

    before = count()
    async with serve(LONG) as bench:
        client = await bench.connect(GET)
        await client.answer()
        assert count() == before + 1
        websocket = await bench.connect(UPGRADE + b"\r\n")
        await websocket.answer()
        assert count() == before + 1
        bench.leave()
        await bench.empties()
        assert count() == before
