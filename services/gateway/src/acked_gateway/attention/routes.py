"""Attention over HTTP: failed jobs by group of errors, and notes on a group."""

from collections.abc import Iterable
from datetime import datetime
from hashlib import blake2b
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from acked_common.api import list_parameters
from acked_common.api.authenticator import operator_of
from acked_common.api.routes import ApiRoute
from acked_common.http.limits import client_of
from acked_common.http.problems import ProblemError, problem
from acked_common.http.requests import read_bounded
from acked_common.http.responses import JsonResponse
from acked_common.model.audit import AuditAction
from acked_common.model.ids import first_id_at, numbered_id
from acked_common.model.instants import rfc3339
from acked_common.model.principal import Permission, Principal, principal_of
from acked_common.runtime.clock import Clock
from acked_common.store.census import GroupCount, KnownGroup, NoteChanges, TenantAttention
from acked_common.store.ports import AttentionStore
from acked_gateway.attention import operations
from acked_gateway.attention.notes import MAX_BODY_BYTES, read_note
from acked_gateway.attention.operations import DEFAULT_PAGE, LIST_ATTENTION, MAX_PAGE, NOTE_ATTENTION
from acked_gateway.audit.notes import Audit
from acked_gateway.jobs.routes import Reads

_PLACE_BYTES = 9
_BOOLEANS = {"true": True, "false": False}


def attention_routes(store: AttentionStore, audit: Audit, reads: Reads, clock: Clock) -> list[ApiRoute]:
    """Return the routes."""

    async def list_attention(request: Request) -> Response:
        query = request.query_params
        reader = principal_of(request.scope)
        kind, snoozed = query.get("kind") or None, _boolean("snoozed", query.get("snoozed"))
        filters = {"kind": kind, "snoozed": str(snoozed), "tenant": reader.tenant}
        size = list_parameters.page_size(query.get("page_size"), default=DEFAULT_PAGE, most=MAX_PAGE)
        before = list_parameters.position(query.get("page_token"), filters)
        async with reads.turn(client_of(request.scope)):
            found = await store.read_attention(tenant=reader.tenant)
        now = clock.now()
        wanted = [
            (place, count, known)
            for place, count, known in _in_order(found)
            if kind in (None, known.example.kind) and _is_snoozed(known, now) == snoozed
        ]
        shown = [one for one in wanted if before is None or one[0] < before]
        is_longer = len(shown) > size
        listed: operations.Attention = {
            "groups": [_group(count, known, reader) for _, count, known in shown[:size]],
            "next_page_token": list_parameters.page_token(shown[size - 1][0], filters) if is_longer else "",
            "total": {
                "groups": len(wanted),
                "jobs": sum(count.count for _, count, _ in wanted),
                "is_exact": found.is_complete and all(count.is_exact for _, count, _ in wanted),
            },
            "counted_at": _instant(found.counted_at),
            "is_complete": found.is_complete,
        }
        return JsonResponse(listed)

    async def note(request: Request) -> Response:
        operator, group = operator_of(request.scope), request.path_params["group"]
        body = await read_bounded(request, MAX_BODY_BYTES)
        changes = read_note(body, client=operator.actor.client, now=clock.now())
        if await store.known_group(group, tenant=operator.tenant) is None:
            raise _not_found(group)
        target = {"group": group, **_told(changes)}
        await audit.note(operator, AuditAction.ATTENTION, target, reason=changes.get("comment"))
        known = await store.note_group(group, changes, tenant=operator.tenant)
        if known is None:
            raise _not_found(group)
        return JsonResponse(_notes(known))

    return [ApiRoute(list_attention, LIST_ATTENTION), ApiRoute(note, NOTE_ATTENTION)]


def _told(changes: NoteChanges) -> dict[str, Any]:
    """Return the members of a note in the audit, except its comment."""
    members: dict[str, Any] = {}
    if "taken_by" in changes:
        members["taken"] = changes["taken_by"] is not None
    if "snoozed_until" in changes:
        members["snoozed_until"] = _instant(changes["snoozed_until"])
    if changes.get("comment", "") is None:
        members["comment"] = None
    return members


def _in_order(found: TenantAttention) -> Iterable[tuple[UUID, GroupCount, KnownGroup]]:
    """Return the groups with their positions, newest failure first. Omit groups that have been deleted."""
    placed = [
        (_place(count), count, known) for count in found.groups if (known := found.known.get(count.group)) is not None
    ]
    return sorted(placed, key=lambda one: one[0], reverse=True)


def _place(count: GroupCount) -> UUID:
    """Return the position of a group in the list: its newest failure, then its name if two failed at once."""
    name = blake2b(count.group.encode(), digest_size=_PLACE_BYTES).digest()
    return numbered_id(first_id_at(count.last_at).int + int.from_bytes(name, "big"))


def _is_snoozed(known: KnownGroup, now: datetime) -> bool:
    until = known.notes.snoozed_until
    return until is not None and until > now


def _group(count: GroupCount, known: KnownGroup, reader: Principal) -> operations.Group:
    example, notes = known.example, _notes(known)
    group: operations.Group = {
        "group": count.group,
        "kind": example.kind,
        "type": example.type,
        "message": example.message,
        "count": count.count,
        "count_is_exact": count.is_exact,
        "first_at": rfc3339(min(known.first_at, count.first_at)),
        "last_at": rfc3339(count.last_at),
        "per_minute": list(count.per_minute),
        "comment": notes["comment"],
        "taken_by": notes["taken_by"],
        "taken_at": notes["taken_at"],
        "snoozed_until": notes["snoozed_until"],
    }
    # The culprit shows source code.
    if example.culprit is not None and Permission.OPERATE in reader.permissions:
        group["culprit"] = example.culprit
    return group


def _notes(known: KnownGroup) -> operations.Notes:
    notes = known.notes
    return {
        "group": known.group,
        "comment": notes.comment,
        "taken_by": notes.taken_by,
        "taken_at": _instant(notes.taken_at),
        "snoozed_until": _instant(notes.snoozed_until),
    }


def _instant(at: datetime | None) -> str | None:
    return None if at is None else rfc3339(at)


def _boolean(name: str, text: str | None) -> bool:
    if text and text not in _BOOLEANS:
        raise list_parameters.bad_parameter(name, f"must be true or false, not {text[:40]!r}")
    return _BOOLEANS[text] if text else False


def _not_found(group: str) -> ProblemError:
    return ProblemError(problem("not-found", f"no failed job has the group {group[:64]!r}; GET /attention lists them"))
