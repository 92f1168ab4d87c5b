"""Which part of a drain tells its rate."""

import pytest

from benchmarks.windows import Sample, window


def samples(*pairs: tuple[float, int]) -> list[Sample]:
    return [Sample(at_s, done) for at_s, done in pairs]


def test_the_start_of_the_workers_does_not_count() -> None:
    found = window(
        samples((0.0, 0), (1.0, 10), (1.5, 20), (2.0, 100), (3.0, 1100), (4.0, 2100)), filled=100_000, settles_s=1.0
    )
    assert (found.per_s, found.took_s) == (1000.0, 2.0)


def test_a_queue_that_empties_soon_is_measured_from_where_most_is_left() -> None:
    found = window(samples((0.0, 100), (0.1, 300), (0.2, 600), (0.3, 950)), filled=1000, settles_s=1.0)
    assert found.per_s == pytest.approx((950 - 100) / 0.3)


def test_too_few_samples_tell_nothing() -> None:
    with pytest.raises(ValueError, match="fill it for longer"):
        window(samples((0.0, 0), (1.0, 1000)), filled=1000, settles_s=1.0)
