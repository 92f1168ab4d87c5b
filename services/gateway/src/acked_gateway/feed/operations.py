"""The event stream of the feed as the route table describes it."""

from typing import Annotated, Literal

from msgspec import Meta

from acked_common.api.operations import EXAMPLE_ID, JOBS
from acked_common.api.routes import EVENTS, ApiResponse, Operation, Parameter
from acked_common.model.topics import ALL, BATCH, IDS, KIND
from acked_gateway.feed.entry import PERMISSION
from acked_gateway.feed.frames import MAX_IDS, MAX_NAME_CHARS
from acked_gateway.feed.session import FEED_PATH

LAST_EVENT_ID = "Last-Event-ID"
MAX_EVENT_ID_CHARS = 128

_Name = Annotated[str, Meta(max_length=MAX_NAME_CHARS)]

FOLLOW_FEED = Operation(
    id="followFeed",
    path=FEED_PATH,
    tag=JOBS,
    permission=PERMISSION,
    summary="The live feed as server-sent events",
    description=(
        "For requests with `Accept: text/event-stream`. Any other is a 426, because the path also serves the "
        "WebSocket. The response does not end by itself: `docs/feed.md` in the sources describes its events. At "
        "least one of `ids`, `batch`, `kind` and `all` is required; each is a subscription of its own."
    ),
    parameters=(
        Parameter(
            name=IDS,
            place="query",
            type=str,
            description=f"The ids of up to {MAX_IDS:,} jobs, separated by commas.",
            example=EXAMPLE_ID,
        ),
        Parameter(name=BATCH, place="query", type=_Name, description="All jobs of a batch.", example="nightly"),
        Parameter(name=KIND, place="query", type=_Name, description="All jobs of a kind.", example="noop"),
        Parameter(name=ALL, place="query", type=Literal["true"], description="All jobs of the tenant."),
        Parameter(
            name=LAST_EVENT_ID,
            place="header",
            type=Annotated[str, Meta(max_length=MAX_EVENT_ID_CHARS)],
            description="The id of the last event that a client received before it reconnected; browsers send it.",
        ),
    ),
    answers=(ApiResponse(description="Events until the client disconnects.", media={EVENTS: str}),),
    problems=("upgrade-required", "invalid-field", "too-many-feeds", "too-many-polls", "too-many-subscriptions"),
)
