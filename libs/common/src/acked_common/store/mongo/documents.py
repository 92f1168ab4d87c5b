"""The documents of jobs, kinds and workers. Pure: no driver, no I/O."""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from bson.binary import Binary
from msgspec import Struct

from acked_common.model.attempts import AttemptOutcome, EndedAttempt
from acked_common.model.callbacks import Callback, ends_from
from acked_common.model.lifecycle import HistoryEntry, Move, Owner, Reason, State, Transition
from acked_common.model.lifecycle_waits import waits_from
from acked_common.model.limits import KindLimit
from acked_common.model.options import DEFAULTS, NO_OPTIONS, OPTION_NAMES, JobOptions
from acked_common.model.pauses import CountedPauses, KindPauses, PastPause, Pause
from acked_common.model.payload_schemas import PayloadSchema
from acked_common.model.principal import DEFAULT_TENANT, Actor
from acked_common.store.mongo.field_names import HELD, NEXT_CHECK_AT, stored_fields, stored_name
from acked_common.store.records import (
    ClaimedJob,
    Job,
    KeyHolder,
    KindRecord,
    NewJob,
    RunningJob,
    WorkerRecord,
)

Document = dict[str, Any]
S = TypeVar("S", bound=Struct)

_ACCEPTED = Reason.ACCEPTED.value


