"""The commands on kinds as the route table describes them, and the types of their requests."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from acked_common.api.operations import COMMANDS, Kind
from acked_common.api.routes import JSON, OF_JSON_BODIES, ApiResponse, Body, Operation, Parameter
from acked_common.model.pauses import MAX_REASON_CHARS
from acked_common.model.principal import Permission


class PauseRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Why a kind is paused."""

    reason: (
        Annotated[
            Annotated[str, Meta(max_length=MAX_REASON_CHARS)] | None,
            Meta(description="For all who wait for jobs of the kind; their status shows it."),
        ]
        | UnsetType
    ) = UNSET


_KIND = Parameter(name="kind", place="path", type=str, description="The name of the kind.", example="noop")
_KIND_AFTER = (ApiResponse(description="The kind after the command.", media={JSON: Kind}),)


PAUSE_KIND = Operation(
    id="pauseKind",
    method="POST",
    path="/kinds/{kind}/pause",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    of_all_tenants=True,
    summary="Let no job of a kind start",
    description=(
        "Within two seconds no worker claims a job of the kind any more. What runs goes on, and requests are accepted "
        "as before. The time in which waiting jobs expire stands still. A second pause changes nothing: the first one "
        "stands. A kind that shares its lane can't be paused."
    ),
    parameters=(_KIND,),
    body=Body(
        type=PauseRequest,
        required=False,
        description="Why; may be left out.",
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
    summary="Let jobs of a paused kind start again",
    description="Workers go on within two seconds. A kind that is not paused stays as it is.",
    parameters=(_KIND,),
    answers=_KIND_AFTER,
    problems=("store-unreachable",),
)
