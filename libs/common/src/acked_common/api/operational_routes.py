"""The routes common to all HTTP servers of Acked: health, metrics and problem pages."""

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from acked_common.api.operations import GET_HEALTH, GET_METRICS, GET_PROBLEM, GET_READINESS, Alive
from acked_common.api.readiness import Health
from acked_common.api.routes import ApiRoute
from acked_common.http import problems
from acked_common.http.probes import STRANGER
from acked_common.http.problems import ProblemError, problem
from acked_common.http.responses import JsonResponse


async def metrics(_: Request) -> Response:
    """Return the metrics of this process in the Prometheus text format."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def operations_routes(readiness: Health) -> list[ApiRoute]:
    """Return the routes `/healthz`, `/readyz`, `/metrics` and `/problems/<name>`."""

    async def healthz(_: Request) -> Response:
        alive: Alive = {"status": "alive"}
        return JsonResponse(alive)

    async def readyz(request: Request) -> Response:
        return readiness().response(to_stranger=request.scope.get(STRANGER, False))

    async def problem_page(request: Request) -> Response:
        page = problems.render_catalogue_page(request.path_params["name"])
        if page is None:
            raise ProblemError(problem("not-found", "no problem has this name"))
        return HTMLResponse(page, headers={"Content-Security-Policy": problems.PAGE_POLICY})

    return [
        ApiRoute(healthz, GET_HEALTH),
        ApiRoute(readyz, GET_READINESS),
        ApiRoute(metrics, GET_METRICS),
        ApiRoute(problem_page, GET_PROBLEM),
    ]
