"""The routes of callback endpoints as the route table describes them, and the types of their bodies and responses."""

from typing import Annotated, Literal, TypedDict

import msgspec
from msgspec import UNSET, Meta, UnsetType

from acked_common.api.operations import COMMANDS
from acked_common.api.representations import Instant
from acked_common.api.routes import JSON, OF_JSON_BODIES, ApiResponse, Body, Operation, Parameter
from acked_common.model.callback_endpoints import (
    FAILS_FOR,
    MAX_HEADERS,
    MAX_KINDS,
    MOST_IN_ALL,
    MOST_OF_TENANT,
    READ_WITHIN_S,
)
from acked_common.model.callbacks import MAX_URL_CHARS
from acked_common.model.names import ENDPOINT_NAME, KIND_NAME, whole
from acked_common.model.principal import Permission
from acked_gateway.callbacks.operations import Event
from acked_gateway.kinds.operations import PauseRequest

EndpointState = Literal["enabled", "failing", "disabled", "off"]


class EndpointRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Where the events of a tenant's jobs go, and which."""

    url: Annotated[str, Meta(max_length=MAX_URL_CHARS, description="It obeys the rules of callbacks.")]
    events: (
        Annotated[Annotated[list[Event], Meta(min_length=1)] | None, Meta(description="Default: all.")] | UnsetType
    ) = UNSET
    kinds: (
        Annotated[
            Annotated[list[Annotated[str, Meta(pattern=whole(KIND_NAME))]], Meta(max_length=MAX_KINDS)] | None,
            Meta(description="The kinds whose events it receives. Default: all."),
        ]
        | UnsetType
    ) = UNSET
    headers: (
        Annotated[
            dict[str, str] | None,
            Meta(
                description=f"At most {MAX_HEADERS} headers to send, for example `authorization`. No response shows "
                "their values, so without this field they stay; `{}` removes them."
            ),
        ]
        | UnsetType
    ) = UNSET
    enabled: (
        Annotated[bool | None, Meta(description="True enables, false disables. Default: unchanged.")] | UnsetType
    ) = UNSET


class EndpointDisabled(TypedDict):
    """Who disabled an endpoint, why and when."""

    at: Instant
    by: Annotated[str, Meta(description="The client; `acked` for Acked itself.")]
    reason: str | None


class EndpointOf(TypedDict):
    """A callback endpoint."""

    name: str
    url: str
    events: list[Event]
    kinds: Annotated[list[str], Meta(description="Empty for all kinds.")]
    header_names: Annotated[list[str], Meta(description="The names of the headers; no route shows their values.")]
    enabled: bool
    state: Annotated[
        EndpointState,
        Meta(
            description="`failing`: its deliveries have only failed for an hour or more. `disabled` by Acked; `off`: "
            "disabled by a client."
        ),
    ]
    disabled: Annotated[EndpointDisabled | None, Meta(description="Null while it is enabled.")]
    failing_since: Annotated[Instant | None, Meta(description="The first failed attempt since the last success.")]
    last_error: Annotated[str | None, Meta(description="Of the newest failed attempt since then.")]
    revision: Annotated[int, Meta(ge=1, description="Raised by each change of the definition.")]
    made_at: Instant
    changed_at: Instant


class Endpoints(TypedDict):
    """The endpoints of a tenant."""

    endpoints: Annotated[list[EndpointOf], Meta(description="By name.")]


_NAME = Parameter(
    name="name",
    place="path",
    type=Annotated[str, Meta(pattern=whole(ENDPOINT_NAME))],
    description="The name of the endpoint.",
    example="billing",
)
_ONE = (ApiResponse(description="The endpoint.", media={JSON: EndpointOf}),)
_AFTER = (ApiResponse(description="The endpoint after the command.", media={JSON: EndpointOf}),)

LIST_ENDPOINTS = Operation(
    id="listCallbackEndpoints",
    path="/callback-endpoints",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    summary="Callback endpoints, by name",
    answers=(ApiResponse(description="The endpoints of the tenant.", media={JSON: Endpoints}),),
    problems=("store-unreachable",),
)

GET_ENDPOINT = Operation(
    id="getCallbackEndpoint",
    path="/callback-endpoints/{name}",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    summary="A callback endpoint",
    parameters=(_NAME,),
    answers=_ONE,
    problems=("store-unreachable",),
)

PUT_ENDPOINT = Operation(
    id="putCallbackEndpoint",
    method="PUT",
    path="/callback-endpoints/{name}",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    summary="Define a callback endpoint, or replace its definition",
    description=(
        "It gets the events of all jobs of its kinds that are accepted after the response. The response to a change "
        f"takes {READ_WITHIN_S:g} s, until all intakes have read it; the same definition again changes nothing. A "
        f"tenant may have {MOST_OF_TENANT} endpoints, and all together {MOST_IN_ALL:,}."
    ),
    parameters=(_NAME,),
    body=Body(
        type=EndpointRequest,
        required=True,
        description="The URL, the events and the kinds.",
        examples={
            "failures": {"url": "https://example.com/hook", "events": ["job.failed"]},
            "kinds": {"url": "https://example.com/hook", "kinds": ["noop"], "enabled": True},
        },
    ),
    answers=(
        ApiResponse(description="The endpoint, replaced or unchanged.", media={JSON: EndpointOf}),
        ApiResponse(status=201, description="The new endpoint.", media={JSON: EndpointOf}),
    ),
    problems=(
        *OF_JSON_BODIES,
        *("invalid-field", "unknown-field", "too-many-bytes", "too-many-callback-endpoints", "busy"),
        *("store-unreachable", "outcome-unknown"),
    ),
)

DELETE_ENDPOINT = Operation(
    id="deleteCallbackEndpoint",
    method="DELETE",
    path="/callback-endpoints/{name}",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    summary="Delete a callback endpoint",
    description="No event is sent to it any more: deliveries that wait for their next attempt fail.",
    parameters=(_NAME,),
    answers=(ApiResponse(description="The endpoint as it was.", media={JSON: EndpointOf}),),
    problems=("store-unreachable", "outcome-unknown"),
)

ENABLE_ENDPOINT = Operation(
    id="enableCallbackEndpoint",
    method="POST",
    path="/callback-endpoints/{name}/enable",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    summary="Enable a callback endpoint",
    description=(
        "Jobs that were accepted while it was disabled send it no events. No effect on an enabled one. Acked disables "
        f"an endpoint that returns a 410, or whose deliveries have all failed for {FAILS_FOR.days} days."
    ),
    parameters=(_NAME,),
    answers=_AFTER,
    problems=("busy", "store-unreachable", "outcome-unknown"),
)

DISABLE_ENDPOINT = Operation(
    id="disableCallbackEndpoint",
    method="POST",
    path="/callback-endpoints/{name}/disable",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    summary="Disable a callback endpoint",
    description=(
        "No event is sent to it. A delivery whose next attempt is due meanwhile fails; one that is due after the "
        "endpoint was enabled again continues. A second disable does not replace the first."
    ),
    parameters=(_NAME,),
    body=Body(
        type=PauseRequest,
        required=False,
        description="The reason; optional.",
        examples={"reason": {"reason": "the receiver moves"}},
    ),
    answers=_AFTER,
    problems=(*OF_JSON_BODIES, "invalid-field", "busy", "store-unreachable", "outcome-unknown"),
)
