"""Serve `/metrics` on a separate port, for scrapers that cannot reach the service's port."""

import contextlib
from pathlib import Path

from starlette.applications import Starlette

from acked_common.api.operational_routes import metrics
from acked_common.api.operations import GET_METRICS
from acked_common.api.routes import ApiRoute
from acked_common.http.edge import Edge
from acked_common.http.exception_handlers import EXCEPTION_HANDLERS
from acked_common.http.side_server import SideServer, bind_first_free
from acked_common.runtime.logs import get_log
from acked_common.runtime.run_file import scraped_at
from acked_common.runtime.settings import ListenAddresses

log = get_log(__name__)


class MetricsServer:
    """Serve `/metrics` without `Host` check and token; hence the default is the loopback interface."""

    def __init__(self, listen: ListenAddresses, *, run_file: Path | None = None) -> None:
        """Write the address to a file beside `run_file`, if that is set."""
        app = Starlette(routes=[ApiRoute(metrics, GET_METRICS)], exception_handlers=EXCEPTION_HANDLERS)
        app.middleware_stack = Edge(app.build_middleware_stack(), checks=[])
        self._host = listen.metrics_host
        self._port = listen.metrics_port
        self._run_file = run_file
        self._server = SideServer(app)
        self._told = contextlib.ExitStack()

    async def start(self) -> None:
        """Listen if a port is set. Raise `OSError` with what to do."""
        if self._port:
            sock = bind_first_free(self._host, self._port)
            self._server.start(sock)
            port: int = sock.getsockname()[1]
            log.info("metrics served", host=self._host, port=port)
            if self._run_file is not None:
                self._told.enter_context(scraped_at(self._run_file, address=_address(self._host, port)))

    async def stop(self) -> None:
        """Stop listening."""
        self._told.close()
        await self._server.stop()


def _address(host: str, port: int) -> str:
    """Return the address at which this machine reaches a listener."""
    near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not listened on
    return f"[{near}]:{port}" if ":" in near else f"{near}:{port}"
