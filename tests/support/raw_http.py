"""A real HTTP server with short deadlines or small limits, and clients that write raw bytes."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from acked_common.http.edge import Edge
from acked_common.http.request_guards import RequestGuards
from acked_common.http.requests import read_bounded
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


class RawClient:
    """One connection; a test writes its bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        """Write without waiting."""
        self.writer.write(data)

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        """Read one response: status, headers with lower-case names, body."""
        async with asyncio.timeout(WITHIN_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            lines = (line.partition(":") for line in head[1:] if line)
            headers = {name.lower(): value.strip() for name, _, value in lines}
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
            return int(head[0].split()[1]), headers, body

    async def problem(self) -> str:
        """Read a refusal, check its form and that the connection ends after it, and return the problem's name."""
        status, headers, body = await self.response()
        document = json.loads(body)
        assert document["status"] == status
        assert headers["content-type"] == "application/problem+json"
        assert headers["connection"] == "close"
        assert headers["x-content-type-options"] == "nosniff"
        await self.wait_closed()
        return str(document["type"]).removeprefix("/problems/")

    async def wait_closed(self) -> None:
        """Wait until the server closes the connection, without further bytes."""
        async with asyncio.timeout(WITHIN_S):
            assert await self.reader.read() == b""
        self.writer.close()


class RawServer:
    """A running server, and events of its routes `/slow`, `/body` and `/ws`."""

    def __init__(self, web: WebServer) -> None:
        self._web = web
        self._writers: list[asyncio.StreamWriter] = []
        self.began = asyncio.Event()
        self.may_end = asyncio.Event()
        self.ended = asyncio.Event()

    async def connect(self, sent: bytes = b"") -> RawClient:
        """Open a connection and write the given bytes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._web.port)
        self._writers.append(writer)
        writer.write(sent)
        return RawClient(reader, writer)

    async def wait_empty(self) -> None:
        """Wait until the server holds no connection."""
        async with asyncio.timeout(WITHIN_S):
            while self._web.sockets:  # noqa: ASYNC110 - uvicorn sets no event of ours
                await asyncio.sleep(0)

    def leave(self) -> None:
        """Close all clients."""
        for writer in self._writers:
            writer.close()


def closed(why: str) -> float:
    """Return how many connections the servers of this process have closed for this reason."""
    return REGISTRY.get_sample_value("acked_http_closed_total", {"why": why}) or 0.0


@asynccontextmanager
async def serve(limits: HttpLimits) -> AsyncIterator[RawServer]:
    """Run a server with these limits; release its slow routes and close its clients at the end."""
    server: RawServer

    async def quick(_: Request) -> Response:
        return PlainTextResponse("quick")

    async def body(request: Request) -> Response:
        server.began.set()
        try:
            return PlainTextResponse(str(len(await read_bounded(request, 2**20))))
        finally:
            server.ended.set()

    async def slow(_: Request) -> Response:
        server.began.set()
        await server.may_end.wait()
        return PlainTextResponse("slow")

    async def follow(websocket: WebSocket) -> None:
        await websocket.accept()
        while (await websocket.receive())["type"] != "websocket.disconnect":
            pass
        server.ended.set()

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
        server = RawServer(web)
        try:
            yield server
        finally:
            server.may_end.set()
            server.leave()
