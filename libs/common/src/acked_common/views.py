"""What clients read of a job: the fields of `GET /status/{id}` and of lists. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from acked_common.clock import rfc3339
from acked_common.lifecycle import HistoryEntry
from acked_common.store import Job

_encoder = msgspec.json.Encoder()


def _instant(at: datetime | None) -> str | None:
    return rfc3339(at) if at is not None else None


def _entry(entry: HistoryEntry) -> dict[str, Any]:
    return {
        "rev": entry.rev,
        "state": entry.state.value,
        "reason": str(entry.reason),
        "attempt": entry.attempt,
        "at": rfc3339(entry.at),
    }


def _raw(text: bytes | None) -> msgspec.Raw | None:
    return msgspec.Raw(text) if text is not None else None


def status_fields(job: Job, *, hint: str | None = None) -> dict[str, Any]:
    """All that a status tells; `hint` says why a job does not move, where that is known."""
    fields: dict[str, Any] = {
        "id": str(job.id),
        "kind": job.kind,
        "state": job.state.value,
        "reason": job.reason,
        "rev": job.rev,
        "run": job.run,
        "attempt": job.attempt,
        "failures": job.failures,
        "accepted_at": rfc3339(job.accepted_at),
        "due_at": _instant(job.due_at),
        "started_at": _instant(job.started_at),
        "finished_at": _instant(job.finished_at),
        "progress": _raw(job.progress),
        "result": _raw(job.result),
        "error": dict(job.error) if job.error is not None else None,
        "batch": job.batch,
        "tags": list(job.tags),
        "history": [_entry(entry) for entry in job.history],
    }
    if job.cancel_requested:
        fields["cancel_requested"] = True
    if job.note is not None:
        fields["note"] = job.note
    if hint is not None:
        fields["hint"] = hint
    return fields


def summary_fields(job: Job) -> dict[str, Any]:
    """What a list tells of a job: the status without its result, which may be large."""
    fields = status_fields(job)
    del fields["result"]
    return fields


def job_fields(job: Job, *, hint: str | None = None) -> dict[str, Any]:
    """The status and the payload."""
    return {**status_fields(job, hint=hint), "payload": _raw(job.payload)}


def encode(value: Mapping[str, Any]) -> bytes:
    """JSON; texts that are already JSON stay as they are."""
    return _encoder.encode(value)
