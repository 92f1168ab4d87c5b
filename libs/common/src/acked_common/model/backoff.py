"""Delays between attempts: exponential, capped, with jitter. Pure.

After M. Brooker, "Exponential Backoff And Jitter", 2015. Full jitter is a uniform draw between zero and the exponential
bound: it spreads a crowd of retries best for the work it costs, so attempts of jobs use it. Equal jitter draws between
half of the bound and the bound: a process that reconnects to a server that is down never does so at once.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

RETRY_AFTER_CAP_S = 31_536_000.0
"""The maximum that a handler may request; more is refused where it is raised."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Double `base_s` with each failure up to `cap_s`, both in seconds."""

    base_s: float = 1.0
    cap_s: float = 300.0

    def bound_s(self, failures: int) -> float:
        """Return the longest delay after the given number of failures (1 for the first)."""
        # 2**63 is beyond every cap; it keeps the power a float.
        return min(self.cap_s, self.base_s * 2.0 ** min(max(failures - 1, 0), 63))

    def delay_s(
        self, failures: int, *, retry_after_s: float | None = None, draw: Callable[[], float] = random.random
    ) -> float:
        """Return the delay with full jitter; a delay that the handler requested takes precedence."""
        if retry_after_s is not None:
            return min(max(retry_after_s, 0.0), RETRY_AFTER_CAP_S)
        return self.bound_s(failures) * draw()

    def equal_jitter_s(self, failures: int, *, draw: Callable[[], float] = random.random) -> float:
        """Return the delay with equal jitter: at least half of the bound."""
        return self.bound_s(failures) * (0.5 + draw() / 2)
