"""How a server leaves: nobody is refused, nothing is cut short, and it ends in time."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from acked_common.http.server import graceful_stop
from acked_common.http.server.graceful_stop import GracefulServer
from acked_common.http.server.serve import (
    PEER_TAKES_WITHIN_S,
    WS_PING_EVERY_S,
    WS_PONG_WITHIN_S,
    bind_port,
    server_config,
)

WITHIN_S = 10.0
REQUEST = b"GET /quick HTTP/1.1\r\nHost: localhost\r\n\r\n"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Bench:
    """A server in this process, and what its application sees."""

    def __init__(self, *, peer_takes_within_s: float = 10.0) -> None:
        self.began = asyncio.Event()
        self.may_end = asyncio.Event()
        self.ended = asyncio.Event()
        self.stops = 0
        self.sock = bind_port("127.0.0.1", 0, peer_takes_within_s=peer_takes_within_s)
        self.own = bind_port("127.0.0.1", 0)
        self.port = self.sock.getsockname()[1]
        routes = [Route("/quick", self._quick), Route("/slow", self._slow), Route("/large", self._large)]
        self.config = server_config(Starlette(routes=[*routes, WebSocketRoute("/ws", self._follow)]))
        self.config.lifespan = "off"
        self.server = GracefulServer(self.config, on_stop=self._on_stop, own=self.own)

    def _on_stop(self) -> None:
        self.stops += 1

    async def _quick(self, _: Request) -> Response:
        return PlainTextResponse("quick")

    async def _slow(self, _: Request) -> Response:
        self.began.set()
        try:
            await self.may_end.wait()
        finally:
            self.ended.set()
        return PlainTextResponse("slow")

    async def _large(self, _: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            try:
                while not self.ended.is_set():
                    yield bytes(2**20)
                    await asyncio.sleep(0)
            finally:
                self.ended.set()

        return StreamingResponse(parts())

    async def _follow(self, websocket: WebSocket) -> None:
        await websocket.accept()
        self.began.set()
        while (await websocket.receive())["type"] != "websocket.disconnect":
            pass
        self.ended.set()

    async def start(self) -> None:
        self.config.load()
        self.server.lifespan = self.config.lifespan_class(self.config)
        await self.server.startup(sockets=[self.sock, self.own])

    async def stop(self) -> None:
        if self.stops == 0:
            await self.server.shutdown(sockets=[self.sock, self.own])

    async def connect(self, port: int | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", port or self.port)


@asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[Bench]:
    async with asyncio.timeout(WITHIN_S * 2):
        await bench.start()
        try:
            yield bench
        finally:
            bench.may_end.set()
            bench.ended.set()
            await bench.stop()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with running(Bench()) as made:
        yield made


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle connections are kept for a moment only."""
    monkeypatch.setattr(graceful_stop, "LAME_DUCK_S", 0.05)


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers.get("content-length", "0")))


async def test_who_waits_in_the_queue_of_the_port_is_served(bench: Bench) -> None:
    # The loop does not run in between: the kernel has made the connections, and nobody has accepted them.
    waiting = [socket.create_connection(("127.0.0.1", bench.port), timeout=WITHIN_S) for _ in range(60)]
    for sock in waiting[:30]:
        sock.sendall(REQUEST)
    stopping = asyncio.create_task(bench.stop())
    await asyncio.sleep(0)
    for sock in waiting[30:]:
        sock.sendall(REQUEST)
    for sock in waiting:
        sock.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=sock)
        status, headers, body = await answer(reader)
        assert (status, headers["connection"], body) == (200, "close", b"quick")
        assert await reader.read() == b""
        writer.close()
    await stopping
    assert bench.stops == 1


async def test_the_port_is_left_at_once(bench: Bench) -> None:
    _, writer = await bench.connect()
    stopping = asyncio.create_task(bench.stop())
    await asyncio.sleep(0)
    with pytest.raises(ConnectionRefusedError):
        await bench.connect()
    writer.close()
    await stopping


async def test_another_listener_gets_all_new_connections(bench: Bench) -> None:
    _, idle = await bench.connect()
    with bind_port("127.0.0.1", bench.port) as other:
        other.listen(100)
        stopping = asyncio.create_task(bench.stop())
        await asyncio.sleep(0)
        for _ in range(50):
            _, writer = await bench.connect()
            writer.close()
        other.setblocking(False)
        for _ in range(50):
            other.accept()[0].close()
        idle.close()
        await stopping


async def test_a_connection_that_is_kept_alive_gets_one_more_answer(bench: Bench) -> None:
    reader, writer = await bench.connect()
    writer.write(REQUEST)
    assert "connection" not in (await answer(reader))[1]
    stopping = asyncio.create_task(bench.stop())
    await asyncio.sleep(0)
    writer.write(REQUEST)
    status, headers, _ = await answer(reader)
    assert (status, headers["connection"]) == (200, "close")
    assert await reader.read() == b""
    writer.close()
    await stopping


