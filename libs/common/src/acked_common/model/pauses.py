"""The pauses of a kind, and how much longer its queued jobs may wait for them. Pure.

While a kind is paused, the time in which its queued jobs expire stands still. Nothing is written per job for that until
the stored expiry comes near. Then the sweeper moves it, and stores with the job what it has taken into account
(`CountedPauses`): the pauses up to that instant, and a credit ahead of them. With the credit the expiry is not written
again at each look, and a worker finds the job unexpired at the very moment of the resume. It counts for claims alone:
`true_expiry` takes back what of it was not paused.
"""

from datetime import datetime, timedelta

from msgspec import Struct

PAUSES_KEPT = 10
"""Past pauses that a kind remembers."""
MAX_REASON_CHARS = 1000
EXTENDED_WITHIN_S = 30.0
"""How near the expiry of a job whose kind is paused may come before it is moved."""
LEAST_CREDIT_S = 60.0
"""A pause that lasts gives as much credit as it has lasted, so the writes for a job are ever further apart."""
MOST_CREDIT_S = 86_400.0

_NO_TIME = timedelta()


class Pause(Struct, frozen=True):
    """Who paused a kind, why and since when."""

    client: str
    token_id: str | None
    """None where the services ask for no token."""
    reason: str | None
    since_at: datetime


class PastPause(Struct, frozen=True):
    """A pause that is over."""

    from_at: datetime
    to_at: datetime


class KindPauses(Struct, frozen=True):
    """The pauses of one kind: the one that holds now, if any, and the newest past ones."""

    current: Pause | None = None
    past: tuple[PastPause, ...] = ()

    def paused_between(self, from_at: datetime, to_at: datetime) -> timedelta:
        """Return for how long the kind was paused between two instants."""
        spans = [(one.from_at, one.to_at) for one in self.past]
        if self.current is not None:
            spans.append((self.current.since_at, to_at))
        return sum((max(min(to_at, end) - max(from_at, start), _NO_TIME) for start, end in spans), _NO_TIME)


NO_PAUSES = KindPauses()


class CountedPauses(Struct, frozen=True):
    """What of its kind's pauses the stored expiry of a queued job takes into account."""

    queued_at: datetime
    """In which wait: a job that was queued again waits anew, and nothing of that is counted yet."""
    counted_at: datetime
    """Pauses up to this instant are counted exactly."""
    credit_s: float
    """What the expiry has beyond them."""


class Wait(Struct, frozen=True):
    """The wait of a queued job, as it is stored."""

    queued_at: datetime
    expires_at: datetime
    counted: CountedPauses | None = None


def true_expiry(wait: Wait, pauses: KindPauses, at: datetime) -> datetime:
    """Return when the job expires if its kind is not paused from `at` on."""
    counted = _of_this_wait(wait)
    if counted is None:
        return wait.expires_at + pauses.paused_between(wait.queued_at, at)
    credit = timedelta(seconds=counted.credit_s)
    return wait.expires_at - credit + pauses.paused_between(counted.counted_at, at)


def extended(wait: Wait, pauses: KindPauses, at: datetime) -> Wait | None:
    """Return the wait as it is to be stored, where the expiry has to move now; None where it stands or is over."""
    expires_at = true_expiry(wait, pauses, at)
    if expires_at <= at:
        return None
    if pauses.current is None:
        # Claims refuse the job because of a pause that is over.
        return _counted(wait, expires_at, at, 0.0) if wait.expires_at <= at else None
    if wait.expires_at - at >= timedelta(seconds=EXTENDED_WITHIN_S):
        return None
    lasted_s = (at - max(pauses.current.since_at, wait.queued_at)).total_seconds()
    return _counted(wait, expires_at, at, min(max(lasted_s, LEAST_CREDIT_S), MOST_CREDIT_S))


def was_unclaimable(wait: Wait, next_check_at: datetime) -> bool:
    """Return whether the job's message may be gone: workers refused it as expired, and it was not published since."""
    counted = _of_this_wait(wait)
    return counted is not None and not counted.credit_s and next_check_at <= counted.counted_at


def _of_this_wait(wait: Wait) -> CountedPauses | None:
    counted = wait.counted
    return counted if counted is not None and counted.queued_at == wait.queued_at else None


def _counted(wait: Wait, expires_at: datetime, at: datetime, credit_s: float) -> Wait:
    return Wait(
        wait.queued_at,
        expires_at + timedelta(seconds=credit_s),
        CountedPauses(wait.queued_at, at, credit_s),
    )
