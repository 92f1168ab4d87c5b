"""The load test as the route table describes it, and the types of its responses."""

from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

from acked_common.api.representations import Count
from acked_common.api.routes import HTML, JSON, ApiResponse, Link, Operation, Parameter
from acked_common.model.principal import Permission
from acked_gateway.jobs.operations import GET_BATCH, NewBatchName
from acked_gateway.load_test.runner import MAX_CALLS

DEFAULT_COUNT = 1000
RUN_ONCE_HEADER = "Acked-Run-Once"
LOAD_TEST_TAG = "Load test"


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
        tag=LOAD_TEST_TAG,
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
                type=NewBatchName,
                description="The batch of the jobs, so that it can be followed before they come; else a new name.",
            ),
            *more_parameters,
        ),
        answers=(
            ApiResponse(
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
