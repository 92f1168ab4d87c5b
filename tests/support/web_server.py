"""An HTTP server of the real kind on this test's own loop and a port of the kernel's choice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from acked_common.http.server.serve import bind_port, server_config

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class WebServer:
    """A running server."""

    port: int
    server: uvicorn.Server

    @property
    def sockets(self) -> int:
        """Connections whose memory is not free yet."""
        return len(self.server.server_state.connections)


@asynccontextmanager
async def web_server(app: Any, *, port: int = 0, host: str = HOST) -> AsyncIterator[WebServer]:
    """Serves an application as `serve` does, and stops as a stopped process does."""
    async with serving(server_config(app), port=port, host=host) as made:
        yield made


@asynccontextmanager
async def serving(config: uvicorn.Config, *, port: int = 0, host: str = HOST) -> AsyncIterator[WebServer]:
    """The same with a configuration of one's own."""
    config.lifespan = "off"
    config.timeout_graceful_shutdown = 2
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    sock = bind_port(host, port)
    await server.startup(sockets=[sock])
    ticks = asyncio.create_task(server.main_loop(), name="web server")
    try:
        yield WebServer(sock.getsockname()[1], server)
    finally:
        server.should_exit = True
        await ticks
        await server.shutdown(sockets=[sock])
