"""The routes of callbacks as the route table describes them, and the types of their responses."""

from typing import Annotated, Any, Literal, TypedDict

from msgspec import Meta

from acked_common.api.list_parameters import NextPageToken, next_page, page_parameters
from acked_common.api.operations import COMMANDS, EXAMPLE_ID, ID, JOBS
from acked_common.api.representations import Count, Instant, JobId
from acked_common.api.routes import JSON, ApiResponse, Operation, Parameter, with_page
from acked_common.model.callbacks import MAX_RESENDS
from acked_common.model.lifecycle import State
from acked_common.model.principal import Permission
from acked_gateway.jobs.filters import STATE

DEFAULT_DELIVERIES = 10
MAX_DELIVERIES = 20
EXAMPLE_SECRET_ID = "cs_5b0e0c1d2f3a4b5c"  # noqa: S105 - an id

Event = Literal["job.succeeded", "job.failed", "job.cancelled"]


class DeliveryResponse(TypedDict):
    """What the receiver returned."""

    status: int
    headers: Annotated[dict[str, str], Meta(description="Some of them.")]
    body: Annotated[str, Meta(description="Its first 4 KiB, as text.")]
    is_cut: bool


class DeliveryAttempt(TypedDict):
    """One request to the receiver."""

    run: Annotated[int, Meta(ge=1, description="Of the delivery: a retry of it by an operator is a new run.")]
    attempt: Annotated[int, Meta(ge=1)]
    outcome: Annotated[str, Meta(description="`succeeded`, or as in the attempts of a status.")]
    started_at: Instant | None
    ended_at: Instant | None
    webhook_timestamp: Annotated[
        int | None, Meta(description="The header `webhook-timestamp`; null if nothing was sent.")
    ]
    duration_s: float | None
    response: Annotated[DeliveryResponse | None, Meta(description="Null without a response.")]
    error: Annotated[str | None, Meta(description="The error of the attempt; null after a success.")]


class DeliveryOf(TypedDict):
    """A delivery: one event, sent until the receiver has it or the attempts are used up."""

    id: Annotated[JobId, Meta(description="The id of the delivering job.")]
    job: Annotated[JobId, Meta(description="The id of the job that ended.")]
    state: Annotated[State, Meta(description="Of the delivering job: `succeeded` once the receiver has it.")]
    event: Event
    run: Annotated[int, Meta(ge=1, description="The run of the job that ended.")]
    resend: Annotated[Count, Meta(description="0 for the first delivery of the event, then counted up.")]
    webhook_id: Annotated[str, Meta(description="The header `webhook-id`, the same for all deliveries of an event.")]
    endpoint: Annotated[str | None, Meta(description="The callback endpoint; null for the callback of the request.")]
    url: Annotated[str, Meta(description="The URL when the delivery was made; the endpoint may have another URL now.")]
    body: Annotated[Any, Meta(description="The body that is sent, as JSON.")]
    accepted_at: Instant
    finished_at: Instant | None
    next_attempt_at: Annotated[Instant | None, Meta(description="While it waits for its next attempt; else null.")]
    attempts: Annotated[list[DeliveryAttempt], Meta(description="Oldest first.")]


class DeliveryPage(TypedDict):
    """A page of deliveries."""

    deliveries: list[DeliveryOf]
    next_page_token: NextPageToken


class Resent(TypedDict):
    """The event will be sent again."""

    id: Annotated[JobId, Meta(description="The id of the new delivery, which is listed within a moment.")]
    webhook_id: str
    resend: Annotated[int, Meta(ge=1)]


class Secret(TypedDict):
    """A secret that signs, without its value, which no route shows again."""

    id: str
    made_at: Instant
    ends_at: Annotated[Instant | None, Meta(description="When it stops signing; null for the newest one.")]


class Secrets(TypedDict):
    """The secrets of the tenant that sign now."""

    secrets: Annotated[list[Secret], Meta(max_length=2, description="Newest first.")]


