"""What clients read of a job: the fields of `GET /status/{id}` and of lists, and their types. Pure.

The types are those of the API document too; mypy holds the views to them.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, NotRequired, TypedDict, cast

import msgspec
from msgspec import Meta

from acked_common.model.instants import rfc3339
from acked_common.model.lifecycle import HISTORY_KEPT, HistoryEntry, Reason, State
from acked_common.model.principal import Permission, Principal
from acked_common.store.records import Job

Count = Annotated[int, Meta(ge=0)]
Rev = Annotated[int, Meta(ge=1, description="Raised by one by every move of the job.")]
Instant = Annotated[
    str,
    Meta(description="UTC, with milliseconds.", extra_json_schema={"format": "date-time"}),
]
JobId = Annotated[
    str,
    Meta(
        description="A UUIDv7: ids sort by when they were accepted.",
        extra_json_schema={"format": "uuid"},
    ),
]
# Open: a newer version may know more reasons.
ReasonWord = Annotated[
    str,
    Meta(
        description="Why the job last moved; newer versions may add words.",
        extra_json_schema={"anyOf": [{"enum": list(Reason)}, {"type": "string"}]},
    ),
]
Json = Annotated[Any, Meta(description="Any JSON value.")]


class HistoryLine(TypedDict):
    """One move."""

    rev: Rev
    state: State
    reason: ReasonWord
    attempt: Count
    at: Instant


class Progress(TypedDict):
    """The newest that the attempt reported."""

    value: Json
    message: str | None
    at: Instant


class JobError(TypedDict):
    """What the newest failed attempt ended with."""

    type: str
    message: str
    retryable: bool
    attempt: Count
    traceback: NotRequired[
        Annotated[str, Meta(description="Where the handler failed; only for clients that may `operate`.")]
    ]


class JobSummary(TypedDict):
    """What a list tells of a job: its status without the result, which may be large."""

    id: JobId
    kind: str
    state: State
    reason: ReasonWord
    rev: Rev
    run: Annotated[int, Meta(ge=1, description="Raised by a person's retry or resolve.")]
    attempt: Annotated[int, Meta(ge=0, description="Starts of the handler, over all runs.")]
    failures: Annotated[int, Meta(ge=0, description="Attempts of this run that ended in an error or a timeout.")]
    accepted_at: Instant
    due_at: Annotated[Instant | None, Meta(description="Where it is scheduled: when it goes on.")]
    started_at: Annotated[Instant | None, Meta(description="Of the newest attempt.")]
    finished_at: Annotated[Instant | None, Meta(description="Of the end of the run.")]
    progress: Progress | None
    error: JobError | None
    batch: str | None
    tags: list[str]
    history: Annotated[list[HistoryLine], Meta(description=f"The first move and the newest {HISTORY_KEPT}.")]
    cancel_requested: NotRequired[
        Annotated[bool, Meta(description="True while a running job is asked to stop; else not there.")]
    ]
    note: NotRequired[Annotated[str, Meta(description="A person's text from a resolve; else not there.")]]
    hint: NotRequired[Annotated[str, Meta(description="Why a queued job does not move, where that is known.")]]


class JobStatus(JobSummary):
    """How a job stands."""

    result: Annotated[Any, Meta(description="What the handler returned, or what a person resolved the job with.")]


class JobWithPayload(JobStatus):
    """How a job stands, and what it was sent."""

    payload: Annotated[Any, Meta(description="As it was sent.")]


def _instant(at: datetime | None) -> str | None:
    return rfc3339(at) if at is not None else None


def _line(entry: HistoryEntry) -> HistoryLine:
    return {
        "rev": entry.rev,
        "state": entry.state,
        "reason": str(entry.reason),
        "attempt": entry.attempt,
        "at": rfc3339(entry.at),
    }


def raw(text: bytes | None) -> Any:
    """A JSON text that is written as it is."""
    return msgspec.Raw(text) if text is not None else None


def _error(error: Mapping[str, Any], reader: Principal | None) -> JobError:
    """A copy of the error as the reader may see it: a traceback shows files and lines of whoever runs the server."""
    fields = dict(error)
    if reader is None or Permission.OPERATE not in reader.permissions:
        fields.pop("traceback", None)
    return cast(JobError, fields)


def status_fields(job: Job, *, reader: Principal | None = None, hint: str | None = None) -> JobStatus:
    """All that a status tells the reader; `hint` says why a job does not move, where that is known.

    Without a reader the fields are those that every client of the tenant may see.
    """
    fields: JobStatus = {
        "id": str(job.id),
        "kind": job.kind,
        "state": job.state,
        "reason": job.reason,
        "rev": job.rev,
        "run": job.run,
        "attempt": job.attempt,
        "failures": job.failures,
        "accepted_at": rfc3339(job.accepted_at),
        "due_at": _instant(job.due_at),
        "started_at": _instant(job.started_at),
        "finished_at": _instant(job.finished_at),
        "progress": raw(job.progress),
        "result": raw(job.result),
        "error": _error(job.error, reader) if job.error is not None else None,
        "batch": job.options.batch,
        "tags": list(job.options.tags),
        "history": [_line(entry) for entry in job.history],
    }
    if job.cancel_requested:
        fields["cancel_requested"] = True
    if job.note is not None:
        fields["note"] = job.note
    if hint is not None:
        fields["hint"] = hint
    return fields


def summary_fields(job: Job, *, reader: Principal | None = None) -> JobSummary:
    """What a list tells of a job: the status without its result."""
    fields = dict(status_fields(job, reader=reader))
    del fields["result"]
    return cast(JobSummary, fields)


def job_fields(job: Job, *, reader: Principal | None = None, hint: str | None = None) -> JobWithPayload:
    """The status and the payload."""
    return {**status_fields(job, reader=reader, hint=hint), "payload": raw(job.payload)}
