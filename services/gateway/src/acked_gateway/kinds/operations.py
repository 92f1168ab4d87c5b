"""The commands on kinds as the route table describes them, and the types of their requests."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from acked_common.api.operations import COMMANDS, Kind, accepted_by_intake
from acked_common.api.routes import JSON, OF_JSON_BODIES, ApiResponse, Body, Operation, Parameter
from acked_common.model.limits import MOST_RUNNING
from acked_common.model.names import IDEMPOTENCY_KEY, whole
from acked_common.model.pauses import MAX_REASON_CHARS
from acked_common.model.principal import Permission


class PauseRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Why a kind is paused."""

    reason: (
        Annotated[
            Annotated[str, Meta(max_length=MAX_REASON_CHARS)] | None,
            Meta(description="Shown in the status of waiting jobs of the kind."),
        ]
        | UnsetType
    ) = UNSET


class LimitRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """How many jobs of a kind may run at once: `running`, `per_tenant` or both."""

    running: (
        Annotated[Annotated[int, Meta(ge=1, le=MOST_RUNNING)] | None, Meta(description="Over all workers and tenants.")]
        | UnsetType
    ) = UNSET
    per_tenant: (
        Annotated[
            Annotated[int, Meta(ge=1, le=MOST_RUNNING)] | None,
            Meta(description="Of each tenant, over all workers; at most `running`."),
        ]
        | UnsetType
    ) = UNSET
    reason: (
        Annotated[Annotated[str, Meta(max_length=MAX_REASON_CHARS)] | None, Meta(description="Shown with the limit.")]
        | UnsetType
    ) = UNSET


class SentJob(msgspec.Struct, kw_only=True):
    """A request for work as `POST /process` takes it, without its kind."""

    payload: Annotated[Any, Meta(description="The input of the handler, unchanged; {} if absent.")] | UnsetType = UNSET
    delay_s: Annotated[float | None, Meta(description="Delay in seconds before the job may start.")] | UnsetType = UNSET
    batch: Annotated[str | None, Meta(description="A name for a group of jobs.")] | UnsetType = UNSET


_KIND = Parameter(name="kind", place="path", type=str, description="The name of the kind.", example="noop")
_KIND_AFTER = (ApiResponse(description="The kind after the command.", media={JSON: Kind}),)


PAUSE_KIND = Operation(
    id="pauseKind",
    method="POST",
    path="/kinds/{kind}/pause",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    of_all_tenants=True,
    summary="Pause a kind, so that its jobs do not start",
    description=(
        "Workers stop claiming jobs of the kind within two seconds. Running jobs continue, requests are accepted as "
        "before, and waiting jobs do not expire meanwhile. A second pause does not replace the first. A kind that "
        "shares its lane can't be paused."
    ),
    parameters=(_KIND,),
    body=Body(
        type=PauseRequest,
        required=False,
        description="The reason; optional.",
        examples={"reason": {"reason": "the mail server rejects everything"}},
    ),
    answers=_KIND_AFTER,
    problems=(*OF_JSON_BODIES, "invalid-field", "shared-lane", "store-unreachable"),
)


RESUME_KIND = Operation(
    id="resumeKind",
    method="POST",
    path="/kinds/{kind}/resume",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    of_all_tenants=True,
    summary="Resume a paused kind",
    description="Workers claim its jobs again within two seconds. No effect on a kind that is not paused.",
    parameters=(_KIND,),
    answers=_KIND_AFTER,
    problems=("store-unreachable",),
)


LIMIT_KIND = Operation(
    id="limitKind",
    method="POST",
    path="/kinds/{kind}/limit",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    of_all_tenants=True,
    summary="Limit the running jobs of a kind",
    description=(
        "No worker starts a job of the kind beyond the limit. Jobs beyond it stay queued, without a slot, and start as "
        "others end, oldest first. It replaces an earlier limit as a whole. Running jobs continue, and count even if "
        "they started before. While more run than the limit allows, none starts. A parked job does not count."
    ),
    parameters=(_KIND,),
    body=Body(
        type=LimitRequest,
        required=True,
        description="The limit, and why.",
        examples={
            "both": {"running": 20, "per_tenant": 5, "reason": "the provider allows 20 calls at once"},
            "of each tenant": {"per_tenant": 5},
        },
    ),
    answers=_KIND_AFTER,
    problems=(*OF_JSON_BODIES, "invalid-field", "store-unreachable"),
)


UNLIMIT_KIND = Operation(
    id="unlimitKind",
    method="POST",
    path="/kinds/{kind}/unlimit",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    of_all_tenants=True,
    summary="Remove the limit of a kind",
    description="Its waiting jobs start within seconds, as slots allow. No effect on a kind without a limit.",
    parameters=(_KIND,),
    answers=_KIND_AFTER,
    problems=("store-unreachable",),
)


SEND_JOB = Operation(
    id="sendJob",
    method="POST",
    path="/kinds/{kind}/jobs",
    tag=COMMANDS,
    permission=Permission.SUBMIT,
    summary="Send one job of a kind",
    description=(
        "For pages, which browsers let call no other origin; programs use `POST /process` of intake. The body is that "
        "of `POST /process` without `kind`, and may have its other fields too. The gateway sends it to intake with the "
        "caller's token; what intake refuses is the response."
    ),
    parameters=(
        _KIND,
        Parameter(
            name="Idempotency-Key",
            place="header",
            type=Annotated[str, Meta(pattern=whole(IDEMPOTENCY_KEY))],
            description="A name for this request: new for each request, equal for its retries. Use a UUID.",
            example="8e03978e-40d5-43dd-bc93-6894a57f9324",
        ),
    ),
    body=Body(
        type=SentJob,
        required=False,
        description="The payload and options; intake's limits hold for them.",
        examples={"later": {"payload": {"seconds": 1}, "delay_s": 5}},
    ),
    answers=(accepted_by_intake(),),
    problems=(
        *OF_JSON_BODIES,
        *("too-many-bytes", "bad-idempotency-key", "invalid-field", "unknown-field", "unknown-kind"),
        *("idempotency-key-reused", "quota-exceeded", "not-accepted", "outcome-unknown", "store-unreachable"),
    ),
)
