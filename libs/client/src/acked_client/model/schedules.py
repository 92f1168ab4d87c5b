"""Schedules and their firings as the services describe them. Pure."""

from datetime import datetime
from typing import Any

from msgspec import Struct, field


class SchedulePaused(Struct, frozen=True, kw_only=True):
    """Who paused a schedule, why and since when."""

    client: str
    reason: str | None
    since: datetime


class Firing(Struct, frozen=True, kw_only=True):
    """One instant of a schedule with its outcome, or several consecutive ones that were skipped or missed alike.

    `at` is the nominal instant, without jitter; `last_at` is the last one of several. `trigger` is `schedule`,
    `run_now` or `backfill`. `job` exists once the outcome is `started`; only lists of firings have its state.
    """

    at: datetime
    last_at: datetime | None
    count: int
    trigger: str
    outcome: str
    why: str | None
    detail: str | None
    job: str | None
    job_state: str | None
    revision: int
    decided_at: datetime


class ScheduleBackfill(Struct, frozen=True, kw_only=True):
    """Past instants that fire on request, from `from_at` and before `until_at`, and how many were decided.

    `present` counts instants that had a job already. `next_at` is the next one that is not decided; if `limit` was
    reached, another backfill may begin with it. `ended_at` is None while it is under way.
    """

    from_at: datetime = field(name="from")
    until_at: datetime = field(name="until")
    limit: int
    asked_at: datetime
    next_at: datetime | None
    started: int
    present: int
    refused: int
    ended_at: datetime | None


class ScheduleSummary(Struct, frozen=True, kw_only=True):
    """A schedule in a list. `next_at` is None while it is paused, and if no instant follows."""

    name: str
    revision: int
    cron: str | None
    every_s: int | None
    timezone: str | None
    from_at: datetime | None = field(name="from")
    until_at: datetime | None = field(name="until")
    kind: str
    tags: list[str]
    batch: str | None
    overlap: str
    catch_up_s: int
    jitter_s: int
    paused: SchedulePaused | None
    next_at: datetime | None
    last_firing: Firing | None
    backfill: ScheduleBackfill | None
    made_at: datetime
    changed_at: datetime


class ScheduleDetails(ScheduleSummary, frozen=True, kw_only=True):
    """A schedule with the payload of its jobs."""

    payload: Any


class PreviewedInstant(Struct, frozen=True, kw_only=True):
    """An instant at which a schedule will be due. `local` is its text in the time zone, `fires_at` has the jitter."""

    at: datetime
    local: str
    fires_at: datetime


class SchedulePreview(Struct, frozen=True, kw_only=True):
    """The next instants of a schedule, whether it is paused or not, and the release of the time-zone data."""

    timezone: str
    time_zone_data: str
    instants: list[PreviewedInstant]
