"""A job as the services describe it. Members that a newer server adds are ignored. Pure."""

from datetime import datetime
from typing import Any

from msgspec import Struct

from acked_client.model.states import ENDED


class By(Struct, frozen=True, kw_only=True):
    """The client that moved a job. `token_id` is None if the services require no tokens."""

    client: str
    token_id: str | None
    via: str


class HistoryLine(Struct, frozen=True, kw_only=True):
    """One transition. `by` is None unless a client requested it."""

    rev: int
    state: str
    reason: str
    attempt: int
    at: datetime
    by: By | None = None


class Progress(Struct, frozen=True, kw_only=True):
    """The newest progress report of an attempt."""

    value: Any
    message: str | None
    at: datetime


class JobError(Struct, frozen=True, kw_only=True):
    """The error of the newest failed attempt. Only clients with `operate` see culprit and traceback."""

    type: str
    message: str
    retryable: bool
    attempt: int
    group: str | None = None
    culprit: str | None = None
    traceback: str | None = None


class AttemptError(Struct, frozen=True, kw_only=True):
    """Why an attempt did not succeed. Only clients with `operate` see culprit and traceback."""

    type: str
    message: str
    retryable: bool
    group: str | None = None
    culprit: str | None = None
    traceback: str | None = None


class Attempt(Struct, frozen=True, kw_only=True):
    """An attempt that did not succeed; `outcome` is `failed`, `timed_out`, `crashed` or `lost`."""

    run: int
    attempt: int
    worker: str
    started_at: datetime
    ended_at: datetime
    outcome: str
    error: AttemptError


class CallbackStatus(Struct, frozen=True, kw_only=True):
    """The callback of a request; `state` is that of the delivery of the job's last end."""

    url: str
    events: list[str]
    state: str


class Waits(Struct, frozen=True, kw_only=True):
    """Why a parked job waits. `until_at` is None if only a signal ends the wait."""

    call: str
    name: str
    until_at: datetime | None
    signals: list[str]


class JobSummary(Struct, frozen=True, kw_only=True):
    """A job in a list: its status without result and attempts."""

    id: str
    kind: str
    state: str
    reason: str
    rev: int
    run: int
    attempt: int
    failures: int
    accepted_at: datetime
    due_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    progress: Progress | None
    error: JobError | None
    batch: str | None
    tags: list[str]
    history: list[HistoryLine]
    worker: str | None = None
    cancel_requested: bool = False
    waits: Waits | None = None
    note: str | None = None
    hint: str | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the job is in a terminal state."""
        return self.state in ENDED


class JobStatus(JobSummary, frozen=True, kw_only=True):
    """The status of a job, with its result and the attempts that did not succeed, oldest first."""

    attempts: list[Attempt]
    result: Any
    callback: CallbackStatus | None = None
    edited_from: str | None = None
    edited_to: str | None = None
    erased_at: datetime | None = None


class AcceptedLinks(Struct, frozen=True, kw_only=True):
    """Where an accepted job is followed."""

    status: str
    feed: str


class Accepted(Struct, frozen=True, kw_only=True):
    """The response to a submitted job."""

    id: str
    state: str
    kind: str
    accepted_at: datetime
    links: AcceptedLinks


class SentSignal(Struct, frozen=True, kw_only=True):
    """A signal in the inbox of a job. `seq` is its place among the signals of the job."""

    id: str
    job: str
    name: str
    seq: int | None


class StepError(Struct, frozen=True, kw_only=True):
    """The error of a step that failed for good."""

    type: str
    message: str


class Step(Struct, frozen=True, kw_only=True):
    """A durable call of a handler, without its value."""

    seq: int
    name: str
    key: Any
    call: str
    state: str
    at: datetime
    took_s: float
    attempt: int
    tries: int
    due_at: datetime | None
    error: StepError | None = None
    ended_early_at: datetime | None = None


class JobEvent(Struct, frozen=True, kw_only=True):
    """What `watch` shows: a transition, or a progress report if `progress` is set.

    A progress report has the revision of the transition before it. `waits` is set while the job is parked.
    """

    id: str
    rev: int
    state: str
    reason: str
    attempt: int
    at: datetime
    progress: Progress | None = None
    waits: Waits | None = None
