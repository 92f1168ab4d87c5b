"""The calls of schedules. Pure."""

from datetime import datetime
from urllib.parse import quote

import msgspec

from acked_client.core import deletion, json_text
from acked_client.core.effects import Flow, Request, Response
from acked_client.core.exchange import Session, exchange, fetch
from acked_client.core.lists import Pages
from acked_client.model.requests import ScheduleDefinition, instant
from acked_client.model.schedules import Firing, ScheduleBackfill, ScheduleDetails, SchedulePreview, ScheduleSummary

_BY_REQUEST = "run_now"
"""The trigger of a firing that a client requested."""


class _Firings(msgspec.Struct):
    firings: list[Firing]


def schedules(session: Session) -> Pages[ScheduleSummary]:
    """Return the pages of the schedules, by name."""
    return Pages(session, "/schedules", {"page_size": "200"}, "schedules", ScheduleSummary)


def details(session: Session, name: str) -> Flow[ScheduleDetails]:
    """Return a schedule."""
    return (yield from fetch(session, Request("GET", _path(name)), ScheduleDetails))


def put(session: Session, name: str, definition: ScheduleDefinition) -> Flow[ScheduleDetails]:
    """Define a schedule, or replace its definition; the same one again changes nothing."""
    return (yield from fetch(session, Request("PUT", _path(name), body=_body(definition)), ScheduleDetails))


def delete(session: Session, name: str) -> Flow[ScheduleDetails]:
    """Delete a schedule and return it as it was."""
    return deletion.delete(session, _path(name), ScheduleDetails)


def pause(session: Session, name: str, reason: str | None) -> Flow[ScheduleDetails]:
    """Pause a schedule. A second pause does not replace the first."""
    body = None if reason is None else json_text.encode({"reason": reason})
    return (yield from fetch(session, Request("POST", _path(name, "pause"), body=body), ScheduleDetails))


def resume(session: Session, name: str) -> Flow[ScheduleDetails]:
    """Resume a schedule; without effect on one that is not paused."""
    return (yield from fetch(session, Request("POST", _path(name, "resume")), ScheduleDetails))


def run_now(session: Session, name: str) -> Flow[Firing]:
    """Fire a schedule now.

    The services keep no keys of these requests. So the client notes the firings that were requested before, and looks
    for a new one before it repeats the request.
    """
    known = {_identity(firing) for firing in (yield from firings(session, name))}

    def check() -> Flow[Response | None]:
        for firing in (yield from firings(session, name)):
            if firing.trigger == _BY_REQUEST and _identity(firing) not in known:
                return Response(202, {}, msgspec.json.encode(firing))
        return None

    response = yield from exchange(session, Request("POST", _path(name, "run-now")), check=check)
    return json_text.decode(response.body, Firing, response.status)


def backfill(
    session: Session, name: str, from_at: datetime | str, until_at: datetime | str | None, limit: int | None
) -> Flow[ScheduleBackfill]:
    """Let past instants of a schedule fire. Raise `ValueError` for a naive instant.

    The same request again starts nothing twice: an instant that has a job is passed over.
    """
    fields = {"from": instant(from_at), "until": instant(until_at), "limit": limit}
    body = json_text.encode({member: value for member, value in fields.items() if value is not None})
    return (yield from fetch(session, Request("POST", _path(name, "backfill"), body=body), ScheduleBackfill))


def preview(session: Session, name: str, count: int) -> Flow[SchedulePreview]:
    """Return the next instants of a schedule."""
    return (yield from fetch(session, Request("GET", _path(name, "next"), {"count": str(count)}), SchedulePreview))


def preview_of(session: Session, name: str, definition: ScheduleDefinition, count: int) -> Flow[SchedulePreview]:
    """Return when a definition would be due under this name; nothing is stored."""
    request = Request("POST", _path(name, "next"), {"count": str(count)}, body=_body(definition))
    return (yield from fetch(session, request, SchedulePreview))


def firings(session: Session, name: str) -> Flow[list[Firing]]:
    """Return the newest firings of a schedule, newest first."""
    return (yield from fetch(session, Request("GET", _path(name, "firings")), _Firings)).firings


def _identity(firing: Firing) -> tuple[object, ...]:
    """Return what tells firings apart: one that is skipped may join the one before it, which then counts more."""
    return firing.trigger, firing.at, firing.count


def _body(definition: ScheduleDefinition) -> bytes:
    return json_text.encode(definition.members() | {"kind": json_text.kind_of(definition.kind)})


def _path(name: str, verb: str | None = None) -> str:
    path = f"/schedules/{quote(name, safe='')}"
    return path if verb is None else f"{path}/{verb}"
