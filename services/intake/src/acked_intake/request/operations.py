"""`POST /process` as an entry of the route table. The parser uses the same limits."""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec
from msgspec import UNSET, Meta, UnsetType

from acked_common.api.document import About
from acked_common.api.operations import (
    COMMON_TAGS,
    EXAMPLE_ID,
    JOBS,
    TO_STATUS,
    Accepted,
    AcceptedLinks,
    accepted_headers,
)
from acked_common.api.problem_types import ProblemDocument
from acked_common.api.representations import Instant, JobId
from acked_common.api.routes import JSON, LINES, OF_JSON_BODIES, ApiResponse, Body, Operation, Parameter
from acked_common.model.callbacks import CALLBACK_KIND, EVENTS, MAX_URL_CHARS
from acked_common.model.job_fields import CONTROL_CHARACTERS, MAX_TAG_CHARS, MAX_TAGS
from acked_common.model.lifecycle import State
from acked_common.model.names import IDEMPOTENCY_KEY, KIND_NAME, NEW_BATCH_NAME, whole
from acked_common.model.principal import Permission
from acked_intake.accept.submission import (
    DEFAULT_KIND,
    MAX_ATTEMPTS,
    YEAR_S,
)
from acked_intake.request.lines import MAX_BYTES, MAX_LINES

ABOUT = About(
    title="Acked intake",
    description=(
        "Accepts requests for work, persists each one, and responds 202 with an id. A 202 means that the request is in "
        "the journals of a majority of MongoDB members and will reach a final state.\n\n"
        "Lists, commands and the live feed are on the gateway, which has its own document. Every GET supports HEAD "
        "too. Every response carries `X-Content-Type-Options: nosniff` and, unless it says otherwise, "
        "`Cache-Control: no-store`."
    ),
    tags=COMMON_TAGS,
)

_JOB_ID = "^[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"
Seconds = Annotated[float, Meta(gt=0, le=YEAR_S)]
Tag = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_TAG_CHARS,
        # No control characters, nor others that a list would show as a line break.
        pattern=f"^[^{CONTROL_CHARACTERS}]*$",
    ),
]


class CallbackRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The URL that is called, and the events for which it is."""

    url: Annotated[
        str,
        Meta(
            max_length=MAX_URL_CHARS,
            pattern="^https?://",
            description="https, and a public address, unless `ACKED_HTTP_CALL_ALLOW` has the host. Redirects fail.",
        ),
    ]
    events: (
        Annotated[
            Annotated[
                list[Literal["job.succeeded", "job.failed", "job.cancelled"]],
                Meta(min_length=1, max_length=len(EVENTS), extra_json_schema={"uniqueItems": True}),
            ]
            | None,
            Meta(description="All of them if absent."),
        ]
        | UnsetType
    ) = UNSET


class ProcessRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The job to submit. A null field counts as absent, except `kind` and `payload`."""

    kind: Annotated[
        str,
        Meta(
            pattern=whole(KIND_NAME),
            description="The kind of work; `GET /kinds` lists the known kinds.",
            extra_json_schema={"not": {"const": CALLBACK_KIND}},
        ),
    ]
    payload: Annotated[Any, Meta(description="The input of the handler, unchanged; {} if absent.")] | UnsetType = UNSET
    delay_s: (
        Annotated[
            Annotated[float, Meta(ge=0, le=YEAR_S)] | None,
            Meta(description="Delay in seconds before the job may start."),
        ]
        | UnsetType
    ) = UNSET
    batch: (
        Annotated[
            Annotated[str, Meta(pattern=whole(NEW_BATCH_NAME))] | None,
            Meta(description="A name for a group of jobs."),
        ]
        | UnsetType
    ) = UNSET
    tags: (
        Annotated[
            Annotated[list[Tag], Meta(max_length=MAX_TAGS, extra_json_schema={"uniqueItems": True})] | None,
            Meta(description="Words to search the job by."),
        ]
        | UnsetType
    ) = UNSET
    max_attempts: (
        Annotated[
            Annotated[int, Meta(ge=1, le=MAX_ATTEMPTS)] | None,
            Meta(description="Failures after which the job fails for good; by default the kind's."),
        ]
        | UnsetType
    ) = UNSET
    timeout_s: (
        Annotated[Seconds | None, Meta(description="Timeout of one attempt; by default the kind's.")] | UnsetType
    ) = UNSET
    expires_in_s: (
        Annotated[Seconds | None, Meta(description="How long the job may wait for a worker; default 30 days.")]
        | UnsetType
    ) = UNSET
    edited_from: (
        Annotated[
            Annotated[str, Meta(pattern=_JOB_ID, extra_json_schema={"format": "uuid"})] | None,
            Meta(
                description="Set by the gateway: the id of the job that this one replaces. Also needs the permission "
                "`operate`."
            ),
        ]
        | UnsetType
    ) = UNSET
    callback: (
        Annotated[
            CallbackRequest | None,
            Meta(description="Where to send a signed event when the job ends; docs/callbacks.md describes it."),
        ]
        | UnsetType
    ) = UNSET


