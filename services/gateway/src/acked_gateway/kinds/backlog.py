"""`GET /backlog`: what waits, runs and needs attention of each kind, from the census that all gateways share.

A request costs no query: every gateway reads the newest census each second.
"""

from typing import Annotated, TypedDict

from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from acked_common.api.operations import JOBS
from acked_common.api.representations import Count, Instant
from acked_common.api.routes import JSON, ApiResponse, ApiRoute, Operation
from acked_common.background.census import CensusLoop
from acked_common.http.responses import JsonResponse
from acked_common.model.instants import rfc3339
from acked_common.model.lifecycle import State
from acked_common.model.principal import Permission
from acked_common.store.census import KINDS, LIVE_KEYS, OTHER_KINDS, KindCount


class KindBacklog(TypedDict):
    """The jobs of one kind by state."""

    kind: str
    states: Annotated[
        dict[State, Count],
        Meta(description="Live jobs by state, and failed ones that need attention; only states that occur."),
    ]
    oldest_queued_at: Annotated[Instant | None, Meta(description="Since when the job that waits longest is queued.")]
    attention: Annotated[int, Meta(ge=0, description="Failed jobs that need attention and are not snoozed.")]


class Backlog(TypedDict):
    """The current jobs, over all tenants."""

    counted_at: Annotated[
        Instant | None, Meta(description="Null, without kinds, if there was no count in the last minute.")
    ]
    kinds: Annotated[
        list[KindBacklog],
        Meta(description=f"Kinds that have any. Those beyond {KINDS} count together, as {OTHER_KINDS!r}."),
    ]
    inexact_states: Annotated[
        list[State], Meta(description=f"States with more jobs than were counted: {LIVE_KEYS:,} of one.")
    ]


GET_BACKLOG = Operation(
    id="getBacklog",
    path="/backlog",
    tag=JOBS,
    permission=Permission.READ,
    of_all_tenants=True,
    summary="What waits and runs, by kind",
    description="One gateway counts every few seconds, the others show its counts.",
    answers=(ApiResponse(description="The newest counts.", media={JSON: Backlog}),),
)


def backlog_route(census: CensusLoop) -> ApiRoute:
    """Return the route."""

    async def backlog(_: Request) -> Response:
        counted = census.fresh()
        found: Backlog = {
            "counted_at": None if counted is None else rfc3339(counted.counted_at),
            "kinds": [] if counted is None else [backlog_fields(kind) for kind in counted.kinds],
            "inexact_states": [] if counted is None else sorted(counted.inexact),
        }
        return JsonResponse(found)

    return ApiRoute(backlog, GET_BACKLOG)


def backlog_fields(kind: KindCount) -> KindBacklog:
    """Return the counts of a kind."""
    return {
        "kind": kind.kind,
        "states": {state: kind.states[state] for state in State if kind.states.get(state)},
        "oldest_queued_at": None if kind.oldest_queued_at is None else rfc3339(kind.oldest_queued_at),
        "attention": kind.attention,
    }
