"""Heads, chunks and pipelined requests that the server refuses: on a real server, over real connections."""

import asyncio
import json

import pytest

from acked_common.http.server.protocol import MAX_PIPELINED
from support.raw_http import GET, LONG, POST, UPGRADE, WITHIN_S, serve


@pytest.mark.parametrize(
    "head",
    [b"GET /%s HTTP/1.1\r\n", b"GET / HTTP/1.1\r\na: %s\r\n", b"GET / HTTP/1.1\r\n%s: a\r\n", UPGRADE + b"a: %s\r\n"],
)
async def test_a_head_is_refused_while_it_is_read(head: bytes) -> None:
    async with serve(LONG) as server:
        client = await server.connect(head.partition(b"%s")[0])
        reading = asyncio.create_task(client.response())
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
async def test_a_large_head_that_comes_whole_is_refused_too(sent: bytes) -> None:
    async with serve(LONG) as server:
        client = await server.connect(GET[:-2] + sent + b"\r\n\r\n")
        status, _, body = await client.response()
        assert (status, json.loads(body)["type"]) == (431, "/problems/headers-too-large")


async def test_many_small_parts_of_a_head_are_counted_as_one() -> None:
    async with serve(LONG) as server:
        client = await server.connect(GET[:-2])
        for _ in range(30):
            client.send(b"a: %s\r\n" % (b"x" * 1000))
            await client.writer.drain()
        client.send(b"\r\n")
        assert (await client.response())[0] == 200


@pytest.mark.parametrize(
    "piece", [b"1;" + b"x" * 9000 + b"\r\n", b"0\r\n" + b"a: b\r\n" * 2000], ids=["extension", "trailer"]
)
async def test_what_surrounds_chunks_is_limited(piece: bytes) -> None:
    async with serve(LONG) as server:
        client = await server.connect(POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n")
        await server.began.wait()
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
async def test_what_is_no_http_is_a_400(sent: bytes) -> None:
    async with serve(LONG) as server:
        assert await (await server.connect(sent)).problem() == "bad-http"
        await server.wait_empty()


@pytest.mark.parametrize("bad", [b"\x00\x01nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nbad header\r\n\r\n"])
async def test_garbage_behind_a_request_does_not_take_its_answer(bad: bytes) -> None:
    async with serve(LONG) as server:
        client = await server.connect(GET.replace(b"/quick", b"/slow") + bad)
        await server.began.wait()
        server.may_end.set()
        assert (await client.response())[2] == b"slow"
        assert await client.problem() == "bad-http"


async def test_a_bad_body_behind_a_request_is_answered_behind_it() -> None:
    async with serve(LONG) as server:
        bad = POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"
        client = await server.connect(GET.replace(b"/quick", b"/slow") + bad)
        await server.began.wait()
        server.may_end.set()
        assert (await client.response())[2] == b"slow"
        assert await client.problem() == "bad-http"
        assert not server.ended.is_set()


async def test_requests_without_waiting_are_answered_in_order_up_to_a_number() -> None:
    async with serve(LONG) as server:
        client = await server.connect(GET * MAX_PIPELINED)
        for _ in range(MAX_PIPELINED):
            assert (await client.response())[0] == 200
        flood = await server.connect(GET * 5000)
        for _ in range(MAX_PIPELINED + 1):
            assert (await flood.response())[0] == 200
        assert await flood.problem() == "bad-http"


@pytest.mark.parametrize(
    "sent",
    [
        UPGRADE.replace(b"/ws", b"/ws?" + b"x" * 9000) + b"\r\n",
        UPGRADE + b"a: " + b"x" * 9000 + b"\r\n\r\n",
        UPGRADE + b"a: b\r\n" * 200 + b"\r\n",
    ],
)
async def test_a_handshake_that_can_not_be_read_ends_the_connection(sent: bytes) -> None:
    async with serve(LONG) as server:
        assert await (await server.connect(sent)).problem() == "bad-http"
        await server.wait_empty()


async def test_who_leaves_before_the_answers_to_many_requests_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with serve(LONG) as server:
        client = await server.connect(GET.replace(b"/quick", b"/slow") + GET * 3)
        await server.began.wait()
        client.writer.transport.abort()
        server.may_end.set()
        await server.wait_empty()
        again = await server.connect(GET)
        assert (await again.response())[0] == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
