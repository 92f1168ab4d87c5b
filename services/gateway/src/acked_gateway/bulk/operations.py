"""The routes of bulk actions as the route table describes them, and the types of their bodies and responses."""

from typing import Annotated, Any, NotRequired, TypedDict

import msgspec
from msgspec import UNSET, Meta, UnsetType

from acked_common.api.list_parameters import NextPageToken, next_page, page_parameters
from acked_common.api.operations import COMMANDS, EXAMPLE_ID
from acked_common.api.representations import Count, Instant, JobId
from acked_common.api.routes import JSON, OF_JSON_BODIES, ApiResponse, Body, Link, Operation, Parameter, with_page
from acked_common.model.attempts import GROUP_NAME
from acked_common.model.bulk_actions import (
    COUNTED_UP_TO,
    EXAMPLES_KEPT,
    MAX_RATE_PER_S,
    MAX_REASON_CHARS,
    MIN_RATE_PER_S,
    MOST_IDS,
    BulkState,
    BulkVerb,
)
from acked_common.model.interventions import RESOLVED_AS
from acked_common.model.lifecycle import State
from acked_common.model.names import BATCH_NAME, KIND_NAME, whole
from acked_common.model.principal import Permission
from acked_gateway.bulk.body import MAX_TAG_CHARS
from acked_gateway.bulk.rules import WHY
from acked_gateway.jobs.commands import MAX_NOTE_CHARS
from acked_gateway.jobs.filters import WAITING_FOR_PATTERN

DEFAULT_PAGE = 50
MAX_PAGE = 100

_Moment = Annotated[
    str, Meta(description="An instant in RFC 3339, or a duration back from now such as `15m`, `1h` or `8d`.")
]


