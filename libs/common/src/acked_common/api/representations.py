"""The fields of a job in responses: `GET /status/{id}` and lists, and their types. Pure.

The OpenAPI document uses the same types; mypy checks the endpoints against them.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired, TypedDict, cast

import msgspec
from msgspec import Meta

from acked_common.api.callback_state import CallbackOf
from acked_common.model.attempts import (
    ATTEMPTS_KEPT,
    MAX_MESSAGE_CHARS,
    TRACEBACKS_KEPT,
    AttemptOutcome,
    EndedAttempt,
)
from acked_common.model.instants import rfc3339
from acked_common.model.ledger import LedgerEntry
from acked_common.model.lifecycle import HISTORY_KEPT, HistoryEntry, Reason, State
from acked_common.model.lifecycle_waits import Waits
from acked_common.model.principal import Permission, Principal
from acked_common.store.ledgers import LedgerSummary
from acked_common.store.records import Job

Count = Annotated[int, Meta(ge=0)]
Rev = Annotated[int, Meta(ge=1, description="Incremented by every transition of the job.")]
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
# An open set: a newer version may add reasons.
ReasonWord = Annotated[
    str,
    Meta(
        description="Why the job last changed state; newer versions may add words.",
        extra_json_schema={"anyOf": [{"enum": list(Reason)}, {"type": "string"}]},
    ),
]
Json = Annotated[Any, Meta(description="Any JSON value.")]


class By(TypedDict):
    """The client that moved a job."""

    client: str
    token_id: Annotated[str | None, Meta(description="Null if the services require no tokens.")]
    via: Annotated[str, Meta(description="`api`, or `bulk:` and the id of the bulk action.")]


class HistoryLine(TypedDict):
    """One transition."""

    rev: Rev
    state: State
    reason: ReasonWord
    attempt: Count
    at: Instant
    by: NotRequired[
        Annotated[By, Meta(description="The client that requested it; absent if the services moved the job.")]
    ]


class Progress(TypedDict):
    """The newest progress report of the attempt."""

    value: Json
    message: str | None
    at: Instant


class JobError(TypedDict):
    """The error of the newest failed attempt."""

    type: str
    message: str
    retryable: bool
    attempt: Count
    group: NotRequired[
        Annotated[str, Meta(description="The same for errors of one cause; absent where an operator attended to it.")]
    ]
    culprit: NotRequired[
        Annotated[
            str,
            Meta(description="The innermost line of the user's code that raised it; only for clients with `operate`."),
        ]
    ]
    traceback: NotRequired[
        Annotated[str, Meta(description="Stack of the failed handler; only for clients with `operate`.")]
    ]


class AttemptError(TypedDict):
    """Why an attempt did not succeed."""

    type: str
    message: Annotated[str, Meta(description=f"At most {MAX_MESSAGE_CHARS:,} characters.")]
    retryable: bool
    group: NotRequired[str]
    culprit: NotRequired[str]
    traceback: NotRequired[
        Annotated[str, Meta(description=f"Of the newest {TRACEBACKS_KEPT}; only for clients with `operate`.")]
    ]


class AttemptLine(TypedDict):
    """An attempt that did not succeed."""

    run: Annotated[int, Meta(ge=1)]
    attempt: Annotated[int, Meta(ge=1)]
    worker: str
    started_at: Instant
    ended_at: Instant
    outcome: AttemptOutcome
    error: AttemptError


class WaitsOf(TypedDict):
    """Why a parked job waits."""

    call: Annotated[
        str, Meta(description="The durable call that waits: `sleep`, `wait`, `first`, `try`, or a newer one.")
    ]
    name: Annotated[str, Meta(description="The name of the call in the handler.")]
    until_at: Annotated[Instant | None, Meta(description="When the wait ends; null if only a signal ends it.")]
    signals: Annotated[list[str], Meta(description="The names of the signals that wake the job; `*` for any.")]


class JobSummary(TypedDict):
    """A job in a list: its status without the result, which may be large."""

    id: JobId
    kind: str
    state: State
    reason: ReasonWord
    rev: Rev
    run: Annotated[int, Meta(ge=1, description="Incremented by an operator's retry, resolve or edit.")]
    attempt: Annotated[int, Meta(ge=0, description="Handler starts, over all runs.")]
    failures: Annotated[int, Meta(ge=0, description="Attempts of this run that ended in an error or a timeout.")]
    accepted_at: Instant
    due_at: Annotated[Instant | None, Meta(description="When a scheduled job becomes due.")]
    started_at: Annotated[Instant | None, Meta(description="Start of the newest attempt.")]
    finished_at: Annotated[Instant | None, Meta(description="End of the run.")]
    progress: Progress | None
    error: JobError | None
    batch: str | None
    tags: list[str]
    history: Annotated[list[HistoryLine], Meta(description=f"The first transition and the newest {HISTORY_KEPT}.")]
    worker: NotRequired[Annotated[str, Meta(description="The worker that runs the job; absent while none does.")]]
    cancel_requested: NotRequired[
        Annotated[bool, Meta(description="True while a running job is being cancelled; absent otherwise.")]
    ]
    waits: NotRequired[Annotated[WaitsOf, Meta(description="While the job is parked: why; absent otherwise.")]]
    note: NotRequired[Annotated[str, Meta(description="An operator's note from a resolve; absent otherwise.")]]
    hint: NotRequired[
        Annotated[
            str, Meta(description="Of one live job: why it waits, or where it runs, in a sentence; absent in lists.")
        ]
    ]


class JobStatus(JobSummary):
    """The status of a job."""

    callback: NotRequired[
        Annotated[CallbackOf, Meta(description="Absent without one. `GET /jobs/{id}/callbacks` lists its deliveries.")]
    ]

    attempts: Annotated[
        list[AttemptLine],
        Meta(
            description=f"The newest {ATTEMPTS_KEPT} that failed, timed out, crashed or were lost, oldest first; they "
            "stay, whatever becomes of the job."
        ),
    ]
    edited_from: NotRequired[Annotated[JobId, Meta(description="The job that this one replaces; absent otherwise.")]]
    edited_to: NotRequired[
        Annotated[JobId, Meta(description="The job that an operator put in the place of this one; absent otherwise.")]
    ]
    erased_at: NotRequired[
        Annotated[Instant, Meta(description="When payload, result and errors were removed; absent otherwise.")]
    ]
    result: Annotated[Any, Meta(description="What the handler returned, or the result of an operator's resolve.")]


StepState = Literal["open", "kept", "failed", "timed_out", "cancelled"]


class NewestStep(TypedDict):
    """The durable call that began last."""

    name: str
    key: Annotated[Any, Meta(description="The key of the call, null without one.")]
    call: Annotated[str, Meta(description="As in `GET /jobs/{id}/steps`.")]
    state: StepState
    at: Annotated[Instant, Meta(description="When it was recorded.")]


class StepsOf(TypedDict):
    """The durable calls of a job, in figures."""

    kept: Annotated[Count, Meta(description="Its recorded durable calls; `GET /jobs/{id}/steps` lists them.")]
    newest: NotRequired[Annotated[NewestStep, Meta(description="The one that began last; absent without one.")]]
    unread: Annotated[Count, Meta(description="Its unread signals; `GET /jobs/{id}/signals` lists them.")]
    warned: NotRequired[Annotated[str, Meta(description="A limit that the job has nearly reached, in a sentence.")]]


class JobWithPayload(JobStatus):
    """The status of a job, with its payload."""

    steps: NotRequired[
        Annotated[StepsOf, Meta(description="Of a job that made a durable call or received a signal; else absent.")]
    ]

    payload: Annotated[Any, Meta(description="The payload as submitted.")]


def _instant(at: datetime | None) -> str | None:
    return rfc3339(at) if at is not None else None


def _line(entry: HistoryEntry) -> HistoryLine:
    line: HistoryLine = {
        "rev": entry.rev,
        "state": entry.state,
        "reason": str(entry.reason),
        "attempt": entry.attempt,
        "at": rfc3339(entry.at),
    }
    if entry.by is not None:
        line["by"] = {"client": entry.by.client, "token_id": entry.by.token_id, "via": entry.by.via}
    return line


def _attempt(ended: EndedAttempt, reader: Principal | None) -> AttemptLine:
    error = dict(ended.error)
    if ended.traceback is not None:
        error["traceback"] = ended.traceback
    return {
        "run": ended.run,
        "attempt": ended.attempt,
        "worker": ended.worker,
        "started_at": rfc3339(ended.started_at),
        "ended_at": rfc3339(ended.ended_at),
        "outcome": ended.outcome,
        "error": cast(AttemptError, _shown(error, reader)),
    }


def raw(text: bytes | None) -> Any:
    """Return a JSON text for inclusion without parsing it."""
    return msgspec.Raw(text) if text is not None else None


_OF_OPERATORS = ("culprit", "traceback")
"""These show lines and files of the operator's code."""


