"""The steps of the ends of a batch: few, as short as possible, and in their places while the batch grows."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked_common.model.batch_ends import DAY_S, MOST_POINTS, BatchEnds, EndsPoint, begin_of, ends_from, step_of
from acked_common.model.lifecycle import State

AT = datetime(2026, 11, 28, 12, 0, 0, 250_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("span_s", "step_s"),
    [(0, 1), (119, 1), (120, 2), (600, 10), (3600, 60), (DAY_S, 900), (119 * DAY_S, DAY_S), (200 * DAY_S, 2 * DAY_S)],
)
def test_steps_are_as_short_as_the_points_allow(span_s: float, step_s: int) -> None:
    first = begin_of(AT, DAY_S)
    assert step_of(first, first + timedelta(seconds=span_s)) == step_s


@given(st.floats(0, 4e8), st.integers(0, 10**6))
def test_ends_never_have_more_points_than_that(span_s: float, later_ms: int) -> None:
    first_at = AT + timedelta(milliseconds=later_ms)
    last_at = first_at + timedelta(seconds=span_s)
    step_s = step_of(first_at, last_at)
    counts = [(begin_of(first_at, step_s), State.FAILED, 1), (begin_of(last_at, step_s), State.SUCCEEDED, 2)]
    found = ends_from(counts, step_s, is_complete=True)
    assert 1 <= len(found.points) <= MOST_POINTS
    assert found.points[-1].at <= last_at < found.points[-1].at + timedelta(seconds=step_s)
    assert sum(sum(point.states.values()) for point in found.points) == 3


def test_steps_begin_at_multiples_of_their_length() -> None:
    assert begin_of(AT, 1) == AT.replace(microsecond=0)
    assert begin_of(AT, 10) == begin_of(AT + timedelta(seconds=9), 10) == AT.replace(microsecond=0)


def test_empty_steps_stand_between_those_with_ends() -> None:
    begin = begin_of(AT, 1)
    found = ends_from(
        [(begin + timedelta(seconds=2), State.FAILED, 1), (begin, State.SUCCEEDED, 4)], 1, is_complete=False
    )
    states = [{State.SUCCEEDED: 4}, {}, {State.FAILED: 1}]
    points = tuple(EndsPoint(begin + timedelta(seconds=n), one) for n, one in enumerate(states))
    assert found == BatchEnds(1, points, is_complete=False)


def test_nothing_that_ended_has_no_points() -> None:
    assert ends_from([], 1, is_complete=True) == BatchEnds(1, (), is_complete=True)


def test_ends_that_are_added_while_they_are_counted_move_the_oldest_out() -> None:
    begin = begin_of(AT, 1)
    counts = [(begin + timedelta(seconds=n), State.SUCCEEDED, n) for n in range(1, MOST_POINTS + 6)]
    found = ends_from(counts, 1, is_complete=True)
    assert len(found.points) == MOST_POINTS
    assert found.points[-1].states == {State.SUCCEEDED: MOST_POINTS + 5}
