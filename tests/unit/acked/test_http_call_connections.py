"""`http_call` on kept connections that the server closes: which requests are sent again, and on which connection."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from acked.kinds import settings
from acked.kinds.http_answer import HttpCallError
from acked.kinds.http_call import http_call
from acked.resources import close_resources
from acked.testing import RecordingAttempt

WITHIN_S = 10.0
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class ClosingServer:
    """Responds to the first request of each connection, and closes the connection when it has read a second one.

    `first` responses wait until that many connections are open, so that a client holds them all at once.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, int]] = []
        """Method, and which request of its connection it was, from 1."""
        self.opened = 0
        self.first = 1
        self.closes_at = 2
        self.open_enough = asyncio.Event()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        if self.opened >= self.first:
            self.open_enough.set()
        try:
            for number in range(1, 100):
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append((head.split()[0].decode(), number))
                if number >= self.closes_at:
                    return
                await self.open_enough.wait()
                writer.write(RESPONSE)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ClosingServer]:
    made = ClosingServer()
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    monkeypatch.setenv(settings.HTTP_CALL_ALLOW, f"127.0.0.1:{port}")
    made.url = f"http://127.0.0.1:{port}/"
    yield made
    await close_resources()
    listening.close()
    await listening.wait_closed()


async def call(server: ClosingServer, method: str = "GET") -> dict[str, Any]:
    async with asyncio.timeout(WITHIN_S):
        return await http_call(RecordingAttempt(id="j").context, {"url": server.url, "method": method})


async def keep_connections(server: ClosingServer, number: int) -> None:
    """Leave that many idle connections in the pool."""
    server.first = number
    await asyncio.gather(*(call(server) for _ in range(number)))
    assert server.opened == number
    server.requests.clear()


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
@pytest.mark.parametrize("kept", [1, 2, 8])
async def test_closed_connections_do_not_fail_an_idempotent_call(server: ClosingServer, method: str, kept: int) -> None:
    await keep_connections(server, kept)
    assert (await call(server, method))["status"] == 200
    assert server.opened == kept + 1
    *closed, last = server.requests
    assert last == (method, 1), "on a new connection"
    assert closed == [(method, 2)] * min(kept, 2)


async def test_closed_connection_fails_a_post_that_may_have_acted(server: ClosingServer) -> None:
    await keep_connections(server, 2)
    with pytest.raises(HttpCallError, match="failed: "):
        await call(server, "POST")
    assert server.requests == [("POST", 2)]


async def test_new_connection_that_is_closed_fails_the_call(server: ClosingServer) -> None:
    server.closes_at = 1
    with pytest.raises(HttpCallError, match="failed: ServerDisconnectedError"):
        await call(server)
    assert {number for _, number in server.requests} == {1}


async def test_both_sendings_share_one_timeout(server: ClosingServer) -> None:
    await keep_connections(server, 1)
    # The new connection is accepted, and its response never comes.
    server.open_enough.clear()
    server.first = 1000
    with pytest.raises(HttpCallError, match=r"timed out after 0\.3 s"):
        async with asyncio.timeout(WITHIN_S):
            await http_call(RecordingAttempt(id="j").context, {"url": server.url, "timeout_s": 0.3})
    assert server.requests == [("GET", 2), ("GET", 1)]
    server.open_enough.set()
