"""The requests of users: submissions, filters and settings of the client. Pure."""

import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from acked_client.model.errors import ProblemError

H = TypeVar("H")
T = TypeVar("T", covariant=True)

AsyncHandler = Callable[[Any, Any], Coroutine[Any, Any, T]]
"""An `async def` handler: it takes a context and a payload, and returns a T."""
PlainHandler = Callable[[Any, Any], T]
"""A `def` handler."""

BulkVerb = Literal["retry", "cancel", "resolve", "run_now", "erase"]

ResolvedState = Literal["succeeded", "failed"]
"""The outcome of a job that an operator resolves."""

Overlap = Literal["skip", "queue_one", "all", "cancel_running"]
"""What a firing of a schedule does while a job of the schedule is live."""

TraceContext = Callable[[], Mapping[str, str]]
"""Returns the W3C headers `traceparent` and `tracestate` of the current span; other names are not sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """A URL that gets a signed event when the job ends.

    `events` are some of `job.succeeded`, `job.failed` and `job.cancelled`; without any, all of them.
    """

    url: str
    events: Sequence[str] = ()

    def members(self) -> dict[str, Any]:
        """Return the fields that are set, by their names in the API. Raise `TypeError` for a string of events."""
        if isinstance(self.events, str):
            raise TypeError(f"events is a sequence of strings, not the string {self.events!r}")
        return {"url": self.url} | ({"events": list(self.events)} if self.events else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackEndpointDefinition:
    """The whole definition of a callback endpoint: where events of jobs go, and which.

    Without `events`, all of them; without `kinds`, those of all jobs. Without `headers` the endpoint keeps those that
    it has, and an empty mapping removes them. `enabled` leaves the endpoint as it is if it is None.
    """

    url: str
    events: Sequence[str] = ()
    kinds: Sequence[str] = ()
    headers: Mapping[str, str] | None = None
    enabled: bool | None = None

    def members(self) -> dict[str, Any]:
        """Return the fields that are set, by their names in the API. Raise `TypeError` for a string of several."""
        for name, value in (("events", self.events), ("kinds", self.kinds)):
            if isinstance(value, str):
                raise TypeError(f"{name} is a sequence of strings, not the string {value!r}")
        fields: dict[str, Any] = {
            "url": self.url,
            "events": list(self.events) or None,
            "kinds": list(self.kinds) or None,
            "headers": None if self.headers is None else dict(self.headers),
            "enabled": self.enabled,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def __repr__(self) -> str:
        """Leave the values of the headers out, which may be credentials."""
        return f"<{type(self).__name__} {self.url}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One job to submit; durations are seconds. Fields that are None take the defaults of the kind.

    `kind` is the name of a kind, or its handler. Two submissions with one `idempotency_key` are one job.
    """

    kind: Callable[[Any, Any], Any] | str
    payload: Any = None
    """The input of the handler, any JSON; None means an empty object."""
    idempotency_key: str | None = None
    batch: str | None = None
    tags: Sequence[str] = ()
    delay_s: float | None = None
    max_attempts: int | None = None
    timeout_s: float | None = None
    expires_in_s: float | None = None
    callback: Callback | str | None = None
    """The callback of the job; a URL alone selects all events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleDefinition:
    """The whole definition of a schedule: when it fires, and what its jobs are.

    Exactly one of `cron`, which may have a `timezone`, and `every_s`. Durations are whole seconds. `from_at` and
    `until_at` are instants, or texts of RFC 3339: the first counts, the second does not. Fields that are None take
    their defaults; `paused` leaves the schedule as it is then.
    """

    kind: Callable[[Any, Any], Any] | str
    """The name of a kind, or its handler."""
    cron: str | None = None
    every_s: int | None = None
    timezone: str | None = None
    from_at: datetime | str | None = None
    until_at: datetime | str | None = None
    payload: Any = None
    """The input of the handler, any JSON; None means an empty object."""
    tags: Sequence[str] = ()
    batch: str | None = None
    overlap: Overlap | None = None
    catch_up_s: int | None = None
    jitter_s: int | None = None
    paused: bool | None = None

    def members(self) -> dict[str, Any]:
        """Return the fields that are set, by their names in the API, without the kind.

        Raise `ValueError` for a naive instant, and `TypeError` for a string of tags.
        """
        if isinstance(self.tags, str):
            raise TypeError(f"tags is a sequence of strings, not the string {self.tags!r}")
        fields = {
            "cron": self.cron,
            "every_s": self.every_s,
            "timezone": self.timezone,
            "from": instant(self.from_at),
            "until": instant(self.until_at),
            "payload": self.payload,
            "tags": list(self.tags) or None,
            "batch": self.batch,
            "overlap": self.overlap,
            "catch_up_s": self.catch_up_s,
            "jitter_s": self.jitter_s,
            "paused": self.paused,
        }
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs a list or a bulk action concerns; a job must match all fields that are not None.

    `since` and `until` bound when a job was accepted: an instant, or a duration back from now such as `15m` or `8d`.
    """

    state: str | None = None
    kind: str | None = None
    batch: str | None = None
    tag: str | None = None
    error_group: str | None = None
    waiting_for: str | None = None
    since: datetime | str | None = None
    until: datetime | str | None = None

    def members(self) -> dict[str, str]:
        """Return the fields that are set, by their names in the API. Raise `ValueError` for a naive instant."""
        fields = {
            "state": self.state,
            "kind": self.kind,
            "batch": self.batch,
            "tag": self.tag,
            "error.group": self.error_group,
            "waiting_for": self.waiting_for,
            "since": instant(self.since),
            "until": instant(self.until),
        }
        return {name: str(value) for name, value in fields.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries of the audit: those of an action and a client, or those of one job, bulk action or kind.

    `since` and `until` bound when the act was requested, as in `JobFilter`.
    """

    action: str | None = None
    client: str | None = None
    job: str | None = None
    bulk_action: str | None = None
    kind: str | None = None
    since: datetime | str | None = None
    until: datetime | str | None = None

    def members(self) -> dict[str, str]:
        """Return the fields that are set, by their names in the API. Raise `ValueError` for a naive instant."""
        fields = {
            "action": self.action,
            "client": self.client,
            "job": self.job,
            "bulk_action": self.bulk_action,
            "kind": self.kind,
            "since": instant(self.since),
            "until": instant(self.until),
        }
        return {name: value for name, value in fields.items() if value is not None}


def instant(value: datetime | str | None) -> str | None:
    """Return an instant as RFC 3339; texts stay. Raise `ValueError` for a datetime without a time zone."""
    if not isinstance(value, datetime):
        return value
    if value.utcoffset() is None:
        raise ValueError(f"{value!r} has no time zone: use datetime.now(UTC), or a text such as '15m'")
    return value.isoformat()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """The outcome that an operator gives a failed job: `succeeded` with a result, or `failed`."""

    state: ResolvedState
    result: Any = None
    note: str | None = None

    def members(self) -> dict[str, Any]:
        """Return the fields that are set, by their names in the API."""
        fields = {"state": self.state, "result": self.result, "note": self.note}
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How long and how often the client repeats what failed; all fields are seconds."""

    budget_s: float = 60.0
    """The longest time from the first request of a call to its last one; 0 repeats nothing."""
    base_s: float = 0.1
    """The longest wait after the first failure; it doubles with each failure."""
    cap_s: float = 10.0
    """The maximum delay after any number of failures, unless `Retry-After` is longer."""
    request_s: float = 30.0
    """The longest time without a byte of the response to one request; a long poll adds its own wait."""
    outage_s: float = 600.0
    """The longest time that `watch` tries to connect again."""

    def __post_init__(self) -> None:
        for name in ("budget_s", "base_s", "cap_s", "request_s", "outage_s"):
            value = getattr(self, name)
            if math.isnan(value) or value < 0 or (name == "request_s" and value == 0):
                raise ValueError(f"{name} must be a positive number of seconds, not {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedRow(Generic[H]):
    """The outcome of one row of `submit_many`: a job, or the problem that refused it."""

    index: int
    """The place of the row, from 0."""
    idempotency_key: str
    job: H | None
    error: ProblemError | None
