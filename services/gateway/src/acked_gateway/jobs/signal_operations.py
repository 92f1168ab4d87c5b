"""The routes of signals and durable calls as the route table describes them, and the types of their responses."""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta

from acked_common.api.list_parameters import NextPageToken, next_page, page_parameters
from acked_common.api.operations import COMMANDS, ID, JOBS
from acked_common.api.representations import Count, Instant, JobId, StepState
from acked_common.api.routes import JSON, OF_JSON_BODIES, ApiResponse, Body, Header, Operation, Parameter
from acked_common.model.ledger import MAX_UNREAD, READ_IDS_KEPT
from acked_common.model.names import IDEMPOTENCY_KEY, SIGNAL_NAME, whole
from acked_common.model.principal import Permission

DEFAULT_STEPS = 100
MAX_STEPS = 1000
TAKEN_SHOWN = 20
"""The maximum of taken signals in a list."""
CALLS_SEARCHED = 200
"""The newest durable calls of a job that are searched for taken signals."""

ORDER, OLDEST, NEWEST = "order", "oldest", "newest"
"""The parameter that orders durable calls, and its values."""


class SentSignal(TypedDict):
    """The signal is stored, and reaches the job."""

    id: Annotated[str, Meta(description="The `Idempotency-Key` of the request, else an id that the gateway made.")]
    job: JobId
    name: str
    seq: Annotated[
        int | None,
        Meta(description="The signals of a job count from 1. Null for a repetition of a signal whose entry is gone."),
    ]


class UnreadSignal(TypedDict):
    """A signal that no durable call has taken."""

    id: str
    name: str
    seq: Annotated[int, Meta(ge=1)]
    at: Annotated[Instant, Meta(description="When it was received.")]
    by: Annotated[str | None, Meta(description="The client that sent it.")]


class TakenSignal(UnreadSignal):
    """A signal that a durable call has taken."""

    taken_at: Instant
    taken_by: Annotated[str, Meta(description="The name of the durable call.")]


class SignalList(TypedDict):
    """The signals of a job, without their values."""

    received: Annotated[int, Meta(ge=0, description="How many signals the job has ever received.")]
    unread: Annotated[list[UnreadSignal], Meta(description=f"At most {MAX_UNREAD:,}, oldest first.")]
    taken: Annotated[
        list[TakenSignal],
        Meta(
            description=f"The newest {TAKEN_SHOWN} at most, newest first, of the job's newest {CALLS_SEARCHED} durable "
            "calls."
        ),
    ]


class StepError(TypedDict):
    """The error of a step that failed for good."""

    type: str
    message: str


class KeptStep(TypedDict):
    """A durable call of a handler, without its value."""

    seq: Annotated[int, Meta(ge=1, description="The order in which the calls were first kept.")]
    name: str
    key: Annotated[Any, Meta(description="The key of the call, null without one.")]
    call: Annotated[
        str,
        Meta(
            description="`step`, `try` (the delay of a further try), `checkpoint`, `sleep`, `wait`, `first`, `now`, "
            "`note`, or a newer one."
        ),
    ]
    state: Annotated[
        StepState,
        Meta(description="`open` until it has an outcome; `kept` with one."),
    ]
    at: Annotated[Instant, Meta(description="When it was recorded.")]
    took_s: float
    attempt: Annotated[Count, Meta(description="The attempt that kept it.")]
    tries: Count
    due_at: Annotated[Instant | None, Meta(description="The end of a sleep, of a wait, or of the delay of a try.")]
    error: NotRequired[Annotated[StepError, Meta(description="Of a failed step; absent otherwise.")]]
    ended_early_at: NotRequired[
        Annotated[Instant, Meta(description="When an operator ended the sleep or the delay; absent otherwise.")]
    ]


class StepList(TypedDict):
    """A page of durable calls, in the order in which they were first recorded, or in the reverse order."""

    steps: list[KeptStep]
    next_page_token: NextPageToken


SEND_SIGNAL = Operation(
    id="sendSignal",
    method="POST",
    path="/jobs/{id}/signals/{name}",
    tag=COMMANDS,
    permission=Permission.SIGNAL,
    summary="Send a signal to a job",
    description=(
        "The body is the value, any JSON. A signal is stored in the job's inbox whatever its state is, unless the job "
        "has ended: a handler that waits for the name later takes it then. Signals of one name are taken in the order "
        "of `seq`, each once. The `Idempotency-Key` is the signal's id: the same id again is a 200 with the first "
        f"response, also after the job's end. A job remembers the newest {READ_IDS_KEPT:,} ids that were taken."
    ),
    parameters=(
        ID,
        Parameter(
            name="name",
            place="path",
            type=Annotated[str, Meta(pattern=whole(SIGNAL_NAME))],
            description="The name that the handler waits for.",
            example="paid",
        ),
        Parameter(
            name="Idempotency-Key",
            place="header",
            type=Annotated[str, Meta(pattern=f'^(?:{IDEMPOTENCY_KEY.pattern}|"{IDEMPOTENCY_KEY.pattern}")$')],
            description="The id of the signal: new for each signal, equal for its retries. Use a UUID.",
            example="8e03978e-40d5-43dd-bc93-6894a57f9324",
        ),
    ),
    body=Body(type=Any, required=True, description="The value of the signal, at most 64 KiB.", examples={"paid": 100}),
    answers=(
        ApiResponse(status=202, description="The signal is stored.", media={JSON: SentSignal}),
        ApiResponse(
            status=200,
            description="The signal was stored before; this is the first response.",
            media={JSON: SentSignal},
            headers={
                "Idempotency-Replayed": Header(
                    type=Literal["true"], description="The response is a repetition.", is_always_there=True
                )
            },
        ),
    ),
    problems=(
        *OF_JSON_BODIES,
        *("bad-idempotency-key", "idempotency-key-reused", "invalid-field", "too-many-bytes"),
        *("inbox-full", "wrong-state", "outcome-unknown", "store-unreachable"),
    ),
)


LIST_SIGNALS = Operation(
    id="listSignals",
    path="/jobs/{id}/signals",
    tag=JOBS,
    permission=Permission.READ,
    summary="Unread signals of a job, and the newest that were taken",
    parameters=(ID,),
    answers=(ApiResponse(description="The signals.", media={JSON: SignalList}),),
    problems=("too-many-reads", "too-many-bytes", "store-unreachable"),
)


LIST_STEPS = Operation(
    id="listSteps",
    path="/jobs/{id}/steps",
    tag=JOBS,
    permission=Permission.READ,
    summary="Durable calls of a job",
    description=(
        "The calls whose outcomes are kept, and those that have begun and must not begin again. Values are left out: "
        "the handler's result is the place for what others shall read."
    ),
    parameters=(
        ID,
        Parameter(
            name=ORDER,
            place="query",
            type=Literal["oldest", "newest"],
            description=f"Which calls come first; `{OLDEST}` is the default.",
        ),
        *page_parameters("calls", default=DEFAULT_STEPS, most=MAX_STEPS),
    ),
    answers=(
        ApiResponse(
            description="A page of the list.",
            media={JSON: StepList},
            links={"next": next_page("listSteps", has_filters=False, path=("id",))},
        ),
    ),
    problems=("invalid-field", "too-many-reads", "too-many-bytes", "store-unreachable"),
)
