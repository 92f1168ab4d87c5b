"""The rules of backfills: which past instants of a schedule an operator lets fire, and how far that is. Pure.

A backfill walks over the nominal instants of a range, oldest first. The job of an instant has the id that its firing
would have had, so an instant that fired, or was backfilled before, is passed over: its job exists.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from uuid import UUID

from msgspec.structs import replace

from acked_common.model.cron import BadCron
from acked_common.model.schedule_instants import first_after, instants, job_id_of
from acked_common.model.schedules import (
    BACKFILL_LOOKED,
    Backfill,
    Firing,
    FiringOutcome,
    Overlap,
    Schedule,
    Trigger,
)

_MS = timedelta(milliseconds=1)


def ask(schedule: Schedule, *, from_at: datetime, until_at: datetime, limit: int, now: datetime) -> Schedule | None:
    """Return the schedule with a backfill of the instants from `from_at` and before `until_at`; None if there is none.

    It takes the place of another one under way. The same one under way stays: then this is the same object.
    """
    known = schedule.progress.backfill
    wanted = (from_at, until_at, limit)
    if known is not None and known.ended_at is None and (known.from_at, known.until_at, known.limit) == wanted:
        return schedule
    next_at = first_after(schedule.order.timing, from_at - _MS)
    if next_at is None or next_at >= until_at:
        return None
    made = Backfill(from_at=from_at, until_at=until_at, limit=limit, asked_at=now, moved_at=now, next_at=next_at)
    return replace(schedule, progress=replace(schedule.progress, backfill=made))


def goes_on(schedule: Schedule) -> bool:
    """Whether intakes decide instants of a backfill: there is one under way, and the schedule is not paused."""
    backfill = schedule.progress.backfill
    return backfill is not None and backfill.ended_at is None and schedule.pause is None


def waits(schedule: Schedule) -> bool:
    """Whether the next instant waits for the end of live jobs, or for the decision on what is due before it."""
    progress = schedule.progress
    return schedule.order.overlap is not Overlap.ALL and bool(progress.live or progress.held)


def candidates(schedule: Schedule) -> list[UUID]:
    """Return the ids of the jobs that the next look may start or skip."""
    backfill = schedule.progress.backfill
    if backfill is None or not goes_on(schedule):
        return []
    try:
        found = list(islice(_from(schedule, backfill), BACKFILL_LOOKED))
    except BadCron:
        # The decision on the schedule says so.
        return []
    return [job_id_of(schedule, at, Trigger.BACKFILL) for at in found]


def ended(backfill: Backfill | None, now: datetime) -> Backfill | None:
    """Return a backfill that decides nothing more."""
    if backfill is None or backfill.ended_at is not None:
        return backfill
    return replace(backfill, ended_at=now)


def after_refusal(backfill: Backfill | None, firing: Firing) -> Backfill | None:
    """Return a backfill of which a firing that was to start is refused instead."""
    if backfill is None or firing.trigger is not Trigger.BACKFILL:
        return backfill
    return replace(backfill, started=backfill.started - 1, refused=backfill.refused + 1)


class Walk:
    """One look at the next instants of a backfill, in order. Decide each before the next one is taken."""

    def __init__(self, schedule: Schedule, backfill: Backfill, *, now: datetime, before: datetime | None) -> None:
        """`before` is the next instant that the schedule decides by itself; the backfill stays behind it."""
        self._schedule = schedule
        self._backfill = backfill
        self._now = now
        self._before = before
        self._next_at: datetime | None = backfill.next_at
        self._started = self._present = 0

    def firings(self) -> Iterator[Firing]:
        """Yield firings that may start; a bounded number. Raise `BadCron`."""
        schedule, backfill = self._schedule, self._backfill
        left = backfill.limit - backfill.started - backfill.present - backfill.refused
        for at in islice(_from(schedule, backfill), min(left, BACKFILL_LOOKED)):
            if self._before is not None and at >= self._before:
                return
            job = job_id_of(schedule, at, Trigger.BACKFILL)
            yield Firing(at, FiringOutcome.STARTING, Trigger.BACKFILL, schedule.revision, self._now, job)
            # Whoever takes no further firing has not decided this one.
            self._next_at = first_after(schedule.order.timing, at)

    def start(self) -> None:
        """Note that the firing starts."""
        self._started += 1

    def pass_over(self) -> None:
        """Note that its job exists."""
        self._present += 1

    def backfill(self) -> Backfill:
        """Return the backfill after the look; ended, if none of its instants is left."""
        before = self._backfill
        if not (self._started or self._present):
            return before
        found = replace(
            before,
            next_at=self._next_at,
            moved_at=self._now,
            started=before.started + self._started,
            present=before.present + self._present,
        )
        decided = found.started + found.present + found.refused
        is_over = found.next_at is None or found.next_at >= found.until_at or decided >= found.limit
        return replace(found, ended_at=self._now) if is_over else found


def _from(schedule: Schedule, backfill: Backfill) -> Iterator[datetime]:
    """Yield the instants that are not decided."""
    if backfill.next_at is None:
        return
    for at in instants(schedule.order.timing, backfill.next_at - _MS):
        if at >= backfill.until_at:
            return
        yield at
