"""A real HTTP server on this test's event loop and an ephemeral port."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from acked_common.http.server.serve import bind_port, server_config

HOST = "127.0.0.1"
STARTS_WITHIN_S = 20.0


class StartupFailed(Exception):
    """The application failed while its server started; its own error is the cause."""


class _Watched:
    """An application that keeps the error of its lifespan: uvicorn logs it, and ends the process."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.error: BaseException | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._app(scope, receive, send)
        except BaseException as error:
            if scope["type"] == "lifespan":
                self.error = error
            raise


@dataclass(frozen=True, slots=True)
class WebServer:
    """A running server."""

    port: int
    server: uvicorn.Server

    @property
    def sockets(self) -> int:
        """Number of connections that are still referenced."""
        return len(self.server.server_state.connections)


@asynccontextmanager
async def web_server(app: Any, *, port: int = 0, host: str = HOST) -> AsyncIterator[WebServer]:
    """Serve an application and its lifespan as `serve` does, and stop it as a stopped process does."""
    async with serving(server_config(app), port=port, host=host) as made:
        yield made


@asynccontextmanager
async def serving(config: uvicorn.Config, *, port: int = 0, host: str = HOST) -> AsyncIterator[WebServer]:
    """Serve with the given configuration. Raise `StartupFailed`, or `TimeoutError` if the start hangs."""
    config.timeout_graceful_shutdown = 2
    server = uvicorn.Server(config)
    config.load()
    app = config.loaded_app = _Watched(config.loaded_app)
    server.lifespan = config.lifespan_class(config)
    with bind_port(host, port) as sock:
        try:
            async with asyncio.timeout(STARTS_WITHIN_S):
                await server.startup(sockets=[sock])
        except SystemExit:
            raise StartupFailed("the application failed while its server started") from app.error
        ticks = asyncio.create_task(server.main_loop(), name="web server")
        try:
            yield WebServer(sock.getsockname()[1], server)
        finally:
            server.should_exit = True
            await ticks
            await server.shutdown(sockets=[sock])
