"""The rules of schedules: due instants, ids, overlap, catch-up, and how each write changes a schedule. Pure.

An intake fires in four steps: it decides the outcome of due instants, writes the decision by compare-and-set, inserts
the jobs, and writes that they started. The decision comes first, because overlaps depend on the time of the read: two
intakes that looked at different instants could disagree, and one would insert a job that the other recorded as
skipped. An intake that dies after the decision leaves it in `starting`, and the next intake inserts the same ids.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from itertools import chain
from uuid import UUID

from msgspec.structs import replace

from acked_common.model import schedule_backfills
from acked_common.model.instants import whole_ms
from acked_common.model.pauses import Pause
from acked_common.model.schedule_instants import fires_at, first_after, instants, job_id_of
from acked_common.model.schedules import (
    FIRINGS_KEPT,
    LIVE_KEPT,
    MAX_DETAIL_CHARS,
    MISSED_COUNTED,
    MOST_AT_ONCE,
    Backfill,
    Firing,
    FiringOutcome,
    Overlap,
    Schedule,
    ScheduleOrder,
    ScheduleProgress,
    Trigger,
    Why,
)

STARTS_WITHIN_S = 5.0
"""How long an intake has for the insert of what it decided, before another one repeats it."""
HELD_LOOK_S = 1.0
HELD_LOOK_SHARE = 0.1
MAX_HELD_LOOK_S = 30.0
"""What waits for live jobs is looked at after a tenth of the time that it has waited, within these bounds."""


def look_at(schedule: Schedule, now: datetime) -> datetime | None:
    """Return when an intake must read the schedule next; None if nothing will be due."""
    progress = schedule.progress
    if progress.starting:
        return now + timedelta(seconds=STARTS_WITHIN_S)
    looks = []
    if progress.asked is not None:
        looks.append(now)
    if progress.held is not None:
        looks.append(_look_for_ends(now, progress.held.decided_at))
    if schedule_backfills.goes_on(schedule) and (backfill := progress.backfill) is not None:
        looks.append(_look_for_ends(now, backfill.moved_at) if schedule_backfills.waits(schedule) else now)
    if progress.next_at is not None:
        looks.append(fires_at(schedule, progress.next_at))
    return min(map(whole_ms, looks), default=None)


def _look_for_ends(now: datetime, since: datetime) -> datetime:
    waited_s = (now - since).total_seconds() * HELD_LOOK_SHARE
    return now + timedelta(seconds=max(HELD_LOOK_S, min(waited_s, MAX_HELD_LOOK_S)))


def written(schedule: Schedule, now: datetime) -> Schedule:
    """Return the schedule as the next write stores it."""
    return replace(schedule, rev=schedule.rev + 1, look_at=look_at(schedule, now))


class _Looking:
    """The decisions of one look at one schedule."""

    def __init__(self, schedule: Schedule, now: datetime, live: Collection[UUID], known: Collection[UUID]) -> None:
        self._schedule = schedule
        self._now = now
        self._known = known
        progress = schedule.progress
        self._live = [job for job in progress.live if job in live]
        self._starting: list[Firing] = []
        self._firings = list(progress.firings)
        self._held = progress.held
        self._next_at = progress.next_at
        self._decided_at = progress.decided_at

    def decide(self) -> ScheduleProgress:
        self._decide_held()
        if (asked := self._schedule.progress.asked) is not None:
            self._admit(asked)
        for _ in range(MOST_AT_ONCE):
            if not self._decide_due():
                break
        backfill = self._decide_backfill()
        return ScheduleProgress(
            next_at=self._next_at,
            decided_at=self._decided_at,
            asked=None,
            held=self._held,
            starting=tuple(self._starting),
            live=tuple(self._live[-LIVE_KEPT:]),
            firings=kept(self._firings),
            backfill=backfill,
        )

    def _decide_backfill(self) -> Backfill | None:
        """Start the next instants of a backfill that have no job. Where firings may not overlap, one at a time."""
        backfill = self._schedule.progress.backfill
        if backfill is None or not schedule_backfills.goes_on(self._schedule):
            return backfill
        walk = schedule_backfills.Walk(self._schedule, backfill, now=self._now, before=self._next_at)
        own = {*self._known, *(firing.job for firing in self._starting)}
        for firing in walk.firings():
            if firing.job in own or (self._held is not None and firing.job == self._held.job):
                walk.pass_over()
            elif self._may_backfill():
                self._start(firing)
                walk.start()
            else:
                break
        return walk.backfill()

    def _may_backfill(self) -> bool:
        if len(self._starting) >= MOST_AT_ONCE:
            return False
        return self._schedule.order.overlap is Overlap.ALL or not (self._live or self._held)

    def _decide_held(self) -> None:
        held = self._held
        if held is None:
            return
        if self._schedule.pause is not None and held.trigger is Trigger.SCHEDULE:
            self._held = None
            self._record(held, FiringOutcome.SKIPPED, Why.PAUSED)
        elif not self._live:
            self._held = None
            self._start(held)

    def _decide_due(self) -> bool:
        """Decide the next instant, or the next ones that were missed. Return False if none is due."""
        at, schedule = self._next_at, self._schedule
        if at is None or fires_at(schedule, at) > self._now:
            return False
        oldest = self._now - timedelta(seconds=schedule.order.catch_up_s)
        if fires_at(schedule, at) < oldest:
            self._miss(at, oldest)
            return True
        self._admit(self._firing(at))
        self._decided_at = at
        self._next_at = first_after(schedule.order.timing, at)
        return True

    def _miss(self, at: datetime, oldest: datetime) -> None:
        timing = self._schedule.order.timing
        count, last = 0, at
        found: datetime | None = at
        for found in chain([at], instants(timing, at)):
            if fires_at(self._schedule, found) >= oldest:
                break
            if count == MISSED_COUNTED:
                found = first_after(timing, max(last, oldest - timedelta(seconds=timing.jitter_s, milliseconds=1)))
                break
            count, last = count + 1, found
        else:
            found = None
        self._next_at, self._decided_at = found, last
        missed = replace(self._firing(at), outcome=FiringOutcome.MISSED, why=Why.CATCH_UP, count=count, last_at=last)
        self._firings.append(replace(missed, job=None))

    def _firing(self, at: datetime) -> Firing:
        schedule = self._schedule
        job = job_id_of(schedule, at, Trigger.SCHEDULE)
        return Firing(at, FiringOutcome.STARTING, Trigger.SCHEDULE, schedule.revision, self._now, job)

    def _admit(self, firing: Firing) -> None:
        overlap = self._schedule.order.overlap
        if overlap is Overlap.ALL or not (self._live or self._held):
            self._start(firing)
        elif overlap is Overlap.CANCEL_RUNNING:
            if self._held is not None:
                self._record(self._held, FiringOutcome.SKIPPED, Why.SUPERSEDED)
            self._held = replace(firing, outcome=FiringOutcome.HELD, decided_at=self._now)
        elif overlap is Overlap.QUEUE_ONE and self._held is None:
            self._held = replace(firing, outcome=FiringOutcome.HELD, decided_at=self._now)
        else:
            self._record(firing, FiringOutcome.SKIPPED, Why.OVERLAP)

    def _start(self, firing: Firing) -> None:
        self._starting.append(replace(firing, outcome=FiringOutcome.STARTING, decided_at=self._now))
        if firing.job is not None:
            self._live.append(firing.job)

    def _record(self, firing: Firing, outcome: FiringOutcome, why: Why) -> None:
        self._firings = recorded(
            self._firings, replace(firing, outcome=outcome, why=why, job=None, decided_at=self._now)
        )


def decide(schedule: Schedule, *, now: datetime, live: Collection[UUID], known: Collection[UUID] = ()) -> Schedule:
    """Return the schedule with the decisions on all that is due; `live` are the jobs that have not ended, and `known`
    are those of `schedule_backfills.candidates` that exist.

    Decisions whose jobs are not known to be stored come first: then nothing else is decided.
    """
    if schedule.progress.starting:
        return schedule
    return replace(schedule, progress=_Looking(schedule, now, live, known).decide())


def refuse(schedule: Schedule, firing: Firing, why: Why, detail: str) -> Schedule:
    """Return the schedule with one of `starting` refused instead."""
    progress = schedule.progress
    refused = replace(firing, outcome=FiringOutcome.REFUSED, why=why, detail=detail[:MAX_DETAIL_CHARS], job=None)
    changed = replace(
        progress,
        starting=tuple(one for one in progress.starting if one != firing),
        live=tuple(job for job in progress.live if job != firing.job),
        firings=kept(recorded(list(progress.firings), refused)),
        backfill=schedule_backfills.after_refusal(progress.backfill, firing),
    )
    return replace(schedule, progress=changed)


def started(schedule: Schedule, jobs: Collection[UUID]) -> Schedule:
    """Return the schedule after the insert: those of `starting` whose jobs are stored have started."""
    progress = schedule.progress
    done = [replace(one, outcome=FiringOutcome.STARTED) for one in progress.starting if one.job in jobs]
    changed = replace(
        progress,
        starting=tuple(one for one in progress.starting if one.job not in jobs),
        firings=kept([*progress.firings, *done]),
    )
    return replace(schedule, progress=changed)


def stop(schedule: Schedule, why: Why, detail: str, *, now: datetime) -> Schedule:
    """Return a schedule whose timing is no longer valid; it fires again after a new definition."""
    progress = schedule.progress
    at = progress.next_at or now
    refused = Firing(
        at, FiringOutcome.REFUSED, Trigger.SCHEDULE, schedule.revision, now, why=why, detail=detail[:MAX_DETAIL_CHARS]
    )
    changed = replace(
        progress,
        next_at=None,
        asked=None,
        firings=kept([*progress.firings, refused]),
        backfill=schedule_backfills.ended(progress.backfill, now),
    )
    return replace(schedule, progress=changed)


def define(earlier: Schedule | None, order: ScheduleOrder, *, tenant: str, name: str, now: datetime) -> Schedule:
    """Return the schedule under a new order; the same object if the order is as before.

    Instants that were due under the same timing are kept. Under another timing, only instants from now on count.
    """
    if earlier is None:
        fresh = ScheduleProgress(next_at=first_after(order.timing, now))
        return Schedule(tenant, name, 0, 1, now, now, order, fresh)
    if earlier.order == order:
        return earlier
    changed = replace(earlier, order=order, revision=earlier.revision + 1, changed_at=now)
    if earlier.order.timing == order.timing:
        return changed
    backfill = schedule_backfills.ended(changed.progress.backfill, now)
    return _with_next(replace(changed, progress=replace(changed.progress, backfill=backfill)), now)


def ask(schedule: Schedule, *, now: datetime) -> Schedule:
    """Return the schedule with a firing that an operator requests; the same object while another one waits."""
    progress = schedule.progress
    if progress.asked is not None:
        return schedule
    job = job_id_of(schedule, now, Trigger.RUN_NOW)
    asked = Firing(now, FiringOutcome.ASKED, Trigger.RUN_NOW, schedule.revision, now, job)
    return replace(schedule, progress=replace(progress, asked=asked))


def pause(schedule: Schedule, by: Pause) -> Schedule:
    """Return the schedule paused; the same object if it is paused already."""
    if schedule.pause is not None:
        return schedule
    return replace(schedule, pause=by, progress=replace(schedule.progress, next_at=None))


def resume(schedule: Schedule, *, now: datetime) -> Schedule:
    """Return the schedule without its pause; the same object if there is none. What was due meanwhile is not caught
    up."""
    return schedule if schedule.pause is None else _with_next(replace(schedule, pause=None), now)


def _with_next(schedule: Schedule, now: datetime) -> Schedule:
    progress = schedule.progress
    # Clocks of two processes may differ, and no instant may be decided twice.
    after = now if progress.decided_at is None else max(now, progress.decided_at)
    next_at = None if schedule.pause is not None else first_after(schedule.order.timing, after)
    return replace(schedule, progress=replace(progress, next_at=next_at))


def recorded(firings: list[Firing], firing: Firing) -> list[Firing]:
    """Return the firings with one more; instants in a row that were skipped alike are one entry."""
    last = firings[-1] if firings else None
    if last is None or not _is_alike(last, firing):
        return [*firings, firing]
    merged = replace(last, last_at=firing.at, count=last.count + 1, decided_at=firing.decided_at)
    return [*firings[:-1], merged]


def _is_alike(last: Firing, firing: Firing) -> bool:
    return (
        last.trigger is firing.trigger is Trigger.SCHEDULE
        and (last.outcome, last.why, last.detail, last.revision)
        == (firing.outcome, firing.why, firing.detail, firing.revision)
        and (last.last_at or last.at) < firing.at
    )


def kept(firings: list[Firing]) -> tuple[Firing, ...]:
    """Return the newest firings, by their instants."""
    return tuple(sorted(firings, key=lambda firing: firing.at)[-FIRINGS_KEPT:])
