"""What a bar says of a value."""

import pytest

from benchmarks.bars import Bar, Judged, Side


@pytest.mark.parametrize(
    ("side", "below", "at", "above"),
    [
        (Side.AT_LEAST, False, True, True),
        (Side.AT_MOST, True, True, False),
        (Side.MORE_THAN, False, False, True),
        (Side.LESS_THAN, True, False, False),
    ],
)
def test_a_bar_is_met_on_its_side(side: Side, below: bool, at: bool, above: bool) -> None:
    bar = Bar("what", side, 3.0)
    assert [bar.is_met(value) for value in (2.99, 3.0, 3.01)] == [below, at, above]


def test_what_was_not_measured_is_not_met_and_not_missed() -> None:
    bar = Bar("what", Side.AT_MOST, 25, "ms")
    assert [Judged(bar, value).verdict for value in (24.0, 26.0, None)] == ["met", "not met", "not measured"]


def test_a_bar_says_what_is_wanted() -> None:
    assert Bar("what", Side.AT_LEAST, 0.4).text == "≥ 0.4"
    assert Bar("what", Side.AT_MOST, 25, "ms").text == "≤ 25 ms"
