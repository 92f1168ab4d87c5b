"""How many writes of one sort are under way at once: small ones go one after the other, large ones beside each other.

A command costs MongoDB as much as some dozens of the jobs in it, so what is small gathers what comes meanwhile:
measured with quick jobs, claims of 128 jobs take a third less of MongoDB than claims of 32, and with claims of 200 a
worker does 6 to 10 % more jobs than with claims of 120. A write that hangs must not hold up what waits behind it: after
a while another one goes out, however small.
"""

import asyncio
from collections.abc import Callable

IN_FLIGHT = 2
"""While one waits for the disks, MongoDB works on another."""
LARGE_JOBS = 256
SLOW_S = 0.1


class BatchWindow:
    """Of one sort of writes; asks to `flush` when one that is under way turns out to be slow."""

    def __init__(self, flush: Callable[[], None]) -> None:
        self._flush = flush
        self._in_flight = 0
        self._begun_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._in_flight

    def may_begin(self, waiting: int) -> bool:
        """Whether so many waiting jobs, one at least, may go out now; where not, somebody will flush."""
        if not waiting:
            return False
        if not self._in_flight:
            return True
        loop = asyncio.get_running_loop()
        is_due = waiting >= LARGE_JOBS or loop.time() - self._begun_at >= SLOW_S
        if is_due and self._in_flight < IN_FLIGHT:
            return True
        if self._timer is None:
            self._timer = loop.call_later(SLOW_S, self._tick)
        return False

    def begin(self) -> None:
        """A write goes out."""
        self._in_flight += 1
        self._begun_at = asyncio.get_running_loop().time()

    def end(self) -> None:
        """A write has ended, well or badly; its owner flushes."""
        self._in_flight -= 1

    def stop(self) -> None:
        """Asks for nothing more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        self._timer = None
        self._flush()
