"""`/healthz`, `/readyz` and `/metrics` of a worker, on a port that the kernel may choose."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from acked_common.front import Front
from acked_common.guards import LOCAL_HOSTS, Guards
from acked_common.run_file import told_in
from acked_common.web import EXCEPTION_HANDLERS, Health, bind_port, operations_routes, server_config


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # The worker itself decides what a signal means.
        yield


class HealthServer:
    """A small HTTP server on the plumbing loop: when that loop hangs, nobody answers, which is the truth."""

    def __init__(
        self, readiness: Health, *, host: str, port: int, run_file: Path | None, hosts: frozenset[str]
    ) -> None:
        app = Starlette(routes=operations_routes(readiness), exception_handlers=EXCEPTION_HANDLERS)
        guards = Guards(allowed_hosts=LOCAL_HOSTS | hosts)
        app.middleware_stack = Front(app.build_middleware_stack(), checks=[guards.check])
        config = server_config(app)
        config.timeout_graceful_shutdown = 1
        self._server = _Server(config)
        self._host = host
        self._port = port
        self._run_file = run_file
        self._told = contextlib.ExitStack()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listens, and tells where."""
        sock = bind_port(self._host, self._port)
        self._task = asyncio.create_task(self._server.serve(sockets=[sock]))
        if self._run_file is not None:
            self._told.enter_context(told_in(self._run_file, health_port=sock.getsockname()[1]))

    async def stop(self) -> None:
        """Stops listening."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        self._told.close()
