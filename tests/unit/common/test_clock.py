"""The time that all processes share."""

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked_common.clock import SharedClock, rfc3339, whole_ms

AT = datetime(2026, 1, 2, 3, 4, 5, 678_912, UTC)


def test_the_clock_starts_as_this_machines() -> None:
    before = whole_ms(datetime.now(UTC))
    at = SharedClock().now()
    assert before <= at <= datetime.now(UTC)
    assert at.tzinfo is UTC
    assert at.microsecond % 1000 == 0


@pytest.mark.parametrize("ahead_s", [120.0, -120.0, 0.0])
def test_the_clock_follows_the_server(ahead_s: float) -> None:
    clock = SharedClock()
    asked_at = datetime.now(UTC)
    ahead = timedelta(seconds=ahead_s)

    clock.adjust(server_at=asked_at + ahead, asked_at=asked_at, round_trip_s=0.0)

    assert clock.offset_s == ahead_s
    before = whole_ms(datetime.now(UTC) + ahead)
    assert before <= clock.now() <= datetime.now(UTC) + ahead


def test_the_answer_is_taken_for_half_way() -> None:
    clock = SharedClock()

    clock.adjust(server_at=AT + timedelta(seconds=10), asked_at=AT, round_trip_s=4.0)

    assert clock.offset_s == 8.0


def test_a_later_measurement_replaces_an_earlier_one() -> None:
    clock = SharedClock()
    clock.adjust(server_at=AT + timedelta(hours=1), asked_at=AT, round_trip_s=0.0)
    clock.adjust(server_at=AT - timedelta(seconds=1), asked_at=AT, round_trip_s=0.0)
    assert clock.offset_s == -1.0


def test_durations_do_not_follow_the_server() -> None:
    clock = SharedClock()
    before = time.monotonic()
    clock.adjust(server_at=AT + timedelta(days=365), asked_at=AT, round_trip_s=0.0)
    assert before <= clock.monotonic() <= time.monotonic()


@given(st.datetimes(timezones=st.just(UTC)))
def test_milliseconds_are_cut(instant: datetime) -> None:
    cut = whole_ms(instant)
    assert timedelta(0) <= instant - cut < timedelta(milliseconds=1)
    assert cut.microsecond % 1000 == 0
    assert whole_ms(cut) == cut


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (AT, "2026-01-02T03:04:05.678Z"),
        (AT.replace(microsecond=0), "2026-01-02T03:04:05.000Z"),
        (AT.replace(microsecond=1_999), "2026-01-02T03:04:05.001Z"),
        (datetime(2026, 1, 2, 1, 0, tzinfo=timezone(timedelta(hours=2))), "2026-01-01T23:00:00.000Z"),
    ],
)
def test_instants_are_written_in_utc_with_milliseconds(instant: datetime, text: str) -> None:
    assert rfc3339(instant) == text


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 1, 1), timezones=st.just(UTC)))
def test_a_written_instant_reads_as_the_same_millisecond(instant: datetime) -> None:
    assert datetime.fromisoformat(rfc3339(instant)) == whole_ms(instant)
