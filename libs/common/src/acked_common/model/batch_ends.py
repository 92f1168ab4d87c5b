"""When the jobs of a batch ended, by state and step: the figures of a plot. Pure.

The steps are as short as possible while the whole span has at most `MOST_POINTS` of them. They begin at multiples of
their length since 1970, so the points of a growing batch stay where they are.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from acked_common.model.lifecycle import State

MOST_POINTS = 120
DAY_S = 86_400
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800, DAY_S)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class EndsPoint:
    """The jobs that ended within one step, by their state now."""

    at: datetime
    states: Mapping[State, int]


@dataclass(frozen=True, slots=True)
class BatchEnds:
    """The ends of a batch, oldest first; without points if no job has ended."""

    step_s: int
    points: Sequence[EndsPoint]
    is_complete: bool
    """Whether all ended jobs of the batch are counted."""


def step_of(first_at: datetime, last_at: datetime) -> int:
    """Return the length of the steps in seconds for ends from the first to the last one."""
    span_s = (last_at - first_at).total_seconds()
    for step_s in _STEPS_S:
        if _index(last_at, step_s) - _index(first_at, step_s) < MOST_POINTS:
            return step_s
    return math.ceil(span_s / (MOST_POINTS - 1) / DAY_S) * DAY_S


def begin_of(at: datetime, step_s: int) -> datetime:
    """Return the begin of the step of an instant."""
    return _EPOCH + timedelta(seconds=_index(at, step_s) * step_s)


def ends_from(counts: Iterable[tuple[datetime, State, int]], step_s: int, *, is_complete: bool) -> BatchEnds:
    """Return the points of counts, each with the begin of its step; steps without an end between them are empty.

    Jobs that end while they are counted may add steps; the newest `MOST_POINTS` are returned.
    """
    found: dict[datetime, dict[State, int]] = {}
    for at, state, count in counts:
        found.setdefault(at, {})[state] = count
    if not found:
        return BatchEnds(step_s, (), is_complete)
    last_at = max(found)
    steps = min((last_at - min(found)) // timedelta(seconds=step_s) + 1, MOST_POINTS)
    begins = [last_at - timedelta(seconds=step_s * back) for back in reversed(range(steps))]
    return BatchEnds(step_s, tuple(EndsPoint(at, found.get(at, {})) for at in begins), is_complete)


def _index(at: datetime, step_s: int) -> int:
    return int((at - _EPOCH) // timedelta(seconds=step_s))
