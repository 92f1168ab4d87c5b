"""Percentiles, the spread of rounds, ratios. Pure."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of all do not exceed. Raises `ValueError` for none."""
    if not values:
        raise ValueError("nothing was measured")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True)
class Spread:
    """What the rounds of one measurement came to."""

    rounds: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.rounds:
            raise ValueError("nothing was measured")

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.rounds)

    @property
    def least(self) -> float:
        """The smallest one."""
        return min(self.rounds)

    @property
    def most(self) -> float:
        """The largest one."""
        return max(self.rounds)


def ratio(ours: Spread, theirs: Spread) -> float | None:
    """The quotient of two measurements that were taken in turn: the median of the quotients of the rounds, so that what
    slows the whole machine for a while changes both. None where there is nothing to divide by."""
    if len(ours.rounds) != len(theirs.rounds):
        return ours.median / theirs.median if theirs.median else None
    quotients = [a / b for a, b in zip(ours.rounds, theirs.rounds, strict=True) if b]
    return statistics.median(quotients) if quotients else None