class MadeSecret(Secret):
    """A new secret."""

    secret: Annotated[str, Meta(description="By Standard Webhooks. Only this response contains it.")]


LIST_DELIVERIES = Operation(
    id="listCallbacks",
    path="/jobs/{id}/callbacks",
    tag=JOBS,
    permission=Permission.READ,
    summary="Deliveries of a job's callback, and to callback endpoints",
    description="Each with its attempts: request, response and duration.",
    parameters=(ID, *page_parameters("deliveries", default=DEFAULT_DELIVERIES, most=MAX_DELIVERIES)),
    answers=(
        ApiResponse(
            description="A page of the list, newest first.",
            media={JSON: DeliveryPage},
            links={"next": next_page("listCallbacks", has_filters=False, path=("id",))},
        ),
    ),
    problems=("invalid-field", "too-many-reads", "too-many-bytes", "store-unreachable"),
)

LIST_ALL_DELIVERIES = with_page(
    Operation(
        id="listDeliveries",
        path="/callbacks",
        tag=JOBS,
        permission=Permission.READ,
        summary="Deliveries of all callbacks",
        description="The tenant's deliveries by the time of their events, which a repeated event retains.",
        parameters=(
            Parameter(name=STATE, place="query", type=State, description="`failed` selects undelivered events."),
            *page_parameters("deliveries", default=DEFAULT_DELIVERIES, most=MAX_DELIVERIES),
        ),
        answers=(
            ApiResponse(
                description="A page of the list, newest first.",
                media={JSON: DeliveryPage},
                links={"next": next_page("listDeliveries")},
            ),
        ),
        problems=("invalid-field", "too-many-reads", "too-many-bytes", "store-unreachable"),
    )
)

RESEND = Operation(
    id="resendCallback",
    method="POST",
    path="/jobs/{id}/callbacks/{delivery}/resend",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    summary="Send an event again",
    description=(
        "By another delivery with the same `webhook-id` and body, so a receiver that has the event recognizes it. The "
        "newest delivery of the event must have ended; a repetition before the new one begins changes nothing. An "
        f"event is sent again at most {MAX_RESENDS} times."
    ),
    parameters=(
        ID,
        Parameter(
            name="delivery",
            place="path",
            type=JobId,
            description="The id of one of its deliveries.",
            example=EXAMPLE_ID,
        ),
    ),
    answers=(ApiResponse(status=202, description="The new delivery.", media={JSON: Resent}),),
    problems=("wrong-state", "store-unreachable", "outcome-unknown"),
)

LIST_SECRETS = Operation(
    id="listCallbackSecrets",
    path="/callback-secrets",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    summary="Secrets that sign callbacks, without their values",
    answers=(ApiResponse(description="The endpoints of the tenant.", media={JSON: Secrets}),),
    problems=("store-unreachable",),
)

MAKE_SECRET = Operation(
    id="makeCallbackSecret",
    method="POST",
    path="/callback-secrets",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    summary="Make a secret that signs callbacks, or rotate it",
    description=(
        "Only this response contains the secret. The previous secret signs for one more day, so that receivers can "
        "change. While two sign, no third one is made: end the earlier one first."
    ),
    answers=(ApiResponse(status=201, description="The new secret.", media={JSON: MadeSecret}),),
    problems=("two-secrets", "store-unreachable", "outcome-unknown"),
)

END_SECRET = Operation(
    id="endCallbackSecret",
    method="POST",
    path="/callback-secrets/{secret}/end",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    summary="End a secret",
    description="At once, for example because it has leaked. Deliveries without any secret fail and are retried.",
    parameters=(
        Parameter(
            name="secret", place="path", type=str, description="The id of the secret.", example=EXAMPLE_SECRET_ID
        ),
    ),
    answers=(ApiResponse(description="The remaining secrets.", media={JSON: Secrets}),),
    problems=("store-unreachable", "outcome-unknown"),
)
