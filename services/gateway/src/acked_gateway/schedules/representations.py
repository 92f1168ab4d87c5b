"""Schedules and firings as responses show them. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import islice
from uuid import UUID

import msgspec

from acked_common.model.cron import DATA_VERSION, zone
from acked_common.model.instants import rfc3339
from acked_common.model.lifecycle import State
from acked_common.model.schedule_instants import fires_at, instants
from acked_common.model.schedules import Firing, Schedule
from acked_gateway.schedules.backfills import backfill_fields
from acked_gateway.schedules.operations import (
    FiringList,
    ScheduleDetails,
    ScheduleFiring,
    SchedulePreview,
    ScheduleSummary,
)


def summary_fields(schedule: Schedule, states: Mapping[UUID, State] | None = None) -> ScheduleSummary:
    """Return a schedule without its payload; `states` are those of jobs that exist."""
    timing, work, pause = schedule.order.timing, schedule.order.work, schedule.pause
    newest = newest_of(schedule)
    return {
        "name": schedule.name,
        "revision": schedule.revision,
        "cron": timing.cron,
        "every_s": timing.every_s,
        "timezone": timing.timezone,
        "from": _instant(timing.from_at),
        "until": _instant(timing.until_at),
        "jitter_s": timing.jitter_s,
        "kind": work.kind,
        "tags": list(work.options.tags),
        "batch": work.options.batch,
        "overlap": schedule.order.overlap,
        "catch_up_s": schedule.order.catch_up_s,
        "paused": None
        if pause is None
        else {"client": pause.client, "reason": pause.reason, "since": rfc3339(pause.since_at)},
        "next_at": _instant(schedule.progress.next_at),
        "last_firing": None if newest is None else firing_fields(newest, states),
        "backfill": None if (backfill := schedule.progress.backfill) is None else backfill_fields(backfill),
        "made_at": rfc3339(schedule.made_at),
        "changed_at": rfc3339(schedule.changed_at),
    }


def details_fields(schedule: Schedule, states: Mapping[UUID, State] | None = None) -> ScheduleDetails:
    """Return a schedule with its payload; `states` are those of jobs that exist."""
    return {**summary_fields(schedule, states), "payload": msgspec.Raw(schedule.order.work.payload)}


def firing_fields(firing: Firing, states: Mapping[UUID, State] | None = None) -> ScheduleFiring:
    """Return a firing; `states` are those of jobs that exist."""
    return {
        "at": rfc3339(firing.at),
        "last_at": _instant(firing.last_at),
        "count": firing.count,
        "trigger": firing.trigger,
        "outcome": firing.outcome,
        "why": firing.why,
        "detail": firing.detail,
        "job": None if firing.job is None else str(firing.job),
        "job_state": None if firing.job is None or states is None else states.get(firing.job),
        "revision": firing.revision,
        "decided_at": rfc3339(firing.decided_at),
    }


def firings_of(schedule: Schedule) -> list[Firing]:
    """Return all firings of a schedule, newest first."""
    progress = schedule.progress
    under_way = [one for one in (progress.asked, progress.held) if one is not None]
    found = [*progress.firings, *progress.starting, *under_way]
    return sorted(found, key=lambda firing: firing.last_at or firing.at, reverse=True)


def newest_of(schedule: Schedule) -> Firing | None:
    """Return the newest firing of a schedule; None if it has not fired yet."""
    return next(iter(firings_of(schedule)), None)


def list_fields(firings: Iterable[Firing], states: Mapping[UUID, State]) -> FiringList:
    """Return firings with the states of their jobs."""
    return {"firings": [firing_fields(firing, states) for firing in firings]}


def preview_fields(schedule: Schedule, *, after: datetime, count: int) -> SchedulePreview:
    """Return the next instants; some milliseconds for each 100 of them."""
    timing = schedule.order.timing
    name = timing.timezone or "UTC"
    local = zone(name)
    return {
        "timezone": name,
        "time_zone_data": DATA_VERSION,
        "instants": [
            {
                "at": rfc3339(at),
                "local": at.astimezone(local).isoformat(timespec="seconds"),
                "fires_at": rfc3339(fires_at(schedule, at)),
            }
            for at in islice(instants(timing, after), count)
        ],
    }


def _instant(at: datetime | None) -> str | None:
    return None if at is None else rfc3339(at)
