"""The audit over HTTP."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

from starlette.requests import Request
from starlette.responses import Response

from acked_common.api.list_parameters import bad_parameter, instant, page_size, page_token, position
from acked_common.api.routes import ApiRoute
from acked_common.http.limits import Client, client_of
from acked_common.http.responses import JsonResponse
from acked_common.model.audit import AuditAction, AuditEntry, AuditFilter
from acked_common.model.ids import parse_id
from acked_common.model.instants import rfc3339
from acked_common.model.names import CLIENT_NAME, KIND_NAME
from acked_common.model.principal import principal_of
from acked_common.runtime.clock import Clock
from acked_common.store.audit import AuditStore
from acked_gateway.audit.operations import DEFAULT_PAGE, GET_AUDIT, MAX_PAGE, AuditLine, AuditList

_TARGETS = {"job": "job", "bulk_action": "bulk", "kind": "kind"}
"""The members of `target` by the parameters that select them."""
_FILTERS = ("action", "client", *_TARGETS, "since", "until")

Turn = Callable[[Client], AbstractAsyncContextManager[None]]


def audit_routes(store: AuditStore, clock: Clock, turn: Turn) -> list[ApiRoute]:
    """Return the route; `turn` makes a client wait until it may query the store."""

    async def list_audit(request: Request) -> Response:
        query = request.query_params
        tenant = principal_of(request.scope).tenant
        now = clock.now()
        wanted = AuditFilter(
            tenant,
            action=_action(query.get("action")),
            client=_client(query.get("client")),
            since_at=instant("since", query.get("since"), now),
            until_at=instant("until", query.get("until"), now),
            target=_target(query),
        )
        # The values as sent: a duration back from now would mean another instant on each page.
        filters = {"tenant": tenant} | {name: query.get(name) or None for name in _FILTERS}
        size = page_size(query.get("page_size"), default=DEFAULT_PAGE, most=MAX_PAGE)
        before = position(query.get("page_token"), filters)
        async with turn(client_of(request.scope)):
            page = await store.list(wanted, page_size=size, before=before)
        listed: AuditList = {
            "entries": [_line(entry) for entry in page.entries],
            "next_page_token": page_token(page.next_before, filters) if page.next_before else "",
        }
        return JsonResponse(listed)

    return [ApiRoute(list_audit, GET_AUDIT)]


def _action(text: str | None) -> str | None:
    if not text:
        return None
    known = [action.value for action in AuditAction]
    if text not in known:
        raise bad_parameter("action", f"must be one of {', '.join(known)}")
    return text


def _client(text: str | None) -> str | None:
    if not text:
        return None
    if CLIENT_NAME.fullmatch(text) is None:
        raise bad_parameter("client", "must be the name of a client: a-z, 0-9, '.', '_' and '-', 64 at most")
    return text


def _target(query: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the member of the target and its value that one of the parameters names."""
    names = [name for name in _TARGETS if query.get(name)]
    if not names:
        return None
    name = names[0]
    if others := [other for other in (*names[1:], "action", "client") if query.get(other)]:
        raise bad_parameter(others[0], f"can't be combined with {name}, which selects few entries")
    text = query[name]
    if name == "kind":
        if KIND_NAME.fullmatch(text) is None:
            raise bad_parameter(name, "must be the name of a kind: a-z, 0-9, '.', '_' and '-', 64 at most")
        return _TARGETS[name], text
    found = parse_id(text)
    if found is None:
        raise bad_parameter(name, f"must be an id such as 01a20d05-adff-75dc-870e-4517b8566f53, not {text[:40]!r}")
    return _TARGETS[name], str(found)


def _line(entry: AuditEntry) -> AuditLine:
    line: AuditLine = {
        "id": str(entry.id),
        "at": rfc3339(entry.at),
        "client": entry.client,
        "token_id": entry.token_id,
        "action": entry.action,
        "target": dict(entry.target),
    }
    if entry.reason is not None:
        line["reason"] = entry.reason
    if entry.count is not None:
        line["count"] = entry.count
    return line
