"""The calls of callback endpoints. Pure."""

from urllib.parse import quote

import msgspec

from acked_client.core import json_text
from acked_client.core.effects import Flow, Request, Response
from acked_client.core.exchange import Session, exchange, fetch
from acked_client.model.callbacks import CallbackEndpoint
from acked_client.model.problems import NotFound
from acked_client.model.requests import CallbackEndpointDefinition

_ENDPOINTS = "/callback-endpoints"


class _Endpoints(msgspec.Struct):
    endpoints: list[CallbackEndpoint]


def endpoints(session: Session) -> Flow[list[CallbackEndpoint]]:
    """Return the endpoints of the tenant, by name."""
    return (yield from fetch(session, Request("GET", _ENDPOINTS), _Endpoints)).endpoints


def endpoint(session: Session, name: str) -> Flow[CallbackEndpoint]:
    """Return an endpoint."""
    return (yield from fetch(session, Request("GET", _path(name)), CallbackEndpoint))


def put(session: Session, name: str, definition: CallbackEndpointDefinition) -> Flow[CallbackEndpoint]:
    """Define an endpoint, or replace its definition; the same one again changes nothing."""
    request = Request("PUT", _path(name), body=json_text.encode(definition.members()))
    return (yield from fetch(session, request, CallbackEndpoint))


def delete(session: Session, name: str) -> Flow[CallbackEndpoint]:
    """Delete an endpoint and return it as it was.

    A repetition would find no endpoint, or one that was made since. So the client reads the endpoint first, and looks
    for it before it repeats the request.
    """
    before = yield from exchange(session, Request("GET", _path(name)))
    known = json_text.decode(before.body, CallbackEndpoint, before.status)

    def check() -> Flow[Response | None]:
        try:
            found = yield from endpoint(session, name)
        except NotFound:
            return before
        return None if found.made_at == known.made_at else before

    response = yield from exchange(session, Request("DELETE", _path(name)), check=check)
    return json_text.decode(response.body, CallbackEndpoint, response.status)


def enable(session: Session, name: str) -> Flow[CallbackEndpoint]:
    """Enable an endpoint; without effect on an enabled one."""
    return (yield from fetch(session, Request("POST", _path(name, "enable")), CallbackEndpoint))


def disable(session: Session, name: str, reason: str | None) -> Flow[CallbackEndpoint]:
    """Disable an endpoint. A second time does not replace the first."""
    body = None if reason is None else json_text.encode({"reason": reason})
    return (yield from fetch(session, Request("POST", _path(name, "disable"), body=body), CallbackEndpoint))


def _path(name: str, verb: str | None = None) -> str:
    path = f"{_ENDPOINTS}/{quote(name, safe='')}"
    return path if verb is None else f"{path}/{verb}"
