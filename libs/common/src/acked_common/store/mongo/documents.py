"""How jobs, kinds and workers look as documents. Pure: no driver, no I/O."""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar
from uuid import UUID

from bson.binary import Binary
from msgspec import Struct

from acked_common.model.attempts import UNGROUPED, AttemptOutcome, EndedAttempt
from acked_common.model.ids import first_id_at
from acked_common.model.lifecycle import HistoryEntry, Move, Owner, Reason, State, Transition
from acked_common.model.options import DEFAULTS, NO_OPTIONS, OPTION_NAMES, JobOptions
from acked_common.model.pauses import CountedPauses, KindPauses, PastPause, Pause
from acked_common.model.principal import DEFAULT_TENANT, Actor
from acked_common.store.mongo.field_names import NEXT_CHECK_AT, stored_fields, stored_name
from acked_common.store.records import ClaimedJob, Job, JobFilter, KeyHolder, KindRecord, NewJob, WorkerRecord

Document = dict[str, Any]
S = TypeVar("S", bound=Struct)

_LISTED_BYTES = 600
_HISTORY_BYTES = 110

_ACCEPTED = Reason.ACCEPTED.value


def job_document(job: NewJob) -> Document:
    """The document of a new job. The payload is kept as opaque bytes, so that no key in it can mean anything."""
    state: str = job.lifecycle["state"].value
    document: Document = {
        # What claims, indexes and the validator look for comes first: MongoDB walks over whatever stands ahead of it.
        "_id": job.id,
        **stored_fields(job.lifecycle),
        "state": state,
        "tenant": job.tenant,
        "kind": job.kind,
        "rev": 1,
        "attempt": 0,
        "accepted_at": job.accepted_at,
        "first_state": state,
        "reason": _ACCEPTED,
        "run": 1,
        "failures": 0,
        "history": [],
        "payload": job.payload,
    }
    document |= option_fields(job.options)
    if job.key is not None:
        document["key"] = job.key.text
        document["key_fingerprint"] = Binary(job.key.fingerprint)
    if job.edited_from is not None:
        document["edited_from"] = job.edited_from
    return document


def option_fields(options: JobOptions) -> Document:
    """The fields of a document for what was asked for."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, default in DEFAULTS.items()
        if (value := getattr(options, name)) != default
    }


def options_from(document: Mapping[str, Any]) -> JobOptions:
    """What was asked for, from a document. Jobs that ask for nothing share one object."""
    asked: Document = {}
    for name in OPTION_NAMES:
        if name in document:
            value = document[name]
            asked[name] = tuple(value) if isinstance(value, list) else value
    return JobOptions(**asked) if asked else NO_OPTIONS


KEY_HOLDER_FIELDS = ("kind", "first_state", "accepted_at", "key_fingerprint")
"""What `key_holder_from` reads beside the id."""


def key_holder_from(document: Mapping[str, Any]) -> KeyHolder:
    """The holder of a key from its document."""
    return KeyHolder(
        id=document["_id"],
        kind=document["kind"],
        state=State(document["first_state"]),
        accepted_at=document["accepted_at"],
        fingerprint=bytes(document["key_fingerprint"]),
    )


ERROR_GROUP = "error.group"
ATTENDED_TO = tuple(reason.value for reason in (Reason.RESOLVED, Reason.EDITED, Reason.ERASED))
"""Reasons of failed jobs whose errors have lost their group because a person has dealt with them."""

_REASONS = {reason.value: reason for reason in Reason}


def job_from(document: Mapping[str, Any]) -> Job:
    """A job from its document; a projection may leave payload, result and history away."""
    get = document.get
    owner = get("owner")
    accepted_at = document["accepted_at"]
    first_state = State(document["first_state"])
    entries = [HistoryEntry(1, first_state, Reason.ACCEPTED, 0, accepted_at)]
    entries += [
        HistoryEntry(
            e["rev"],
            State(e["state"]),
            _REASONS.get(e["reason"], e["reason"]),
            e["attempt"],
            e["at"],
            _actor_from(e["by"]) if "by" in e else None,
        )
        for e in get("history", ())
    ]
    result, progress = get("result"), get("progress")
    return Job(
        id=document["_id"],
        kind=document["kind"],
        state=State(document["state"]),
        reason=document["reason"],
        rev=document["rev"],
        run=document["run"],
        attempt=document["attempt"],
        failures=document["failures"],
        crashes=get("crashes", 0),
        accepted_at=accepted_at,
        payload=bytes(get("payload", b"")),
        first_state=first_state,
        history=tuple(entries),
        options=options_from(document),
        next_check_at=get(NEXT_CHECK_AT),
        queued_at=get("queued_at"),
        expires_at=get("expires_at"),
        republished=get("republished", 0),
        due_at=get("due_at"),
        started_at=get("started_at"),
        finished_at=get("finished_at"),
        owner=Owner(owner["worker"], owner["boot"], owner["nonce"]) if owner else None,
        cancel_requested="cancel_requested_at" in document,
        suspect=get("suspect", False),
        progress=None if progress is None else bytes(progress),
        result=None if result is None else bytes(result),
        error=get("error"),
        note=get("note"),
        attempts=attempts_from(document) if "attempts" in document else (),
        edited_from=get("edited_from"),
        edited_to=get("edited_to"),
        erased_at=get("erased_at"),
        counted_pauses=_struct_from(CountedPauses, counted) if (counted := get("counted_pauses")) else None,
        tenant=document["tenant"],
    )


CLAIMED_FIELDS = (
    *(stored_name(name) for name in ClaimedJob.__struct_fields__ if name not in ("id", "nonce", "options", "tenant")),
    *OPTION_NAMES,
)
"""What `claimed_job_from` reads beside the id; the tenant too where clients show tokens.

