"""Kinds, batches, groups of errors and bulk actions as the services describe them. Pure."""

from datetime import datetime
from typing import Any

from msgspec import Struct


class Paused(Struct, frozen=True, kw_only=True):
    """Who paused a kind, since when and why."""

    client: str
    reason: str | None
    since: datetime
    token_id: str | None


class Limited(Struct, frozen=True, kw_only=True):
    """How many jobs of a kind may run at once, and who limited it."""

    running: int | None
    per_tenant: int | None
    client: str
    reason: str | None
    since: datetime
    token_id: str | None


class Kind(Struct, frozen=True, kw_only=True):
    """One kind of job and its defaults. Durations are seconds."""

    kind: str
    lane: str
    version: str
    timeout_s: float
    max_attempts: int
    backoff_base_s: float
    backoff_cap_s: float
    bundle: int
    seen_at: datetime | None
    paused: Paused | None
    limit: Limited | None
    max_attempts_limit: int | None = None
    timeout_limit_s: float | None = None
    payload_schema: dict[str, Any] | None = None


class Batch(Struct, frozen=True, kw_only=True):
    """The progress of a batch. `states` has only the states that occur."""

    batch: str
    total: int
    total_is_exact: bool
    states: dict[str, int]
    first_at: datetime
    last_at: datetime
    duration_s: float


class AttentionGroup(Struct, frozen=True, kw_only=True):
    """Failed jobs with errors of one cause. `per_minute` covers the last hour, oldest first."""

    group: str
    kind: str
    type: str
    message: str
    count: int
    count_is_exact: bool
    first_at: datetime
    last_at: datetime
    per_minute: list[int]
    comment: str | None
    taken_by: str | None
    taken_at: datetime | None
    snoozed_until: datetime | None
    culprit: str | None = None


class AttentionNotes(Struct, frozen=True, kw_only=True):
    """What operators noted on a group of errors."""

    group: str
    comment: str | None
    taken_by: str | None
    taken_at: datetime | None
    snoozed_until: datetime | None


class ExampleError(Struct, frozen=True, kw_only=True):
    """The error of a job in a preview."""

    type: str
    message: str


class BulkExample(Struct, frozen=True, kw_only=True):
    """A job that a bulk action would move."""

    id: str
    kind: str
    state: str
    error: ExampleError | None


class BulkPreview(Struct, frozen=True, kw_only=True):
    """How many jobs a bulk action would move. Its `plan` limits the action to these jobs."""

    action: str
    count: int
    count_is_exact: bool
    examples: list[BulkExample]
    plan: str
    planned_at: datetime


class BulkBy(Struct, frozen=True, kw_only=True):
    """The client that requested a bulk action or its abort."""

    client: str
    token_id: str | None


class RefusedJob(Struct, frozen=True, kw_only=True):
    """A job that a bulk action did not move, and why."""

    id: str
    reason: str
    detail: str


class BulkStatus(Struct, frozen=True, kw_only=True):
    """How far a bulk action is. `refused` counts the jobs that it did not move, by reason."""

    id: str
    action: str
    state: str
    matched: int
    matched_is_exact: bool
    done: int
    refused: dict[str, int]
    refused_examples: list[RefusedJob]
    progress: float | None
    rate_per_s: float | None
    by: BulkBy
    asked_at: datetime
    planned_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    filter: dict[str, Any] | None = None
    ids: int | None = None
    reason: str | None = None
    failure: str | None = None
    abort_requested_at: datetime | None = None
    abort_requested_by: BulkBy | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the action moves no further job."""
        return self.ended_at is not None
