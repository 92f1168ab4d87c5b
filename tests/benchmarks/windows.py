"""Which part of what was sampled of a drain tells its rate. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

SETTLED_SHARE = 0.3
"""Of what was filled in, at most so much is left out at the beginning, while workers get going."""


@dataclass(frozen=True, slots=True)
class Sample:
    """How many jobs were done at an instant."""

    at_s: float
    done: int


@dataclass(frozen=True, slots=True)
class Window:
    """Jobs a second, and over how long."""

    per_s: float
    took_s: float


def window(samples: Sequence[Sample], *, filled: int, settles_s: float) -> Window:
    """From the first sample that is `settles_s` behind the first job done, or as soon as `SETTLED_SHARE` is done,
    to the last one. Raises `ValueError` where two samples are not to be had."""
    going = [sample for sample in samples if sample.done]
    if len(going) < 2:
        raise ValueError("too few samples: the queue was emptied at once; fill it for longer")
    start = 0
    while (
        start < len(going) - 2
        and going[start].at_s < going[0].at_s + settles_s
        and going[start + 1].done < filled * SETTLED_SHARE
    ):
        start += 1
    first, last = going[start], going[-1]
    took_s = last.at_s - first.at_s
    return Window((last.done - first.done) / took_s, took_s)
