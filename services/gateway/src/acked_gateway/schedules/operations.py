"""The routes of schedules as the route table describes them, and the types of their bodies and responses."""

from typing import Annotated, Any, TypedDict

import msgspec
from msgspec import UNSET, Meta, UnsetType

from acked_common.api.list_parameters import NextPageToken, next_page, page_parameters
from acked_common.api.representations import Count, Instant, JobId
from acked_common.api.routes import JSON, OF_JSON_BODIES, ApiResponse, Body, Operation, Parameter, with_page
from acked_common.model.cron import MAX_CRON_CHARS, MAX_ZONE_CHARS
from acked_common.model.lifecycle import State
from acked_common.model.names import KIND_NAME, NEW_BATCH_NAME, SCHEDULE_NAME, whole
from acked_common.model.principal import Permission
from acked_common.model.schedules import (
    DEFAULT_CATCH_UP_S,
    FIRINGS_KEPT,
    MAX_CATCH_UP_S,
    MAX_EVERY_S,
    MAX_JITTER_S,
    MAX_PAYLOAD_BYTES,
    MIN_CATCH_UP_S,
    MIN_EVERY_S,
    MISSED_COUNTED,
    MOST_IN_ALL,
    MOST_OF_TENANT,
    MOST_PREVIEWED,
    FiringOutcome,
    Overlap,
    Trigger,
    Why,
)
from acked_gateway.kinds.operations import PauseRequest
from acked_gateway.schedules.backfills import BackfillRequest, ScheduleBackfill
from acked_gateway.schedules.body import MOST_TAGS

SCHEDULES_TAG = "Schedules"
DEFAULT_PAGE = 50
MAX_PAGE = 200
DEFAULT_PREVIEW = 20

_Cron = Annotated[str, Meta(max_length=MAX_CRON_CHARS)]
_Zone = Annotated[str, Meta(max_length=MAX_ZONE_CHARS)]
_Every = Annotated[int, Meta(ge=MIN_EVERY_S, le=MAX_EVERY_S)]
_Jitter = Annotated[int, Meta(ge=0, le=MAX_JITTER_S)]
_CatchUp = Annotated[int, Meta(ge=MIN_CATCH_UP_S, le=MAX_CATCH_UP_S)]


class ScheduleRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """When a schedule fires, and what its jobs are: exactly one of `cron` and `every_s`."""

    kind: Annotated[str, Meta(pattern=whole(KIND_NAME))]
    cron: (
        Annotated[_Cron | None, Meta(description="Five fields, or an alias such as `@daily`; none for seconds.")]
        | UnsetType
    ) = UNSET
    every_s: (
        Annotated[_Every | None, Meta(description="Every so many seconds from `from`, or from the beginning of 1970.")]
        | UnsetType
    ) = UNSET
    timezone: Annotated[_Zone | None, Meta(description="IANA name, with `cron`; default UTC.")] | UnsetType = UNSET
    payload: (
        Annotated[Any, Meta(description=f"The input of the handler, at most {MAX_PAYLOAD_BYTES:,} bytes.")] | UnsetType
    ) = UNSET
    tags: Annotated[list[str] | None, Meta(description=f"At most {MOST_TAGS}.")] | UnsetType = UNSET
    batch: (
        Annotated[
            Annotated[str, Meta(pattern=whole(NEW_BATCH_NAME))] | None, Meta(description="A batch for all of its jobs.")
        ]
        | UnsetType
    ) = UNSET
    overlap: (
        Annotated[Overlap | None, Meta(description="What a firing does while a job of the schedule is live.")]
        | UnsetType
    ) = UNSET
    catch_up_s: (
        Annotated[
            _CatchUp | None,
            Meta(description=f"How late a firing may be; later ones are missed. Default {DEFAULT_CATCH_UP_S:,}."),
        ]
        | UnsetType
    ) = UNSET
    jitter_s: (
        Annotated[_Jitter | None, Meta(description="Each firing is later by up to so much, the same in all processes.")]
        | UnsetType
    ) = UNSET
    paused: (
        Annotated[bool | None, Meta(description="True pauses, false resumes; absent leaves it as it is.")] | UnsetType
    ) = UNSET
    from_: Annotated[str | None, Meta(description="RFC 3339: instants before it do not count.")] | UnsetType = (
        msgspec.field(default=UNSET, name="from")
    )
    until: Annotated[str | None, Meta(description="RFC 3339: instants from it on do not count.")] | UnsetType = UNSET


class SchedulePaused(TypedDict):
    """Who paused a schedule, why and since when."""

    client: str
    reason: str | None
    since: Instant


class ScheduleFiring(TypedDict):
    """One instant with its outcome, or several consecutive ones that were skipped or missed alike."""

    at: Annotated[Instant, Meta(description="The nominal instant, without jitter; the first one of several.")]
    last_at: Annotated[Instant | None, Meta(description="The last one of several.")]
    count: Annotated[Count, Meta(description=f"The number of instants; counted up to {MISSED_COUNTED:,}.")]
    trigger: Trigger
    outcome: FiringOutcome
    why: Annotated[Why | None, Meta(description="Why no job was started.")]
    detail: str | None
    job: Annotated[JobId | None, Meta(description="The id of its job, which exists once the outcome is `started`.")]
    job_state: Annotated[
        State | None,
        Meta(description="The state of its job now; null in responses to commands, and if the job was deleted."),
    ]
    revision: Count
    decided_at: Instant


