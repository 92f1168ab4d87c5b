"""OWNER of callbacks: their events, the ids of deliveries and messages, and the body that receivers get. Pure.

A job with a callback, or with endpoints of its tenant (see `callback_endpoints`), is stored with `callback_open`.
Together with the fields of an ended job it is the mark of an end that intake has not seen: so whatever ends a job
leaves the mark in the same write, and no end costs more. Intake inserts a delivery for it, a job of kind
`CALLBACK_KIND`, and then removes the mark. The id of the delivery is derived from what it delivers, so a repetition
after a crash stores none twice.

An act that moves an ended job on, such as a retry, keeps an end that intake has not seen in `callback_ends`; so does a
request to send a delivery again.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from acked_common.model.ids import first_id_at, numbered_id
from acked_common.model.instants import rfc3339
from acked_common.model.lifecycle import Reason, State, Transition

CALLBACK_KIND = "acked.callback"
EVENT_OF = {State.SUCCEEDED: "job.succeeded", State.FAILED: "job.failed", State.CANCELLED: "job.cancelled"}
EVENTS = tuple(EVENT_OF.values())
MAX_URL_CHARS = 2048
MAX_RESENDS = 50
"""The most times that one event is sent again, each time by a delivery of its own."""
TAG_PREFIX = "callback:"
"""Deliveries have a tag of this and the id of their job, by which they are listed."""

_STATE_OF = {event: state for state, event in EVENT_OF.items()}
_VERSION_AND_VARIANT = (0xF << 76) | (0b11 << 62)
_AS_UUID7 = (0x7 << 76) | (0b10 << 62)
_BITS_BEHIND_TIME = 80


class Callback(Struct, frozen=True):
    """What a request asks to be called at the end of its job. `events` are some of `EVENTS`, in their order."""

    url: str
    events: tuple[str, ...] = EVENTS


class JobEnd(Struct, frozen=True, order=True):
    """One end of a job, for which there is one delivery; `resend` counts the times it is sent again, from 1."""

    run: int
    event: str
    at: datetime
    """When the run ended."""
    resend: int = 0
    endpoint: str = ""
    """The endpoint of the tenant that gets the event. Without one it concerns the callback of the request, and with no
    `resend` the endpoints of the job too."""

    @property
    def key(self) -> str:
        """The name of the end in its job's `callback_ends`. No endpoint has a dot in its name."""
        key = f"{self.run}_{_STATE_OF[self.event].value}_{self.resend}"
        return f"{key}_{self.endpoint}" if self.endpoint else key


def webhook_id(job_id: UUID, end: JobEnd) -> str:
    """Return the id of a message, the same however often and to however many endpoints it is sent: receivers drop
    repetitions by it."""
    return f"{job_id}_{end.run}_{_STATE_OF[end.event].value}"


def delivery_id(job_id: UUID, end: JobEnd) -> UUID:
    """Return the id of the delivery of an end. Like all ids of jobs it sorts by its time, and is a UUIDv7 in form."""
    digest = blake2b(f"{job_id}/{end.key}".encode(), digest_size=_BITS_BEHIND_TIME // 8).digest()
    number = first_id_at(end.at).int | int.from_bytes(digest)
    return numbered_id(number & ~_VERSION_AND_VARIANT | _AS_UUID7)


def tag_of(job_id: UUID) -> str:
    """Return the tag of the deliveries of a job."""
    return f"{TAG_PREFIX}{job_id}"


class EventDelivery(Struct, frozen=True):
    """The payload of a delivery. `body` is sent as it stands here, so that all attempts sign the same bytes."""

    tenant: str
    job: UUID
    url: str
    run: int
    event: str
    ended_at: datetime
    resend: int
    webhook_id: str
    body: str
    endpoint: str = ""
    """The endpoint that gets it, whose definition at the time of an attempt says where that goes; empty for the
    callback of the request."""


class Source(Struct, frozen=True):
    """What never changes of a job that is named in a body."""

    id: UUID
    kind: str
    accepted_at: datetime
    batch: str | None
    tags: tuple[str, ...]


def body_of(source: Source, end: JobEnd) -> str:
    """Return the body of an event, by Standard Webhooks: type, timestamp, data. It has neither payload nor result:
    receivers read them with a token of their own, and an erasure reaches them."""
    data: dict[str, Any] = {
        "id": str(source.id),
        "kind": source.kind,
        "state": _STATE_OF[end.event].value,
        "run": end.run,
        "batch": source.batch,
        "tags": list(source.tags),
        "accepted_at": rfc3339(source.accepted_at),
        "finished_at": rfc3339(end.at),
        "links": {"status": f"/status/{source.id}"},
    }
    return msgspec.json.encode({"type": end.event, "timestamp": rfc3339(end.at), "data": data}).decode()


def is_wanted(callback: Callback, end: JobEnd) -> bool:
    """Return whether the callback selects the event."""
    return end.event in callback.events


def ends_document(end: JobEnd) -> dict[str, Any]:
    """Return an end as `callback_ends` of its job stores it under its key."""
    document = {"run": end.run, "event": end.event, "at": end.at, "resend": end.resend}
    return document | {"endpoint": end.endpoint} if end.endpoint else document


def ends_from(documents: Mapping[str, Mapping[str, Any]]) -> tuple[JobEnd, ...]:
    """Return the stored ends of a job, oldest first; those of an event that only a newer version knows are left out."""
    known = [document for document in documents.values() if document["event"] in _STATE_OF]
    names = JobEnd.__struct_fields__
    return tuple(sorted(JobEnd(**{name: one[name] for name in names if name in one}) for one in known))


def with_callback(transition: Transition, *, state: State, run: int, at: datetime | None, is_open: bool) -> Transition:
    """Return an operator's transition of a job that has a callback or endpoints.

    `state`, `run`, `at` (its end) and `is_open` are those of the job as it was read. An end that intake has not seen is
    kept, and a new run is marked as its job was when it was accepted. An edit is no end of its own.
    """
    if not state.is_terminal or transition.reason is Reason.ERASED:
        return transition
    sets: dict[str, Any] = dict(transition.sets)
    clears = transition.clears
    if is_open and at is not None:
        end = JobEnd(run, EVENT_OF[state], at)
        sets[f"callback_ends.{end.key}"] = ends_document(end)
    if transition.reason is not Reason.EDITED:
        sets["callback_open"] = True
    elif is_open:
        clears |= {"callback_open"}
    return msgspec.structs.replace(transition, sets=sets, clears=clears)


SECRET_PREFIX = "whsec_"  # noqa: S105 - how Standard Webhooks marks secrets
SECRET_BYTES = 32
ROTATION = timedelta(days=1)
"""How long the previous secret signs after a rotation."""
