"""How much a worker takes on: a soft limit of jobs, and a share that each lane keeps. Pure but for its wake-up.

The limit is soft because a bundle is claimed whole: the last one may exceed it, by `MOST_EXCESS` at most. What is
being claimed counts like what runs, so lanes that share a pool do not overshoot together. A lane that has less than a
tenth of the slots may always claim one more bundle, so that a busy lane can't starve a quiet one.
"""

import asyncio
from collections import Counter
from collections.abc import Callable

LANE_SHARE = 0.1
MOST_EXCESS = 32
"""Jobs beyond the limit: the largest bundle that intake makes."""
EXCESS_SHARE = 0.25
"""Intake makes no bundle larger than this part of a worker's slots."""


class Slots:
    """Slots of one pool (async handlers, or sync threads)."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._share = max(1, int(total * LANE_SHARE))
        self._excess = max(1, min(MOST_EXCESS, int(total * EXCESS_SHARE)))
        self._used = 0
        self._claiming = 0
        self._by_lane: Counter[str] = Counter()
        """Jobs that run or are being claimed."""
        self._freed = asyncio.Event()
        self._waiting: dict[str, Callable[[], None]] = {}

    @property
    def total(self) -> int:
        """The soft limit."""
        return self._total

    @property
    def used(self) -> int:
        """Jobs that hold a slot."""
        return self._used

    @property
    def claiming(self) -> int:
        """Jobs that are being claimed; each may need a slot in a moment."""
        return self._claiming

    def reserve(self, lane: str, count: int) -> None:
        """Counts jobs in that are about to be claimed; `release` takes them out again."""
        self._claiming += count
        self._by_lane[lane] += count

    def release(self, lane: str, count: int) -> None:
        """The claim has ended; `take` was called before for what it brought."""
        self._claiming -= count
        self._by_lane[lane] -= count
        self._wake()

    def take(self, lane: str, count: int) -> None:
        """Takes slots for claimed jobs, over the limit if need be."""
        self._used += count
        self._by_lane[lane] += count

    def give(self, lane: str, count: int = 1) -> None:
        """Gives slots of ended jobs back."""
        self._used -= count
        self._by_lane[lane] -= count
        self._wake()

    def room(self, lane: str) -> int:
        """The jobs that the lane may ask for, beside those that are being claimed; 0 where there is none."""
        return max(0, self._total - self._used - self._claiming, self._share - self._by_lane[lane])

    def fits(self, lane: str, count: int, *, ahead: int = 0) -> bool:
        """Whether a bundle of so many jobs may be claimed now, `ahead` of slots that are about to be free."""
        left = self._total + ahead - self._used - self._claiming
        of_lane = self._by_lane[lane]
        return left > 0 or count <= left + self._excess or not of_lane or of_lane + count <= self._share

    def has_free(self, lane: str) -> bool:
        """Whether a slot is free for the lane, what is being claimed not counted."""
        return self._used < self._total or self._by_lane[lane] < self._share

    async def wait_free(self, lane: str) -> None:
        """Returns when `has_free`."""
        while not self.has_free(lane):
            self._freed.clear()
            await self._freed.wait()

    def when_freed(self, lane: str, callback: Callable[[], None]) -> None:
        """Calls back once, soon after the next slot or claim of any lane has ended."""
        self._waiting[lane] = callback

    def _wake(self) -> None:
        self._freed.set()
        if self._waiting:
            waiting, self._waiting = self._waiting, {}
            loop = asyncio.get_running_loop()
            for callback in waiting.values():
                # Behind the other endings of this turn: what they free is claimed together.
                loop.call_soon(callback)
