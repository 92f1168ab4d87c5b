"""The pauses of a kind, and how they extend the expiry of its queued jobs. Pure.

While a kind is paused, the time to the expiry of its queued jobs stops. This needs no write per job until the stored
expiry is near. Then the sweeper extends it, and stores with the job what it has counted (`CountedPauses`): the pauses
up to that instant, and a credit in advance. With the credit, the expiry is rarely written, and the job is still
unexpired at the moment of the resume. The credit affects only claims: `true_expiry` subtracts the part that was not
paused.
"""

from datetime import datetime, timedelta

from msgspec import Struct

from acked_common.model.limits import KindLimit

PAUSES_KEPT = 10
"""The number of past pauses that a kind stores."""
MAX_REASON_CHARS = 1000
EXTENDED_WITHIN_S = 30.0
"""How near the expiry of a job of a paused kind may be before it is extended."""
LEAST_CREDIT_S = 60.0
"""A pause that lasts gives as much credit as it has lasted, so the writes for a job are ever further apart."""
MOST_CREDIT_S = 86_400.0

_NO_TIME = timedelta()


class Pause(Struct, frozen=True):
    """Who paused a kind, why and since when."""

    client: str
    token_id: str | None
    """None if the services require no tokens."""
    reason: str | None
    since_at: datetime


class PastPause(Struct, frozen=True):
    """A past pause."""

    from_at: datetime
    to_at: datetime


class KindPauses(Struct, frozen=True):
    """What operators hold back of one kind: the current pause, if any, the newest past ones, and the limit."""

    current: Pause | None = None
    past: tuple[PastPause, ...] = ()
    limit: KindLimit | None = None
    """None if the kind never had one; a removed one is not set."""

    def paused_between(self, from_at: datetime, to_at: datetime) -> timedelta:
        """Return for how long the kind was paused between two instants."""
        spans = [(one.from_at, one.to_at) for one in self.past]
        if self.current is not None:
            spans.append((self.current.since_at, to_at))
        return sum((max(min(to_at, end) - max(from_at, start), _NO_TIME) for start, end in spans), _NO_TIME)


NO_PAUSES = KindPauses()


class CountedPauses(Struct, frozen=True):
    """The pauses that the stored expiry of a queued job already counts."""

    queued_at: datetime
    """The wait to which this belongs: a job that is queued again begins a new wait without counted pauses."""
    counted_at: datetime
    """Pauses up to this instant are counted exactly."""
    credit_s: float
    """The credit in the expiry beyond them."""


class Wait(Struct, frozen=True):
    """The stored wait of a queued job."""

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
    """Return the wait to store if the expiry must be extended now; None if it need not or has passed."""
    expires_at = true_expiry(wait, pauses, at)
    if expires_at <= at:
        return None
    if pauses.current is None:
        # Claims refuse the job as expired, although a past pause has extended its wait.
        return _counted(wait, expires_at, at, 0.0) if wait.expires_at <= at else None
    if wait.expires_at - at >= timedelta(seconds=EXTENDED_WITHIN_S):
        return None
    lasted_s = (at - max(pauses.current.since_at, wait.queued_at)).total_seconds()
    return _counted(wait, expires_at, at, min(max(lasted_s, LEAST_CREDIT_S), MOST_CREDIT_S))


def was_unclaimable(wait: Wait, next_check_at: datetime) -> bool:
    """Return whether workers refused the job as expired, so that its message is gone, and it was not published
    since."""
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
