"""The calls of callback endpoints. Pure."""

from urllib.parse import quote

import msgspec

from acked_client.core import deletion, json_text
from acked_client.core.effects import Flow, Request
from acked_client.core.exchange import Session, fetch
from acked_client.model.callbacks import CallbackEndpoint
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
    """Delete an endpoint and return it as it was."""
    return deletion.delete(session, _path(name), CallbackEndpoint)


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
