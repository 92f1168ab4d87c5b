"""Watch the deadlines of running attempts on the plumbing loop, with one timer for all of them."""

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Mapping

from acked_worker.execute.attempt import RunningAttempt

SHORTEST_WAIT_S = 0.005
LONGEST_WAIT_S = 3_600.0


class DeadlineWatch:
    """Call `look` with the live attempts that are due.

    A heap would retain each finished attempt until its deadline; scanning the few hundred live ones is cheaper.
    """

    def __init__(
        self, live: Mapping[tuple[str, int], RunningAttempt], look: Callable[[list[RunningAttempt]], None]
    ) -> None:
        self._live = live
        self._look = look
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    def add(self, attempts: Iterable[RunningAttempt]) -> None:
        """Watch these attempts too."""
        self.at(min((attempt.due for attempt in attempts), default=math.inf))

    def at(self, due: float) -> None:
        """Check no later than `due`, on the monotonic clock."""
        if due >= self._timer_at:
            return
        self._timer_at = due
        if self._timer is not None:
            self._timer.cancel()
        wait_s = min(max(due - time.monotonic(), SHORTEST_WAIT_S), LONGEST_WAIT_S)
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._tick)

    def stop(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._timer_at = -math.inf

    def _tick(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        now = time.monotonic()
        # After a delay several are due: process the earliest first.
        due = sorted(
            (attempt for attempt in self._live.values() if attempt.due <= now), key=lambda attempt: attempt.due
        )
        try:
            if due:
                self._look(due)
        finally:
            self.add(self._live.values())
