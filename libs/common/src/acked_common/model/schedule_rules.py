"""The rules of schedules: due instants, ids, overlap, catch-up, and how each write changes a schedule. Pure.

An intake fires in four steps: it decides what becomes of due instants, writes the decision by compare-and-set, inserts
the jobs, and writes that they started. The decision comes first, because what overlaps depends on when one looks: two
intakes that looked at different instants could disagree, and one would insert a job that the other recorded as
skipped. Whoever dies behind the decision leaves it in `starting`, and the next intake inserts the same ids.
"""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from itertools import chain
from uuid import UUID

from msgspec.structs import replace

from acked_common.model.cron import cron_instants
from acked_common.model.ids import first_id_at, numbered_id
from acked_common.model.instants import rfc3339, whole_ms
from acked_common.model.pauses import Pause
from acked_common.model.schedules import (
    FIRINGS_KEPT,
    LIVE_KEPT,
    MAX_DETAIL_CHARS,
    MISSED_COUNTED,
    MOST_AT_ONCE,
    Firing,
    FiringOutcome,
    Overlap,
    Schedule,
    ScheduleOrder,
    ScheduleProgress,
    Timing,
    Trigger,
    Why,
)

STARTS_WITHIN_S = 5.0
"""How long an intake has for the insert of what it decided, before another one repeats it."""
HELD_LOOK_S = 1.0
HELD_LOOK_SHARE = 0.1
MAX_HELD_LOOK_S = 30.0
"""A held firing is looked at after a tenth of the time that it has waited, within these bounds."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RANDOM_BYTES = 10
_VERSION = 7 << 76
_VARIANT = 0b10 << 62
_RANDOM = (1 << 80) - 1 - (0b1111 << 76) - (0b11 << 62)


def instants(timing: Timing, after: datetime) -> Iterator[datetime]:
    """Yield the nominal instants after an instant, ascending. Raise `BadCron` for a zone that is gone."""
    if timing.from_at is not None:
        # An instant at `from_at` itself counts.
        after = max(after, timing.from_at - timedelta(milliseconds=1))
    found = (
        _regular(timing, after) if timing.cron is None else cron_instants(timing.cron, timing.timezone or "UTC", after)
    )
    for at in found:
        if timing.until_at is not None and at >= timing.until_at:
            return
        yield at


def _regular(timing: Timing, after: datetime) -> Iterator[datetime]:
    every = timedelta(seconds=timing.every_s or 1)
    begin = timing.from_at or _EPOCH
    at = begin + (max(0, (after - begin) // every + 1)) * every
    while True:
        yield at
        at += every


def first_after(timing: Timing, after: datetime) -> datetime | None:
    """Return the first nominal instant after an instant; None if none follows. Raise as `instants` does."""
    return next(instants(timing, after), None)


def fires_at(schedule: Schedule, at: datetime) -> datetime:
    """Return when an instant fires: later by its jitter, which is the same in all processes."""
    most_ms = schedule.order.timing.jitter_s * 1000
    if not most_ms:
        return at
    digest = blake2b(f"{schedule.tenant}\0{schedule.name}\0{rfc3339(at)}".encode(), digest_size=8).digest()
    return at + timedelta(milliseconds=int.from_bytes(digest, "big") % most_ms)


def job_id_of(schedule: Schedule, at: datetime, trigger: Trigger) -> UUID:
    """Return the id of the job of an instant: a UUIDv7 of the nominal instant, the same in all processes."""
    of = (schedule.tenant, schedule.name, rfc3339(schedule.made_at), str(schedule.revision), trigger.value, rfc3339(at))
    digest = blake2b("\0".join(of).encode(), digest_size=_RANDOM_BYTES).digest()
    return numbered_id(first_id_at(at).int | int.from_bytes(digest, "big") & _RANDOM | _VERSION | _VARIANT)


def look_at(schedule: Schedule, now: datetime) -> datetime | None:
    """Return when an intake has to look next; None if nothing will be due."""
    progress = schedule.progress
    if progress.starting:
        return now + timedelta(seconds=STARTS_WITHIN_S)
    looks = []
    if progress.asked is not None:
        looks.append(now)
    if progress.held is not None:
        waited_s = (now - progress.held.decided_at).total_seconds() * HELD_LOOK_SHARE
        looks.append(now + timedelta(seconds=max(HELD_LOOK_S, min(waited_s, MAX_HELD_LOOK_S))))
    if progress.next_at is not None:
        looks.append(fires_at(schedule, progress.next_at))
    return min(map(whole_ms, looks), default=None)


def written(schedule: Schedule, now: datetime) -> Schedule:
    """Return the schedule as the next write stores it."""
    return replace(schedule, rev=schedule.rev + 1, look_at=look_at(schedule, now))


class _Looking:
    """The decisions of one look at one schedule."""

    def __init__(self, schedule: Schedule, now: datetime, live: Collection[UUID]) -> None:
        self._schedule = schedule
        self._now = now
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
        return ScheduleProgress(
            next_at=self._next_at,
            decided_at=self._decided_at,
            asked=None,
            held=self._held,
            starting=tuple(self._starting),
            live=tuple(self._live[-LIVE_KEPT:]),
            firings=kept(self._firings),
        )

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


def decide(schedule: Schedule, *, now: datetime, live: Collection[UUID]) -> Schedule:
    """Return the schedule with the decisions on all that is due; `live` are the jobs that have not ended.

    Decisions whose jobs are not known to be stored come first: then nothing else is decided.
    """
    if schedule.progress.starting:
        return schedule
    return replace(schedule, progress=_Looking(schedule, now, live).decide())


def refuse(schedule: Schedule, firing: Firing, why: Why, detail: str) -> Schedule:
    """Return the schedule with one of `starting` refused instead."""
    progress = schedule.progress
    refused = replace(firing, outcome=FiringOutcome.REFUSED, why=why, detail=detail[:MAX_DETAIL_CHARS], job=None)
    changed = replace(
        progress,
        starting=tuple(one for one in progress.starting if one != firing),
        live=tuple(job for job in progress.live if job != firing.job),
        firings=kept(recorded(list(progress.firings), refused)),
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
    """Return a schedule whose timing can't be used any more; it fires again once it is defined anew."""
    progress = schedule.progress
    at = progress.next_at or now
    refused = Firing(
        at, FiringOutcome.REFUSED, Trigger.SCHEDULE, schedule.revision, now, why=why, detail=detail[:MAX_DETAIL_CHARS]
    )
    changed = replace(progress, next_at=None, asked=None, firings=kept([*progress.firings, refused]))
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
    return _with_next(changed, now)


def ask(schedule: Schedule, *, now: datetime) -> Schedule:
    """Return the schedule with a firing that an operator asks for; the same object while another one waits."""
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
