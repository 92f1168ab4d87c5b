"""Percentiles, spreads and ratios of measurements."""

import pytest

from benchmarks.rounds import Spread, percentile, ratio


def test_a_percentile_is_a_measured_value() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [percentile(values, share) for share in (0.0, 0.2, 0.21, 0.5, 0.99, 1.0)] == [1, 1, 2, 3, 5, 5]
    assert percentile([7.0], 0.99) == 7.0
    assert percentile([float(n) for n in range(1, 101)], 0.99) == 99


def test_no_values_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        percentile([], 0.5)
    with pytest.raises(ValueError, match="nothing was measured"):
        Spread(())


def test_a_spread_knows_its_middle_and_its_ends() -> None:
    spread = Spread((3.0, 9.0, 1.0, 4.0))
    assert (spread.median, spread.least, spread.most) == (3.5, 1.0, 9.0)


def test_a_ratio_is_of_rounds_that_were_taken_in_turn() -> None:
    # The machine was three times slower in the second round, for both.
    assert ratio(Spread((300.0, 100.0, 330.0)), Spread((100.0, 33.0, 100.0))) == pytest.approx(100 / 33)


def test_a_ratio_of_different_numbers_of_rounds_is_that_of_the_medians() -> None:
    assert ratio(Spread((2.0, 4.0)), Spread((1.5,))) == 2.0


def test_there_is_no_ratio_to_nothing() -> None:
    assert ratio(Spread((1.0, 2.0)), Spread((0.0, 0.0))) is None
    assert ratio(Spread((1.0, 2.0)), Spread((0.0,))) is None
