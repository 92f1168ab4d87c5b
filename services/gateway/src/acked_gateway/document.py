"""The gateway's API document, without its routes."""

from acked_common.api.document import About
from acked_common.api.operations import COMMANDS, COMMON_TAGS
from acked_gateway.jobs.load_figures import LoadTestAnswer
from acked_gateway.load_test.operations import LOAD_TEST_TAG
from acked_gateway.pages.operations import PAGES_TAG
from acked_gateway.schedules.operations import SCHEDULES_TAG

ABOUT = About(
    title="Acked gateway",
    description=(
        "Serves status and lists, executes commands, runs load tests, and streams the live feed. Requests for work "
        "are sent to intake, which has a document of its own.\n\n"
        "In addition, the gateway serves WebSockets, which OpenAPI can't describe: `/ws/feed`, the "
        "live feed of every transition (`docs/feed.md` in the sources), which is described as server-sent events, and "
        "`/ws/worker`, where workers connect (`docs/protocol.md`).\n\n"
        "Every GET supports HEAD too. Every response carries `X-Content-Type-Options: nosniff` and, unless it says "
        "otherwise, `Cache-Control: no-store`."
    ),
    tags={
        **COMMON_TAGS,
        COMMANDS: "The acts of operators, and their audit.",
        SCHEDULES_TAG: "Jobs at regular times.",
        LOAD_TEST_TAG: "Many real calls at once.",
        PAGES_TAG: "For a browser.",
    },
    problem_members={"intake-unreachable": LoadTestAnswer},
)