@pytest.mark.usefixtures("brief")
async def test_an_idle_connection_is_closed_and_the_server_ends(bench: Bench) -> None:
    reader, writer = await bench.connect()
    writer.write(REQUEST)
    await answer(reader)
    unused, other = await bench.connect()
    await asyncio.wait_for(bench.stop(), 2.0)
    assert await reader.read() == b""
    assert await unused.read() == b""
    writer.close()
    other.close()


@pytest.mark.usefixtures("brief")
async def test_a_request_that_is_half_there_is_no_idle_connection(bench: Bench) -> None:
    reader, writer = await bench.connect()
    writer.write(REQUEST[:10])
    again, second = await bench.connect()
    second.write(REQUEST)
    await answer(again)
    second.write(REQUEST[:10])
    stopping = asyncio.create_task(bench.stop())
    # Far beyond the time in which idle ones are closed.
    await asyncio.wait({stopping}, timeout=0.3)
    assert not stopping.done()
    writer.write(REQUEST[10:])
    second.write(REQUEST[10:])
    assert (await answer(reader))[0] == 200
    assert (await answer(again))[0] == 200
    writer.close()
    second.close()
    await stopping


@pytest.mark.usefixtures("brief")
async def test_a_running_request_ends_and_is_the_last_on_its_connection(bench: Bench) -> None:
    reader, writer = await bench.connect()
    writer.write(REQUEST.replace(b"quick", b"slow"))
    await bench.began.wait()
    stopping = asyncio.create_task(bench.stop())
    await asyncio.wait({stopping}, timeout=0.3)
    assert not stopping.done()
    bench.may_end.set()
    status, headers, body = await answer(reader)
    assert (status, headers["connection"], body) == (200, "close", b"slow")
    writer.close()
    await stopping


async def test_a_request_that_does_not_end_is_cancelled_in_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graceful_stop, "RUNNING_WITHIN_S", 0.2)
    _, writer = await bench.connect()
    writer.write(REQUEST.replace(b"quick", b"slow"))
    await bench.began.wait()
    await asyncio.wait_for(bench.stop(), 3.0)
    await asyncio.wait_for(bench.ended.wait(), 1.0)
    writer.close()


async def test_a_websocket_is_closed_with_1012(bench: Bench) -> None:
    reader, writer = await bench.connect()
    writer.write(UPGRADE)
    assert (await answer(reader))[0] == 101
    await bench.began.wait()
    await bench.stop()
    assert await reader.readexactly(4) == b"\x88\x02" + (1012).to_bytes(2)
    assert bench.ended.is_set()
    writer.close()


async def test_its_own_port_answers_until_the_end(bench: Bench) -> None:
    reader, writer = await bench.connect()
    writer.write(REQUEST.replace(b"quick", b"slow"))
    await bench.began.wait()
    stopping = asyncio.create_task(bench.stop())
    await asyncio.sleep(0)
    asked, asking = await bench.connect(bench.own.getsockname()[1])
    asking.write(REQUEST)
    assert (await answer(asked))[0] == 200
    bench.may_end.set()
    await answer(reader)
    writer.close()
    asking.close()
    await stopping


async def test_a_peer_that_stops_reading_is_gone() -> None:
    async with running(Bench(peer_takes_within_s=0.5)) as bench:
        with socket.create_connection(("127.0.0.1", bench.port), timeout=WITHIN_S) as silent:
            silent.sendall(REQUEST.replace(b"quick", b"large"))
            await asyncio.wait_for(bench.ended.wait(), WITHIN_S)


async def test_a_websocket_peer_that_answers_no_ping_is_gone() -> None:
    assert WS_PING_EVERY_S + WS_PONG_WITHIN_S <= 15.0
    silent = Bench()
    assert (silent.config.ws_ping_interval, silent.config.ws_ping_timeout) == (WS_PING_EVERY_S, WS_PONG_WITHIN_S)
    silent.config.ws_ping_interval = silent.config.ws_ping_timeout = 0.1
    async with running(silent) as bench:
        reader, writer = await bench.connect()
        writer.write(UPGRADE)
        assert (await answer(reader))[0] == 101
        await asyncio.wait_for(bench.ended.wait(), WITHIN_S)
        writer.close()


def listening_options(sock: socket.socket) -> Any:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)


def test_accepted_connections_inherit_the_time_for_reading() -> None:
    with bind_port("127.0.0.1", 0) as sock:
        sock.listen()
        with socket.create_connection(sock.getsockname(), timeout=WITHIN_S):
            accepted, _ = sock.accept()
            with accepted:
                assert listening_options(accepted) == int(PEER_TAKES_WITHIN_S * 1000)
