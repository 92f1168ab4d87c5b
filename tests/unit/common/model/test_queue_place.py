"""Places in a queue and the rate at which it moves, from counts that stand for many jobs."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked_common.model.queue_place import SPAN_S, Place, QueuedShare, QueueLook, starts_per_s

BASE = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def shares(queued: list[int], kind: str = "k") -> list[QueuedShare]:
    """Count jobs by their span; `queued` are milliseconds after `BASE`."""
    spans = Counter(ms // 100 for ms in queued)
    return [QueuedShare(kind, BASE + timedelta(milliseconds=100 * span), count) for span, count in spans.items()]


def look(queued: list[int], *, at_s: float = 0.0, most: int = 10_000) -> QueueLook:
    return QueueLook(shares(queued), at_s=at_s, most=most)


@given(st.lists(st.integers(0, 3000), max_size=80), st.integers(0, 3500))
def test_a_place_is_exact_but_for_those_of_its_own_span(queued: list[int], mine: int) -> None:
    place = look(queued).ahead("k", BASE + timedelta(milliseconds=mine))
    surely = sum(ms // 100 < mine // 100 for ms in queued)
    perhaps = sum(ms // 100 <= mine // 100 for ms in queued)
    assert surely <= place.ahead <= perhaps
    assert not place.is_more


def test_other_kinds_do_not_stand_in_the_way() -> None:
    found = QueueLook([*shares([1, 2, 3]), *shares([1] * 9, "other")], at_s=0.0)
    assert found.ahead("k", BASE + timedelta(seconds=1)).ahead == 3
    assert found.ahead("nobody", BASE + timedelta(seconds=1)) == Place(0)


def test_a_look_that_was_cut_tells_a_place_only_inside_of_it() -> None:
    found = look([0, 100, 200], most=3)
    assert found.ahead("k", BASE + timedelta(seconds=9)) == Place(3, is_more=True)
    assert found.ahead("k", BASE + timedelta(milliseconds=150)) == Place(1 + 0)
    assert found.ahead("nobody", BASE) == Place(0, is_more=True)


@given(st.integers(1, 200), st.integers(0, 200), st.integers(0, 50))
def test_the_rate_counts_those_that_left_and_no_newcomer(waiting: int, left: int, came: int) -> None:
    left = min(left, waiting)
    queued = [n * 100 for n in range(waiting)]
    later = queued[left:] + [(waiting + n) * 100 for n in range(came)]
    rate = starts_per_s(look(queued, at_s=10.0), look(later, at_s=12.0), "k")
    # The newest span of the earlier look may still grow, so it counts in neither.
    assert rate == min(left, waiting - 1) / 2


def test_one_job_that_is_stuck_at_the_head_hides_no_rate() -> None:
    queued = [n * 100 for n in range(101)]
    rate = starts_per_s(look(queued, at_s=0.0), look([0, *queued[51:]], at_s=5.0), "k")
    assert rate == 10.0


def test_nothing_is_told_of_a_kind_that_did_not_wait_or_of_one_look() -> None:
    one = look([0], at_s=1.0)
    assert starts_per_s(one, look([0], at_s=2.0), "other") is None
    assert starts_per_s(one, one, "k") is None


@pytest.mark.parametrize(
    ("place", "in_s"),
    [
        (Place(9, starts_per_s=2.0), 5.0),
        (Place(9), None),
        (Place(9, starts_per_s=0.0), None),
        (Place(9, starts_per_s=5e-324), None),
    ],
)
def test_a_job_starts_when_those_ahead_of_it_have(place: Place, in_s: float | None) -> None:
    assert place.starts_in_s == in_s


def test_a_span_is_a_tenth_of_a_second() -> None:
    assert SPAN_S == 0.1
