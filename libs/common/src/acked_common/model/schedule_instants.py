"""OWNER of the instants at which a schedule is due, and of the ids of their jobs. Pure."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from uuid import UUID

from acked_common.model.cron import cron_instants
from acked_common.model.ids import first_id_at, numbered_id
from acked_common.model.instants import rfc3339
from acked_common.model.schedules import Schedule, Timing, Trigger

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
    """Return the id of the job of an instant: a UUIDv7 of the nominal instant, the same in all processes.

    It is the same under each definition of the schedule, and for a backfill of the instant, so that no instant can have
    two jobs. A schedule that was deleted and made again has other ids.
    """
    trigger = Trigger.SCHEDULE if trigger is Trigger.BACKFILL else trigger
    of = (schedule.tenant, schedule.name, rfc3339(schedule.made_at), trigger.value, rfc3339(at))
    digest = blake2b("\0".join(of).encode(), digest_size=_RANDOM_BYTES).digest()
    return numbered_id(first_id_at(at).int | int.from_bytes(digest, "big") & _RANDOM | _VERSION | _VARIANT)
