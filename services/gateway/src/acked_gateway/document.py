"""What the gateway's API document says beside its routes."""

from acked_common.api.document import About
from acked_common.api.operations import COMMANDS, COMMON_TAGS
from acked_gateway.load_test.operations import LOAD_TEST_TAG, LoadTestAnswer
from acked_gateway.pages.operations import PAGES_TAG

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
        COMMANDS: "What a person does to a job, and who did it.",
        LOAD_TEST_TAG: "Many real calls at once.",
        PAGES_TAG: "For a browser.",
    },
    problem_members={"intake-unreachable": LoadTestAnswer},
)
