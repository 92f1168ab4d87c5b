"""Delays between attempts."""

import random
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked.errors import MAX_AFTER_S
from acked_common.model.backoff import RETRY_AFTER_CAP_S, Backoff


@pytest.mark.parametrize(
    ("failures", "bound_s"),
    [(0, 1.0), (1, 1.0), (2, 2.0), (3, 4.0), (9, 256.0), (10, 300.0), (100, 300.0), (10**9, 300.0)],
)
def test_the_bound_doubles_up_to_the_cap(failures: int, bound_s: float) -> None:
    assert Backoff().bound_s(failures) == bound_s


def test_a_kind_has_its_own_base_and_cap() -> None:
    backoff = Backoff(base_s=0.25, cap_s=1.5)
    assert [backoff.bound_s(n) for n in range(1, 6)] == [0.25, 0.5, 1.0, 1.5, 1.5]


def test_a_base_above_the_cap_is_capped() -> None:
    assert Backoff(base_s=60.0, cap_s=5.0).bound_s(1) == 5.0


positive = st.floats(0.001, 1e6)


@given(positive, positive, st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_delay_lies_between_zero_and_the_bound(base_s: float, cap_s: float, failures: int, draw: float) -> None:
    backoff = Backoff(base_s, cap_s)

    delay_s = backoff.delay_s(failures, draw=lambda: draw)

    assert 0.0 <= delay_s <= backoff.bound_s(failures) <= cap_s
    assert delay_s == backoff.bound_s(failures) * draw


@given(positive, positive, st.integers(1, 200))
def test_the_bound_never_falls(base_s: float, cap_s: float, failures: int) -> None:
    backoff = Backoff(base_s, cap_s)
    assert backoff.bound_s(failures) <= backoff.bound_s(failures + 1)


def test_the_jitter_fills_the_whole_range() -> None:
    draw = random.Random(7).random
    delays = [Backoff().delay_s(4, draw=draw) for _ in range(2000)]

    assert min(delays) < 0.1
    assert max(delays) > 7.9
    assert mean(delays) == pytest.approx(4.0, abs=0.25)


@given(positive, positive, st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_equal_jitter_keeps_half_of_the_bound(base_s: float, cap_s: float, failures: int, draw: float) -> None:
    backoff = Backoff(base_s, cap_s)
    delay_s = backoff.equal_jitter_s(failures, draw=lambda: draw)
    assert backoff.bound_s(failures) / 2 <= delay_s <= backoff.bound_s(failures)


def test_each_delay_is_drawn_anew() -> None:
    assert len({Backoff().delay_s(5) for _ in range(50)}) > 40
    assert len({Backoff().equal_jitter_s(5) for _ in range(50)}) > 40


@pytest.mark.parametrize(
    ("asked_s", "delay_s"),
    [
        (0.0, 0.0),
        (0.5, 0.5),
        (900.0, 900.0),
        (3600.0, 3600.0),
        (259_200.0, 259_200.0),
        (1e12, MAX_AFTER_S),
        (-5.0, 0.0),
    ],
)
def test_what_a_handler_asks_for_wins(asked_s: float, delay_s: float) -> None:
    backoff = Backoff(base_s=1.0, cap_s=2.0)
    assert backoff.delay_s(1, retry_after_s=asked_s, draw=lambda: 0.5) == delay_s <= RETRY_AFTER_CAP_S


def test_waits_that_a_handler_may_raise_are_not_cut() -> None:
    assert RETRY_AFTER_CAP_S == MAX_AFTER_S


def test_what_the_outside_api_asks_for_is_not_drawn() -> None:
    def never() -> float:
        raise AssertionError("drawn")

    assert Backoff().delay_s(3, retry_after_s=10.0, draw=never) == 10.0
