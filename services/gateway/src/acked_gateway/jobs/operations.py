"""The routes of jobs and batches as the route table describes them, and the types of their responses."""

from typing import Annotated, Any, NotRequired, TypedDict

import msgspec
from msgspec import UNSET, Meta, UnsetType

from acked_common.api.list_parameters import NextPageToken, next_page, page_parameters
from acked_common.api.operations import COMMANDS, ID, JOBS, accepted_by_intake
from acked_common.api.representations import Count, Instant, JobStatus, JobSummary, JobWithPayload
from acked_common.api.routes import JSON, OF_JSON_BODIES, ApiResponse, Body, Link, Operation, Parameter, with_page
from acked_common.model.attempts import GROUP_NAME, UNGROUPED
from acked_common.model.interventions import RESOLVED_AS
from acked_common.model.lifecycle import State
from acked_common.model.names import BATCH_NAME, NEW_BATCH_NAME, whole
from acked_common.model.principal import Permission
from acked_common.store.list_limits import BATCH_COUNTED, BATCH_JOBS_COUNTED, LIST_SCAN_LIMIT
from acked_common.store.load_tests import KEPT_DAYS
from acked_gateway.jobs.commands import MAX_NOTE_CHARS
from acked_gateway.jobs.filters import OF_SIGNALS, SLEEP, WAITING_FOR, WAITING_FOR_PATTERN
from acked_gateway.jobs.load_figures import LoadTestAnswer

DEFAULT_PAGE = 50
MAX_PAGE = 1000
DEFAULT_BATCHES = 20
MAX_BATCHES = 50


class JobList(TypedDict):
    """A page of a list, newest first."""

    jobs: list[JobSummary]
    next_page_token: NextPageToken


class Batch(TypedDict):
    """The progress of a batch."""

    batch: str
    total: Annotated[
        Count, Meta(description=f"Its jobs; of more than {BATCH_COUNTED:,}, at most so many in each state.")
    ]
    total_is_exact: Annotated[bool, Meta(description="Whether all of its jobs were counted.")]
    states: Annotated[dict[State, Count], Meta(description="The states that occur.")]
    first_at: Annotated[Instant, Meta(description="When its first job was accepted.")]
    last_at: Annotated[
        Instant, Meta(description="When the last of its jobs was accepted or ended, whichever is later.")
    ]
    duration_s: float
    load_test: NotRequired[
        Annotated[LoadTestAnswer, Meta(description=f"Where a load test made it: its figures, for {KEPT_DAYS} days.")]
    ]


class ListedBatch(TypedDict):
    """A batch in a list."""

    batch: str
    newest_at: Annotated[Instant, Meta(description="When its newest job was accepted.")]
    total: Annotated[Count, Meta(description=f"Its jobs, up to {BATCH_JOBS_COUNTED:,}.")]
    total_is_exact: Annotated[bool, Meta(description="Whether all of its jobs were counted.")]
    states: Annotated[
        dict[State, Count],
        Meta(description="The states that occur among the counted jobs, failed ones ahead of those that succeeded."),
    ]


class BatchList(TypedDict):
    """A page of a list, newest first."""

    batches: list[ListedBatch]
    next_page_token: NextPageToken


