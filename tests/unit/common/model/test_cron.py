"""When cron expressions are due, beside a walk over all minutes, where clocks change and where they don't."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile
from typing import Any

import pytest
from cronsim import CronSim

from acked_common.model.cron import DATA_VERSION, BadCron, checked_cron, cron_instants, zone, zone_names

MINUTE = timedelta(minutes=1)
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
ZONES = (
    "Europe/Berlin",
    "America/New_York",
    # Clocks change by half an hour.
    "Australia/Lord_Howe",
    # The gap is at midnight.
    "Africa/Cairo",
    "America/Santiago",
    "Asia/Kathmandu",
    "Pacific/Chatham",
    "UTC",
)
FIXED = ("30 2 * * *", "0 0 * * *", "0,30 0-3 * * *", "30 23 L * *")
SHOWN = ("*/30 * * * *", "*/15 2 * * *", "*/20 0 * * FRI", "* 3 * * *", "15 * * * SUN", "*/7 1,2 1-7 * SUN")


def changes(name: str) -> Iterator[datetime]:
    """The days of a year in which the clocks of a zone change; one other day if there is none."""
    days = [BEGIN + timedelta(days=n) for n in range(365)]
    local = zone(name)
    found = [day for day in days if offset(day, local) != offset(day + timedelta(days=1), local)]
    yield from found or days[:1]


def offset(at: datetime, local: Any) -> timedelta | None:
    return at.astimezone(local).utcoffset()


def matches(expression: str, wall: datetime) -> bool:
    fields = CronSim(expression, datetime(2024, 1, 1))
    is_of_day = wall.month in fields.months and fields.match_day(wall.date())
    return is_of_day and wall.hour in fields.hours and wall.minute in fields.minutes


def walked_over_time(expression: str, name: str, after: datetime, until: datetime) -> list[datetime]:
    """Every minute at which the clock on the wall shows a time of the expression."""
    local, found, at = zone(name), [], after + MINUTE
    while at <= until:
        if matches(expression, at.astimezone(local).replace(tzinfo=None)):
            found.append(at)
        at += MINUTE
    return found


def walked_over_clocks(expression: str, name: str, after: datetime, until: datetime) -> list[datetime]:
    """Every time of the expression once: the first one in autumn, the end of the gap in spring."""
    local, found = zone(name), set()
    wall = (after - timedelta(days=2)).replace(tzinfo=None)
    while wall <= (until + timedelta(days=2)).replace(tzinfo=None):
        if matches(expression, wall):
            shown = wall
            while is_skipped(shown, local):
                shown += MINUTE
            found.add(shown.replace(tzinfo=local).astimezone(UTC))
        wall += MINUTE
    return sorted(at for at in found if after < at <= until)


def is_skipped(wall: datetime, local: Any) -> bool:
    return wall.replace(tzinfo=local).astimezone(UTC).astimezone(local).replace(tzinfo=None) != wall


@pytest.mark.parametrize("name", ZONES)
def test_instants_equal_a_walk_over_all_minutes(name: str) -> None:
    for day in changes(name):
        after, until = day - timedelta(days=1.3), day + timedelta(days=2)
        for expression in FIXED + SHOWN:
            walked = walked_over_clocks if expression in FIXED else walked_over_time
            expected = walked(expression, name, after, until)
            found = list(takewhile(until.__ge__, cron_instants(expression, name, after)))
            assert found == expected, (expression, day)
            # A process that begins anywhere sees the same.
            for earlier, later in list(pairwise(expected))[::9]:
                assert next(cron_instants(expression, name, earlier)) == later, (expression, earlier)


@pytest.mark.parametrize("name", ZONES)
def test_five_thousand_instants_equal_a_walk(name: str) -> None:
    after = next(changes(name)) - timedelta(days=2)
    found = list(islice(cron_instants("*/2 * * * *", name, after), 5000))
    assert found == walked_over_time("*/2 * * * *", name, after, found[-1])
    assert len(found) == 5000


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("30 2 * * *", "2026-03-28T12:00", ["2026-03-29T01:00", "2026-03-30T00:30"]),
        ("30 2 * * *", "2026-10-24T12:00", ["2026-10-25T00:30", "2026-10-26T01:30"]),
        ("*/30 2 * * *", "2026-10-24T12:00", ["2026-10-25T00:00", "2026-10-25T00:30", "2026-10-25T01:00"]),
        ("*/15 2 * * *", "2026-03-28T12:00", ["2026-03-30T00:00"]),
    ],
)
def test_clock_changes_in_berlin_follow_the_documented_rules(expression: str, after: str, expected: list[str]) -> None:
    begin = datetime.fromisoformat(after).replace(tzinfo=UTC)
    found = islice(cron_instants(expression, "Europe/Berlin", begin), len(expected))
    assert [f"{at:%Y-%m-%dT%H:%M}" for at in found] == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0 0 31 2 *", "never fires: none of its months has such a day"),
        ("0 0 30 2 *", "never fires"),
        ("*/5 * * * * *", "five fields, without seconds"),
        ("@reboot", "knows no alias"),
        ("* * * *", "must have five fields"),
        ("99 * * * *", "bad minute"),
        ("", "must be 1 to 128 characters"),
        ("1," * 100 + "1 * * * *", "must be 1 to 128 characters"),
    ],
)
def test_cron_that_cannot_be_used_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(BadCron, match=why):
        checked_cron(text)


def test_aliases_are_translated() -> None:
    assert (checked_cron("@daily"), checked_cron(" @HOURLY ")) == ("0 0 * * *", "0 * * * *")


def test_rare_expressions_end_at_the_horizon() -> None:
    assert len(list(islice(cron_instants("0 0 * 2 MON#5", "UTC", BEGIN), 5000))) == 2
    assert len(list(islice(cron_instants("0 0 29 2 *", "Asia/Kathmandu", BEGIN), 5000))) == 12


def test_zones_come_with_a_version_and_unknown_ones_are_refused() -> None:
    assert DATA_VERSION[:2] == "20"
    assert {"UTC", "Europe/Berlin"} <= zone_names()
    for name in ("Berlin", "../etc/passwd", ""):
        with pytest.raises(BadCron, match="is not a time zone"):
            zone(name)
