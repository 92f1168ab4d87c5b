"""`GET /timeseries/kinds`: what happened to the jobs of each kind of a tenant over a window, added up by MongoDB."""

from collections.abc import Mapping
from typing import Annotated, TypedDict, cast

from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from acked_common.api.list_parameters import bad_parameter
from acked_common.api.operations import JOBS
from acked_common.api.representations import Count, Instant
from acked_common.api.routes import JSON, ApiResponse, ApiRoute, Operation
from acked_common.background.kind_cache import KindCache
from acked_common.http.limits import client_of
from acked_common.http.responses import JsonResponse
from acked_common.model.instants import rfc3339
from acked_common.model.minute_buckets import COUNTED, HOUR_S, MINUTE_S, TEN_MINUTES_S, Window, window_begin
from acked_common.model.principal import Permission, principal_of
from acked_common.runtime.clock import Clock
from acked_common.store.ports import MinuteStore
from acked_gateway.jobs.timeseries import DEFAULT_WINDOW, Turn, window_parameter

MOST_KINDS = 200
"""Kinds that are added up, by name; the same number as the census tells apart."""
_STEPS: Mapping[str, Window] = {
    # Totals need no points: the longest steps that fit are the fewest buckets.
    "5m": Window(MINUTE_S, 5),
    "15m": Window(MINUTE_S, 15),
    "1h": Window(TEN_MINUTES_S, 6),
    "24h": Window(HOUR_S, 24),
    "8d": Window(HOUR_S, 192),
}


class KindTotals(TypedDict):
    """Counts of one kind; as in `GET /timeseries`."""

    kind: str
    accepted: Count
    started: Count
    succeeded: Count
    failed: Count
    cancelled: Count
    backed_off: Count
    requeued: Count


class WindowTotals(TypedDict):
    """Counts of a window by kind."""

    window: str
    since: Annotated[Instant, Meta(description="Begin of the oldest step that counts.")]
    kinds: Annotated[list[KindTotals], Meta(max_length=MOST_KINDS, description="Those of which anything was counted.")]


LIST_KIND_TOTALS = Operation(
    id="listKindTotals",
    path="/timeseries/kinds",
    tag=JOBS,
    permission=Permission.READ,
    summary="Counts of a tenant's jobs by kind",
    description="Adds up at most 10,000 buckets of processes.",
    parameters=(window_parameter(_STEPS),),
    answers=(ApiResponse(description="The counts of the window.", media={JSON: WindowTotals}),),
    problems=("invalid-field", "too-many-reads", "store-unreachable"),
)


def throughput_route(store: MinuteStore, kinds: KindCache, clock: Clock, turn: Turn) -> ApiRoute:
    """Return the route; `turn` bounds the reads of each client."""

    async def throughput(request: Request) -> Response:
        name = request.query_params.get("window") or DEFAULT_WINDOW
        if name not in _STEPS:
            raise bad_parameter("window", f"must be one of {', '.join(_STEPS)}, not {name[:40]!r}")
        since_at = window_begin(_STEPS[name], clock.now())
        async with turn(client_of(request.scope)):
            found = await store.kind_totals(
                principal_of(request.scope).tenant,
                kinds.names[:MOST_KINDS],
                step_s=_STEPS[name].step_s,
                since_at=since_at,
            )
        totals: WindowTotals = {
            "window": name,
            "since": rfc3339(since_at),
            "kinds": [_fields(kind, found[kind]) for kind in sorted(found)],
        }
        return JsonResponse(totals)

    return ApiRoute(throughput, LIST_KIND_TOTALS)


def _fields(kind: str, counts: Mapping[str, int]) -> KindTotals:
    return cast(KindTotals, {"kind": kind, **{name: counts.get(name, 0) for name in COUNTED}})