class BulkFilter(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The jobs to select: they must match every field, and at least one field is required."""

    state: State | UnsetType = UNSET
    kind: Annotated[str, Meta(pattern=whole(KIND_NAME))] | UnsetType = UNSET
    batch: Annotated[str, Meta(pattern=whole(BATCH_NAME))] | UnsetType = UNSET
    tag: Annotated[str, Meta(min_length=1, max_length=MAX_TAG_CHARS)] | UnsetType = UNSET
    error_group: Annotated[str, Meta(pattern=whole(GROUP_NAME))] | UnsetType = msgspec.field(
        default=UNSET, name="error.group"
    )
    since: _Moment | UnsetType = UNSET
    until: _Moment | UnsetType = UNSET
    waiting_for: Annotated[str, Meta(pattern=WAITING_FOR_PATTERN)] | UnsetType = UNSET


class BulkResolve(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """How a resolve ends each job."""

    state: Annotated[str, Meta(extra_json_schema={"enum": list(RESOLVED_AS)})]
    result: Annotated[Any, Meta(description="The result of each job.")] | UnsetType = UNSET
    note: Annotated[str, Meta(max_length=MAX_NOTE_CHARS)] | UnsetType = UNSET


class BulkRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One command over many jobs."""

    action: BulkVerb
    filter: BulkFilter | UnsetType = UNSET
    ids: Annotated[list[JobId], Meta(min_length=1, max_length=MOST_IDS)] | UnsetType = UNSET
    rate_per_s: (
        Annotated[
            Annotated[float, Meta(ge=MIN_RATE_PER_S, le=MAX_RATE_PER_S)],
            Meta(description="Maximum of jobs that move per second; unlimited if absent."),
        ]
        | UnsetType
    ) = UNSET
    dry_run: (
        Annotated[bool, Meta(description="Count jobs and show examples, without changing anything.")] | UnsetType
    ) = UNSET
    plan: Annotated[str, Meta(description="The plan of a dry run: later jobs do not move.")] | UnsetType = UNSET
    reason: (
        Annotated[
            Annotated[str, Meta(min_length=1, max_length=MAX_REASON_CHARS)],
            Meta(description="The reason, for other operators."),
        ]
        | UnsetType
    ) = UNSET
    resolution: (
        Annotated[BulkResolve, Meta(description="Required for the action `resolve`, allowed only there.")] | UnsetType
    ) = UNSET


class ExampleError(TypedDict):
    """The newest error of a job."""

    type: str
    message: str


class BulkExample(TypedDict):
    """One of the jobs that an action would move."""

    id: JobId
    kind: str
    state: State
    error: ExampleError | None


class BulkPreview(TypedDict):
    """The result of a dry run."""

    action: BulkVerb
    count: Annotated[int, Meta(ge=0, description="How many jobs the action would move.")]
    count_is_exact: Annotated[
        bool, Meta(description=f"False if there are more jobs: a count ends at {COUNTED_UP_TO:,}, or after a second.")
    ]
    examples: Annotated[list[BulkExample], Meta(description=f"At most {EXAMPLES_KEPT} of them, the oldest.")]
    planned_at: Instant
    plan: Annotated[str, Meta(description="Send it with the same action and jobs, and without `dry_run`.")]


class BulkBy(TypedDict):
    """The client of a request."""

    client: str
    token_id: Annotated[str | None, Meta(description="Null if the services require no tokens.")]


class RefusedJob(TypedDict):
    """A job that the action did not move."""

    id: JobId
    reason: str
    detail: str


_BULK_ID = Annotated[str, Meta(description="The id of the bulk action.", extra_json_schema={"format": "uuid"})]
_RefusedBy = Annotated[
    dict[str, Count],
    Meta(description=f"How many jobs did not move, by reason: {', '.join(f'`{word}`' for word in WHY)}."),
]


class BulkActionStatus(TypedDict):
    """The progress of a bulk action."""

    id: _BULK_ID
    action: BulkVerb
    state: BulkState
    filter: NotRequired[Annotated[dict[str, Any], Meta(description="Instants instead of durations; absent for ids.")]]
    ids: NotRequired[Annotated[int, Meta(ge=1, description="The number of ids; absent for a filter.")]]
    reason: NotRequired[str]
    by: BulkBy
    asked_at: Instant
    planned_at: Annotated[Instant, Meta(description="Jobs that are accepted or end later do not move.")]
    rate_per_s: float | None
    matched: Annotated[int, Meta(ge=0, description="The number of jobs in the plan when it was made.")]
    matched_is_exact: bool
    done: Annotated[int, Meta(ge=0, description="Jobs that the action has moved.")]
    refused: _RefusedBy
    refused_examples: Annotated[list[RefusedJob], Meta(description=f"At most {EXAMPLES_KEPT}.")]
    progress: Annotated[
        float | None, Meta(description="The share of jobs processed, 0 to 1; null if `matched` is not exact.")
    ]
    started_at: Instant | None
    ended_at: Instant | None
    abort_requested_at: NotRequired[Instant]
    abort_requested_by: NotRequired[BulkBy]
    failure: NotRequired[Annotated[str, Meta(description="Why the action failed; absent otherwise.")]]


class BulkActionList(TypedDict):
    """A page of bulk actions, newest first."""

    bulk_actions: list[BulkActionStatus]
    next_page_token: NextPageToken


BULK_ID = Parameter(name="id", place="path", type=_BULK_ID, description="The bulk action's id.", example=EXAMPLE_ID)
_LINKS = {
    "bulk_action": Link(
        operation="getBulkAction",
        parameters={"id": "$response.body#/id"},
        description="Its progress.",
    )
}

START_BULK_ACTION = Operation(
    id="startBulkAction",
    method="POST",
    path="/bulk-actions",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    summary="One command over many jobs",
    description=(
        "Selects jobs by a filter or by ids. A dry run counts them and changes nothing. Its `plan` fixes them, so that "
        "the run moves no job that is accepted or ends later. A gateway executes an action; if it is killed, another "
        "one continues. Each job moves at most once per action. Without `state`, a retry applies to failed jobs, and "
        "every other action to the jobs that it can move."
    ),
    body=Body(
        type=BulkRequest,
        required=True,
        description="The command and its jobs. Exactly one of `filter` and `ids` is required.",
        examples={
            "preview": {"action": "retry", "filter": {"kind": "noop", "since": "1h"}, "dry_run": True},
            "retry": {"action": "retry", "filter": {"batch": "nightly"}, "rate_per_s": 20, "reason": "fixed in 1.2"},
            "resolve": {"action": "resolve", "filter": {"tag": "old"}, "resolution": {"state": RESOLVED_AS[0]}},
        },
    ),
    answers=(
        ApiResponse(description="A dry run: the jobs that would move.", media={JSON: BulkPreview}),
        ApiResponse(status=202, description="The action is persisted.", media={JSON: BulkActionStatus}, links=_LINKS),
    ),
    problems=(
        *OF_JSON_BODIES,
        *("invalid-field", "too-many-bytes", "too-many-reads", "too-many-bulk-actions", "store-unreachable"),
    ),
)

LIST_BULK_ACTIONS = with_page(
    Operation(
        id="listBulkActions",
        path="/bulk-actions",
        tag=COMMANDS,
        permission=Permission.READ,
        summary="Bulk actions, newest first",
        description="Unfinished actions, and those that ended within 30 days.",
        parameters=page_parameters("actions", default=DEFAULT_PAGE, most=MAX_PAGE),
        answers=(
            ApiResponse(
                description="A page of the list.",
                media={JSON: BulkActionList},
                links={"next": next_page("listBulkActions", has_filters=False)},
            ),
        ),
        problems=("invalid-field", "too-many-reads", "store-unreachable"),
    )
)

GET_BULK_ACTION = with_page(
    Operation(
        id="getBulkAction",
        path="/bulk-actions/{id}",
        tag=COMMANDS,
        permission=Permission.READ,
        summary="The progress of a bulk action",
        parameters=(BULK_ID,),
        answers=(ApiResponse(description="Its progress.", media={JSON: BulkActionStatus}),),
        problems=("store-unreachable",),
    )
)

ABORT_BULK_ACTION = Operation(
    id="abortBulkAction",
    method="POST",
    path="/bulk-actions/{id}/abort",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    summary="Abort a bulk action",
    description=(
        "The action stops within a second. Jobs that have moved stay as they are. An abort of an ended action has no "
        "effect and is a 200 too."
    ),
    parameters=(BULK_ID,),
    answers=(ApiResponse(description="The action; request it again to see its end.", media={JSON: BulkActionStatus}),),
    problems=("store-unreachable",),
)
