"""What a person may do to a worker: let it drain."""

from starlette.requests import Request
from starlette.responses import Response

from acked_common.api.routes import ApiRoute
from acked_common.problems import ProblemError, problem
from acked_common.store import JobStore
from acked_common.web import JsonResponse
from acked_common.worker_table import WorkerTable
from acked_gateway.api import DRAIN_WORKER, Draining
from acked_gateway.command_line import CommandLine


def worker_routes(store: JobStore, workers: WorkerTable, commands: CommandLine) -> list[ApiRoute]:
    """The routes."""

    async def drain(request: Request) -> Response:
        name = request.path_params["id"]
        boots = [worker.boot for worker in await workers.workers() if worker.name == name]
        # Kept first: a worker that misses the command reads it with its next refresh.
        asked = [boot for boot in boots if await store.request_drain(boot)]
        if not asked:
            raise ProblemError(problem("not-found", f"no worker has the id {name[:64]!r}; GET /workers lists them"))
        for boot in asked:
            commands.drain(boot)
        draining: Draining = {"id": name, "drain_requested": True}
        return JsonResponse(draining, status_code=202)

    return [ApiRoute(drain, DRAIN_WORKER)]
