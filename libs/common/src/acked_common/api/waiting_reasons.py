"""OWNER of the sentence that explains the state of a live job, and of the estimate in `Retry-After`. Pure.

The estimate is the time when the job is due, when its lease ends, or when it starts at the present rate. Without any of
these, it equals the time that the job has waited or run so far. So a client polls long jobs rarely and quick ones
often.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from acked_common.model.instants import rfc3339
from acked_common.model.lifecycle import Reason, State
from acked_common.model.lifecycle_waits import ANY_SIGNAL, Waits
from acked_common.model.limits import KindLimit
from acked_common.model.pauses import Pause
from acked_common.model.poison import MAX_CRASHES
from acked_common.model.queue_place import Place
from acked_common.store.limits import HELD_COUNTED, LimitUse
from acked_common.store.records import Job

MIN_RETRY_S = 1
MAX_RETRY_S = 3600
MOST_NAMED = 3
"""Names of signals in a sentence."""
MAX_GUESS_S = 60.0
"""Of a time that is guessed from how long the job has waited or run."""


class Facts(Struct, frozen=True, kw_only=True):
    """The facts that explain a job's state, in addition to the job itself."""

    now: datetime
    is_served: bool = True
    """Whether a live worker serves the kind."""
    has_live_owner: bool = True
    """Whether the worker process that holds the job is live."""
    pause: str | None = None
    """The sentence about the pause of the kind; None while it is not paused."""
    limit: str | None = None
    """The sentence about the limit of the kind, for a job that waits for a place; None for others."""
    max_attempts: int | None = None
    """The maximum of failures of the run; None for an unknown kind."""
    place: Place | None = None
    """The position of a queued job; None if it is unknown."""
    unread: Sequence[str] = ()
    """The names of unread signals of a parked job."""
    may_see_all: bool = True
    """Whether the reader may see the number of waiting jobs of all tenants."""


class Outlook(Struct, frozen=True):
    """Why a job is in its state, and after how many seconds to poll again."""

    hint: str
    retry_after_s: int


def outlook(job: Job, facts: Facts) -> Outlook | None:
    """Return the outlook of a job; None for one that has ended."""
    if job.state.is_terminal:
        return None
    hint, in_s = _FOUND[job.state](job, facts)
    if in_s is None:
        in_s = min(MAX_GUESS_S, (facts.now - _moved_at(job)).total_seconds())
    return Outlook(hint, max(MIN_RETRY_S, min(MAX_RETRY_S, math.ceil(in_s))))


def pause_told(kind: str, pause: Pause) -> str:
    """Return the sentence that names who paused a kind, since when and why."""
    why = f": {pause.reason}" if pause.reason else ""
    return f"kind {kind!r} is paused by {pause.client} since {rfc3339(pause.since_at)}{why}"


def limit_told(job: Job, limit: KindLimit, use: LimitUse | None, *, may_see_all: bool) -> str:
    """Return the sentence about a limit that a job waits for. Readers of other tenants get no total counts."""
    own = 0 if use is None else use.of_tenants.get(job.tenant, 0)
    if limit.per_tenant is not None and own >= limit.per_tenant:
        return f"limited: {own:,} of {limit.per_tenant:,} running jobs of its tenant; {_NEXT_OF_KIND}"
    if limit.running is not None and use is not None and use.running >= limit.running:
        if not may_see_all:
            return f"limited: all {limit.running:,} places of its kind are taken; {_NEXT_OF_KIND}"
        waiting = "more than " if use.held >= HELD_COUNTED else ""
        return (
            f"limited: {use.running:,} of {limit.running:,} running jobs of its kind, {waiting}{use.held:,} wait for a "
            f"place; {_NEXT_OF_KIND}"
        )
    return "limited: waits for a place of its kind; a worker with a free slot claims it within a second or two"


_NEXT_OF_KIND = "the next end of one starts the oldest that may"

_Found = tuple[str, float | None]
"""The sentence, and the seconds until the state is expected to change; None if unknown."""


def _queued(job: Job, facts: Facts) -> _Found:
    if facts.pause is not None:
        return facts.pause, None
    if not facts.is_served:
        until = f"; it expires at {rfc3339(job.expires_at)}" if job.expires_at else ""
        return f"no worker that serves kind {job.kind!r} runs at the moment{until}", None
    if facts.limit is not None:
        return facts.limit, None
    place = facts.place
    if place is None:
        return f"queued since {_since(job)}; a worker that serves its kind claims it when it has a free slot", None
    if place.is_more and not place.ahead:
        return f"queued since {_since(job)}; so many jobs wait that its place was not counted", place.starts_in_s
    return _in_line(place, facts)


