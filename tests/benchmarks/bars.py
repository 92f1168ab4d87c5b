"""OWNER of the bars: what a measured value has to reach. Pure; a bar that is missed is shown, and nothing fails."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Side(Enum):
    """Where the good values are."""

    AT_LEAST = "≥"
    AT_MOST = "≤"
    MORE_THAN = ">"
    LESS_THAN = "<"


@dataclass(frozen=True, slots=True)
class Bar:
    """`what` says it in words; the value is a ratio where it has no unit."""

    what: str
    side: Side
    limit: float
    unit: str = ""

    def is_met(self, value: float) -> bool:
        """Whether a value reaches it."""
        match self.side:
            case Side.AT_LEAST:
                return value >= self.limit
            case Side.AT_MOST:
                return value <= self.limit
            case Side.MORE_THAN:
                return value > self.limit
            case Side.LESS_THAN:
                return value < self.limit

    @property
    def text(self) -> str:
        """As it is shown: `≥ 3 ms`."""
        return f"{self.side.value} {self.limit:g} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True)
class Judged:
    """A bar beside what was measured; None where that could not be."""

    bar: Bar
    value: float | None

    @property
    def verdict(self) -> str:
        """`met`, `not met` or `not measured`."""
        if self.value is None:
            return "not measured"
        return "met" if self.bar.is_met(self.value) else "not met"


def judged(bars: Sequence[tuple[Bar, float | None]]) -> list[Judged]:
    """Each bar with its value."""
    return [Judged(bar, value) for bar, value in bars]