_Bounds = TypedDict("_Bounds", {"from": Instant | None, "until": Instant | None})


class ScheduleSummary(_Bounds):
    """A schedule in a list."""

    name: str
    revision: Annotated[int, Meta(ge=1, description="Raised by each change of the definition.")]
    cron: str | None
    every_s: int | None
    timezone: str | None
    kind: str
    tags: list[str]
    batch: str | None
    overlap: Overlap
    catch_up_s: int
    jitter_s: int
    paused: SchedulePaused | None
    next_at: Annotated[
        Instant | None, Meta(description="The next nominal instant; null while paused, and if none follows.")
    ]
    last_firing: Annotated[ScheduleFiring | None, Meta(description="The newest one.")]
    backfill: Annotated[ScheduleBackfill | None, Meta(description="The newest one.")]
    made_at: Instant
    changed_at: Instant


class ScheduleDetails(ScheduleSummary):
    """A schedule with its payload."""

    payload: Annotated[Any, Meta(description="The input of the handler.")]


class ScheduleList(TypedDict):
    """A page of schedules, by name."""

    schedules: list[ScheduleSummary]
    next_page_token: NextPageToken


class PreviewedInstant(TypedDict):
    """An instant at which a schedule will be due."""

    at: Instant
    local: Annotated[str, Meta(description="The same in the time zone, with its offset.")]
    fires_at: Annotated[Instant, Meta(description="With jitter.")]


class SchedulePreview(TypedDict):
    """The next instants, whether the schedule is paused or not."""

    timezone: str
    time_zone_data: Annotated[str, Meta(description="The release of the time-zone data.", examples=["2026f"])]
    instants: list[PreviewedInstant]


class FiringList(TypedDict):
    """The newest firings, newest first."""

    firings: Annotated[list[ScheduleFiring], Meta(description=f"The newest {FIRINGS_KEPT}, and those under way.")]


_NAME = Parameter(
    name="name",
    place="path",
    type=Annotated[str, Meta(pattern=whole(SCHEDULE_NAME))],
    description="The name of the schedule.",
    example="nightly",
)
_COUNT = Parameter(
    name="count",
    place="query",
    type=Annotated[int, Meta(ge=1, le=MOST_PREVIEWED, extra_json_schema={"default": DEFAULT_PREVIEW})],
    description="How many; fewer if fewer follow within 50 years.",
)
_DEFINITION = Body(
    type=ScheduleRequest,
    required=True,
    description="When it fires, and what its jobs are.",
    examples={
        "cron": {"cron": "0 9 * * MON-FRI", "timezone": "Europe/Berlin", "kind": "noop", "payload": {"n": 1}},
        "every": {"every_s": 300, "kind": "noop", "overlap": "queue_one", "jitter_s": 30},
    },
)
_INSTANTS = (ApiResponse(description="The instants, ascending.", media={JSON: SchedulePreview}),)
_ONE = (ApiResponse(description="The schedule.", media={JSON: ScheduleDetails}),)
_AFTER = (ApiResponse(description="The schedule after the command.", media={JSON: ScheduleDetails}),)

LIST_SCHEDULES = with_page(
    Operation(
        id="listSchedules",
        path="/schedules",
        tag=SCHEDULES_TAG,
        permission=Permission.READ,
        summary="Schedules, by name",
        parameters=page_parameters("schedules", default=DEFAULT_PAGE, most=MAX_PAGE),
        answers=(
            ApiResponse(
                description="A page of the list.",
                media={JSON: ScheduleList},
                links={"next": next_page("listSchedules", has_filters=False)},
            ),
        ),
        problems=("invalid-field", "too-many-reads", "store-unreachable"),
    )
)

GET_SCHEDULE = with_page(
    Operation(
        id="getSchedule",
        path="/schedules/{name}",
        tag=SCHEDULES_TAG,
        permission=Permission.READ,
        summary="A schedule",
        parameters=(_NAME,),
        answers=_ONE,
        problems=("store-unreachable",),
    )
)

PUT_SCHEDULE = Operation(
    id="putSchedule",
    method="PUT",
    path="/schedules/{name}",
    tag=SCHEDULES_TAG,
    permission=Permission.SUBMIT,
    summary="Define a schedule, or replace its definition",
    description=(
        "The body is the whole definition; the same one again changes nothing. Replacing needs the permission "
        f"`operate` too. A tenant may have {MOST_OF_TENANT:,} schedules, and all together {MOST_IN_ALL:,}. The payload "
        "is checked as intake checks it, now and with each firing. Each job has the tag `schedule:` and the name."
    ),
    parameters=(_NAME,),
    body=_DEFINITION,
    answers=(
        ApiResponse(description="The schedule, replaced or unchanged.", media={JSON: ScheduleDetails}),
        ApiResponse(status=201, description="The new schedule.", media={JSON: ScheduleDetails}),
    ),
    problems=(
        *OF_JSON_BODIES,
        *("invalid-field", "unknown-field", "unknown-kind", "too-many-bytes", "too-many-schedules", "busy"),
        "store-unreachable",
    ),
)

