"""What a document, or a change of one, tells of a job's transitions. Pure.

A transition appends its history entry in the same write, so a change carries the entry itself: complete where fields
were set one by one, by its parts where a claim rewrote the whole document.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from acked_common.model.events import JobEvent, JobUpdate
from acked_common.model.lifecycle import Reason, State

GLIMPSE = {
    "tenant": 1,
    "kind": 1,
    "batch": 1,
    "rev": 1,
    "state": 1,
    "reason": 1,
    "attempt": 1,
    "accepted_at": 1,
    "progress": 1,
    "owner.nonce": 1,
    "history": {"$slice": -1},
}
"""The fields that `news_from_document` reads."""

_PART_OF_HISTORY = "history."


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a job. `event` is None for progress, and where the change did not carry all of it (`rev` says
    which transition it was)."""

    id: UUID
    rev: int | None
    event: JobEvent | None
    progress: bytes | None = None
    nonce: str | None = None
    has_origin: bool = False
    """Whether it carried tenant, kind and batch: a new job, or one that was logged as replaced."""
    kind: str | None = None
    batch: str | None = None
    tenant: str | None = None


def _event_of(job_id: UUID, entry: Mapping[str, Any]) -> JobEvent:
    return JobEvent(job_id, entry["rev"], State(entry["state"]), entry["reason"], entry["attempt"], entry["at"])


def news_from_document(document: Mapping[str, Any]) -> JobUpdate:
    """How a job stands, from its document or from a `GLIMPSE` of it."""
    job_id = document["_id"]
    history = document.get("history")
    if history:
        event = _event_of(job_id, history[-1])
    else:
        event = JobEvent(job_id, 1, State(document["state"]), Reason.ACCEPTED.value, 0, document["accepted_at"])
    progress = document.get("progress")
    owner = document.get("owner")
    return JobUpdate(
        id=job_id,
        kind=document["kind"],
        batch=document.get("batch"),
        event=event,
        progress=None if progress is None else bytes(progress),
        nonce=owner["nonce"] if owner else None,
        tenant=document["tenant"],
    )


def read_change(change: Mapping[str, Any]) -> Change:
    """A change from an event of the change stream: an insert, a replacement, or an update of `rev` or of `progress`.

    A replacement does not say what changed: its transition may be one that was told already, and so its progress.
    """
    job_id = change["documentKey"]["_id"]
    if "fullDocument" in change:
        document = change["fullDocument"]
        if change["operationType"] == "replace":
            news = news_from_document(document)
            return Change(
                job_id,
                document["rev"],
                news.event,
                news.progress,
                news.nonce,
                has_origin=True,
                kind=news.kind,
                batch=news.batch,
                tenant=news.tenant,
            )
        accepted = JobEvent(job_id, 1, State(document["state"]), Reason.ACCEPTED.value, 0, document["accepted_at"])
        return Change(
            job_id,
            1,
            accepted,
            has_origin=True,
            kind=document["kind"],
            batch=document.get("batch"),
            tenant=document["tenant"],
        )
    fields = change["updateDescription"]["updatedFields"]
    rev = fields.get("rev")
    if rev is None:
        return Change(job_id, None, None, progress=bytes(fields["progress"]))
    owner = fields.get("owner")
    return Change(job_id, rev, _appended(job_id, rev, fields), nonce=owner["nonce"] if owner else None)


def event_at(job_id: UUID, rev: int, history: list[Mapping[str, Any]]) -> JobEvent | None:
    """The transition with this rev from a job's history, if it is still kept there."""
    for entry in reversed(history):
        if entry["rev"] == rev:
            return _event_of(job_id, entry)
    return None


def _appended(job_id: UUID, rev: int, fields: Mapping[str, Any]) -> JobEvent | None:
    for name, value in fields.items():
        if name == "history":
            return event_at(job_id, rev, value)
        if name.startswith(_PART_OF_HISTORY) and isinstance(value, dict) and value.get("rev") == rev:
            return _event_of(job_id, value)
    try:
        # A claim sets all of these to new values.
        return JobEvent(job_id, rev, State(fields["state"]), fields["reason"], fields["attempt"], fields["started_at"])
    except KeyError:
        return None
