"""The commands of one job over HTTP."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.requests import Request
from starlette.responses import Response

from acked_common.api.authenticator import check_permission, operator_of
from acked_common.api.representations import status_fields
from acked_common.api.routes import ApiRoute, Operation
from acked_common.http.limits import HeldBytes, client_of
from acked_common.http.requests import read_bounded
from acked_common.http.responses import JsonResponse
from acked_common.model.principal import Permission, principal_of
from acked_common.store.records import Job
from acked_gateway.jobs import operations
from acked_gateway.jobs.commands import MAX_BODY_BYTES, Commands, read_resolution
from acked_gateway.jobs.edits import Edits, read_edit


def command_routes(commands: Commands, edits: Edits) -> list[ApiRoute]:
    """Return the routes."""

    async def resolve(request: Request) -> Response:
        async with counted_body(request) as body:
            resolution = await read_resolution(body, client=client_of(request.scope))
            job = await commands.resolve(_id_in(request), resolution, operator=operator_of(request.scope))
        return _status(request, job)

    async def edit(request: Request) -> Response:
        operator = operator_of(request.scope)
        async with counted_body(request) as body:
            payload = await read_edit(body, client=client_of(request.scope))
            job = await edits.editable(_id_in(request), operator=operator)
            # Intake checks the permission too, but the audit must not contain acts that are refused.
            check_permission(principal_of(request.scope), Permission.SUBMIT)
            accepted = await edits.edit(
                job,
                payload,
                operator=operator,
                # As the caller: the job belongs to the same tenant and counts to the same client.
                authorization=request.headers.get("authorization"),
            )
        return Response(accepted.body, 202, accepted.headers, media_type="application/json")

    return [
        _without_body(commands.cancel, operations.CANCEL_JOB),
        _without_body(commands.retry, operations.RETRY_JOB),
        _without_body(commands.run_now, operations.RUN_JOB_NOW),
        _without_body(commands.erase, operations.ERASE_JOB),
        ApiRoute(resolve, operations.RESOLVE_JOB),
        ApiRoute(edit, operations.EDIT_JOB),
    ]


def _without_body(command: Callable[..., Awaitable[Job]], operation: Operation) -> ApiRoute:
    async def view(request: Request) -> Response:
        return _status(request, await command(_id_in(request), operator=operator_of(request.scope)))

    return ApiRoute(view, operation)


@asynccontextmanager
async def counted_body(request: Request, max_bytes: int = MAX_BODY_BYTES) -> AsyncIterator[bytes]:
    """Read the body, which counts towards the bytes of its client until the command has ended."""
    held = HeldBytes(request.scope)
    try:
        yield await read_bounded(request, max_bytes, held)
    finally:
        held.release()


def _status(request: Request, job: Job) -> Response:
    return JsonResponse(status_fields(job, reader=principal_of(request.scope)))


def _id_in(request: Request) -> str:
    text: str = request.path_params["id"]
    return text
