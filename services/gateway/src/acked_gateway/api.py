"""The gateway's routes as the route table describes them, and the types of what they answer."""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec
from msgspec import UNSET, Meta, UnsetType

from acked_common.api.document import About
from acked_common.api.operations import COMMON_TAGS, ID, JOBS
from acked_common.api.representations import Count, Instant, JobStatus, JobSummary, JobWithPayload
from acked_common.api.routes import HTML, JSON, OF_JSON_BODIES, Answer, Body, Link, Operation, Parameter
from acked_common.model.lifecycle import State
from acked_common.model.names import BATCH_NAME, whole
from acked_common.model.principal import Permission
from acked_gateway.jobs.commands import MAX_NOTE_CHARS, RESOLVED_AS
from acked_gateway.load_test.runner import MAX_CALLS
from acked_gateway.pages import ASSET_MEDIA_TYPES

DEFAULT_COUNT = 1000
DEFAULT_PAGE = 50
MAX_PAGE = 1000
MAX_PAGE_ASKED = 999_999_999

RUN_ONCE_HEADER = "Acked-Run-Once"

COMMANDS = "Commands"
_LOAD_TEST = "Load test"
_PAGES = "Pages"


class JobList(TypedDict):
    """A page of a list, newest first."""

    jobs: list[JobSummary]
    next_page_token: Annotated[str, Meta(description="Gives the next page; empty at the end of the list.")]


class Batch(TypedDict):
    """How a batch stands."""

    batch: str
    total: Count
    states: Annotated[dict[State, Count], Meta(description="The states that occur.")]
    first_at: Annotated[Instant, Meta(description="When its first job was accepted.")]
    last_at: Annotated[Instant, Meta(description="When its last job was accepted or has ended.")]
    duration_s: float


class Worker(TypedDict):
    """A worker that lives."""

    id: Annotated[str, Meta(description="Its name, which workers of two stacks on one database may share.")]
    instance: Annotated[str, Meta(description="Names this process alone.")]
    kinds: list[str]
    slots: Count
    running: Count
    finished: Annotated[int, Meta(ge=0, description="Attempts that were recorded since it started.")]
    version: str
    since: Instant
    seen_at: Instant


class Workers(TypedDict):
    """The workers that were seen lately."""

    workers: list[Worker]


class Draining(TypedDict):
    """The worker is told to take no more work."""

    id: str
    drain_requested: Literal[True]


class Latency(TypedDict):
    """Milliseconds from the start of each call; null where no call was kept."""

    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None


class LoadTestLinks(TypedDict):
    """Where the work can be followed."""

    batch: str
    jobs: str


class LoadTestAnswer(TypedDict):
    """What a load test found."""

    batch: str
    requested: Count
    persisted: Annotated[int, Meta(ge=0, description="Calls that were answered 202 with an id of their own.")]
    failed: Annotated[int, Meta(ge=0, description="All others, also those whose outcome is not known.")]
    duration_ms: float
    latency_ms: Latency
    links: LoadTestLinks
    failures: NotRequired[Annotated[dict[str, Count], Meta(description="How many failed for which reason.")]]


