"""The operations that intake and gateway both serve, as entries of the route table."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta

from acked_common.api.representations import Count, Instant, JobId, JobStatus
from acked_common.api.routes import HTML, JSON, ApiResponse, Header, Link, Operation, Parameter
from acked_common.api.waiting_reasons import MAX_RETRY_S, MIN_RETRY_S
from acked_common.model.lifecycle import State
from acked_common.model.principal import Permission

MAX_WAIT_S = 60.0
MAX_REV = 2**53
EXAMPLE_ID = "01a20d05-adf2-7315-9ee6-8162dae54aa3"

JOBS = "Jobs"
COMMANDS = "Commands"
OPERATIONS = "Operations"
COMMON_TAGS: Mapping[str, str] = {
    JOBS: "Accepted work.",
    OPERATIONS: "For monitoring, and for authors of clients.",
}


class Alive(TypedDict):
    """The process is alive."""

    status: Literal["alive"]


class Ready(TypedDict):
    """The readiness of the service and of each part: `ok`, or its fault."""

    status: Literal["ready", "degraded", "not-ready"]
    parts: dict[str, str]
    since: NotRequired[
        Annotated[
            dict[str, Instant],
            Meta(description="When this process noticed each fault, by part; absent if all parts are `ok`."),
        ]
    ]


class Paused(TypedDict):
    """Who paused a kind, why and since when."""

    client: str
    token_id: Annotated[
        str | None, Meta(description="Null if the services require no tokens, and for clients of other tenants.")
    ]
    reason: str | None
    since: Instant


class Limited(TypedDict):
    """How many jobs of a kind run at once, and who limited them, why and since when."""

    running: Annotated[Count | None, Meta(description="Over all tenants; null without such a limit.")]
    per_tenant: Annotated[Count | None, Meta(description="Of each tenant; null without such a limit.")]
    client: str
    token_id: Annotated[
        str | None, Meta(description="Null if the services require no tokens, and for clients of other tenants.")
    ]
    reason: str | None
    since: Instant


class Kind(TypedDict):
    """A kind as workers registered it. It stays listed when no worker serves it."""

    kind: str
    lane: str
    version: str
    timeout_s: float
    max_attempts: Count
    backoff_base_s: float
    backoff_cap_s: float
    bundle: Count
    payload_schema: NotRequired[
        Annotated[
            dict[str, Any], Meta(description="JSON Schema (2020-12) of the payload, if the last registration had one.")
        ]
    ]
    max_attempts_limit: NotRequired[
        Annotated[int, Meta(ge=1, description="The maximum that a request may set, if greater.")]
    ]
    timeout_limit_s: NotRequired[Annotated[float, Meta(description="The maximum that a request may set, if greater.")]]
    seen_at: Annotated[Instant | None, Meta(description="When a worker last registered it.")]
    paused: Annotated[Paused | None, Meta(description="While it is paused, no job of it starts; null otherwise.")]
    limit: Annotated[Limited | None, Meta(description="The limit on its running jobs; null without one.")]


class Kinds(TypedDict):
    """All known kinds."""

    kinds: list[Kind]


ID = Parameter(name="id", place="path", type=JobId, description="The job's id.", example=EXAMPLE_ID)

RETRY_AFTER = Header(
    type=Annotated[int, Meta(ge=MIN_RETRY_S, le=MAX_RETRY_S)],
    description="Of a live job: an estimate of the seconds until its state changes.",
    is_always_there=False,
)

GET_STATUS = Operation(
    id="getStatus",
    path="/status/{id}",
    tag=JOBS,
    permission=Permission.READ,
    summary="Status of a job; can long-poll",
    description=(
        "With `wait_s` the response is delayed until the job has ended; with `after_rev` too, until `rev` is greater. "
        "A client that needs the result repeats the request with `wait_s` until `finished_at` is set."
    ),
    parameters=(
        ID,
        Parameter(
            name="wait_s",
            place="query",
            type=Annotated[float, Meta(ge=0, le=MAX_WAIT_S)],
            description="Respond when the job has ended, or after this many seconds.",
        ),
        Parameter(
            name="after_rev",
            place="query",
            type=Annotated[int, Meta(ge=0, le=MAX_REV)],
            description="With `wait_s`: respond as soon as `rev` is greater. Without it: no effect.",
        ),
    ),
    answers=(
        ApiResponse(
            description="The current status.",
            media={JSON: JobStatus},
            headers={"Retry-After": RETRY_AFTER},
        ),
    ),
    problems=("invalid-field", "too-many-polls", "too-many-bytes", "store-unreachable"),
)

LIST_KINDS = Operation(
    id="listKinds",
    path="/kinds",
    tag=JOBS,
    permission=Permission.READ,
    summary="Known kinds",
    answers=(ApiResponse(description="All kinds by name.", media={JSON: Kinds}),),
    problems=("store-unreachable",),
)

GET_HEALTH = Operation(
    id="getHealth",
    path="/healthz",
    tag=OPERATIONS,
    permission=None,
    is_limited=False,
    summary="Whether the process is alive",
    answers=(ApiResponse(description="It is.", media={JSON: Alive}),),
)

GET_READINESS = Operation(
    id="getReadiness",
    path="/readyz",
    tag=OPERATIONS,
    permission=None,
    is_limited=False,
    summary="Whether the service is ready",
    description="Without RabbitMQ it is `degraded`, and still 200: jobs are persisted and published later.",
    answers=(
        ApiResponse(description="Ready.", media={JSON: Ready}),
        ApiResponse(status=503, description="Not ready; `parts` says why.", media={JSON: Ready}),
    ),
)

GET_METRICS = Operation(
    id="getMetrics",
    path="/metrics",
    tag=OPERATIONS,
    permission=Permission.READ,
    of_all_tenants=True,
    is_limited=False,
    summary="Metrics for Prometheus",
    answers=(ApiResponse(description="The Prometheus text format.", media={"text/plain": str}),),
)

GET_PROBLEM = Operation(
    id="getProblem",
    path="/problems/{name}",
    tag=OPERATIONS,
    permission=None,
    summary="The page of a problem type",
    description="The target of a problem's `type`: what happened, and what to do.",
    parameters=(
        Parameter(
            name="name", place="path", type=str, description="The last part of the problem's type.", example="not-found"
        ),
    ),
    answers=(ApiResponse(description="An HTML page.", media={HTML: str}),),
)

GET_DOCUMENT = Operation(
    id="getApiDocument",
    path="/openapi.json",
    tag=OPERATIONS,
    permission=None,
    summary="This document",
    answers=(ApiResponse(description="OpenAPI 3.1.", media={JSON: dict[str, Any]}),),
)

TO_STATUS = {
    "status": Link(
        operation=GET_STATUS.id, parameters={"id": "$response.body#/id"}, description="The job's status; can long-poll."
    )
}


class AcceptedLinks(TypedDict):
    """Where to follow the job."""

    status: Annotated[str, Meta(description="On this service and on the gateway.")]
    feed: Annotated[str, Meta(description="The live feed, a WebSocket of the gateway.")]


class Accepted(TypedDict):
    """The request is persisted."""

    id: JobId
    state: State
    kind: str
    accepted_at: Instant
    links: AcceptedLinks


MAX_RETRY_AFTER_S = 3600


def accepted_headers() -> dict[str, Header]:
    """Return the headers of a 202: the path of the status, and when to request it."""
    return {
        "Location": Header(
            type=Annotated[str, Meta(pattern="^/status/", examples=[f"/status/{EXAMPLE_ID}"])],
            description="The path of the status.",
        ),
        "Retry-After": Header(
            type=Annotated[int, Meta(ge=1, le=MAX_RETRY_AFTER_S)],
            description="Seconds until a first status request is useful.",
        ),
        "Idempotency-Replayed": Header(
            type=Literal["true"],
            description="Present if an earlier request with this key was accepted; this is its response.",
            is_always_there=False,
        ),
    }


def accepted_by_intake() -> ApiResponse:
    """Return the 202 of a gateway's route that sends a request to intake and returns its response."""
    return ApiResponse(
        status=202,
        description="The response of intake: the job is persisted.",
        media={JSON: Accepted},
        headers=accepted_headers(),
        links=TO_STATUS,
    )