def _shown(error: Mapping[str, Any], reader: Principal | None) -> dict[str, Any]:
    """Copy an error for a reader; only those with `operate` see code. The details of a delivery are in the list of
    deliveries."""
    may_see_code = reader is not None and Permission.OPERATE in reader.permissions
    return {
        name: value
        for name, value in error.items()
        if name != "details" and (may_see_code or name not in _OF_OPERATORS)
    }


def status_fields(
    job: Job, *, reader: Principal | None = None, hint: str | None = None, callback: CallbackOf | None = None
) -> JobStatus:
    """Return the status for a reader; `hint` says why a live job is in its state.

    Without a reader, include only fields that every client of the tenant may see.
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
        "error": cast(JobError, _shown(job.error, reader)) if job.error is not None else None,
        "batch": job.options.batch,
        "tags": list(job.options.tags),
        "history": [_line(entry) for entry in job.history],
        "attempts": [_attempt(ended, reader) for ended in job.attempts],
    }
    if job.owner is not None:
        fields["worker"] = job.owner.worker
    if job.cancel_requested:
        fields["cancel_requested"] = True
    if (waits := job.waits) is not None:
        fields["waits"] = waits_fields(waits)
    if job.note is not None:
        fields["note"] = job.note
    if hint is not None:
        fields["hint"] = hint
    if callback is not None:
        fields["callback"] = callback
    if job.edited_from is not None:
        fields["edited_from"] = str(job.edited_from)
    if job.edited_to is not None:
        fields["edited_to"] = str(job.edited_to)
    if job.erased_at is not None:
        fields["erased_at"] = rfc3339(job.erased_at)
    return fields


_OF_ONE_JOB = JobStatus.__annotations__.keys() - JobSummary.__annotations__.keys()


def summary_fields(job: Job, *, reader: Principal | None = None) -> JobSummary:
    """Return the status without its result and attempts, for lists."""
    fields = status_fields(job, reader=reader)
    return cast(JobSummary, {name: value for name, value in fields.items() if name not in _OF_ONE_JOB})


def step_state(entry: LedgerEntry) -> StepState:
    """Return the state of a durable call for readers."""
    if entry.is_open:
        return "open"
    if entry.error is not None:
        return "failed"
    if entry.timed_out:
        return "timed_out"
    return "cancelled" if entry.cancelled else "kept"


def waits_fields(waits: Waits) -> WaitsOf:
    """Return why a parked job waits."""
    return {
        "call": waits.call,
        "name": waits.name,
        "until_at": _instant(waits.until_at),
        "signals": list(waits.signals),
    }


def job_fields(
    job: Job,
    *,
    reader: Principal | None = None,
    hint: str | None = None,
    ledger: LedgerSummary | None = None,
    callback: CallbackOf | None = None,
) -> JobWithPayload:
    """Return the status and the payload, and the figures of the job's ledger."""
    fields: JobWithPayload = {
        **cast(JobWithPayload, status_fields(job, reader=reader, hint=hint, callback=callback)),
        "payload": raw(job.payload),
    }
    if ledger is not None:
        fields["steps"] = {"kept": ledger.kept, "unread": ledger.unread}
        if (newest := ledger.newest) is not None:
            fields["steps"]["newest"] = {
                "name": newest.name,
                "key": raw(None if newest.key is None else newest.key.encode()),
                "call": newest.call,
                "state": step_state(newest),
                "at": rfc3339(newest.at),
            }
        if ledger.warned is not None:
            fields["steps"]["warned"] = ledger.warned
    return fields
