"""`/healthz`, `/readyz` and `/metrics` of a worker, on a port that the kernel may choose."""

import contextlib
from pathlib import Path

from starlette.applications import Starlette

from acked_common.api.operational_routes import operations_routes
from acked_common.api.readiness import Health
from acked_common.http.edge import Edge
from acked_common.http.exception_handlers import EXCEPTION_HANDLERS
from acked_common.http.request_guards import LOCAL_HOSTS, RequestGuards
from acked_common.http.server.serve import bind_port
from acked_common.http.side_server import SideServer
from acked_common.runtime.run_file import told_in
from acked_worker.settings import WorkerSettings


class HealthServer:
    """A small HTTP server on the plumbing loop. If that loop hangs, it does not respond, as intended."""

    def __init__(
        self, readiness: Health, *, host: str, port: int, run_file: Path | None, hosts: frozenset[str]
    ) -> None:
        app = Starlette(routes=operations_routes(readiness), exception_handlers=EXCEPTION_HANDLERS)
        guards = RequestGuards(allowed_hosts=LOCAL_HOSTS | hosts)
        app.middleware_stack = Edge(app.build_middleware_stack(), checks=[guards.check])
        self._server = SideServer(app)
        self._host = host
        self._port = port
        self._run_file = run_file
        self._told = contextlib.ExitStack()

    async def start(self) -> None:
        """Listen, and write the address to the run file."""
        sock = bind_port(self._host, self._port)
        self._server.start(sock)
        if self._run_file is not None:
            self._told.enter_context(told_in(self._run_file, health_port=sock.getsockname()[1]))

    async def stop(self) -> None:
        """Stop listening."""
        await self._server.stop()
        self._told.close()


def health_server(settings: WorkerSettings, readiness: Health) -> HealthServer:
    """Make the server of these settings."""
    probes = settings.probes
    return HealthServer(
        readiness,
        host=probes.host,
        port=probes.port,
        run_file=run_file_of(settings),
        hosts=frozenset(settings.common.access.allowed_hosts),
    )


def run_file_of(settings: WorkerSettings) -> Path | None:
    """Return the file for the worker's process id and ports; None without one."""
    probes = settings.probes
    return probes.run_dir / f"{settings.name}.json" if probes.run_dir else None
