"""The routes of jobs and batches as the route table describes them, and the types of their responses."""

from typing import Annotated, Any, TypedDict

import msgspec
from msgspec import UNSET, Meta, UnsetType

from acked_common.api.list_parameters import page_parameters
from acked_common.api.operations import COMMANDS, ID, JOBS, TO_STATUS, Accepted, accepted_headers
from acked_common.api.representations import Count, Instant, JobStatus, JobSummary, JobWithPayload
from acked_common.api.routes import JSON, OF_JSON_BODIES, ApiResponse, Body, Link, Operation, Parameter
from acked_common.model.attempts import GROUP_NAME, UNGROUPED
from acked_common.model.lifecycle import State
from acked_common.model.names import BATCH_NAME, NEW_BATCH_NAME, whole
from acked_common.model.principal import Permission
from acked_common.store.list_limits import LIST_SCAN_LIMIT
from acked_gateway.jobs.commands import MAX_NOTE_CHARS, RESOLVED_AS

DEFAULT_PAGE = 50
MAX_PAGE = 1000


class JobList(TypedDict):
    """A page of a list, newest first."""

    jobs: list[JobSummary]
    next_page_token: Annotated[str, Meta(description="Gives the next page; empty at the end of the list.")]


class Batch(TypedDict):
    """How a batch stands."""

    batch: str
    total: Count
    states: Annotated[dict[State, Count], Meta(description="The states that occur.")]
    first_at: Annotated[Instant, Meta(description="When its first job was accepted.")]
    last_at: Annotated[Instant, Meta(description="When its last job was accepted or has ended.")]
    duration_s: float