Measured with no-ops: documents read whole were a quarter of what a job costs a worker in Python."""


def claimed_job_from(document: Mapping[str, Any], nonce: str) -> ClaimedJob:
    """A job that the claim with this nonce has taken, from its document."""
    get = document.get
    return ClaimedJob(
        id=document["_id"],
        kind=document["kind"],
        payload=bytes(document["payload"]),
        rev=document["rev"],
        run=document["run"],
        attempt=document["attempt"],
        failures=document["failures"],
        crashes=get("crashes", 0),
        nonce=nonce,
        started_at=document["started_at"],
        options=options_from(document),
        cancel_requested_at=get("cancel_requested_at"),
        suspect=get("suspect", False),
        tenant=get("tenant", DEFAULT_TENANT),
    )


def history_document(entry: HistoryEntry) -> Document:
    """One history entry as it is kept."""
    document: Document = {
        "rev": entry.rev,
        "state": entry.state.value,
        "reason": str(entry.reason),
        "attempt": entry.attempt,
        "at": entry.at,
    }
    if entry.by is not None:
        document["by"] = {"client": entry.by.client, "token_id": entry.by.token_id, "via": entry.by.via}
    return document


def _actor_from(document: Mapping[str, Any]) -> Actor:
    return Actor(document["client"], document["token_id"], document["via"])


def attempt_document(ended: EndedAttempt) -> Document:
    """An attempt that did not succeed, as its job keeps it; its traceback stands elsewhere."""
    return {
        "run": ended.run,
        "attempt": ended.attempt,
        "worker": ended.worker,
        "started_at": ended.started_at,
        "ended_at": ended.ended_at,
        "outcome": ended.outcome.value,
        "error": dict(ended.error),
    }


def traceback_document(ended: EndedAttempt) -> Document:
    """The traceback of an attempt, as its job keeps it."""
    return {"attempt": ended.attempt, "text": ended.traceback}


def attempts_from(document: Mapping[str, Any]) -> tuple[EndedAttempt, ...]:
    """The attempts that a job keeps, with those of their tracebacks that were read."""
    tracebacks = {one["attempt"]: one["text"] for one in document.get("tracebacks", ())}
    return tuple(
        EndedAttempt(
            run=one["run"],
            attempt=one["attempt"],
            worker=one["worker"],
            started_at=one["started_at"],
            ended_at=one["ended_at"],
            outcome=AttemptOutcome(one["outcome"]),
            error=one["error"],
            traceback=tracebacks.get(one["attempt"]),
        )
        for one in document["attempts"]
    )


def transition_fields(transition: Transition) -> Document:
    """The fields that a transition sets under their stored names, bytes as opaque binaries."""
    fields: Document = {
        stored_name(name): Binary(value) if isinstance(value, bytes) else value
        for name, value in transition.sets.items()
    }
    fields["state"] = transition.to.value
    fields["reason"] = transition.reason.value
    return fields


def is_recorded(move: Move, document: Mapping[str, Any]) -> bool:
    """Whether the document shows that this very move happened, whatever happened after it."""
    return history_document(move.history_entry) in document.get("history", ())


def filter_fields(job_filter: JobFilter) -> Document:
    """The fields that a listed job has, and their values; `tags` holds the value among others. See `id_bounds` too."""
    fields: Document = {"tenant": job_filter.tenant}
    if job_filter.batch is not None:
        fields["batch"] = job_filter.batch
    if job_filter.kind is not None:
        fields["kind"] = job_filter.kind
    if job_filter.tag is not None:
        fields["tags"] = job_filter.tag
    if job_filter.state is not None:
        fields["state"] = job_filter.state.value
    if job_filter.error_group is not None:
        fields.setdefault("state", State.FAILED.value)
        if job_filter.error_group == UNGROUPED:
            fields[ERROR_GROUP] = None
            fields["reason"] = {"$nin": ATTENDED_TO}
        else:
            fields[ERROR_GROUP] = job_filter.error_group
    return fields


def id_bounds(job_filter: JobFilter) -> tuple[UUID | None, UUID | None]:
    """Return the lowest id that a listed job may have, and the one that all are below; None where there is no such."""
    return (
        None if job_filter.since_at is None else first_id_at(job_filter.since_at),
        None if job_filter.until_at is None else first_id_at(job_filter.until_at),
    )


def listed_bytes(document: Mapping[str, Any]) -> int:
    """About how large a job is in a list."""
    error = document.get("error") or {}
    texts = (document.get("progress", b""), error.get("traceback", ""), error.get("message", ""))
    return _LISTED_BYTES + len(document.get("history", ())) * _HISTORY_BYTES + sum(map(len, texts))


def index_fields(job_filter: JobFilter) -> tuple[str, ...]:
    """Those of the filter's fields that one index serves together with the order, newest first."""
    return list_index(job_filter)[1]


