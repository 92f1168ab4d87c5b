"""The time that all processes share."""

import itertools
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked_common.model.instants import rfc3339, whole_ms
from acked_common.runtime.clock import SharedClock
from support.factories import ManualClock

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
    ahead = timedelta(seconds=ahead_s)

    before = whole_ms(datetime.now(UTC) + ahead)
    clock.adjust(server_at=before, asked=time.monotonic(), round_trip_s=0.0)

    assert before <= clock.now() <= datetime.now(UTC) + ahead


def test_the_answer_is_taken_for_half_way() -> None:
    clock = SharedClock()
    asked = time.monotonic() - 4.0

    clock.adjust(server_at=AT, asked=asked, round_trip_s=4.0)

    assert timedelta(seconds=2) <= clock.now() - whole_ms(AT) < timedelta(seconds=3)


def test_a_later_measurement_replaces_an_earlier_one() -> None:
    clock = SharedClock()
    clock.adjust(server_at=AT + timedelta(hours=1), asked=time.monotonic(), round_trip_s=0.0)
    clock.adjust(server_at=AT, asked=time.monotonic(), round_trip_s=0.0)
    assert timedelta() <= clock.now() - whole_ms(AT) < timedelta(seconds=1)


@pytest.mark.parametrize("jump_s", [600.0, -600.0])
def test_a_jump_of_this_machines_clock_moves_nothing(jump_s: float) -> None:
    machine = ManualClock()
    clock = SharedClock(machine=machine.now, monotonic=machine.monotonic)
    clock.adjust(server_at=AT, asked=machine.monotonic(), round_trip_s=0.0)

    machine.jump(jump_s)
    assert clock.now() == whole_ms(AT)
    machine.advance(5.0)
    assert clock.now() == whole_ms(AT) + timedelta(seconds=5)


@given(st.integers(0, 999_999), st.lists(st.integers(0, 5_000_000), max_size=5))
def test_the_clock_goes_on_from_where_it_began_cut_to_milliseconds(began_us: int, steps_us: list[int]) -> None:
    began = AT.replace(microsecond=began_us)
    passed_us = list(itertools.accumulate(steps_us, initial=0))
    seconds = iter([0.0, 0.0, *(us / 1e6 for us in passed_us)])
    clock = SharedClock(machine=lambda: began, monotonic=seconds.__next__)
    assert [clock.now() for _ in passed_us] == [whole_ms(began + timedelta(microseconds=us)) for us in passed_us]


def test_a_thread_that_loses_its_core_at_the_first_reading_reads_again() -> None:
    # It was away for two seconds, then for one millisecond, then not at all.
    seconds = iter([0.0, 2.0, 2.0, 2.001, 2.001, 2.001, 2.003])
    wall = iter([AT, AT + timedelta(seconds=2), AT + timedelta(seconds=2.001)])
    clock = SharedClock(machine=wall.__next__, monotonic=seconds.__next__)
    assert clock.now() == whole_ms(AT + timedelta(seconds=2.003))


def test_all_that_ask_within_one_millisecond_share_an_instant() -> None:
    passed_s = iter([0.0, 0.0, 0.0101, 0.0109, 0.0111, 0.0101])
    clock = SharedClock(machine=lambda: AT.replace(microsecond=0), monotonic=passed_s.__next__)
    first, second, third, again = (clock.now() for _ in range(4))
    assert first is second
    assert (third - first, again) == (timedelta(milliseconds=1), first)


@pytest.mark.parametrize(
    ("off_s", "round_trip_s", "is_off"),
    [(0.0, 0.0, False), (0.9, 0.0, False), (1.1, 0.0, True), (-1.1, 0.0, True), (1.1, 0.4, False), (3600.0, 1.0, True)],
)
def test_a_clock_that_was_set_is_told_from_a_slow_answer(off_s: float, round_trip_s: float, is_off: bool) -> None:
    clock = SharedClock()
    asked = time.monotonic()
    clock.adjust(server_at=AT, asked=asked, round_trip_s=0.0)
    half_way = AT + timedelta(seconds=10 + round_trip_s / 2 + off_s)
    assert clock.is_off(server_at=half_way, asked=asked + 10, round_trip_s=round_trip_s, by_s=1.0) is is_off


def test_durations_do_not_follow_the_server() -> None:
    clock = SharedClock()
    before = time.monotonic()
    clock.adjust(server_at=AT + timedelta(days=365), asked=before, round_trip_s=0.0)
    assert before <= clock.monotonic() <= time.monotonic()


def test_a_machine_of_its_own_can_be_given() -> None:
    clock = SharedClock(machine=lambda: AT, monotonic=lambda: 7.0)
    assert (clock.now(), clock.monotonic()) == (whole_ms(AT), 7.0)


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