class Resolve(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """How a person ends a failed job."""

    state: Annotated[str, Meta(extra_json_schema={"enum": list(RESOLVED_AS)})]
    result: Annotated[Any, Meta(description="What the job is to have returned.")] | UnsetType = UNSET
    note: (
        Annotated[Annotated[str, Meta(max_length=MAX_NOTE_CHARS)] | None, Meta(description="Why, for other people.")]
        | UnsetType
    ) = UNSET


class Edit(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What the handler is to be given instead."""

    payload: Annotated[Any, Meta(description="The new input of the handler, whole; kept as it is sent.")]


Since = Annotated[
    str,
    Meta(
        description="RFC 3339, or a duration back from now: whole seconds, minutes, hours or days.",
        examples=["2026-11-24T10:00:00Z", "15m", "1h", "8d"],
    ),
]

BatchName = Annotated[str, Meta(pattern=whole(BATCH_NAME))]
NewBatchName = Annotated[str, Meta(pattern=whole(NEW_BATCH_NAME))]


_STATUS_AFTER = (ApiResponse(description="The job after the command.", media={JSON: JobStatus}),)


_OF_COMMANDS = ("wrong-state", "store-unreachable")


def _filter(name: str, type_: Any, what: str) -> Parameter:
    return Parameter(name=name, place="query", type=type_, description=f"Only jobs {what}.")


LIST_JOBS = Operation(
    id="listJobs",
    path="/jobs",
    tag=JOBS,
    permission=Permission.READ,
    summary="A list of jobs, newest first",
    description=(
        "Each filter that is given must fit. A page may hold fewer jobs than asked for, even none, and still have a "
        f"token: one filter and the bounds in time use an index, the others look at {LIST_SCAN_LIMIT:,} documents a "
        "page. The list ends where the token is empty."
    ),
    parameters=(
        _filter("state", State, "in this state"),
        _filter("kind", str, "of this kind"),
        _filter("batch", str, "of this batch"),
        _filter("tag", str, "with this tag"),
        _filter(
            "error.group",
            Annotated[str, Meta(pattern=whole(GROUP_NAME))],
            f"that failed with this group of errors. {UNGROUPED!r} selects those whose error has no group and to which "
            "nobody has attended",
        ),
        _filter("since", Since, "accepted at this instant or later"),
        _filter("until", Since, "accepted before this instant"),
        *page_parameters("jobs", default=DEFAULT_PAGE, most=MAX_PAGE),
    ),
    answers=(
        ApiResponse(
            description="A page of the list.",
            media={JSON: JobList},
            links={
                "next": Link(
                    operation="listJobs",
                    parameters={"page_token": "$response.body#/next_page_token"},
                    description="The next page, where the token is not empty; with the same filters.",
                ),
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


GET_JOB = Operation(
    id="getJob",
    path="/jobs/{id}",
    tag=JOBS,
    permission=Permission.READ,
    summary="A job with its payload",
    parameters=(ID,),
    answers=(ApiResponse(description="The status and the payload.", media={JSON: JobWithPayload}),),
    problems=("too-many-bytes", "store-unreachable"),
)


GET_BATCH = Operation(
    id="getBatch",
    path="/batches/{batch}",
    tag=JOBS,
    permission=Permission.READ,
    summary="How a batch stands",
    parameters=(
        Parameter(
            name="batch", place="path", type=BatchName, description="The batch's name.", example="nightly.2026-11-24"
        ),
    ),
    answers=(ApiResponse(description="Its jobs by state.", media={JSON: Batch}),),
    problems=("bad-batch", "too-many-reads", "store-unreachable"),
)


CANCEL_JOB = Operation(
    id="cancelJob",
    method="POST",
    path="/jobs/{id}/cancel",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    summary="End a job that has not ended",
    description=(
        "A job that nobody runs is cancelled at once. A running one gets a flag, and its worker stops it; ask for the "
        "status to see how it ended. A second cancel changes nothing and is a 200 too."
    ),
    parameters=(ID,),
    answers=_STATUS_AFTER,
    problems=_OF_COMMANDS,
)


RETRY_JOB = Operation(
    id="retryJob",
    method="POST",
    path="/jobs/{id}/retry",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    summary="Start a new run of a failed or cancelled job",
    description="With the payload that it has; an edit gives another one. An erased job has none, so it is refused.",
    parameters=(ID,),
    answers=_STATUS_AFTER,
    problems=_OF_COMMANDS,
)


RESOLVE_JOB = Operation(
    id="resolveJob",
    method="POST",
    path="/jobs/{id}/resolve",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    summary="Decide the end of a failed job",
    description="A new run that ends at once. What is left out is left empty, whatever an earlier resolve said.",
    parameters=(ID,),
    body=Body(
        type=Resolve,
        required=True,
        description="How the job ends.",
        examples={
            "done": {"state": RESOLVED_AS[0], "result": {"done": "by hand"}, "note": "called them"},
        },
    ),
    answers=_STATUS_AFTER,
    problems=(*OF_JSON_BODIES, "invalid-field", "too-many-bytes", *_OF_COMMANDS),
)


RUN_JOB_NOW = Operation(
    id="runJobNow",
    method="POST",
    path="/jobs/{id}/run-now",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    summary="End the delay or the back-off of a scheduled job",
    description="It is queued at once. Its failures count on: after another one it backs off as before.",
    parameters=(ID,),
    answers=_STATUS_AFTER,
    problems=_OF_COMMANDS,
)


ERASE_JOB = Operation(
    id="eraseJob",
    method="POST",
    path="/jobs/{id}/erase",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    summary="Remove payload, result and errors of an ended job",
    description=(
        "Its state, options, history and who did what stay, and it is deleted when its retention ends. It can't be "
        "retried, edited, or resolved with a result any more. A second erasure changes nothing and is a 200 too."
    ),
    parameters=(ID,),
    answers=_STATUS_AFTER,
    problems=_OF_COMMANDS,
)


EDIT_JOB = Operation(
    id="editJob",
    method="POST",
    path="/jobs/{id}/edit",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    summary="Put a job with another payload in the place of one that failed or was cancelled",
    description=(
        "The new job has the kind and the options of the old one, and names it as `edited_from`; the old one stays as "
        "it ended and names the new one as `edited_to`. A run is edited once: the same payload again gets the same "
        "job, another payload a 409 that names it as `edited_to`. The gateway sends the request to intake with the "
        "caller's token, which needs `submit` too; what intake refuses is the response, and its pointers lead into "
        "the body of `POST /process`."
    ),
    parameters=(ID,),
    body=Body(
        type=Edit,
        required=True,
        description="The new payload; intake's limits hold for it.",
        examples={"corrected": {"payload": {"amount": 100}}},
    ),
    answers=(
        ApiResponse(
            status=202,
            description="The response of intake: the new job is persisted.",
            media={JSON: Accepted},
            headers=accepted_headers(),
            links=TO_STATUS,
        ),
    ),
    problems=(
        *OF_JSON_BODIES,
        *("too-many-bytes", "invalid-field", "unknown-field", "unknown-kind"),
        *("quota-exceeded", "not-accepted", "outcome-unknown", *_OF_COMMANDS),
    ),
)
