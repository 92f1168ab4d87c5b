"""What a WebSocket may send: each path has its size, and a message its number of pieces."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import websockets
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from uvicorn.server import ServerState
from websockets.protocol import Protocol, State

from acked_common.http.server.serve import WS_MAX_BYTES, server_config
from acked_common.http.server.websocket_protocol import CONTROLS_AT_ONCE, MAX_PIECES, SLICE_BYTES, limited_websocket
from support.web_server import serving

WITHIN_S = 10.0
SMALL = 1000


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    while (message := await websocket.receive())["type"] == "websocket.receive":
        await websocket.send_text(str(len(message["text"])))


@pytest.fixture
async def url() -> AsyncIterator[str]:
    app = Starlette(routes=[WebSocketRoute("/small", echo), WebSocketRoute("/usual", echo)])
    async with serving(server_config(app, websocket_bytes={"/small": SMALL})) as web:
        yield f"ws://127.0.0.1:{web.port}"


async def size_told(url: str, *pieces: str) -> str:
    async with asyncio.timeout(WITHIN_S), websockets.connect(url, compression=None, proxy=None) as socket:
        await socket.send(pieces[0] if len(pieces) == 1 else iter(pieces))
        return str(await socket.recv())


@pytest.mark.parametrize(("path", "size"), [("/small", SMALL), ("/small?a=b", SMALL), ("/usual", WS_MAX_BYTES)])
async def test_a_path_has_its_size(url: str, path: str, size: int) -> None:
    assert await size_told(url + path, "x" * size) == str(size)
    with pytest.raises(websockets.ConnectionClosed) as caught:
        await size_told(url + path, "x" * (size + 1))
    assert caught.value.rcvd is not None and caught.value.rcvd.code == 1009
    with pytest.raises(websockets.ConnectionClosed) as caught:
        await size_told(url + path, "x" * (size // 2 + 1), "x" * (size // 2 + 1))
    assert caught.value.rcvd is not None and caught.value.rcvd.code == 1009


async def test_a_message_has_so_many_pieces(url: str) -> None:
    # The client ends it with an empty piece.
    assert await size_told(url + "/usual", *["x"] * (MAX_PIECES - 1)) == str(MAX_PIECES - 1)
    with pytest.raises(websockets.ConnectionClosed) as caught:
        await size_told(url + "/usual", "x", *[""] * (MAX_PIECES * 3))
    assert caught.value.rcvd is not None and caught.value.rcvd.code == 1009


async def raw_line(url: str, path: str = "/usual", *, rcvbuf: int | None = None) -> socket.socket:
    """A connection behind its handshake, for frames that no library sends."""
    line = socket.socket()
    if rcvbuf is not None:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    line.setblocking(False)
    loop = asyncio.get_running_loop()
    host = url.removeprefix("ws://")
    await loop.sock_connect(line, (host.split(":")[0], int(host.split(":")[1])))
    head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    head += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    await loop.sock_sendall(line, head.encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += await loop.sock_recv(line, 1)
    assert answer.startswith(b"HTTP/1.1 101")
    return line


def frame(opcode: int, data: bytes = b"") -> bytes:
    """A masked frame with a mask of zeros."""
    return bytes([0x80 | opcode, 0x80 | len(data)]) + bytes(4) + data


async def until_closed(line: socket.socket) -> bytes:
    """What comes until the server closes."""
    loop, got = asyncio.get_running_loop(), b""
    try:
        while part := await loop.sock_recv(line, 65536):
            got += part
    except ConnectionResetError:
        pass
    return got


@pytest.mark.parametrize("opcode", [9, 10])
async def test_a_flood_of_control_frames_ends_the_connection(url: str, opcode: int) -> None:
    async with asyncio.timeout(WITHIN_S):
        line = await raw_line(url)
        await asyncio.get_running_loop().sock_sendall(line, frame(opcode, b"x") * 4000)
        got = await until_closed(line)
        line.close()
    pongs = got.count(b"\x8a\x01x")
    assert pongs <= CONTROLS_AT_ONCE + SLICE_BYTES // 7 + 1
    assert opcode == 10 or pongs >= CONTROLS_AT_ONCE - 1
    assert b"too many control frames" in got


async def test_pings_of_every_client_are_answered(url: str) -> None:
    async with asyncio.timeout(WITHIN_S), websockets.connect(f"{url}/usual", compression=None, proxy=None) as socket:
        for _ in range(int(CONTROLS_AT_ONCE) // 2):
            await (await socket.ping())
        await socket.send("abc")
        assert await socket.recv() == "3"


async def test_tiny_messages_are_parsed_as_they_are_taken() -> None:
    """None of the loop's turns parses all that was sent."""
    protocol, transport = open_protocol()
    sent, most, turns = 20_000, 0, 0
    done = asyncio.Event()

    async def count_turns() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    protocol.data_received(frame(1, b"") * sent)
    assert not transport.is_reading()
    for _ in range(sent):
        most = max(most, protocol.queue.qsize())
        assert await protocol.receive() == {"type": "websocket.receive", "text": ""}
    done.set()
    await counting
    assert most <= SLICE_BYTES // len(frame(1)) + 1
    assert turns >= sent // most
    assert transport.is_reading()
    protocol.connection_lost(None)


async def test_messages_of_a_peer_that_left_are_there() -> None:
    protocol, _ = open_protocol()
    protocol.data_received(frame(1, b"x") * 5000)
    protocol.connection_lost(None)
    got = [(await protocol.receive())["type"] for _ in range(5001)]
    assert got == ["websocket.receive"] * 5000 + ["websocket.disconnect"]


async def test_a_peer_that_takes_nothing_is_owed_one_pong() -> None:
    protocol, transport = open_protocol()
    protocol.pause_writing()
    for number in range(50):
        protocol.data_received(frame(9, b"%02d" % number))
    assert transport.written == []
    protocol.resume_writing()
    assert transport.written == [b"\x8a\x0249"]
    protocol.connection_lost(None)


def open_protocol() -> tuple[Any, "Transport"]:
    """A connection behind its handshake."""
    transport = Transport()
    config = server_config(Starlette())
    config.load()
    protocol: Any = limited_websocket({})(config, ServerState(), {}, asyncio.get_running_loop())
    protocol.connection_made(transport)
    protocol.handshake_initiated = True
    protocol.conn.state = State.OPEN
    protocol.conn.parser = Protocol.parse(protocol.conn)
    next(protocol.conn.parser)
    return protocol, transport


class Transport(asyncio.Transport):
    """Notes what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self._is_reading = True

    def is_reading(self) -> bool:
        return self._is_reading

    def pause_reading(self) -> None:
        self._is_reading = False

    def resume_reading(self) -> None:
        self._is_reading = True

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass
