"""How much a worker takes on: a soft limit of running jobs, and a share that each lane keeps. Pure but for its wake-up.

The limit is soft: a bundle is claimed whole, so the last one may exceed it. A lane that runs less than a tenth of the
slots may always take one more bundle, so that a busy lane can't starve a quiet one.
"""

import asyncio
from collections import Counter

LANE_SHARE = 0.1


class Slots:
    """Slots of one pool (async handlers, or sync threads)."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._share = max(1, int(total * LANE_SHARE))
        self._used = 0
        self._by_lane: Counter[str] = Counter()
        self._freed = asyncio.Event()

    @property
    def total(self) -> int:
        """The soft limit."""
        return self._total

    @property
    def used(self) -> int:
        """Jobs that hold a slot."""
        return self._used

    def take(self, lane: str, count: int) -> None:
        """Takes slots for claimed jobs, over the limit if need be."""
        self._used += count
        self._by_lane[lane] += count

    def give(self, lane: str, count: int = 1) -> None:
        """Gives slots of ended jobs back."""
        self._used -= count
        self._by_lane[lane] -= count
        self._freed.set()

    def has_free(self, lane: str) -> bool:
        """Whether the lane may take one more bundle."""
        return self._used < self._total or self._by_lane[lane] < self._share

    async def wait_free(self, lane: str) -> None:
        """Returns when the lane may take one more bundle."""
        while not self.has_free(lane):
            self._freed.clear()
            await self._freed.wait()
