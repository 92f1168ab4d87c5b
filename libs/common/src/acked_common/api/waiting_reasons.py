"""OWNER of the sentence that says why a live job is where it is, and of when to ask again. Pure.

The time to ask again is the best estimate that there is: when the job is due, when its lease ends, when its turn comes
at the present rate. Where nothing tells, it is as long as the job has waited or run already: a client that follows it
asks seldom for what takes long, and soon for what is quick.
"""

import math
from datetime import datetime

from msgspec import Struct

from acked_common.model.instants import rfc3339
from acked_common.model.lifecycle import Reason, State
from acked_common.model.pauses import Pause
from acked_common.model.poison import MAX_CRASHES
from acked_common.model.queue_place import Place
from acked_common.store.records import Job

MIN_RETRY_S = 1
MAX_RETRY_S = 3600
MAX_GUESS_S = 60.0
"""Of a time that is guessed from how long the job has waited or run."""


class Facts(Struct, frozen=True, kw_only=True):
    """What is known beside the job."""

    now: datetime
    is_served: bool = True
    """Whether a live worker serves the kind."""
    has_live_owner: bool = True
    """Whether the worker process that holds the job was seen lately."""
    pause: str | None = None
    """Who has paused the kind, as a sentence; None while it is not paused."""
    max_attempts: int | None = None
    """How many failures the run may have; None of an unknown kind."""
    place: Place | None = None
    """Where a queued job stands; None where nobody looked."""
    may_see_all: bool = True
    """Whether the reader may see what other tenants have waiting."""


class Outlook(Struct, frozen=True):
    """Why a job is where it is, and after how many seconds to ask again."""

    hint: str
    retry_after_s: int


def outlook(job: Job, facts: Facts) -> Outlook | None:
    """Return the outlook of a job; None for one that has ended."""
    if job.state.is_terminal:
        return None
    found = {State.QUEUED: _queued, State.SCHEDULED: _scheduled, State.RUNNING: _running}.get(job.state)
    hint, in_s = found(job, facts) if found is not None else (f"{job.state.value} since {_since(job)}", None)
    if in_s is None:
        in_s = min(MAX_GUESS_S, (facts.now - _moved_at(job)).total_seconds())
    return Outlook(hint, max(MIN_RETRY_S, min(MAX_RETRY_S, math.ceil(in_s))))


def pause_told(kind: str, pause: Pause) -> str:
    """Return the sentence that says by whom a kind is paused, since when and why."""
    why = f": {pause.reason}" if pause.reason else ""
    return f"kind {kind!r} is paused by {pause.client} since {rfc3339(pause.since_at)}{why}"


_Found = tuple[str, float | None]
"""The sentence, and in how many seconds something is expected to change; None where nothing tells."""


def _queued(job: Job, facts: Facts) -> _Found:
    if facts.pause is not None:
        return facts.pause, None
    if not facts.is_served:
        until = f"; it expires at {rfc3339(job.expires_at)}" if job.expires_at else ""
        return f"no worker that serves kind {job.kind!r} runs at the moment{until}", None
    place = facts.place
    if place is None:
        return f"queued since {_since(job)}; a worker that serves its kind takes it when it has a free slot", None
    if place.is_more and not place.ahead:
        return f"queued since {_since(job)}; so many jobs wait that its place was not counted", place.starts_in_s
    return _in_line(place, facts)


def _in_line(place: Place, facts: Facts) -> _Found:
    in_s = place.starts_in_s
    when = f"it starts in about {_duration(in_s)}" if in_s is not None else None
    if place.ahead == 0:
        return "no job of its kind is ahead of it; a worker takes it as soon as it has a free slot", in_s
    if not facts.may_see_all:
        return when or "other jobs of its kind are ahead of it", in_s
    jobs = f"{place.ahead:,} job{'s' if place.ahead != 1 else ''} of its kind"
    line = f"more than {jobs} are ahead of it" if place.is_more else f"about {jobs} {_are(place.ahead)} ahead of it"
    if place.starts_per_s is None:
        return line, None
    if place.is_more:
        # How many more is not known, so neither is when.
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
        of = f" of {facts.max_attempts}" if facts.max_attempts is not None else ""
        return f"backing off until {until} after {type_} (failure {job.failures}{of})", in_s
    if job.reason == Reason.CRASHED:
        return f"backing off until {until} after it ended its process (crash {job.crashes} of {MAX_CRASHES})", in_s
    return f"scheduled until {until}", in_s


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


def _moved_at(job: Job) -> datetime:
    """Return since when the job is in its state."""
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
    """Write a figure with two digits: the estimate is no better."""
    return f"{float(f'{value:.2g}'):,.10g}"


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "a second"
    if seconds < 100:
        return f"{_number(seconds)} s"
    if seconds < 6000:
        return f"{_number(seconds / 60)} min"
    return f"{_number(seconds / 3600)} h"
