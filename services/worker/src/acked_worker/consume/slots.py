"""How much a worker takes on: a soft limit of jobs, and a share that each lane keeps. Pure but for its wake-up.

The limit is soft because a bundle is claimed whole: the last one may exceed it, by the largest bundle at most. What is
being claimed counts like what runs, so lanes that share a pool do not overshoot together. A lane that has less than a
tenth of the slots may always claim one more bundle, so that a busy lane can't starve a quiet one.
"""

import asyncio
from collections import Counter
from collections.abc import Callable

from acked_common.model.bundling import largest_bundle

LANE_SHARE = 0.1


class Slots:
    """Slots of one pool (async handlers, or sync threads)."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._share = max(1, int(total * LANE_SHARE))
        self._excess = largest_bundle(total)
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


class LaneSlots:
    """The slots of one lane: those of its pool, and those of isolated jobs, which are apart.

    A bundle may hold jobs of both sorts, which only its claim tells: both must have room.
    """

    def __init__(self, lane: str, pool: Slots, isolated: Slots) -> None:
        self._lane = lane
        self._pool = pool
        self._isolated = isolated

    @property
    def total(self) -> int:
        """The soft limit of the pool."""
        return self._pool.total

    @property
    def room(self) -> int:
        """The jobs that the pool has room for (see `Slots.room`)."""
        return self._pool.room(self._lane)

    @property
    def has_free(self) -> bool:
        """Whether a slot of either sort is free."""
        return self._pool.has_free(self._lane) and self._isolated.has_free(self._lane)

    def room_to_ask(self, *, quick: bool) -> int:
        """Return how many jobs the lane may ask for; 0 where isolated jobs have no slot.

        A quick lane does not count what it claims: that has ended when more arrives.
        """
        if not self._isolated.has_free(self._lane):
            return 0
        return int(self._pool.has_free(self._lane)) if quick else self._pool.room(self._lane)

    def fits(self, jobs: int, ahead: int) -> bool:
        """Return whether a bundle may be claimed now (see `Slots.fits`)."""
        return self._isolated.has_free(self._lane) and self._pool.fits(self._lane, jobs, ahead=ahead)

    def reserve(self, jobs: int) -> None:
        """Count jobs in that are about to be claimed, until `release`."""
        self._pool.reserve(self._lane, jobs)

    def release(self, jobs: int) -> None:
        """The claim has ended; `take` was called before for what it brought."""
        self._pool.release(self._lane, jobs)

    def take(self, jobs: int, *, isolated: int) -> None:
        """Take slots for claimed jobs, `isolated` of them apart."""
        self._pool.take(self._lane, jobs - isolated)
        self._isolated.take(self._lane, isolated)

    def give(self, *, isolated: bool) -> None:
        """Give the slot of an ended job back."""
        (self._isolated if isolated else self._pool).give(self._lane)

    async def wait_free(self) -> None:
        """Return when `has_free`."""
        while not self.has_free:
            await self._pool.wait_free(self._lane)
            await self._isolated.wait_free(self._lane)

    def when_freed(self, callback: Callable[[], None]) -> None:
        """Call back soon after the next slot or claim of any lane has ended, once per sort."""
        self._pool.when_freed(self._lane, callback)
        self._isolated.when_freed(self._lane, callback)