class RequestLine(ProcessRequest, kw_only=True):
    """One line of many: the job to submit, and the key that makes its retries safe."""

    idempotency_key: Annotated[
        str,
        Meta(
            pattern=whole(IDEMPOTENCY_KEY),
            description="A name for this request, as the header of a single one: new for each request, equal for its "
            "retries. Use a UUID.",
        ),
    ]


class LineOutcome(TypedDict):
    """The outcome of one line: with status 202 the members of an accepted request, otherwise the problem."""

    line: Annotated[int, Meta(ge=1, description="The number of the line in the body; blank lines count.")]
    status: Annotated[int, Meta(ge=202, le=599, description="The status that a single request would have.")]
    idempotency_key: NotRequired[str]
    replayed: NotRequired[
        Annotated[Literal[True], Meta(description="This is the job of an earlier request with the same key.")]
    ]
    id: NotRequired[JobId]
    state: NotRequired[State]
    kind: NotRequired[str]
    accepted_at: NotRequired[Instant]
    links: NotRequired[AcceptedLinks]
    problem: NotRequired[Annotated[ProblemDocument, Meta(description="The problem that a single request would get.")]]
    retry_after_s: NotRequired[
        Annotated[int, Meta(ge=0, description="Send the line again after so many seconds, with the same key.")]
    ]


PROCESS = Operation(
    id="process",
    method="POST",
    path="/process",
    tag=JOBS,
    permission=Permission.SUBMIT,
    summary="Accept a request for work",
    description=(
        "After a 202, request the status at `Location`, or follow the job on the feed. The body is parsed strictly: "
        "a duplicate key, or a number that other programs would read differently, is rejected. `Content-Type: "
        "application/json` is required with a body.\n\n"
        "With an `Idempotency-Key` a request can be repeated without running the work twice: as long as the job "
        "exists, the same request with the same key gets the first response, and `Idempotency-Replayed: true`.\n\n"
        f"Many requests at once: with `Content-Type: {LINES}` each line is a request and has an `idempotency_key`; up "
        f"to {MAX_LINES:,} lines and {MAX_BYTES // 2**20} MiB. The response has status 200 and a line for each, in "
        "order; a line that is refused concerns no other. It is sent after the end of the body. Each line counts as "
        "one request of the client's rate; lines beyond the rate wait for it. If the connection is lost, send all "
        "lines again with the same keys."
    ),
    parameters=(
        Parameter(
            name="Idempotency-Key",
            place="header",
            type=Annotated[str, Meta(pattern=f'^(?:{IDEMPOTENCY_KEY.pattern}|"{IDEMPOTENCY_KEY.pattern}")$')],
            description="A name for this request: new for each request, equal for its retries. Use a UUID.",
            example="8e03978e-40d5-43dd-bc93-6894a57f9324",
        ),
    ),
    body=Body(
        type=ProcessRequest,
        required=False,
        description=(
            f"An empty body submits a job of kind `{DEFAULT_KIND}` if the request has neither a `Content-Type` of "
            "JSON nor an `Idempotency-Key`; otherwise it is rejected, since the body was lost in transit."
        ),
        line_type=RequestLine,
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
                "edited_from": EXAMPLE_ID,
                "callback": {"url": "https://example.com/hook", "events": ["job.failed"]},
            },
        },
    ),
    answers=(
        ApiResponse(
            status=200,
            description="Many requests at once: the outcome of each line, in order, one a line.",
            media={LINES: LineOutcome},
        ),
        ApiResponse(
            status=202,
            description="Persisted. Its state at acceptance is `scheduled` with a delay, else `queued`.",
            media={JSON: Accepted},
            headers=accepted_headers(),
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
