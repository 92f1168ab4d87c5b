"""Kinds over HTTP: one kind, pause and resume, limits, and sending a job. Intake serves the list too: see common."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import Response

from acked_common.api.authenticator import operator_of
from acked_common.api.routes import ApiRoute
from acked_common.api.status_route import kind_fields
from acked_common.http.limits import client_of
from acked_common.http.requests import read_bounded
from acked_common.http.responses import JsonResponse
from acked_common.model.pauses import KindPauses
from acked_common.model.principal import principal_of
from acked_common.store.records import KindRecord
from acked_gateway.jobs.command_routes import counted_body
from acked_gateway.jobs.intake_client import IntakeClient
from acked_gateway.kinds.details import GET_KIND, KindDetailsParts
from acked_gateway.kinds.limiting import Limiting, parse_limit
from acked_gateway.kinds.operations import LIMIT_KIND, PAUSE_KIND, RESUME_KIND, SEND_JOB, UNLIMIT_KIND
from acked_gateway.kinds.pausing import MAX_BODY_BYTES, Pausing, parse_pause
from acked_gateway.kinds.submissions import idempotency_key, read_submission

Act: TypeAlias = Callable[..., Awaitable[tuple[KindRecord, KindPauses]]]
"""A command of `Pausing` or `Limiting`."""


def kind_routes(
    pausing: Pausing, limiting: Limiting, details: KindDetailsParts, intake: IntakeClient
) -> list[ApiRoute]:
    """Return the routes."""

    async def get_kind(request: Request) -> Response:
        reader = principal_of(request.scope)
        kind, pauses = await pausing.read(request.path_params["kind"], reader)
        return JsonResponse(await details.fields(kind, kind_fields(kind, pauses, reader), pauses, reader))

    async def send(request: Request) -> Response:
        key = idempotency_key(request.headers.get("idempotency-key"))
        async with counted_body(request) as body:
            kind, _ = await pausing.read(request.path_params["kind"], principal_of(request.scope))
            sent = await read_submission(body, kind.name, client=client_of(request.scope))
            # As the caller: the job belongs to its tenant and counts to its client.
            accepted = await intake.process(sent, key=key, authorization=request.headers.get("authorization"))
        return Response(accepted.body, 202, accepted.headers, media_type="application/json")

    async def act_on_kind(request: Request, act: Act, *asked: object) -> Response:
        """Carry out a command, and respond with the kind as it is then."""
        reader = principal_of(request.scope)
        kind, after = await act(request.path_params["kind"], *asked, operator=operator_of(request.scope), reader=reader)
        return JsonResponse(kind_fields(kind, after, reader))

    async def pause(request: Request) -> Response:
        return await act_on_kind(request, pausing.pause, parse_pause(await read_bounded(request, MAX_BODY_BYTES)))

    async def resume(request: Request) -> Response:
        return await act_on_kind(request, pausing.resume)

    async def limit(request: Request) -> Response:
        return await act_on_kind(request, limiting.limit, parse_limit(await read_bounded(request, MAX_BODY_BYTES)))

    async def unlimit(request: Request) -> Response:
        return await act_on_kind(request, limiting.unlimit)

    return [
        ApiRoute(get_kind, GET_KIND),
        ApiRoute(pause, PAUSE_KIND),
        ApiRoute(resume, RESUME_KIND),
        ApiRoute(limit, LIMIT_KIND),
        ApiRoute(unlimit, UNLIMIT_KIND),
        ApiRoute(send, SEND_JOB),
    ]
