"""What a WebSocket may send: each path has its size, and a message its number of pieces."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import websockets
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from acked_common.web import WS_MAX_BYTES, server_config
from acked_common.ws_protocol import MAX_PIECES
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
