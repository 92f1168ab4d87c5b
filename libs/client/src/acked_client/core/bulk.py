"""Bulk actions: preview, start, progress, abort. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from acked_client.core import json_text
from acked_client.core.effects import Flow, Pause, Request, Stopwatch
from acked_client.core.exchange import Session, fetch
from acked_client.model.errors import StillRunning
from acked_client.model.lists import BulkPreview, BulkStatus
from acked_client.model.requests import BulkVerb, JobFilter, Resolution

POLL_S = 0.5
"""Between two reads of the progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkRequest:
    """One command for many jobs: those that match a filter, or those of a list of ids."""

    action: BulkVerb
    where: JobFilter | Sequence[str]
    plan: str | None = None
    rate_per_s: float | None = None
    reason: str | None = None
    resolution: Resolution | None = None

    def members(self, *, dry_run: bool) -> dict[str, Any]:
        """Return the body of the request. Raise `ValueError` for a filter without a field."""
        target: dict[str, Any]
        if isinstance(self.where, JobFilter):
            target = {"filter": self.where.members()}
            if not target["filter"]:
                raise ValueError("the filter is empty and would select all jobs: name a field, such as a state")
        elif isinstance(self.where, str):
            raise TypeError("pass a JobFilter or a list of ids, not a string")
        else:
            target = {"ids": list(self.where)}
        fields = {
            "plan": self.plan,
            "rate_per_s": self.rate_per_s,
            "reason": self.reason,
            "resolution": None if self.resolution is None else self.resolution.members(),
            "dry_run": True if dry_run else None,
        }
        return {"action": self.action} | target | {name: value for name, value in fields.items() if value is not None}


def preview(session: Session, request: BulkRequest) -> Flow[BulkPreview]:
    """Count the jobs that the action would move, and change nothing."""
    body = json_text.encode(request.members(dry_run=True))
    return (yield from fetch(session, Request("POST", "/bulk-actions", body=body), BulkPreview))


def start(session: Session, request: BulkRequest) -> Flow[BulkStatus]:
    """Start the action.

    The services keep no keys of bulk actions, but an action with a plan moves no job that moved since. So one without a
    plan gets one first, and a repeated request moves no job twice.
    """
    members = request.members(dry_run=False)
    if request.plan is None:
        members["plan"] = (yield from preview(session, request)).plan
    body = json_text.encode(members)
    return (yield from fetch(session, Request("POST", "/bulk-actions", body=body), BulkStatus))


def status(session: Session, action_id: str) -> Flow[BulkStatus]:
    """Return how far an action is."""
    return (yield from fetch(session, Request("GET", _path(action_id)), BulkStatus))


def abort(session: Session, action_id: str) -> Flow[BulkStatus]:
    """End an action. Jobs that have moved stay as they are; a second abort has no effect."""
    return (yield from fetch(session, Request("POST", f"{_path(action_id)}/abort"), BulkStatus))


def changed(session: Session, action_id: str, known: BulkStatus | None) -> Flow[BulkStatus]:
    """Return the status once it differs from the known one."""
    while True:
        found = yield from status(session, action_id)
        if found != known:
            return found
        yield Pause(POLL_S)


def ended(session: Session, action_id: str, timeout_s: float | None) -> Flow[BulkStatus]:
    """Return the status once the action has ended. Raise `StillRunning` after `timeout_s`; None waits on."""
    watch = Stopwatch()
    while True:
        found = yield from watch.time(status(session, action_id))
        if found.has_ended:
            return found
        left_s = None if timeout_s is None else timeout_s - watch.elapsed_s
        if left_s is not None and left_s <= 0:
            raise StillRunning(f"bulk action {action_id}", found.state)
        yield from watch.time(_pause(POLL_S if left_s is None else min(POLL_S, left_s)))


def _pause(seconds: float) -> Flow[None]:
    yield Pause(seconds)


def _path(action_id: str) -> str:
    return f"/bulk-actions/{quote(action_id, safe='')}"
