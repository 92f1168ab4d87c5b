"""Deadlines for receiving a request, and the waits to which they don't apply: over real connections."""

import asyncio
from dataclasses import replace

import pytest

from acked_common.http.settings import HttpLimits
from support.raw_http import GET, LONG, POST, UPGRADE, WITHIN_S, closed, serve


async def test_a_silent_connection_is_closed_without_a_word() -> None:
    before = closed("first-byte")
    async with serve(replace(LONG, first_byte_s=0.1)) as server:
        silent = await server.connect()
        empty = await server.connect(b"\r\n")
        await silent.wait_closed()
        await empty.wait_closed()
        await server.wait_empty()
    assert closed("first-byte") == before + 2


@pytest.mark.parametrize("sent", [b"G", b"GET /quick HTTP/1.1\r\n", GET[:-2], UPGRADE, GET + b"GET"])
async def test_a_head_must_be_whole_in_time(sent: bytes) -> None:
    async with serve(replace(LONG, head_s=0.1)) as server:
        slow = await server.connect(sent)
        if sent.startswith(GET):
            assert (await slow.response())[0] == 200
        assert await slow.problem() == "slow-head"
        await server.wait_empty()


async def test_to_trickle_wins_no_time() -> None:
    async with serve(replace(LONG, head_s=0.3)) as server:
        slow = await server.connect(b"GET /quick HTTP/1.1\r\n")
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
async def test_a_body_must_be_whole_in_time(sent: bytes) -> None:
    async with serve(replace(LONG, body_s=0.1)) as server:
        slow = await server.connect(sent)
        if sent.startswith(GET):
            assert (await slow.response())[0] == 200
        if b"Expect" in sent:
            assert (await slow.response())[0] == 100
        assert await slow.problem() == "slow-body"
        async with asyncio.timeout(WITHIN_S):
            await server.ended.wait()
        await server.wait_empty()


async def test_a_body_that_nobody_reads_must_end_too() -> None:
    async with serve(replace(LONG, body_s=0.1)) as server:
        slow = await server.connect(POST.replace(b"/body", b"/quick") + b"Content-Length: 5\r\n\r\n1")
        assert (await slow.response())[0] == 200
        await slow.wait_closed()
        await server.wait_empty()


async def test_a_route_that_waits_is_left_when_its_body_does_not_come() -> None:
    async with serve(replace(LONG, body_s=0.1)) as server:
        slow = await server.connect(b"GET /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n")
        assert await slow.problem() == "slow-body"


async def test_time_in_which_the_server_reads_nothing_does_not_count() -> None:
    async with serve(replace(LONG, body_s=0.1)) as server:
        size = 2**20
        head = b"GET /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size
        waiting = await server.connect(head + bytes(size))
        reading = asyncio.create_task(waiting.response())
        await asyncio.wait({reading}, timeout=0.5)
        assert not reading.done()
        server.may_end.set()
        assert (await reading)[0] == 200


async def test_an_idle_connection_is_kept_for_its_time() -> None:
    async with serve(replace(LONG, idle_s=0.2)) as server:
        client = await server.connect()
        for _ in range(3):
            client.send(GET)
            status, headers, _ = await client.response()
            assert (status, headers.get("connection")) == (200, None)
        client.send(b"\r\n")
        await client.wait_closed()


async def test_a_running_request_has_no_limit_here() -> None:
    async with serve(HttpLimits(1000, 0.05, 0.05, 0.05, 0.05)) as server:
        client = await server.connect(GET.replace(b"/quick", b"/slow"))
        reading = asyncio.create_task(client.response())
        await asyncio.wait({reading}, timeout=0.6)
        assert not reading.done()
        server.may_end.set()
        assert (await reading)[2] == b"slow"
        await client.wait_closed()


async def test_a_websocket_has_no_limit_here() -> None:
    async with serve(HttpLimits(1000, 0.05, 0.05, 0.05, 0.05)) as server:
        client = await server.connect(UPGRADE + b"\r\n")
        assert (await client.response())[0] == 101
        await asyncio.wait({asyncio.create_task(server.ended.wait())}, timeout=0.6)
        assert not server.ended.is_set()
