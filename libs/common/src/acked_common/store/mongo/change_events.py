"""Reads updates of jobs from documents and from events of the change stream. Pure.

A transition appends its history entry in the same write, so a change carries the entry itself: complete where fields
were set one by one, by its parts where a claim rewrote the whole document.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from sys import intern
from typing import Any
from uuid import UUID

from acked_common.model.events import JobEvent, JobUpdate
from acked_common.model.lifecycle import Reason, State
from acked_common.model.lifecycle_waits import Waits, waits_from
from acked_common.model.topics import ALL, BATCH, IDS, KIND, Origin, Topic

_FIELD_OF_TOPIC = {BATCH: "batch", KIND: "kind"}
ORIGIN_FIELDS = ("tenant", "kind", "batch")
"""The fields that `origin_of` reads."""
GLIMPSE = {
    **dict.fromkeys(ORIGIN_FIELDS, 1),
    "rev": 1,
    "state": 1,
    "reason": 1,
    "attempt": 1,
    "accepted_at": 1,
    "progress": 1,
    "owner.nonce": 1,
    "waits": 1,
    "history": {"$slice": -1},
}
"""The fields that `update_from_document` reads."""

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
    origin: Origin | None = None
    """Only a new job, and one that was logged as replaced, carry their origin."""
    waits: Waits | None = None
    """Why the job is parked, if this change parked it."""


def _event_of(job_id: UUID, entry: Mapping[str, Any]) -> JobEvent:
    return JobEvent(job_id, entry["rev"], State(entry["state"]), entry["reason"], entry["attempt"], entry["at"])


def origin_of(document: Mapping[str, Any]) -> Origin:
    """Read the origin of a job from its document or from its `ORIGIN_FIELDS`."""
    return Origin(_shared(document.get("tenant")), _shared(document.get("kind")), _shared(document.get("batch")))


def _shared(text: str | None) -> str | None:
    """Return the one copy of a text: the driver makes a new one for each document, and many jobs share an origin."""
    return None if text is None else intern(text)


def topic_fields(topic: Topic) -> dict[str, Any]:
    """Return the fields of a topic's jobs, as a filter."""
    fields: dict[str, Any] = {"tenant": topic.tenant}
    if topic.name == IDS:
        fields["_id"] = {"$in": list(topic.ids)}
    elif topic.name != ALL:
        fields[_FIELD_OF_TOPIC[topic.name]] = topic.value
    return fields


def update_from_document(document: Mapping[str, Any]) -> JobUpdate:
    """Read the state of a job from its document or from a `GLIMPSE` of it."""
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
        origin=origin_of(document),
        event=event,
        progress=None if progress is None else bytes(progress),
        nonce=owner["nonce"] if owner else None,
        waits=waits_of(document["state"], document),
    )


def waits_of(state: str, document: Mapping[str, Any]) -> Waits | None:
    """Read why a job in a state is parked, from its document or from what a transition to this state has written."""
    return waits_from(document.get("waits")) if state == State.WAITING.value else None


def read_change(change: Mapping[str, Any]) -> Change:
    """Read an event of the change stream: an insert, a replacement, or an update of `rev` or of `progress`.

    A replacement does not say what changed: its transition and its progress may be ones that were read before.
    """
    job_id = change["documentKey"]["_id"]
    if "fullDocument" in change:
        document = change["fullDocument"]
        if change["operationType"] == "replace":
            update = update_from_document(document)
            return Change(
                job_id, document["rev"], update.event, update.progress, update.nonce, update.origin, update.waits
            )
        accepted = JobEvent(job_id, 1, State(document["state"]), Reason.ACCEPTED.value, 0, document["accepted_at"])
        return Change(job_id, 1, accepted, origin=origin_of(document))
    fields = change["updateDescription"]["updatedFields"]
    rev = fields.get("rev")
    if rev is None:
        return Change(job_id, None, None, progress=bytes(fields["progress"]))
    owner = fields.get("owner")
    event = _appended(job_id, rev, fields)
    return Change(
        job_id, rev, event, nonce=owner["nonce"] if owner else None, waits=waits_of(fields.get("state", ""), fields)
    )


def event_at(job_id: UUID, rev: int, history: list[Mapping[str, Any]]) -> JobEvent | None:
    """Return the transition with this rev from a job's history, if it is still stored there."""
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
