"""Kinds over HTTP: pause and resume. `GET /kinds` is served by intake too and stands with the common routes."""

from starlette.requests import Request
from starlette.responses import Response

from acked_common.api.authenticator import operator_of
from acked_common.api.routes import ApiRoute
from acked_common.api.status_route import kind_fields
from acked_common.http.requests import read_bounded
from acked_common.http.responses import JsonResponse
from acked_common.model.principal import principal_of
from acked_gateway.kinds.operations import PAUSE_KIND, RESUME_KIND
from acked_gateway.kinds.pausing import MAX_BODY_BYTES, Pausing, parse_pause


def kind_routes(pausing: Pausing) -> list[ApiRoute]:
    """Return the routes."""

    async def pause(request: Request) -> Response:
        reason = parse_pause(await read_bounded(request, MAX_BODY_BYTES))
        reader = principal_of(request.scope)
        kind, paused = await pausing.pause(
            request.path_params["kind"], reason, operator=operator_of(request.scope), reader=reader
        )
        return JsonResponse(kind_fields(kind, paused, reader))

    async def resume(request: Request) -> Response:
        reader = principal_of(request.scope)
        kind, paused = await pausing.resume(
            request.path_params["kind"], operator=operator_of(request.scope), reader=reader
        )
        return JsonResponse(kind_fields(kind, paused, reader))

    return [ApiRoute(pause, PAUSE_KIND), ApiRoute(resume, RESUME_KIND)]
