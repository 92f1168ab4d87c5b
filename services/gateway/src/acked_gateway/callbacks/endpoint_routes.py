"""Callback endpoints over HTTP."""

from datetime import datetime
from typing import get_args

from starlette.requests import Request
from starlette.responses import Response

from acked_common.api.authenticator import operator_of
from acked_common.api.routes import ApiRoute
from acked_common.http import fair_thread
from acked_common.http.limits import client_of
from acked_common.http.requests import read_bounded
from acked_common.http.responses import JsonResponse
from acked_common.model.call_targets import AllowedHosts
from acked_common.model.callback_endpoints import Endpoint, state_of
from acked_common.model.instants import rfc3339
from acked_common.model.principal import principal_of
from acked_common.runtime.clock import Clock
from acked_gateway.callbacks import endpoint_operations as operations
from acked_gateway.callbacks.endpoint_acts import EndpointActs
from acked_gateway.callbacks.endpoint_body import MAX_BODY_BYTES, parse_endpoint
from acked_gateway.callbacks.endpoint_operations import EndpointOf, EndpointState
from acked_gateway.callbacks.operations import Event
from acked_gateway.jobs.command_routes import counted_body
from acked_gateway.kinds.pausing import MAX_BODY_BYTES as MAX_REASON_BYTES
from acked_gateway.kinds.pausing import parse_pause

_EVENTS: dict[str, Event] = {event: event for event in get_args(Event)}
_STATES: dict[str, EndpointState] = {state: state for state in get_args(EndpointState)}


def endpoint_routes(acts: EndpointActs, allowed: AllowedHosts, clock: Clock) -> list[ApiRoute]:
    """Return the routes. `allowed` are the hosts that callbacks may reach in addition to public ones."""

    def shown(endpoint: Endpoint, *, status_code: int = 200) -> Response:
        return JsonResponse(endpoint_fields(endpoint, clock.now()), status_code=status_code)

    async def list_endpoints(request: Request) -> Response:
        now = clock.now()
        found = await acts.list(principal_of(request.scope).tenant)
        listed: operations.Endpoints = {"endpoints": [endpoint_fields(one, now) for one in found]}
        return JsonResponse(listed)

    async def put(request: Request) -> Response:
        async with counted_body(request, MAX_BODY_BYTES) as body:
            wish = await fair_thread.read(
                client_of(request.scope),
                len(body),
                lambda may_scan: parse_endpoint(body, allowed=allowed, may_scan=may_scan),
            )
        endpoint, is_new = await acts.define(_name(request), wish, operator=operator_of(request.scope))
        return shown(endpoint, status_code=201 if is_new else 200)

    async def one(request: Request) -> Response:
        if request.method == "PUT":
            return await put(request)
        if request.method == "DELETE":
            return shown(await acts.remove(_name(request), operator=operator_of(request.scope)))
        return shown(await acts.existing(_name(request), tenant=principal_of(request.scope).tenant))

    async def enable(request: Request) -> Response:
        return shown(await acts.enable(_name(request), operator=operator_of(request.scope)))

    async def disable(request: Request) -> Response:
        reason = parse_pause(await read_bounded(request, MAX_REASON_BYTES))
        return shown(await acts.disable(_name(request), reason, operator=operator_of(request.scope)))

    return [
        ApiRoute(list_endpoints, operations.LIST_ENDPOINTS),
        ApiRoute(one, operations.GET_ENDPOINT, operations.PUT_ENDPOINT, operations.DELETE_ENDPOINT),
        ApiRoute(enable, operations.ENABLE_ENDPOINT),
        ApiRoute(disable, operations.DISABLE_ENDPOINT),
    ]


def endpoint_fields(endpoint: Endpoint, now: datetime) -> EndpointOf:
    """Return an endpoint for a reader, without the values of its headers."""
    order, disabled, failing = endpoint.order, endpoint.disabled, endpoint.failing_since
    return {
        "name": endpoint.name,
        "url": order.url,
        "events": [_EVENTS[event] for event in order.events],
        "kinds": list(order.kinds),
        "header_names": [name for name, _ in order.headers],
        "enabled": endpoint.stopped is None,
        "state": _STATES[state_of(endpoint, now)],
        "disabled": None
        if disabled is None
        else {"at": rfc3339(disabled.at), "by": disabled.by, "reason": disabled.reason},
        "failing_since": None if failing is None else rfc3339(failing),
        "last_error": endpoint.last_error,
        "revision": endpoint.rev,
        "made_at": rfc3339(endpoint.made_at),
        "changed_at": rfc3339(endpoint.changed_at),
    }


def _name(request: Request) -> str:
    name: str = request.path_params["name"]
    return name
