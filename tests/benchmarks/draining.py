"""How fast the workers of a system do the jobs of a queue that was filled before."""

import time

from benchmarks.bench import Bench
from benchmarks.processes import ChildError
from benchmarks.systems import System
from benchmarks.windows import Sample, Window, window

_STARTS_WITHIN_S = 30.0
_SETTLES_S = 1.0
_GOING_AT = 10
"""Jobs done, after which workers have made their connections: the first ones pay for them."""
_SAMPLE_S = 0.25
"""Each look costs our workers some milliseconds: more of them would be measured too."""
_LEFT_SHARE = 0.05
"""A window ends when so little of what was filled in is left: a queue that is about to be empty tells nothing."""


def drain(bench: Bench, system: System, filled: int, *, within_s: float) -> Window:
    """Jobs done a second by the workers of a system, from a queue of so many that does not run empty."""
    system.start_workers()
    samples: list[Sample] = []
    starts_until = time.monotonic() + _STARTS_WITHIN_S
    end = starts_until + within_s
    settles_s = min(_SETTLES_S, within_s / 4)
    while time.monotonic() < end:
        sample = Sample(time.monotonic(), system.handled())
        is_going = sample.done >= _GOING_AT
        if is_going and not samples:
            end = sample.at_s + settles_s + within_s
        elif not sample.done and sample.at_s > starts_until:
            raise ChildError(f"the workers of {system.name} do nothing within {_STARTS_WITHIN_S:g} s")
        if is_going:
            samples.append(sample)
        if sample.done >= filled * (1 - _LEFT_SHARE):
            break
        time.sleep(_SAMPLE_S)
    return window(samples, filled=filled, settles_s=settles_s)
