"""`/metrics` on a port of its own, for scrapers that may not reach the service's port."""

from starlette.applications import Starlette

from acked_common.api.operational_routes import metrics
from acked_common.api.operations import GET_METRICS
from acked_common.api.routes import ApiRoute
from acked_common.http.edge import Edge
from acked_common.http.exception_handlers import EXCEPTION_HANDLERS
from acked_common.http.side_server import SideServer, bind_first_free
from acked_common.runtime.logs import get_log
from acked_common.runtime.settings import ListenAddresses

log = get_log(__name__)


class MetricsServer:
    """`/metrics` on a port of its own: no `Host` guard and no token, so it listens on loopback by default."""

    def __init__(self, listen: ListenAddresses) -> None:
        app = Starlette(routes=[ApiRoute(metrics, GET_METRICS)], exception_handlers=EXCEPTION_HANDLERS)
        app.middleware_stack = Edge(app.build_middleware_stack(), checks=[])
        self._host = listen.metrics_host
        self._port = listen.metrics_port
        self._server = SideServer(app)

    async def start(self) -> None:
        """Listens, where a port is set. Raises `OSError` with what to do."""
        if self._port:
            sock = bind_first_free(self._host, self._port)
            self._server.start(sock)
            log.info("metrics served", host=self._host, port=sock.getsockname()[1])

    async def stop(self) -> None:
        """Stops listening."""
        await self._server.stop()
