"""The load test as the route table describes it."""

from typing import Annotated, Any

from msgspec import Meta

from acked_common.api.routes import HTML, JSON, ApiResponse, Link, Operation, Parameter
from acked_common.model.principal import Permission
from acked_common.store.load_tests import KEPT_DAYS
from acked_gateway.jobs.load_figures import LoadTestAnswer
from acked_gateway.jobs.operations import GET_BATCH, NewBatchName
from acked_gateway.load_test.runner import MAX_CALLS

DEFAULT_COUNT = 1000
RUN_ONCE_HEADER = "Acked-Run-Once"
LOAD_TEST_TAG = "Load test"


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
        has_page=HTML in media,
        summary="Make many real calls of `POST /process` at once",
        description=f"Responds when all calls have a response. {description}",
        parameters=(
            Parameter(
                name="count",
                place="query",
                type=Annotated[int, Meta(ge=1, le=MAX_CALLS, extra_json_schema={"default": DEFAULT_COUNT})],
                description="How many calls.",
            ),
            Parameter(name="kind", place="query", type=str, description="The kind of the jobs; default `demo`."),
            Parameter(
                name="batch",
                place="query",
                type=NewBatchName,
                description="The batch of the jobs, which a client can follow in advance; by default a new name.",
            ),
            *more_parameters,
        ),
        answers=(
            ApiResponse(
                description="The figures of the calls.",
                media={JSON: LoadTestAnswer, **media},
                links={
                    "batch": Link(
                        operation=GET_BATCH.id,
                        parameters={"batch": "$response.body#/batch"},
                        description="The progress of the jobs.",
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
    "POST",
    "startLoadTest",
    {},
    "If the client disconnects, the test ends. The gateway stores the figures with the batch for "
    f"{KEPT_DAYS} days: `GET /batches/{{batch}}` returns them.",
    (_RUN_ONCE,),
    ("stale-page",),
)


LOAD_TEST = _load_test(
    "GET",
    "loadTest",
    {HTML: str},
    "If the client disconnects, the test ends. It starts at once for programs, and for a user who typed the URL. A "
    "client that accepts `text/html` gets a page, which follows the test. The page starts the test by itself if the "
    "user typed the URL or followed a link of the gateway's pages that names a count or a kind; otherwise it waits for "
    "a click.",
)
