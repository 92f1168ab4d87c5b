"""OWNER of cron expressions and time zones: when a schedule is due, as aware UTC instants. Pure.

Only this module imports `cronsim`, and time-zone data come only from the package `tzdata`, so all processes of one
version agree, independent of their machines. Rules where clocks change, those of Debian's cron:

* Fixed times (neither minute nor hour begins with a star): a time that is skipped in spring is due at the first minute
  after the gap, and a time that occurs twice in autumn is due once, the first time.
* All others: due at each minute that the wall clock shows. A time that is skipped is not due, one that occurs twice is
  due twice.

`cronsim` decides the first rule. For the second it steps over whole hours, which misses minutes in zones whose clocks
change by half an hour (Australia/Lord_Howe), and returns times inside a gap at midnight (Africa/Cairo). So here it
walks over the calendar only, except for the few days on which the offset changes, which it walks minute by minute.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from importlib import resources
from zoneinfo import ZoneInfo

import tzdata  # type: ignore[import-untyped]  # it has no types
from cronsim import CronSim, CronSimError

DATA_VERSION: str = tzdata.IANA_VERSION
"""The release of the time-zone data, such as 2026f."""

MAX_CRON_CHARS = 128
MAX_ZONE_CHARS = 64
HORIZON = timedelta(days=50 * 366)
"""No instant later than that is searched: an expression without one until then never fires."""

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

_FIELDS = ("minute", "hour", "day of the month", "month", "day of the week")
_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)
_MONDAY = datetime(2024, 1, 1)


class BadCron(ValueError):
    """An expression or a zone that can't be used; the message contains the correct form."""


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Return the names of all time zones."""
    text = resources.files(tzdata).joinpath("zones").read_text("ascii")
    return frozenset(text.split())


@lru_cache(maxsize=256)
def zone(name: str) -> tzinfo:
    """Return a time zone by its IANA name. Raise `BadCron`."""
    if name == "UTC":
        return UTC
    if name not in zone_names():
        raise BadCron(f"{name[:MAX_ZONE_CHARS]!r} is not a time zone; name one such as Europe/Berlin or UTC")
    with resources.files(tzdata).joinpath("zoneinfo", *name.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data, key=name)


def checked_cron(text: str) -> str:
    """Return an expression of five fields, with an alias translated. Raise `BadCron`."""
    expression = " ".join(text.split())
    if not expression or len(text) > MAX_CRON_CHARS:
        raise BadCron(f"must be 1 to {MAX_CRON_CHARS} characters, such as '0 9 * * MON-FRI'")
    if expression.startswith("@"):
        known = ALIASES.get(expression.lower())
        if known is None:
            raise BadCron(f"knows no alias {expression[:20]!r}; known are {', '.join(ALIASES)}")
        return known
    count = len(expression.split())
    if count == len(_FIELDS) + 1:
        raise BadCron("must have five fields, without seconds. For intervals below a minute use every_s")
    if count != len(_FIELDS):
        raise BadCron(f"must have five fields ({', '.join(_FIELDS)}), not {count}")
    try:
        simulated = CronSim(expression, _MONDAY)
        next(simulated)
    except CronSimError as error:
        if str(error) == "Bad day-of-month" and _has_only_days(expression):
            raise BadCron("never fires: none of its months has such a day") from None
        raise BadCron(f"can't be read: {str(error)[0].lower()}{str(error)[1:]}") from None
    except (StopIteration, OverflowError):
        raise BadCron(f"never fires within {HORIZON.days // 366} years") from None
    return expression


def _has_only_days(expression: str) -> bool:
    """Return whether the day of the month can be read by itself, so that only its months lack it."""
    _, _, days, _, _ = expression.split()
    try:
        CronSim(f"0 0 {days} * *", _MONDAY)
    except CronSimError:
        return False
    return True


def cron_instants(expression: str, zone_name: str, after: datetime) -> Iterator[datetime]:
    """Yield the instants of a checked expression after an instant, ascending, until `HORIZON` after it."""
    local = zone(zone_name)
    end = min(after, datetime.max.replace(tzinfo=UTC) - 2 * HORIZON) + HORIZON
    for found in _fixed(expression, local, after) if _is_fixed(expression) else _shown(expression, local, after):
        if found > end:
            return
        if found > after:
            yield found


def _is_fixed(expression: str) -> bool:
    minute, hour, *_ = expression.split()
    return not minute.startswith("*") and not hour.startswith("*")


def _fixed(expression: str, local: tzinfo, after: datetime) -> Iterator[datetime]:
    last = after
    for found in _endless(CronSim(expression, after.astimezone(local))):
        # Times inside a gap are moved to its end, where another may be due too.
        if (instant := found.astimezone(UTC)) > last:
            yield instant
            last = instant


def _shown(expression: str, local: tzinfo, after: datetime) -> Iterator[datetime]:
    """Yield each minute whose wall clock matches."""
    at = after.replace(second=0, microsecond=0) + _MINUTE
    while True:
        wall = at.astimezone(local).replace(tzinfo=None)
        if not _has_24_hours(wall.date(), local):
            yield from _walked(expression, local, at)
            at = _first_minute(wall.date() + _DAY, local)
            continue
        for found in _endless(CronSim(expression, wall - _MINUTE)):
            if not _has_24_hours(found.date(), local):
                at = _first_minute(found.date(), local)
                break
            yield found.replace(tzinfo=local).astimezone(UTC)
        else:
            return


def _walked(expression: str, local: tzinfo, at: datetime) -> Iterator[datetime]:
    """Yield the matching minutes of the rest of a day on which the offset changes."""
    matching, day = CronSim(expression, _MONDAY), at.astimezone(local).date()
    while (wall := at.astimezone(local)).date() == day:
        is_of_day = wall.month in matching.months and matching.match_day(day)
        if is_of_day and wall.hour in matching.hours and wall.minute in matching.minutes:
            yield at
        at += _MINUTE


def _has_24_hours(day: date, local: tzinfo) -> bool:
    return _first_minute(day + _DAY, local) - _first_minute(day, local) == _DAY


def _first_minute(day: date, local: tzinfo) -> datetime:
    return datetime.combine(day, datetime.min.time(), tzinfo=local).astimezone(UTC)


def _endless(simulated: CronSim) -> Iterator[datetime]:
    try:
        yield from simulated
    except (OverflowError, RuntimeError):
        # The end of the calendar.
        return
