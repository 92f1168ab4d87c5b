"""The routes of attention as the route table describes them, and the types of their requests and responses."""

from typing import Annotated, NotRequired, TypedDict

import msgspec
from msgspec import UNSET, Meta, UnsetType

from acked_common.api.list_parameters import NextPageToken, next_page, page_parameters
from acked_common.api.operations import COMMANDS, JOBS
from acked_common.api.representations import Count, Instant
from acked_common.api.routes import JSON, OF_JSON_BODIES, ApiResponse, Body, Link, Operation, Parameter, with_page
from acked_common.model.attempts import GROUP_NAME, UNGROUPED
from acked_common.model.names import whole
from acked_common.model.principal import Permission
from acked_common.store.census import MINUTES, TENANT_GROUPS

DEFAULT_PAGE = 50
MAX_PAGE = TENANT_GROUPS
MAX_COMMENT_CHARS = 1000
MAX_SNOOZE_S = 400 * 86400.0

GroupName = Annotated[str, Meta(pattern=whole(GROUP_NAME))]
Comment = Annotated[str | None, Meta(description="The comment of an operator.")]
TakenBy = Annotated[str | None, Meta(description="The client that has taken the group.")]
SnoozedUntil = Annotated[Instant | None, Meta(description="The group is hidden until this instant.")]


class Group(TypedDict):
    """The failed jobs of one cause."""

    group: Annotated[GroupName, Meta(description=f"The `error.group` of its jobs, or {UNGROUPED!r}.")]
    kind: str
    type: Annotated[str, Meta(description="The type of the newest job's error.")]
    message: Annotated[str, Meta(description="The newest job's message.")]
    culprit: NotRequired[
        Annotated[str, Meta(description="The line of the user's code that raised it; only for clients with `operate`.")]
    ]
    count: Count
    count_is_exact: Annotated[bool, Meta(description="Whether all of its jobs were counted.")]
    first_at: Annotated[
        Instant, Meta(description="When a job of the group first failed, including jobs that were retried since.")
    ]
    last_at: Annotated[Instant, Meta(description="When a job of the group last failed.")]
    per_minute: Annotated[
        list[Count],
        Meta(
            min_length=MINUTES,
            max_length=MINUTES,
            description=f"Jobs that failed in each of the last {MINUTES} minutes, oldest first. The last one is "
            "that of `counted_at` and incomplete.",
        ),
    ]
    comment: Comment
    taken_by: TakenBy
    taken_at: Instant | None
    snoozed_until: SnoozedUntil


class AttentionTotal(TypedDict):
    """All that needs attention, on this page and on others."""

    groups: Count
    jobs: Count
    is_exact: Annotated[bool, Meta(description="Whether all groups and all of their jobs were counted.")]


class Attention(TypedDict):
    """Groups of errors; the group with the newest failure comes first."""

    groups: list[Group]
    next_page_token: NextPageToken
    total: Annotated[AttentionTotal, Meta(description="Over all groups that match the filters.")]
    counted_at: Annotated[Instant | None, Meta(description="The instant of the counts; null before the first count.")]
    is_complete: Annotated[
        bool, Meta(description=f"False if there are more than the {MAX_PAGE:,} groups that are counted.")
    ]


class Notes(TypedDict):
    """The notes on a group."""

    group: GroupName
    comment: Comment
    taken_by: TakenBy
    taken_at: Instant | None
    snoozed_until: SnoozedUntil


class Note(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The notes to change on a group; omitted fields stay unchanged."""

    comment: (
        Annotated[
            Annotated[str, Meta(min_length=1, max_length=MAX_COMMENT_CHARS)] | None,
            Meta(description="A comment for other operators; null removes it."),
        ]
        | UnsetType
    ) = UNSET
    taken: Annotated[bool, Meta(description="Whether this client takes the group.")] | UnsetType = UNSET
    snooze_s: (
        Annotated[
            Annotated[float, Meta(gt=0, le=MAX_SNOOZE_S)] | None,
            Meta(description="How long to hide the group; null shows it again."),
        ]
        | UnsetType
    ) = UNSET


LIST_ATTENTION = with_page(
    Operation(
        id="listAttention",
        path="/attention",
        tag=JOBS,
        permission=Permission.READ,
        summary="Failed jobs by group of errors",
        description=(
            "Errors of one cause share a group: the same kind, type and line of code, and messages that differ only "
            "in numbers, ids, URLs and quoted texts. Jobs that were retried, resolved, edited or erased do not count. "
            "A gateway counts every few seconds."
        ),
        parameters=(
            Parameter(name="kind", place="query", type=str, description="Only groups of this kind."),
            Parameter(
                name="snoozed",
                place="query",
                type=Annotated[bool, Meta(extra_json_schema={"default": False})],
                description="True lists the snoozed groups, false the others.",
            ),
            *page_parameters("groups", default=DEFAULT_PAGE, most=MAX_PAGE),
        ),
        answers=(
            ApiResponse(
                description="A page of the groups.",
                media={JSON: Attention},
                links={
                    "next": next_page("listAttention"),
                    "jobs": Link(
                        operation="listJobs",
                        parameters={"error.group": "$response.body#/groups/0/group"},
                        description="The failed jobs of the first group.",
                    ),
                },
            ),
        ),
        problems=("invalid-field", "too-many-reads", "too-many-bytes", "store-unreachable"),
    )
)


NOTE_ATTENTION = Operation(
    id="noteAttention",
    method="POST",
    path="/attention/{group}",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    summary="Comment on a group, take it, or snooze it",
    description="A snoozed group is listed again when its time is over. Notes outlive the jobs of a group by 90 days.",
    parameters=(Parameter(name="group", place="path", type=GroupName, description="The group.", example=UNGROUPED),),
    body=Body(
        type=Note,
        required=True,
        description="At least one of the fields.",
        examples={
            "taken": {"comment": "the vendor's API is down", "taken": True},
            "snoozed": {"snooze_s": 3600},
        },
    ),
    answers=(ApiResponse(description="The notes after the change.", media={JSON: Notes}),),
    problems=(*OF_JSON_BODIES, "invalid-field", "too-many-bytes", "store-unreachable"),
)
