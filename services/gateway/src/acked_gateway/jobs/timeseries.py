"""`GET /timeseries`: counts and durations of a tenant's jobs over minutes, hours or days, from the minute buckets."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Annotated, TypedDict, cast

from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from acked_common.api.list_parameters import bad_parameter
from acked_common.api.operations import JOBS
from acked_common.api.representations import Count, Instant
from acked_common.api.routes import JSON, ApiResponse, ApiRoute, Operation, Parameter
from acked_common.http.limits import Client, client_of
from acked_common.http.responses import JsonResponse
from acked_common.model.instants import rfc3339
from acked_common.model.minute_buckets import (
    COUNTED,
    MOST_READ,
    RUN,
    WAIT,
    WINDOWS,
    Point,
    added_up,
    quantile_s,
    spans_of,
    window_begin,
    window_points,
)
from acked_common.model.names import KIND_NAME, whole
from acked_common.model.principal import Permission, principal_of
from acked_common.runtime.clock import Clock
from acked_common.store.ports import MinuteStore

DEFAULT_WINDOW = "1h"

Seconds = Annotated[float, Meta(ge=0)] | None
Turn = Callable[[Client], AbstractAsyncContextManager[None]]


class TimeseriesPoint(TypedDict):
    """One step. Quantiles are null if no job started or ended."""

    at: Annotated[Instant, Meta(description="Start of the step.")]
    accepted: Annotated[Count, Meta(description="Jobs that were persisted.")]
    started: Annotated[Count, Meta(description="Attempts that started.")]
    succeeded: Annotated[Count, Meta(description="Runs that ended as `succeeded`.")]
    failed: Count
    cancelled: Count
    backed_off: Annotated[Count, Meta(description="Attempts that failed or crashed and are retried.")]
    requeued: Annotated[
        Count,
        Meta(description="Attempts that ended without a failure of their own: drained, or lost with their worker."),
    ]
    wait_p50_s: Annotated[Seconds, Meta(description="From queued to started; within an eighth of the true value.")]
    wait_p95_s: Seconds
    run_p50_s: Annotated[Seconds, Meta(description="From started to the end of the attempt; as exact.")]
    run_p95_s: Seconds


class DurationSpan(TypedDict):
    """How many durations were above `from_s` and at most `to_s`."""

    from_s: Annotated[float, Meta(ge=0)]
    to_s: Annotated[float | None, Meta(description="Null for the last span, which has no upper bound.")]
    count: Annotated[int, Meta(ge=1)]


class Durations(TypedDict):
    """How long it took over the whole window. Quantiles are null where nothing was measured."""

    p50_s: Seconds
    p95_s: Seconds
    p99_s: Seconds
    spans: Annotated[
        list[DurationSpan],
        Meta(description="Those that have any, shortest first; each a quarter longer than the last."),
    ]


class Timeseries(TypedDict):
    """Counts of a window, oldest first."""

    window: str
    kind: str | None
    step_s: Annotated[int, Meta(ge=1)]
    is_complete: Annotated[
        bool, Meta(description="False where so many processes counted that only the newest counts were read.")
    ]
    points: Annotated[list[TimeseriesPoint], Meta(description="The last one is the step that has just begun.")]
    wait: Annotated[Durations, Meta(description="From queued to started.")]
    run: Annotated[Durations, Meta(description="From started to the end of the attempt.")]


def window_parameter(names: Iterable[str]) -> Parameter:
    """Return the description of the parameter that chooses one of these windows."""
    return Parameter(
        name="window",
        place="query",
        type=Annotated[str, Meta(extra_json_schema={"enum": list(names), "default": DEFAULT_WINDOW})],
        description="How far back.",
    )


GET_TIMESERIES = Operation(
    id="getTimeseries",
    path="/timeseries",
    tag=JOBS,
    permission=Permission.READ,
    summary="Counts and durations of a tenant's jobs over time",
    description=(
        "Every process writes its counts every 10 s and when it stops. A process that is killed loses at "
        "most the last 10 s. Steps are minutes for `15m` and `1h`, ten minutes for `24h`, hours for `8d`."
    ),
    parameters=(
        window_parameter(WINDOWS),
        Parameter(
            name="kind",
            place="query",
            type=Annotated[str, Meta(pattern=whole(KIND_NAME))],
            description="Only jobs of this kind.",
        ),
    ),
    answers=(ApiResponse(description="The points of the window.", media={JSON: Timeseries}),),
    problems=("invalid-field", "too-many-reads", "store-unreachable"),
)


def timeseries_routes(store: MinuteStore, clock: Clock, turn: Turn) -> list[ApiRoute]:
    """Return the route; `turn` bounds the reads of each client."""

    async def timeseries(request: Request) -> Response:
        name = request.query_params.get("window") or DEFAULT_WINDOW
        kind = request.query_params.get("kind") or None
        if name not in WINDOWS:
            raise bad_parameter("window", f"must be one of {', '.join(WINDOWS)}, not {name[:40]!r}")
        if kind is not None and KIND_NAME.fullmatch(kind) is None:
            raise bad_parameter("kind", "must be the name of a kind, as GET /kinds lists them")
        window, now = WINDOWS[name], clock.now()
        tenant = principal_of(request.scope).tenant
        async with turn(client_of(request.scope)):
            buckets = await store.minutes(tenant, kind, step_s=window.step_s, since_at=window_begin(window, now))
        points = window_points(buckets, window, now)
        totals = added_up(points)
        found: Timeseries = {
            "window": name,
            "kind": kind,
            "step_s": window.step_s,
            "is_complete": len(buckets) < MOST_READ,
            "points": [_point(point) for point in points],
            "wait": _durations(totals, WAIT),
            "run": _durations(totals, RUN),
        }
        return JsonResponse(found)

    return [ApiRoute(timeseries, GET_TIMESERIES)]


def _durations(counts: Mapping[str, int], sketch: str) -> Durations:
    return {
        "p50_s": quantile_s(counts, sketch, 0.5),
        "p95_s": quantile_s(counts, sketch, 0.95),
        "p99_s": quantile_s(counts, sketch, 0.99),
        "spans": [{"from_s": span.from_s, "to_s": span.to_s, "count": span.count} for span in spans_of(counts, sketch)],
    }


def _point(point: Point) -> TimeseriesPoint:
    fields: dict[str, object] = {"at": rfc3339(point.at)}
    fields |= {name: point.counts.get(name, 0) for name in COUNTED}
    for sketch in (WAIT, RUN):
        fields[f"{sketch}_p50_s"] = quantile_s(point.counts, sketch, 0.5)
        fields[f"{sketch}_p95_s"] = quantile_s(point.counts, sketch, 0.95)
    return cast(TimeseriesPoint, fields)
