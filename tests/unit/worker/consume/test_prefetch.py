"""How many bundles a lane holds: as many as fit, raised and lowered seldom, and never more than the limit allows."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked_common.broker.rabbitmq.topology import DELIVERY_LIMIT
from acked_worker.consume.prefetch import (
    FITS_WITHIN_S,
    LEAST_QUICK,
    MOST,
    MOST_RETURNS,
    QUICK_RUN_S,
    SLOW_RUN_S,
    ahead,
    fitting,
    is_quick,
    largest,
    may_ask,
    patience_s,
    refitted,
)

SLOTS = st.integers(1, 2000)
SIZES = st.lists(st.integers(1, 32), max_size=50)


@dataclass
class Case:
    slots: int
    room: int
    sizes: list[int]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    slots = draw(SLOTS)
    return Case(slots, draw(st.integers(0, slots)), draw(SIZES))


@pytest.mark.parametrize(
    ("run_s", "was_quick", "quick"),
    [
        (None, False, False),
        (None, True, False),
        (0.01, False, True),
        (QUICK_RUN_S, False, False),
        (0.07, True, True),
        (0.07, False, False),
        (SLOW_RUN_S, True, True),
        (0.101, True, False),
    ],
)
def test_a_lane_turns_slow_later_than_it_turns_quick(run_s: float | None, was_quick: bool, quick: bool) -> None:
    assert is_quick(run_s, was_quick=was_quick) is quick


@given(cases())
def test_slow_lanes_hold_what_fits_into_their_room(case: Case) -> None:
    bundles = fitting(slots=case.slots, room=case.room, sizes=case.sizes, quick=False)
    assert 1 <= bundles <= MOST
    if bundles > 1:
        assert bundles * largest(case.sizes) <= case.room
    if bundles < MOST:
        assert (bundles + 1) * largest(case.sizes) > case.room


@given(cases())
def test_quick_lanes_hold_what_fills_the_slots_twice(case: Case) -> None:
    bundles = fitting(slots=case.slots, room=case.room, sizes=case.sizes, quick=True)
    assert LEAST_QUICK <= bundles <= MOST
    mean = sum(case.sizes or [1]) / len(case.sizes or [1])
    if bundles < MOST:
        assert bundles * mean >= 2 * case.slots * 0.999


@given(cases(), st.integers(1, MOST), st.integers(0, MOST), st.booleans())
def test_a_change_lasts_until_something_else_changes(case: Case, current: int, most: int, quick: bool) -> None:
    options = {"slots": case.slots, "sizes": case.sizes, "quick": quick, "most_in_hand": most}
    first = refitted(current, room=case.room, **options)  # type: ignore[arg-type]
    assert refitted(first, room=case.room, **options) == first  # type: ignore[arg-type]
    if not quick and first != current:
        assert first >= 2 * current or first < current / 2 or current > 2 * (case.slots // largest(case.sizes))


@given(cases(), st.lists(st.integers(0, 2000), max_size=40))
def test_room_that_comes_and_goes_costs_few_consumers(case: Case, rooms: list[int]) -> None:
    current, changes = 1, 0
    for room in rooms:
        found = refitted(
            current,
            slots=case.slots,
            room=min(room, case.slots),
            sizes=case.sizes,
            quick=False,
            most_in_hand=current,
        )
        changes += found != current
        assert found >= current
        current = found
    # 1, 2, 4, 8, 16, 32
    assert changes <= 5


@given(cases(), st.integers(1, MOST))
def test_credit_that_is_not_used_up_is_not_raised(case: Case, current: int) -> None:
    found = refitted(current, slots=case.slots, room=case.room, sizes=case.sizes, quick=False, most_in_hand=current - 1)
    assert found <= current


@given(SLOTS, SIZES, st.booleans())
def test_nothing_is_asked_for_without_room(asked: int, sizes: list[int], quick: bool) -> None:
    assert not may_ask(asked=asked, room=0, sizes=sizes, quick=quick)


@given(cases())
def test_what_is_asked_for_fits_if_bundles_stay_as_they_are(case: Case) -> None:
    asked = 0
    while may_ask(asked=asked, room=case.room, sizes=case.sizes, quick=False):
        asked += 1
    assert asked == (max(1, case.room // largest(case.sizes)) if case.room else 0)


def test_only_quick_lanes_claim_ahead() -> None:
    assert (ahead(200, quick=True), ahead(200, quick=False)) == (300, 0)


@pytest.mark.parametrize(
    ("returns", "wait_s"), [(0, 1.0), (4, 1.0), (5, 2.0), (39, 128.0), (40, math.inf), (50, math.inf)]
)
def test_wait_doubles_with_every_five_returns(returns: int, wait_s: float) -> None:
    assert patience_s(returns) == wait_s


def test_waiting_alone_never_reaches_the_delivery_limit() -> None:
    waits_s = [patience_s(returns) for returns in range(2 * DELIVERY_LIMIT)]
    # What is left is for workers that crash, and it takes a while to get there.
    assert waits_s.index(math.inf) == MOST_RETURNS <= DELIVERY_LIMIT - 10
    assert sum(waits_s[:MOST_RETURNS]) > 1200.0
    assert waits_s == sorted(waits_s)
    assert waits_s[0] == FITS_WITHIN_S


@pytest.mark.parametrize("returns", [-1, -(2**40)])
def test_count_that_no_broker_sends_is_none(returns: int) -> None:
    assert patience_s(returns) == FITS_WITHIN_S
