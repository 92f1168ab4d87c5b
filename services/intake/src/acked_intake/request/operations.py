"""`POST /process` as the route table describes it. The limits are those of the parser."""

from typing import Annotated, Any, Literal, TypedDict

import msgspec
from msgspec import UNSET, Meta, UnsetType

from acked_common.api.document import About
from acked_common.api.operations import COMMON_TAGS, EXAMPLE_ID, JOBS, TO_STATUS
from acked_common.api.representations import Instant, JobId
from acked_common.api.routes import JSON, OF_JSON_BODIES, ApiResponse, Body, Header, Operation, Parameter
from acked_common.model.lifecycle import State
from acked_common.model.names import BATCH_NAME, IDEMPOTENCY_KEY, KIND_NAME, whole
from acked_common.model.principal import Permission
from acked_intake.accept.submission import (
    CONTROL_CHARACTERS,
    DEFAULT_KIND,
    MAX_ATTEMPTS,
    MAX_TAG_CHARS,
    MAX_TAGS,
    YEAR_S,
)

MAX_RETRY_AFTER_S = 3600

ABOUT = About(
    title="Acked intake",
    description=(
        "Takes requests for work, keeps each one, and answers 202 with an id. A 202 means that the request is in the "
        "journals of a majority of MongoDB members and will be brought to an end.\n\n"
        "Lists, commands and the live feed are on the gateway, which has a document of its own. Every GET answers HEAD "
        "too. Every answer carries `X-Content-Type-Options: nosniff` and, unless it says otherwise, "
        "`Cache-Control: no-store`."
    ),
    tags=COMMON_TAGS,
)

Seconds = Annotated[float, Meta(gt=0, le=YEAR_S)]
Tag = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_TAG_CHARS,
        # Without control characters; one that would read as a line break in a list is one too.
        pattern=f"^[^{CONTROL_CHARACTERS}]*$",
    ),
]


class ProcessRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is to be done. A field that is null counts as left out, except `kind` and `payload`."""

    kind: Annotated[
        str, Meta(pattern=whole(KIND_NAME), description="What is to be done; `GET /kinds` lists what is known.")
    ]
    payload: (
        Annotated[Any, Meta(description="What the handler gets, as it was sent; {} where it is left out.")] | UnsetType
    ) = UNSET
    delay_s: (
        Annotated[
            Annotated[float, Meta(ge=0, le=YEAR_S)] | None,
            Meta(description="Start no sooner than so many seconds from now."),
        ]
        | UnsetType
    ) = UNSET
    batch: (
        Annotated[
            Annotated[str, Meta(pattern=whole(BATCH_NAME))] | None,
            Meta(description="A name for jobs that belong together."),
        ]
        | UnsetType
    ) = UNSET
    tags: (
        Annotated[
            Annotated[list[Tag], Meta(max_length=MAX_TAGS, extra_json_schema={"uniqueItems": True})] | None,
            Meta(description="Words to find the job by."),
        ]
        | UnsetType
    ) = UNSET
    max_attempts: (
        Annotated[
            Annotated[int, Meta(ge=1, le=MAX_ATTEMPTS)] | None,
            Meta(description="Failures after which the job fails for good; else the kind's."),
        ]
        | UnsetType
    ) = UNSET
    timeout_s: (
        Annotated[Seconds | None, Meta(description="The longest that one attempt may take; else the kind's.")]
        | UnsetType
    ) = UNSET
    expires_in_s: (
        Annotated[Seconds | None, Meta(description="How long the job may wait for a worker; else 30 days.")] | UnsetType
    ) = UNSET


class AcceptedLinks(TypedDict):
    """Where the job can be followed."""

    status: Annotated[str, Meta(description="On this service and on the gateway.")]
    feed: Annotated[str, Meta(description="The live feed, a WebSocket of the gateway.")]


class Accepted(TypedDict):
    """The request is kept."""

    id: JobId
    state: State
    kind: str
    accepted_at: Instant
    links: AcceptedLinks


PROCESS = Operation(
    id="process",
    method="POST",
    path="/process",
    tag=JOBS,
    permission=Permission.SUBMIT,
    summary="Accept a request for work",
    description=(
        "After a 202, ask for the status at `Location`, or follow the job on the feed. The body is read strictly: a "
        "key that stands twice or a number that other programs would read as another value is refused. `Content-Type: "
        "application/json` is needed where there is a body.\n\n"
        "With an `Idempotency-Key` a request can be sent again without running the work twice: as long as the job is "
        "kept, the same request with the same key gets the answer of the first one, and `Idempotency-Replayed: true`."
    ),
    parameters=(
        Parameter(
            name="Idempotency-Key",
            place="header",
            type=Annotated[str, Meta(pattern=f'^(?:{IDEMPOTENCY_KEY.pattern}|"{IDEMPOTENCY_KEY.pattern}")$')],
            description="A name for this request: new for each, the same when it is sent again. A UUID is a good one.",
            example="8e03978e-40d5-43dd-bc93-6894a57f9324",
        ),
    ),
    body=Body(
        type=ProcessRequest,
        required=False,
        description=(
            f"An empty body asks for a job of kind `{DEFAULT_KIND}`, where the request has neither a `Content-Type` of "
            "JSON nor an `Idempotency-Key`; else it is refused, as the body was lost on its way."
        ),
        examples={
            "demo": {"kind": "demo", "payload": {"seconds": 0.1}},
            "all": {
                "kind": "noop",
                "payload": [1, "two", None],
                "delay_s": 0.5,
                "batch": "nightly.2026-11-24",
                "tags": ["invoice", "customer 7"],
                "max_attempts": 3,
                "timeout_s": 30,
                "expires_in_s": 3600,
            },
        },
    ),
    answers=(
        ApiResponse(
            status=202,
            description="Kept. When it was accepted it was `scheduled` where there is a delay, else `queued`.",
            media={JSON: Accepted},
            headers={
                "Location": Header(
                    type=Annotated[str, Meta(pattern="^/status/", examples=[f"/status/{EXAMPLE_ID}"])],
                    description="Where the status is, relative.",
                ),
                "Retry-After": Header(
                    type=Annotated[int, Meta(ge=1, le=MAX_RETRY_AFTER_S)],
                    description="Seconds until a first look makes sense.",
                ),
                "Idempotency-Replayed": Header(
                    type=Literal["true"],
                    description="There where an earlier call with this key was accepted, and this is its answer.",
                    is_always_there=False,
                ),
            },
            links=TO_STATUS,
        ),
    ),
    problems=(
        *OF_JSON_BODIES,
        "too-many-bytes",
        *("empty-body", "bad-idempotency-key", "unsupported-media-type"),
        *("invalid-field", "unknown-field", "unknown-kind", "idempotency-key-reused"),
        *("quota-exceeded", "not-accepted", "outcome-unknown"),
    ),
)
