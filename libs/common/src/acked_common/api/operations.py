"""What intake and gateway both serve, as the route table describes it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta

from acked_common.api.representations import Count, Instant, JobId, JobStatus
from acked_common.api.routes import HTML, JSON, ApiResponse, Link, Operation, Parameter
from acked_common.model.principal import Permission

MAX_WAIT_S = 60.0
MAX_REV = 2**53
EXAMPLE_ID = "01a20d05-adf2-7315-9ee6-8162dae54aa3"

JOBS = "Jobs"
COMMANDS = "Commands"
OPERATIONS = "Operations"
COMMON_TAGS: Mapping[str, str] = {
    JOBS: "Work that was accepted.",
    OPERATIONS: "For machines that watch, and for who writes clients.",
}


class Alive(TypedDict):
    """The process lives."""

    status: Literal["alive"]


class Ready(TypedDict):
    """Whether the service can do its work, and each part of it: `ok`, or what is wrong."""

    status: Literal["ready", "degraded", "not-ready"]
    parts: dict[str, str]


class Kind(TypedDict):
    """A kind of work as workers registered it; it stays known when no worker serves it any more."""

    kind: str
    lane: str
    version: str
    timeout_s: float
    max_attempts: Count
    backoff_base_s: float
    backoff_cap_s: float
    bundle: Count
    payload_schema: NotRequired[
        Annotated[dict[str, Any], Meta(description="JSON Schema of the payload, where the worker gave one.")]
    ]
    max_attempts_limit: NotRequired[
        Annotated[int, Meta(ge=1, description="The most that a request may ask for, where that is more.")]
    ]
    timeout_limit_s: NotRequired[
        Annotated[float, Meta(description="The most that a request may ask for, where that is more.")]
    ]
    seen_at: Annotated[Instant | None, Meta(description="When a worker last registered it.")]


class Kinds(TypedDict):
    """All known kinds."""

    kinds: list[Kind]


ID = Parameter(name="id", place="path", type=JobId, description="The job's id.", example=EXAMPLE_ID)

GET_STATUS = Operation(
    id="getStatus",
    path="/status/{id}",
    tag=JOBS,
    permission=Permission.READ,
    summary="How a job stands; can wait",
    description=(
        "With `wait_s` the answer comes when the job has ended; with `after_rev` too, as soon as it has moved. "
        "A client that wants the result asks with `wait_s` again and again until `finished_at` is set."
    ),
    parameters=(
        ID,
        Parameter(
            name="wait_s",
            place="query",
            type=Annotated[float, Meta(ge=0, le=MAX_WAIT_S)],
            description="Answer when the job has ended, or after so many seconds.",
        ),
        Parameter(
            name="after_rev",
            place="query",
            type=Annotated[int, Meta(ge=0, le=MAX_REV)],
            description="With `wait_s`: answer as soon as `rev` is greater.",
        ),
    ),
    answers=(ApiResponse(description="The job as it is now.", media={JSON: JobStatus}),),
    problems=("invalid-field", "too-many-polls", "too-many-bytes", "store-unreachable"),
)

LIST_KINDS = Operation(
    id="listKinds",
    path="/kinds",
    tag=JOBS,
    permission=Permission.READ,
    summary="Known kinds of work",
    answers=(ApiResponse(description="All kinds by name.", media={JSON: Kinds}),),
    problems=("store-unreachable",),
)

GET_HEALTH = Operation(
    id="getHealth",
    path="/healthz",
    tag=OPERATIONS,
    permission=None,
    is_limited=False,
    summary="Whether the process lives",
    answers=(ApiResponse(description="It does.", media={JSON: Alive}),),
)

GET_READINESS = Operation(
    id="getReadiness",
    path="/readyz",
    tag=OPERATIONS,
    permission=None,
    is_limited=False,
    summary="Whether the service can do its work",
    description="Without RabbitMQ it is `degraded`, and still 200: requests are kept, and published later.",
    answers=(
        ApiResponse(description="It can.", media={JSON: Ready}),
        ApiResponse(status=503, description="It can't; `parts` says why.", media={JSON: Ready}),
    ),
)

GET_METRICS = Operation(
    id="getMetrics",
    path="/metrics",
    tag=OPERATIONS,
    permission=Permission.READ,
    of_all_tenants=True,
    is_limited=False,
    summary="Figures for Prometheus",
    answers=(ApiResponse(description="In the text format of Prometheus.", media={"text/plain": str}),),
)

GET_PROBLEM = Operation(
    id="getProblem",
    path="/problems/{name}",
    tag=OPERATIONS,
    permission=None,
    summary="A page about a problem",
    description="Where the `type` of a problem leads: what happened, and what to do.",
    parameters=(
        Parameter(
            name="name", place="path", type=str, description="The last part of the problem's type.", example="not-found"
        ),
    ),
    answers=(ApiResponse(description="A page for people.", media={HTML: str}),),
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
        operation=GET_STATUS.id, parameters={"id": "$response.body#/id"}, description="How the job stands; can wait."
    )
}