class Resolve(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """How a person ends a failed job."""

    state: Annotated[str, Meta(extra_json_schema={"enum": list(RESOLVED_AS)})]
    result: Annotated[Any, Meta(description="What the job is to have returned.")] | UnsetType = UNSET
    note: (
        Annotated[Annotated[str, Meta(max_length=MAX_NOTE_CHARS)] | None, Meta(description="Why, for other people.")]
        | UnsetType
    ) = UNSET


ABOUT = About(
    title="Acked gateway",
    description=(
        "Answers status and lists, carries out commands, starts load tests, and feeds clients live. Requests for work "
        "are sent to intake, which has a document of its own.\n\n"
        "Beside what is described here the gateway serves WebSockets, which OpenAPI can't describe: `/ws/feed`, the "
        "live feed of every transition (`docs/feed.md` in the sources), and `/ws/worker`, where workers connect "
        "(`docs/protocol.md`).\n\n"
        "Every GET answers HEAD too. Every answer carries `X-Content-Type-Options: nosniff` and, unless it says "
        "otherwise, `Cache-Control: no-store`."
    ),
    tags={
        **COMMON_TAGS,
        COMMANDS: "What a person does to a job.",
        _LOAD_TEST: "Many real calls at once.",
        _PAGES: "For a browser.",
    },
    problem_members={"intake-unreachable": LoadTestAnswer},
)

BatchName = Annotated[str, Meta(pattern=whole(BATCH_NAME))]
_STATUS_AFTER = (Answer(description="The job after the command.", media={JSON: JobStatus}),)
_OF_COMMANDS = ("wrong-state", "store-unreachable")


def _filter(name: str, type_: Any, what: str) -> Parameter:
    return Parameter(name=name, place="query", type=type_, description=f"Only jobs {what}.")


LIST_JOBS = Operation(
    id="listJobs",
    path="/jobs",
    tag=JOBS,
    permission=Permission.READ,
    summary="A list of jobs, newest first",
    description=(
        "Each filter that is given must fit. A page may hold fewer jobs than asked for, even none, and still have a "
        "token: one filter uses an index, the others look at 10,000 documents a page. The list ends where the token "
        "is empty."
    ),
    parameters=(
        _filter("state", State, "in this state"),
        _filter("kind", str, "of this kind"),
        _filter("batch", str, "of this batch"),
        _filter("tag", str, "with this tag"),
        Parameter(
            name="page_size",
            place="query",
            type=Annotated[int, Meta(ge=0, le=MAX_PAGE_ASKED, extra_json_schema={"default": DEFAULT_PAGE})],
            description=f"How many jobs at most; more than {MAX_PAGE:,} counts as {MAX_PAGE:,}.",
        ),
        Parameter(
            name="page_token",
            place="query",
            type=str,
            description="The `next_page_token` of the page before.",
        ),
    ),
    answers=(
        Answer(
            description="A page of the list.",
            media={JSON: JobList},
            links={
                "next": Link(
                    operation="listJobs",
                    parameters={"page_token": "$response.body#/next_page_token"},
                    description="The next page, where the token is not empty; with the same filters.",
                ),
                "job": Link(
                    operation="getJob",
                    parameters={"id": "$response.body#/jobs/0/id"},
                    description="The first job of the page with its payload.",
                ),
            },
        ),
    ),
    problems=("invalid-field", "too-many-reads", "too-many-bytes", "store-unreachable"),
)

GET_JOB = Operation(
    id="getJob",
    path="/jobs/{id}",
    tag=JOBS,
    permission=Permission.READ,
    summary="A job with its payload",
    parameters=(ID,),
    answers=(Answer(description="The status and the payload.", media={JSON: JobWithPayload}),),
    problems=("too-many-bytes", "store-unreachable"),
)

GET_BATCH = Operation(
    id="getBatch",
    path="/batches/{batch}",
    tag=JOBS,
    permission=Permission.READ,
    summary="How a batch stands",
    parameters=(
        Parameter(
            name="batch", place="path", type=BatchName, description="The batch's name.", example="nightly.2026-11-24"
        ),
    ),
    answers=(Answer(description="Its jobs by state.", media={JSON: Batch}),),
    problems=("bad-batch", "too-many-reads", "store-unreachable"),
)

CANCEL_JOB = Operation(
    id="cancelJob",
    method="POST",
    path="/jobs/{id}/cancel",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    summary="End a job that has not ended",
    description=(
        "A job that nobody runs is cancelled at once. A running one gets a flag, and its worker stops it; ask for the "
        "status to see how it ended. A second cancel changes nothing and is a 200 too."
    ),
    parameters=(ID,),
    answers=_STATUS_AFTER,
    problems=_OF_COMMANDS,
)

RETRY_JOB = Operation(
    id="retryJob",
    method="POST",
    path="/jobs/{id}/retry",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    summary="Start a new run of a failed job",
    parameters=(ID,),
    answers=_STATUS_AFTER,
    problems=_OF_COMMANDS,
)

RESOLVE_JOB = Operation(
    id="resolveJob",
    method="POST",
    path="/jobs/{id}/resolve",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    summary="Decide the end of a failed job",
    description="A new run that ends at once. What is left out is left empty, whatever an earlier resolve said.",
    parameters=(ID,),
    body=Body(
        type=Resolve,
        required=True,
        description="How the job ends.",
        examples={
            "done": {"state": RESOLVED_AS[0], "result": {"done": "by hand"}, "note": "called them"},
        },
    ),
    answers=_STATUS_AFTER,
    problems=(*OF_JSON_BODIES, "invalid-field", "too-many-bytes", *_OF_COMMANDS),
)

LIST_WORKERS = Operation(
    id="listWorkers",
    path="/workers",
    tag=JOBS,
    permission=Permission.READ,
    of_all_tenants=True,
    summary="Workers that live",
    answers=(Answer(description="Those that were seen within three renewals.", media={JSON: Workers}),),
    problems=("store-unreachable",),
)


DRAIN_WORKER = Operation(
    id="drainWorker",
    method="POST",
    path="/workers/{id}/drain",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    of_all_tenants=True,
    summary="Let a worker end what it runs and leave",
    description="It takes no more jobs, gives back what does not end in time, and leaves; a new one takes its place.",
    parameters=(
        Parameter(name="id", place="path", type=str, description="Its id, or its instance.", example="worker-1"),
    ),
    answers=(Answer(status=202, description="The worker is told.", media={JSON: Draining}),),
    problems=("store-unreachable", "ambiguous-worker"),
)


_RUN_ONCE = Parameter(
    name=RUN_ONCE_HEADER,
    place="header",
    type=str,
    description="For the gateway's own page: the one-time value with which it starts a test by itself.",
)


def _load_test(
    method: Any,
    name: str,
    media: dict[str, Any],
    description: str,
    more_parameters: tuple[Parameter, ...] = (),
    more_problems: tuple[str, ...] = (),
) -> Operation:
    return Operation(
        id=name,
        method=method,
        path="/load-test",
        tag=_LOAD_TEST,
        permission=Permission.SUBMIT,
        has_open_page=HTML in media,
        summary="Make many real calls of `POST /process` at once",
        description=f"Answers when all calls are answered. {description}",
        parameters=(
            Parameter(
                name="count",
                place="query",
                type=Annotated[int, Meta(ge=1, le=MAX_CALLS, extra_json_schema={"default": DEFAULT_COUNT})],
                description="How many calls.",
            ),
            Parameter(name="kind", place="query", type=str, description="The kind of work; else `demo`."),
            Parameter(
                name="batch",
                place="query",
                type=BatchName,
                description="The batch of the jobs, so that it can be followed before they come; else a new name.",
            ),
            *more_parameters,
        ),
        answers=(
            Answer(
                description="What became of the calls.",
                media={JSON: LoadTestAnswer, **media},
                links={
                    "batch": Link(
                        operation=GET_BATCH.id,
                        parameters={"batch": "$response.body#/batch"},
                        description="How the work stands.",
                    )
                },
            ),
        ),
        problems=(
            *("bad-count", "bad-batch", "unknown-kind", "too-many-load-tests"),
            *("intake-unreachable", "store-unreachable", *more_problems),
        ),
        is_change=True,
    )


POST_LOAD_TEST = _load_test(
    "POST", "startLoadTest", {}, "When the client leaves, the test ends.", (_RUN_ONCE,), ("stale-page",)
)
LOAD_TEST = _load_test(
    "GET",
    "loadTest",
    {HTML: str},
    "When the client leaves, the test ends. It starts at once for programs and for a person who typed the address. Who "
    "accepts `text/html` gets a page, which starts the test for a person who typed the address or came from a page of "
    "the gateway, else waits for a click, and follows it.",
)

GET_INDEX = Operation(
    id="getIndexPage",
    path="/",
    tag=_PAGES,
    permission=None,
    summary="The page to begin with",
    answers=(Answer(description="A page for people.", media={HTML: str}),),
)

GET_ASSET = Operation(
    id="getPagePart",
    path="/pages/{name}",
    tag=_PAGES,
    permission=None,
    summary="What pages consist of",
    description="Pages themselves have addresses of their own.",
    parameters=(Parameter(name="name", place="path", type=str, description="The file's name.", example="app.css"),),
    answers=(Answer(description="The file.", media=dict.fromkeys(ASSET_MEDIA_TYPES, str)),),
)
