"""OWNER of the records of schedules, and of their bounds. Pure.

A client defines a schedule by its order: when, what, and what happens where firings overlap or were missed. Everything
else is the progress that intakes and operators write. Every write raises `rev`, and fails if another one came first.
"""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from msgspec import Struct

from acked_common.model.options import NO_OPTIONS, JobOptions
from acked_common.model.pauses import Pause

MOST_OF_TENANT = 1000
"""Schedules of one tenant; as many requests as are in flight may exceed it."""
MOST_IN_ALL = 10_000
MAX_PAYLOAD_BYTES = 64 * 1024
MIN_EVERY_S = 1
MAX_EVERY_S = 366 * 86_400
MIN_CATCH_UP_S = 10
"""A firing is a second or two late while all is well."""
MAX_CATCH_UP_S = 7 * 86_400
DEFAULT_CATCH_UP_S = 3600
MAX_JITTER_S = 3600
MOST_AT_ONCE = 20
"""Instants of one schedule that are decided with one write; the others follow with the next read."""
FIRINGS_KEPT = 100
LIVE_KEPT = 100
"""Jobs of a schedule that count as live for its overlap rule: the newest ones."""
MISSED_COUNTED = 1000
MAX_DETAIL_CHARS = 500
MOST_PREVIEWED = 5000
MOST_BACKFILLED = 1000
"""Instants of one backfill."""
BACKFILL_LOOKED = 50
"""Instants of a backfill whose jobs one read looks up."""


class Overlap(StrEnum):
    """What happens to a firing while a job of the schedule is live."""

    SKIP = "skip"
    QUEUE_ONE = "queue_one"
    ALL = "all"
    CANCEL_RUNNING = "cancel_running"


class Trigger(StrEnum):
    """Why a firing came to be."""

    SCHEDULE = "schedule"
    RUN_NOW = "run_now"
    BACKFILL = "backfill"
    """An operator let past instants fire."""


class FiringOutcome(StrEnum):
    """The outcome of a firing."""

    ASKED = "asked"
    """An operator requested it, and no intake has decided it yet."""
    STARTING = "starting"
    """It is decided that its job starts; whether the job is stored is not known yet."""
    STARTED = "started"
    HELD = "held"
    """Its job starts once the live jobs of the schedule have ended."""
    SKIPPED = "skipped"
    MISSED = "missed"
    REFUSED = "refused"


class Why(StrEnum):
    """Why a firing started no job."""

    OVERLAP = "overlap"
    SUPERSEDED = "superseded"
    PAUSED = "paused"
    CATCH_UP = "catch-up"
    UNKNOWN_KIND = "unknown-kind"
    PAYLOAD = "payload"
    QUOTA = "quota-exceeded"
    TIME_ZONE = "time-zone"


class Timing(Struct, frozen=True):
    """When a schedule is due: by a cron expression in a time zone, or every so many seconds."""

    cron: str | None = None
    every_s: int | None = None
    timezone: str | None = None
    """Of a cron expression."""
    from_at: datetime | None = None
    """Instants before it do not count. `every_s` counts from it, without it from the beginning of 1970."""
    until_at: datetime | None = None
    """Instants from it on do not count."""
    jitter_s: int = 0


class Work(Struct, frozen=True):
    """What the jobs of a schedule are; `payload` is a JSON text."""

    kind: str
    payload: bytes = b"{}"
    options: JobOptions = NO_OPTIONS


class ScheduleOrder(Struct, frozen=True):
    """What a client defines."""

    timing: Timing
    work: Work
    overlap: Overlap = Overlap.SKIP
    catch_up_s: int = DEFAULT_CATCH_UP_S


class Firing(Struct, frozen=True):
    """One instant of a schedule with its outcome, or several consecutive ones that were skipped or missed alike."""

    at: datetime
    """The nominal instant, without jitter; the first one of several."""
    outcome: FiringOutcome
    trigger: Trigger
    revision: int
    """The revision of the order that it belongs to."""
    decided_at: datetime
    job: UUID | None = None
    why: Why | None = None
    detail: str | None = None
    last_at: datetime | None = None
    """The last one of several."""
    count: int = 1
    """The number of instants; `MISSED_COUNTED` or more if it is that."""


class Backfill(Struct, frozen=True):
    """Past instants of a schedule that an operator lets fire, and how many were decided.

    `started`, `present` (there was a job already) and `refused` together reach `limit` at most.
    """

    from_at: datetime
    until_at: datetime
    """The first instant that does not count."""
    limit: int
    asked_at: datetime
    moved_at: datetime
    """When an instant of it was decided last."""
    next_at: datetime | None = None
    """The next nominal instant that is not decided; None if none follows."""
    started: int = 0
    present: int = 0
    refused: int = 0
    ended_at: datetime | None = None
    """None while it is under way."""


class ScheduleProgress(Struct, frozen=True):
    """How far a schedule is."""

    next_at: datetime | None = None
    """The next nominal instant that is not decided; None if paused, or if none follows."""
    decided_at: datetime | None = None
    """The newest nominal instant that was decided."""
    asked: Firing | None = None
    held: Firing | None = None
    starting: tuple[Firing, ...] = ()
    live: tuple[UUID, ...] = ()
    """Jobs of which it is not known that they have ended."""
    firings: tuple[Firing, ...] = ()
    """The newest ones, oldest first."""
    backfill: Backfill | None = None
    """The newest one."""


class Schedule(Struct, frozen=True):
    """A stored schedule of a tenant."""

    tenant: str
    name: str
    rev: int
    revision: int
    """The number of the order, which each change of it raises."""
    made_at: datetime
    changed_at: datetime
    order: ScheduleOrder
    progress: ScheduleProgress
    pause: Pause | None = None
    look_at: datetime | None = None
    """When an intake reads it next; None if there is nothing to do."""