def job_document(job: NewJob) -> Document:
    """Return the document of a new job. The payload is opaque bytes, so that its keys have no meaning to MongoDB."""
    state: str = job.lifecycle["state"].value
    document: Document = {
        # Fields that claims, indexes and the validator read come first, because MongoDB scans all fields before them.
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
    if job.callback is not None:
        document["callback"] = {"url": job.callback.url, "events": list(job.callback.events)}
        document["callback_open"] = True
    if job.callback_endpoints:
        document["callback_endpoints"] = list(job.callback_endpoints)
        document["callback_open"] = True
    return document


def _callback_from(document: Mapping[str, Any] | None) -> Callback | None:
    return None if document is None else Callback(document["url"], tuple(document["events"]))


def option_fields(options: JobOptions) -> Document:
    """Return the document fields of the options of a request."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, default in DEFAULTS.items()
        if (value := getattr(options, name)) != default
    }


def options_from(document: Mapping[str, Any]) -> JobOptions:
    """Read the options of a request from a document. Jobs without options share one object."""
    asked: Document = {}
    for name in OPTION_NAMES:
        if name in document:
            value = document[name]
            asked[name] = tuple(value) if isinstance(value, list) else value
    return JobOptions(**asked) if asked else NO_OPTIONS


KEY_HOLDER_FIELDS = ("kind", "first_state", "accepted_at", "key_fingerprint")
"""The fields that `key_holder_from` reads in addition to the id."""


def key_holder_from(document: Mapping[str, Any]) -> KeyHolder:
    """Return the holder of a key from its document."""
    state, fingerprint = State(document["first_state"]), bytes(document["key_fingerprint"])
    return KeyHolder(document["_id"], document["kind"], state, document["accepted_at"], fingerprint)


ERROR_GROUP = "error.group"
ATTENDED_TO = tuple(reason.value for reason in (Reason.RESOLVED, Reason.EDITED, Reason.ERASED))
"""Reasons of failed jobs whose errors have lost their group, because an operator has attended to them."""

_REASONS = {reason.value: reason for reason in Reason}


def job_from(document: Mapping[str, Any]) -> Job:
    """Return a job from its document; a projection may omit payload, result and history."""
    get = document.get
    owner = get("owner")
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
        accepted_at=document["accepted_at"],
        payload=bytes(get("payload", b"")),
        first_state=State(document["first_state"]),
        history=history_from(document),
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
        waits=waits_from(get("waits")) if document["state"] == State.WAITING.value else None,
        signals=get("signals", 0),
        is_held=get("reserved_by") == HELD,
        callback=_callback_from(get("callback")),
        callback_endpoints=tuple(get("callback_endpoints", ())),
        callback_open=get("callback_open", False),
        callback_ends=ends_from(get("callback_ends", {})),
        tenant=document["tenant"],
    )


HISTORY_FIELDS = ("accepted_at", "first_state", "history")
"""The fields that `history_from` reads."""


def history_from(document: Mapping[str, Any]) -> tuple[HistoryEntry, ...]:
    """Return the history of a job from its document, oldest entry first. The first entry is not stored."""
    first = HistoryEntry(1, State(document["first_state"]), Reason.ACCEPTED, 0, document["accepted_at"])
    later = (
        HistoryEntry(
            e["rev"],
            State(e["state"]),
            _REASONS.get(e["reason"], e["reason"]),
            e["attempt"],
            e["at"],
            _actor_from(e["by"]) if "by" in e else None,
        )
        for e in document.get("history", ())
    )
    return (first, *later)


CLAIMED_FIELDS = (
    *(stored_name(name) for name in ClaimedJob.__struct_fields__ if name not in ("id", "nonce", "options", "tenant")),
    *OPTION_NAMES,
)
"""The fields that `claimed_job_from` reads in addition to the id, and to the tenant if clients need tokens.

Measured with no-ops: reading whole documents was a quarter of the Python time that a job costs a worker."""


def claimed_job_from(document: Mapping[str, Any], nonce: str) -> ClaimedJob:
    """Return a job that the claim with this nonce has taken, from its document."""
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
    """Return one history entry as it is stored."""
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
    """Return an unsuccessful attempt as its job stores it; its traceback is stored separately."""
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
    """Return the traceback of an attempt as its job stores it."""
    return {"attempt": ended.attempt, "text": ended.traceback}


def attempts_from(document: Mapping[str, Any]) -> tuple[EndedAttempt, ...]:
    """Return the stored attempts of a job, with the tracebacks that were read."""
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
    """Return the fields that a transition sets under their stored names, bytes as opaque binaries."""
    fields: Document = {
        stored_name(name): Binary(value) if isinstance(value, bytes) else value
        for name, value in transition.sets.items()
    }
    fields["state"] = transition.to.value
    fields["reason"] = transition.reason.value
    return fields


def is_recorded(move: Move, document: Mapping[str, Any]) -> bool:
    """Return whether the document shows that exactly this move was applied, also after later moves."""
    return history_document(move.history_entry) in document.get("history", ())


def is_behind(move: Move, document: Mapping[str, Any]) -> bool:
    """Return whether a document that was read after a move did not apply shows exactly what the move requires.

    Then the read is older than the write. A new primary may serve majority reads for a while from before writes that
    the old one has confirmed. Moves with further requirements are left out: these may be what was not met.
    """
    seen = move.seen
    if move.transition.unless_cancelling or (seen.next_check_at, seen.signals, move.until_at) != (None, None, None):
        return False
    return (document.get("state"), document.get("rev"), document.get("attempt")) == (
        seen.state.value,
        seen.rev,
        seen.attempt,
    ) and seen.nonce in (None, document.get("owner", {}).get("nonce"))


SCHEMAS = "schemas"
_KIND_FIELDS = tuple(field.name for field in fields(KindRecord) if field.name != "name")


def kind_document(kind: KindRecord) -> Document:
    """Return a kind's document without its id."""
    document = {name: getattr(kind, name) for name in _KIND_FIELDS if name != SCHEMAS}
    # As JSON text: names like $ref have a meaning to the driver, and its integers have 64 bits.
    document["payload_schema"] = None if kind.payload_schema is None else json.dumps(dict(kind.payload_schema))
    if kind.schemas:
        document[SCHEMAS] = [
            {name: getattr(schema, name) for name in PayloadSchema.__struct_fields__} for schema in kind.schemas
        ]
    return document


def kind_from(document: Mapping[str, Any]) -> KindRecord:
    """Return a kind from its document. Fields that an earlier version did not store have their defaults."""
    found = {name: document[name] for name in _KIND_FIELDS if name in document}
    if found.get("payload_schema") is not None:
        found["payload_schema"] = json.loads(found["payload_schema"])
    found[SCHEMAS] = tuple(_struct_from(PayloadSchema, one) for one in document.get(SCHEMAS, ()))
    return KindRecord(name=document["_id"], **found)


def pause_document(pause: Pause) -> Document:
    """Return the pause of a kind as the kind's document stores it."""
    return {name: getattr(pause, name) for name in Pause.__struct_fields__}


def pauses_from(document: Mapping[str, Any]) -> KindPauses:
    """Return the pauses of a kind from its document."""
    current = document.get("paused")
    return KindPauses(
        current=_struct_from(Pause, current) if current else None,
        past=tuple(_struct_from(PastPause, one) for one in document.get("pauses", ())),
        limit=limit_from(document),
    )


def limit_document(limit: KindLimit) -> Document:
    """Return the limit of a kind as the kind's document stores it."""
    return {name: getattr(limit, name) for name in KindLimit.__struct_fields__}


def limit_from(document: Mapping[str, Any]) -> KindLimit | None:
    """Return the limit of a kind from its document; None if it never had one."""
    limit = document.get("limit")
    return None if limit is None else _struct_from(KindLimit, limit)


def _struct_from(struct: type[S], document: Mapping[str, Any]) -> S:
    """Return the stored fields of a struct, without fields that only a newer version has."""
    return struct(**{name: document[name] for name in struct.__struct_fields__ if name in document})


def counted_document(counted: CountedPauses) -> Document:
    """Return the pauses that a job's expiry already counts, as stored."""
    return {name: getattr(counted, name) for name in CountedPauses.__struct_fields__}


def worker_document(worker: WorkerRecord) -> Document:
    """Return a worker's document without its id."""
    return {
        "name": worker.name,
        "kinds": list(worker.kinds),
        "slots": worker.slots,
        "running": worker.running,
        "finished": worker.finished,
        "version": worker.version,
        "since_at": worker.since_at,
        "seen_at": worker.seen_at,
        "running_jobs": [
            {"id": job.id, "kind": job.kind, "attempt": job.attempt, "started_at": job.started_at, "tenant": job.tenant}
            for job in worker.running_jobs
        ],
        **({SCHEMAS: dict(worker.schemas)} if worker.schemas else {}),
    }


def worker_from(document: Mapping[str, Any]) -> WorkerRecord:
    """Return a worker from its document."""
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
        running_jobs=tuple(
            RunningJob(job["id"], job["kind"], job["attempt"], job["started_at"], job["tenant"])
            for job in document.get("running_jobs", ())
        ),
        drain_requested=document.get("drain_requested", False),
        schemas=document.get(SCHEMAS, {}),
    )
