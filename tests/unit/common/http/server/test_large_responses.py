"""What a client makes a server keep by taking nothing, or by sending what no route reads: on a real connection."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from acked_common.http.edge import Edge
from acked_common.http.exception_handlers import EXCEPTION_HANDLERS
from acked_common.http.limits import Limits
from acked_common.http.requests import while_connected
from acked_common.http.responses import JsonResponse
from acked_common.http.server import response_cycle
from acked_common.http.server.serve import server_config
from acked_common.http.settings import Bound, HeldLimits
from support.web_server import serving

WITHIN_S = 20.0
LARGE = 8 * 2**20


class Bench:
    """One route with a large answer, one that waits."""

    def __init__(self) -> None:
        self.limits = Limits(HeldLimits(Bound(16, 8), Bound(8, 8), Bound(LARGE * 4, LARGE * 2)), asks_for_tokens=True)
        self.go_on = asyncio.Event()
        self.cycle_body = -1

        async def large(_: Request) -> Response:
            return JsonResponse(b"x" * LARGE)

        async def wait(request: Request) -> Response:
            await while_connected(request, self.go_on.wait())
            self.cycle_body = len(request.receive.__self__.body)  # type: ignore[attr-defined]
            return Response()

        app = Starlette(routes=[Route("/large", large), Route("/wait", wait)], exception_handlers=EXCEPTION_HANDLERS)
        app.middleware_stack = Edge(app.build_middleware_stack(), checks=[], limits=self.limits)
        self.app = app

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(WITHIN_S):
            for pause_s in iter(lambda: 0.01, None):
                if holds():
                    return
                await asyncio.sleep(pause_s)


@pytest.fixture
async def bench() -> AsyncIterator[tuple[Bench, int]]:
    made = Bench()
    async with serving(server_config(made.app)) as web:
        yield made, web.port


async def send(port: int, request: bytes) -> socket.socket:
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.setblocking(False)
    await asyncio.get_running_loop().sock_connect(line, ("127.0.0.1", port))
    await asyncio.get_running_loop().sock_sendall(line, request)
    return line


async def test_a_response_that_is_not_taken_is_cut_off(
    bench: tuple[Bench, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_cycle, "TAKEN_WITHIN_S", 0.2)
    made, port = bench
    line = await send(port, b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await made.until(lambda: made.limits.bytes.ledger.held == LARGE)
    await made.until(lambda: made.limits.bytes.ledger.held == made.limits.requests.ledger.held == 0)
    loop, got = asyncio.get_running_loop(), 0
    async with asyncio.timeout(WITHIN_S):
        try:
            while part := await loop.sock_recv(line, 65536):
                got += len(part)
        except ConnectionResetError:
            pass
    line.close()
    assert got < LARGE


async def test_a_response_that_is_taken_is_whole(bench: tuple[Bench, int]) -> None:
    made, port = bench
    line = await send(port, b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    loop, got = asyncio.get_running_loop(), b""
    async with asyncio.timeout(WITHIN_S):
        while part := await loop.sock_recv(line, 2**20):
            got += part
    line.close()
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200") and len(body) == LARGE
    assert made.limits.bytes.ledger.held == 0


async def test_the_body_of_a_long_poll_is_not_kept(bench: tuple[Bench, int]) -> None:
    made, port = bench
    head = b"GET /wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
    line = await send(port, head + b"x" * 100_000)
    await made.until(lambda: made.limits.requests.ledger.held == 1)
    made.go_on.set()
    await made.until(lambda: made.cycle_body == 0)
    line.close()