def _in_line(place: Place, facts: Facts) -> _Found:
    in_s = place.starts_in_s
    when = f"it starts in about {_duration(in_s)}" if in_s is not None else None
    if place.ahead == 0:
        return "no job of its kind is ahead of it; a worker claims it as soon as it has a free slot", in_s
    if not facts.may_see_all:
        return when or "other jobs of its kind are ahead of it", in_s
    jobs = f"{place.ahead:,} job{'s' if place.ahead != 1 else ''} of its kind"
    line = f"more than {jobs} are ahead of it" if place.is_more else f"about {jobs} {_are(place.ahead)} ahead of it"
    if place.starts_per_s is None:
        return line, None
    if place.is_more:
        # The number of further jobs is unknown, and so is the time.
        return f"{line}; {_rate(place.starts_per_s)}", in_s
    return f"{line}; {_rate(place.starts_per_s)}" + (f", so {when}" if when else ""), in_s


def _scheduled(job: Job, facts: Facts) -> _Found:
    due_at = job.due_at or job.next_check_at
    if due_at is None:
        return f"scheduled since {_since(job)}", None
    until, in_s = rfc3339(due_at), (due_at - facts.now).total_seconds()
    if in_s <= 0:
        return f"due since {until}; it is queued within a second or two", in_s
    if job.reason == Reason.ACCEPTED:
        return f"delayed until {until}", in_s
    type_ = (job.error or {}).get("type", "an error")
    if job.reason == Reason.BACKING_OFF:
        return f"backing off until {until} after {type_} (failure {_of(job.failures, facts.max_attempts)})", in_s
    if job.reason == Reason.CRASHED:
        return f"backing off until {until} after it ended its process (crash {_of(job.crashes, MAX_CRASHES)})", in_s
    return f"scheduled until {until}", in_s


def _of(count: int, most: int | None) -> str:
    """Return a count and its maximum. After progress a job may exceed it, since it counts from the newest progress."""
    if most is None:
        return str(count)
    return f"{count} of {most}" if count < most else f"{count}; {most} without progress end it"


def _running(job: Job, facts: Facts) -> _Found:
    worker = job.owner.worker if job.owner is not None else "a worker"
    lease_s = (job.next_check_at - facts.now).total_seconds() if job.next_check_at is not None else 0.0
    if not facts.has_live_owner and job.next_check_at is not None:
        then = State.CANCELLED.value if job.cancel_requested else "queued again"
        return (
            f"its worker {worker} was lost; its lease ends at {rfc3339(job.next_check_at)}, then it is {then}",
            lease_s,
        )
    if job.cancel_requested:
        return f"its cancel was requested; {worker} stops its handler", 1.0
    return f"runs on {worker} since {_since(job)}", None


def _parked(job: Job, facts: Facts) -> _Found:
    since, waits = _since(job), job.waits
    if waits is None:
        return f"parked since {since}", None
    if waits.until_at is None:
        return f"waits for {_awaited(waits)} since {since}; it holds no worker{_unread(waits, facts)}", None
    in_s = (waits.until_at - facts.now).total_seconds()
    if in_s <= 0:
        return f"its wait at {waits.name!r} ended at {rfc3339(waits.until_at)}; it is queued within seconds", in_s
    until = rfc3339(waits.until_at)
    return f"waits for {_awaited(waits)} until {until}; it holds no worker{_unread(waits, facts)}", in_s


def _awaited(waits: Waits) -> str:
    # A name in quotes can't be mistaken for a word of the sentence.
    if not waits.signals:
        return f"{waits.call} at {waits.name!r}"
    if waits.signals == (ANY_SIGNAL,):
        return f"a signal at {waits.name!r}"
    if waits.signals == (waits.name,):
        return f"signal {waits.name!r}"
    names = [repr(name) for name in waits.signals[:MOST_NAMED]]
    more = f" and {len(waits.signals) - MOST_NAMED:,} more" if len(waits.signals) > MOST_NAMED else ""
    return f"signal {' or '.join(names)}{more} at {waits.name!r}"


def _unread(waits: Waits, facts: Facts) -> str:
    """Name unread signals, which the handler does not wait for now: a name that nearly fits is easily sent."""
    names = [repr(name) for name in facts.unread if not waits.wakes_on(name)][:MOST_NAMED] if waits.signals else []
    return f"; unread: {', '.join(names)}" if names else ""


_FOUND: Mapping[State, Callable[[Job, Facts], _Found]] = {
    State.QUEUED: _queued,
    State.SCHEDULED: _scheduled,
    State.RUNNING: _running,
    State.WAITING: _parked,
}


def _moved_at(job: Job) -> datetime:
    """Return the instant from which the job has been in its state."""
    at = job.started_at if job.state is State.RUNNING else job.queued_at
    return at or (job.history[-1].at if job.history else job.accepted_at)


def _since(job: Job) -> str:
    return rfc3339(_moved_at(job))


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _rate(starts_per_s: float) -> str:
    a_minute = starts_per_s * 60
    if a_minute == 0:
        return "none of them has started lately"
    return f"{_number(a_minute)} start{'s' if a_minute == 1 else ''} a minute"


def _number(value: float) -> str:
    """Format a figure with two significant digits, the accuracy of the estimate."""
    return f"{float(f'{value:.2g}'):,.10g}"


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "a second"
    if seconds < 100:
        return f"{_number(seconds)} s"
    if seconds < 6000:
        return f"{_number(seconds / 60)} min"
    return f"{_number(seconds / 3600)} h"