DELETE_SCHEDULE = Operation(
    id="deleteSchedule",
    method="DELETE",
    path="/schedules/{name}",
    tag=SCHEDULES_TAG,
    permission=Permission.OPERATE,
    summary="Delete a schedule",
    description="Its jobs stay. A firing that was decided a moment ago may still start.",
    parameters=(_NAME,),
    answers=(ApiResponse(description="The schedule as it was.", media={JSON: ScheduleDetails}),),
    problems=("store-unreachable",),
)

PAUSE_SCHEDULE = Operation(
    id="pauseSchedule",
    method="POST",
    path="/schedules/{name}/pause",
    tag=SCHEDULES_TAG,
    permission=Permission.OPERATE,
    summary="Pause a schedule",
    description="It fires no more; its jobs go on. A second pause does not replace the first.",
    parameters=(_NAME,),
    body=Body(
        type=PauseRequest,
        required=False,
        description="The reason; optional.",
        examples={"reason": {"reason": "the report is being rebuilt"}},
    ),
    answers=_AFTER,
    problems=(*OF_JSON_BODIES, "invalid-field", "busy", "store-unreachable"),
)

RESUME_SCHEDULE = Operation(
    id="resumeSchedule",
    method="POST",
    path="/schedules/{name}/resume",
    tag=SCHEDULES_TAG,
    permission=Permission.OPERATE,
    summary="Resume a paused schedule",
    description="What was due meanwhile is not caught up. No effect on a schedule that is not paused.",
    parameters=(_NAME,),
    answers=_AFTER,
    problems=("invalid-field", "busy", "store-unreachable"),
)

RUN_SCHEDULE = Operation(
    id="runSchedule",
    method="POST",
    path="/schedules/{name}/run-now",
    tag=SCHEDULES_TAG,
    permission=Permission.OPERATE,
    summary="Fire a schedule now",
    description=(
        "An intake decides it within two seconds, by the rule for overlaps; a paused schedule fires too. While such a "
        "request waits, another one returns the same firing. `GET /schedules/{name}/firings` shows what became of it."
    ),
    parameters=(_NAME,),
    answers=(ApiResponse(status=202, description="The firing.", media={JSON: ScheduleFiring}),),
    problems=("invalid-field", "busy", "store-unreachable"),
)

BACKFILL_SCHEDULE = Operation(
    id="backfillSchedule",
    method="POST",
    path="/schedules/{name}/backfill",
    tag=SCHEDULES_TAG,
    permission=Permission.OPERATE,
    summary="Let past instants fire",
    description=(
        "Instants that have a job already are passed over. Where firings may not overlap, the jobs run one after the "
        "other. `backfill` of the schedule shows how far it is; another request takes its place."
    ),
    parameters=(_NAME,),
    body=Body(
        type=BackfillRequest,
        required=True,
        description="From when until when.",
        examples={"week": {"from": "2025-01-01T00:00:00Z", "until": "2025-01-08T00:00:00Z", "limit": 100}},
    ),
    answers=(ApiResponse(status=202, description="The backfill.", media={JSON: ScheduleBackfill}),),
    problems=(*OF_JSON_BODIES, "invalid-field", "unknown-field", "busy", "store-unreachable"),
)

PREVIEW_SCHEDULE = Operation(
    id="previewSchedule",
    path="/schedules/{name}/next",
    tag=SCHEDULES_TAG,
    permission=Permission.READ,
    summary="The next instants of a schedule",
    parameters=(_NAME, _COUNT),
    answers=_INSTANTS,
    problems=("bad-count", "invalid-field", "too-many-reads", "store-unreachable"),
)

PREVIEW_DEFINITION = Operation(
    id="previewDefinition",
    method="POST",
    path="/schedules/{name}/next",
    tag=SCHEDULES_TAG,
    permission=Permission.SUBMIT,
    summary="The next instants of a definition",
    description=(
        "Checks a definition as `PUT /schedules/{name}` does and returns when it would be due under this name. Nothing "
        "is stored, and whether the name is taken does not matter."
    ),
    parameters=(_NAME, _COUNT),
    body=_DEFINITION,
    answers=_INSTANTS,
    problems=(
        *OF_JSON_BODIES,
        *("invalid-field", "unknown-field", "unknown-kind", "too-many-bytes", "bad-count", "too-many-reads"),
        "store-unreachable",
    ),
)

LIST_FIRINGS = Operation(
    id="listFirings",
    path="/schedules/{name}/firings",
    tag=SCHEDULES_TAG,
    permission=Permission.READ,
    summary="The newest firings of a schedule",
    parameters=(_NAME,),
    answers=(ApiResponse(description="The firings.", media={JSON: FiringList}),),
    problems=("too-many-reads", "store-unreachable"),
)