class Resolve(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The outcome that an operator sets for a failed job."""

    state: Annotated[str, Meta(extra_json_schema={"enum": list(RESOLVED_AS)})]
    result: Annotated[Any, Meta(description="The result of the job.")] | UnsetType = UNSET
    note: (
        Annotated[
            Annotated[str, Meta(max_length=MAX_NOTE_CHARS)] | None, Meta(description="A note for other operators.")
        ]
        | UnsetType
    ) = UNSET


class Edit(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The payload of the new job."""

    payload: Annotated[Any, Meta(description="The complete new input of the handler, stored as it is sent.")]


Since = Annotated[
    str,
    Meta(
        description="RFC 3339, or a duration back from now: whole seconds, minutes, hours or days.",
        examples=["2026-11-24T10:00:00Z", "15m", "1h", "8d"],
    ),
]

BatchName = Annotated[str, Meta(pattern=whole(BATCH_NAME))]
NewBatchName = Annotated[str, Meta(pattern=whole(NEW_BATCH_NAME))]


_OF_COMMANDS = ("wrong-state", "store-unreachable")


def _command(verb: str, *, operation_id: str, summary: str, description: str, body: Body | None = None) -> Operation:
    """Return an operation that moves one job and returns its status."""
    of_body = () if body is None else (*OF_JSON_BODIES, "invalid-field", "too-many-bytes")
    return Operation(
        id=operation_id,
        method="POST",
        path=f"/jobs/{{id}}/{verb}",
        tag=COMMANDS,
        permission=Permission.OPERATE,
        summary=summary,
        description=description,
        parameters=(ID,),
        body=body,
        answers=(ApiResponse(description="The job after the command.", media={JSON: JobStatus}),),
        problems=(*of_body, *_OF_COMMANDS),
    )


def _filter(name: str, type_: Any, what: str) -> Parameter:
    return Parameter(name=name, place="query", type=type_, description=f"Only jobs {what}.")


LIST_JOBS = with_page(
    Operation(
        id="listJobs",
        path="/jobs",
        tag=JOBS,
        permission=Permission.READ,
        summary="Jobs, newest first",
        description=(
            "A job must match all filters. One filter and the time bounds use an index; the others scan up to "
            f"{LIST_SCAN_LIMIT:,} documents a page. So a page may have fewer jobs than requested, even none, and still "
            "have a token. The list ends with an empty token."
        ),
        parameters=(
            _filter("state", State, "in this state"),
            _filter("kind", str, "of this kind"),
            _filter("batch", str, "of this batch"),
            _filter("tag", str, "with this tag"),
            _filter(
                "error.group",
                Annotated[str, Meta(pattern=whole(GROUP_NAME))],
                f"that failed with this group of errors. {UNGROUPED!r} selects failed jobs without a group that still "
                "need attention",
            ),
            _filter(
                WAITING_FOR,
                Annotated[str, Meta(pattern=WAITING_FOR_PATTERN)],
                f"that are parked until a signal of this name comes (`{OF_SIGNALS}paid`), or for no signal (`{SLEEP}`)",
            ),
            _filter("since", Since, "accepted at this instant or later"),
            _filter("until", Since, "accepted before this instant"),
            _filter("worker", str, "that this worker runs now"),
            *page_parameters("jobs", default=DEFAULT_PAGE, most=MAX_PAGE),
        ),
        answers=(
            ApiResponse(
                description="A page of the list.",
                media={JSON: JobList},
                links={
                    "next": next_page("listJobs"),
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
)


GET_JOB = with_page(
    Operation(
        id="getJob",
        path="/jobs/{id}",
        tag=JOBS,
        permission=Permission.READ,
        summary="A job with its payload",
        parameters=(ID,),
        answers=(ApiResponse(description="The status and the payload.", media={JSON: JobWithPayload}),),
        problems=("too-many-bytes", "store-unreachable"),
    )
)


LIST_BATCHES = with_page(
    Operation(
        id="listBatches",
        path="/batches",
        tag=JOBS,
        permission=Permission.READ,
        summary="A list of batches, newest first",
        description=(
            "In the order of the newest job of each. A tenant with very many batches gets them from its newest jobs: "
            f"a page then reads {LIST_SCAN_LIMIT:,} jobs, may have fewer batches than `page_size`, even none, and "
            "still have a token. The list ends with an empty token."
        ),
        parameters=page_parameters("batches", default=DEFAULT_BATCHES, most=MAX_BATCHES),
        answers=(
            ApiResponse(
                description="A page of the list.",
                media={JSON: BatchList},
                links={
                    "next": next_page("listBatches", has_filters=False),
                    "batch": Link(
                        operation="getBatch",
                        parameters={"batch": "$response.body#/batches/0/batch"},
                        description="The first batch of the page, counted further.",
                    ),
                },
            ),
        ),
        problems=("invalid-field", "too-many-reads", "store-unreachable"),
    )
)


BATCH = Parameter(
    name="batch", place="path", type=BatchName, description="The batch's name.", example="nightly.2026-11-24"
)

GET_BATCH = with_page(
    Operation(
        id="getBatch",
        path="/batches/{batch}",
        tag=JOBS,
        permission=Permission.READ,
        summary="The progress of a batch",
        parameters=(BATCH,),
        answers=(ApiResponse(description="Its jobs by state.", media={JSON: Batch}),),
        problems=("bad-batch", "too-many-reads", "store-unreachable"),
    )
)


CANCEL_JOB = _command(
    "cancel",
    operation_id="cancelJob",
    summary="Cancel a job that has not ended",
    description=(
        "A job that no worker runs is cancelled at once. A running job gets a flag, and its worker stops it; the "
        "status shows how it ended. A second cancel has no effect and is a 200 too."
    ),
)


RETRY_JOB = _command(
    "retry",
    operation_id="retryJob",
    summary="Start a new run of a failed or cancelled job",
    description="The run has the same payload; use an edit to change it. An erased job has none, so it is refused.",
)


RESOLVE_JOB = _command(
    "resolve",
    operation_id="resolveJob",
    summary="Set the outcome of a failed job",
    description="A new run that ends at once. Omitted members are empty, even if an earlier resolve set them.",
    body=Body(
        type=Resolve,
        required=True,
        description="The outcome of the job.",
        examples={
            "done": {"state": RESOLVED_AS[0], "result": {"done": "by hand"}, "note": "called them"},
        },
    ),
)


RUN_JOB_NOW = _command(
    "run-now",
    operation_id="runJobNow",
    summary="End the delay or the back-off of a scheduled job, or the sleep of a parked one",
    description=(
        "The job is queued at once. Its failures stay, so another one backs off as before. For a parked job this ends "
        "the sleep, or the delay of a try, that `waits` names, and the handler continues after it. Other waits of the "
        "job stay. A wait for a signal is a 409: send the signal."
    ),
)


ERASE_JOB = _command(
    "erase",
    operation_id="eraseJob",
    summary="Remove payload, result and errors of an ended job",
    description=(
        "State, options, history and retention stay, and so does the audit. An erased job can't be retried, edited, or "
        "resolved with a result. A second erasure has no effect and is a 200 too."
    ),
)


EDIT_JOB = Operation(
    id="editJob",
    method="POST",
    path="/jobs/{id}/edit",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    summary="Replace a failed or cancelled job by one with another payload",
    description=(
        "The new job has the kind and the options of the old one, and names it as `edited_from`. The old job keeps its "
        "state and names the new one as `edited_to`. A run can be edited once: the same payload again returns the same "
        "job, and another payload is a 409 whose `edited_to` names that job. The gateway sends the request to intake "
        "with the caller's token, which also needs `submit`. If intake refuses it, the response is intake's, and its "
        "pointers refer to the body of `POST /process`."
    ),
    parameters=(ID,),
    body=Body(
        type=Edit,
        required=True,
        description="The new payload, within intake's limits.",
        examples={"corrected": {"payload": {"amount": 100}}},
    ),
    answers=(accepted_by_intake(),),
    problems=(
        *OF_JSON_BODIES,
        *("too-many-bytes", "invalid-field", "unknown-field", "unknown-kind"),
        *("quota-exceeded", "not-accepted", "outcome-unknown", *_OF_COMMANDS),
    ),
)
