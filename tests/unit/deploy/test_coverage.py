"""The floor of coverage only rises."""

import pytest

from deploy.coverage import floor, judged


@pytest.mark.parametrize(
    ("measured", "says"),
    [(79.99, "less than the floor of 80 %"), (81.6, "raise fail_under in pyproject.toml to 81")],
)
def test_coverage_beside_its_floor_fails(measured: float, says: str) -> None:
    assert says in (judged(measured, 80) or "")


@pytest.mark.parametrize("measured", [80.0, 81.49])
def test_coverage_at_its_floor_passes(measured: float) -> None:
    assert judged(measured, 80) is None


def test_the_floor_is_set() -> None:
    assert floor() > 50
