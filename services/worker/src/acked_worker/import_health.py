"""The probes of a worker during the import of its handlers: `/healthz` is alive, `/readyz` names the current import."""

import asyncio
import threading

from acked import Kind
from acked_common.api.readiness import Readiness
from acked_common.runtime.logs import get_log
from acked_worker.handlers.imports import ImportProgress, load_handlers
from acked_worker.health import HealthServer, health_server
from acked_worker.process.side_thread import side_thread
from acked_worker.settings import WorkerSettings

log = get_log(__name__)

QUIET_S = 0.5
"""Most imports end within this time and need no server."""


def load_while_probed(settings: WorkerSettings) -> dict[str, Kind]:
    """Import the handlers in this thread, the main one. Raises `HandlersError`."""
    progress = ImportProgress()
    server = health_server(settings, lambda: Readiness({"handlers": progress.text}))

    def serve(done: threading.Event) -> None:
        if not done.wait(QUIET_S):
            asyncio.run(_serve(server, done))

    with side_thread("acked-import-health", serve):
        return load_handlers(settings.handlers, progress)


async def _serve(server: HealthServer, done: threading.Event) -> None:
    try:
        await server.start()
    except OSError as error:
        log.warning("no probes while handlers are imported", error=str(error))
        return
    await asyncio.to_thread(done.wait)
    await server.stop()
