"""Adaptive batching: the number of concurrent writes of one sort, and their sizes.

Problem: jobs arrive one by one, and each write waits for the disks of a majority. A command costs MongoDB as much as
dozens of jobs in it, and more bundles cost all later parts. Many small concurrent writes waste this; a timer that
collects jobs delays the first of them.

Rule, for inserts, claims and outcomes alike: if no write is in flight, waiting jobs are sent at once. Otherwise another
write is sent only if it is large: at least `large_jobs`, and at least the average of those in flight. It is also sent
if the newest write is slow, so that one hanging connection delays nothing else. So batches grow with the load, and no
timer delays a single job.

Measured on two cores. Inserts, 500 requests a second: with three small writes at once a handler starts after 27 ms
(p50) and 42 ms (p99), with one after 17 and 29. Claims of quick jobs: 128 jobs take a third less of MongoDB than 32,
and with claims of 200 a worker does 6 to 10 % more jobs than with claims of 120.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

IN_FLIGHT = 2
"""While one write waits for the disks, MongoDB works on another."""
LARGE_JOBS = 256
SLOW_S = 0.1
"""After this time a write is slow."""
_TIMER_MARGIN_S = 0.001
"""uvloop rounds delays to milliseconds: a timer must not fire before the write is slow."""


@dataclass(frozen=True, slots=True)
class BatchRule:
    """The rule, as a pure function of the writes in flight."""

    in_flight: int = IN_FLIGHT
    """How many writes may be under way at once."""
    large_jobs: int = LARGE_JOBS
    """With fewer jobs a write waits for the one under way."""

    def may_begin(self, waiting: int, *, writes: int, jobs: int, newest_age_s: float) -> bool:
        """Return whether `waiting` jobs go out now, beside `writes` in flight that hold `jobs` in all."""
        if not (waiting and writes):
            return waiting > 0
        if writes >= self.in_flight:
            return False
        is_large = waiting >= self.large_jobs and waiting * writes >= jobs
        return is_large or newest_age_s >= SLOW_S


class BatchWindow:
    """The writes of one sort in flight. Calls `flush` of its owner when more may go out.

    The owner sends batches in `flush` while `may_begin`, calls `begin` and `end` around each, and flushes after `end`.
    """

    def __init__(self, flush: Callable[[], None], rule: BatchRule | None = None) -> None:
        self._flush = flush
        self._rule = rule or BatchRule()
        self._writes = 0
        self._jobs = 0
        self._begun_at = 0.0
        self._flush_is_due = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no write is in flight."""
        return not self._writes

    def may_begin(self, waiting: int) -> bool:
        """Return whether this number of waiting jobs may go out now. If not, schedule a flush of the owner."""
        loop = asyncio.get_running_loop()
        age_s = loop.time() - self._begun_at
        if self._rule.may_begin(waiting, writes=self._writes, jobs=self._jobs, newest_age_s=age_s):
            return True
        # With all writes under way the next end flushes.
        if waiting and self._timer is None and self._writes < self._rule.in_flight:
            self._timer = loop.call_later(SLOW_S - age_s + _TIMER_MARGIN_S, self._tick)
        return False

    def flush_soon(self, waiting: int) -> None:
        """Flush after this turn of the loop, so that requests that it has read join, if this many jobs may go out."""
        if not self._flush_is_due and self.may_begin(waiting):
            self._flush_is_due = True
            asyncio.get_running_loop().call_soon(self._flush_now)

    def begin(self, jobs: int) -> None:
        """Note that a write goes out."""
        self._writes += 1
        self._jobs += jobs
        self._begun_at = asyncio.get_running_loop().time()

    def end(self, jobs: int) -> None:
        """Note that a write has ended, well or badly; its owner flushes."""
        self._writes -= 1
        self._jobs -= jobs

    def stop(self) -> None:
        """Request no more flushes."""
        if self._timer is not None:
            self._timer.cancel()

    def _flush_now(self) -> None:
        self._flush_is_due = False
        self._flush()

    def _tick(self) -> None:
        self._timer = None
        self._flush()
