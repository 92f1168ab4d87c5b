"""`GET /batches/{batch}/ends`: when the jobs of a batch ended, for a plot."""

from typing import Annotated, TypedDict, cast

from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from acked_common.api.operations import JOBS
from acked_common.api.representations import Count, Instant
from acked_common.api.routes import JSON, ApiResponse, ApiRoute, Operation
from acked_common.http.limits import client_of
from acked_common.http.responses import JsonResponse
from acked_common.model.batch_ends import MOST_POINTS, EndsPoint
from acked_common.model.instants import rfc3339
from acked_common.model.lifecycle import TERMINAL, State
from acked_common.model.principal import Permission, principal_of
from acked_common.store.list_limits import BATCH_ENDS_READ
from acked_common.store.ports import JobLists
from acked_gateway.jobs.operations import BATCH
from acked_gateway.jobs.routes import Reads, checked_batch, no_such_batch


class BatchEndsPoint(TypedDict):
    """The jobs that ended within one step, by the state that they have now."""

    at: Annotated[Instant, Meta(description="Start of the step.")]
    succeeded: Count
    failed: Count
    cancelled: Count


class BatchEndsFound(TypedDict):
    """The ends of a batch over time, oldest first."""

    batch: str
    step_s: Annotated[int, Meta(ge=1, description="As short as the span of the ends allows.")]
    is_complete: Annotated[
        bool,
        Meta(description=f"False if only the newest {BATCH_ENDS_READ:,} jobs of a terminal state were counted."),
    ]
    points: Annotated[list[BatchEndsPoint], Meta(max_length=MOST_POINTS)]


GET_BATCH_ENDS = Operation(
    id="getBatchEnds",
    path="/batches/{batch}/ends",
    tag=JOBS,
    permission=Permission.READ,
    summary="When the jobs of a batch ended",
    description=(
        "A job counts at its last end; a retried job counts when it ends again. Reads the keys of at "
        f"most {BATCH_ENDS_READ:,} jobs in each terminal state, the newest ones."
    ),
    parameters=(BATCH,),
    answers=(ApiResponse(description="The ends, step by step.", media={JSON: BatchEndsFound}),),
    problems=("bad-batch", "too-many-reads", "store-unreachable"),
)


def batch_ends_route(store: JobLists, reads: Reads) -> ApiRoute:
    """Return the route; `reads` bounds the reads of each client."""

    async def batch_ends(request: Request) -> Response:
        name = checked_batch(request.path_params["batch"])
        async with reads.turn(client_of(request.scope)):
            ends = await store.batch_ends(name, tenant=principal_of(request.scope).tenant)
        if ends is None:
            raise no_such_batch(name)
        found: BatchEndsFound = {
            "batch": name,
            "step_s": ends.step_s,
            "is_complete": ends.is_complete,
            "points": [_fields(point) for point in ends.points],
        }
        return JsonResponse(found)

    return ApiRoute(batch_ends, GET_BATCH_ENDS)


def _fields(point: EndsPoint) -> BatchEndsPoint:
    counts = {state.value: point.states.get(state, 0) for state in State if state in TERMINAL}
    return cast(BatchEndsPoint, {"at": rfc3339(point.at), **counts})