def list_index(job_filter: JobFilter) -> tuple[str, tuple[str, ...]]:
    """The index that a list walks, and those of the filter's fields that it serves."""
    if job_filter.error_group is not None:
        return "failed_group", ("tenant", "state", ERROR_GROUP)
    if job_filter.batch is not None:
        return "tenant_batch_state", ("tenant", "batch") if job_filter.state is None else ("tenant", "batch", "state")
    if job_filter.tag is not None:
        return "tenant_tags", ("tenant", "tags")
    if job_filter.kind is not None:
        return "tenant_kind", ("tenant", "kind")
    if job_filter.state is State.FAILED:
        return "tenant_failed", ("tenant", "state")
    return "tenant_newest", ("tenant",)


_KIND_FIELDS = tuple(field.name for field in fields(KindRecord) if field.name != "name")


def kind_document(kind: KindRecord) -> Document:
    """Return a kind's document without its id."""
    document = {name: getattr(kind, name) for name in _KIND_FIELDS}
    # JSON text: names like $ref mean something to the driver, and its integers end at 64 bits.
    document["payload_schema"] = None if kind.payload_schema is None else json.dumps(dict(kind.payload_schema))
    return document


def kind_from(document: Mapping[str, Any]) -> KindRecord:
    """Return a kind from its document; what an earlier version did not store has its default."""
    found = {name: document[name] for name in _KIND_FIELDS if name in document}
    if found.get("payload_schema") is not None:
        found["payload_schema"] = json.loads(found["payload_schema"])
    return KindRecord(name=document["_id"], **found)


def pause_document(pause: Pause) -> Document:
    """Return the pause of a kind as the kind's document keeps it."""
    return {name: getattr(pause, name) for name in Pause.__struct_fields__}


def pauses_from(document: Mapping[str, Any]) -> KindPauses:
    """Return the pauses of a kind from its document."""
    current = document.get("paused")
    return KindPauses(
        current=_struct_from(Pause, current) if current else None,
        past=tuple(_struct_from(PastPause, one) for one in document.get("pauses", ())),
    )


def _struct_from(struct: type[S], document: Mapping[str, Any]) -> S:
    """Return what was stored of a struct, without what a newer version stored beside it."""
    return struct(**{name: document[name] for name in struct.__struct_fields__ if name in document})


def counted_document(counted: CountedPauses) -> Document:
    """Return what a job keeps of the pauses that its expiry takes into account."""
    return {name: getattr(counted, name) for name in CountedPauses.__struct_fields__}


def worker_document(worker: WorkerRecord) -> Document:
    """A worker's document without its id."""
    return {
        "name": worker.name,
        "kinds": list(worker.kinds),
        "slots": worker.slots,
        "running": worker.running,
        "finished": worker.finished,
        "version": worker.version,
        "since_at": worker.since_at,
        "seen_at": worker.seen_at,
    }


def worker_from(document: Mapping[str, Any]) -> WorkerRecord:
    """A worker from its document."""
    return WorkerRecord(
        boot=document["_id"],
        name=document["name"],
        kinds=tuple(document["kinds"]),
        slots=document["slots"],
        running=document["running"],
        finished=document["finished"],
        version=document["version"],
        since_at=document["since_at"],
        seen_at=document["seen_at"],
    )
