"""The capacity of a worker: a soft limit of jobs, and a minimum share of each lane. Pure except for its wake-up.

The limit is soft because a bundle is claimed whole: the last bundle may exceed it, by at most its size. Claims in
flight count like running jobs, so lanes that share a pool do not overshoot together. A lane with less than a tenth of
the slots may always claim one more bundle, so a busy lane can't starve a quiet one.
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
        """Running jobs and jobs of claims in flight."""
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
        """Jobs of claims in flight, each of which may soon need a slot."""
        return self._claiming

    def reserve(self, lane: str, count: int) -> None:
        """Reserve room for jobs of a claim, until `release`."""
        self._claiming += count
        self._by_lane[lane] += count

    def release(self, lane: str, count: int) -> None:
        """Release the room of a claim that has ended. Call `take` first for the claimed jobs."""
        self._claiming -= count
        self._by_lane[lane] -= count
        self._wake()

    def take(self, lane: str, count: int) -> None:
        """Take slots for claimed jobs, beyond the limit if necessary."""
        self._used += count
        self._by_lane[lane] += count

    def give(self, lane: str, count: int = 1) -> None:
        """Release the slots of ended jobs."""
        self._used -= count
        self._by_lane[lane] -= count
        self._wake()

    def room(self, lane: str) -> int:
        """Return how many jobs the lane may request, in addition to claims in flight; at least 0."""
        return max(0, self._total - self._used - self._claiming, self._share - self._by_lane[lane])

    def fits(self, lane: str, count: int, *, ahead: int = 0) -> bool:
        """Return whether a bundle of this size may be claimed now, `ahead` of slots that are about to be free."""
        left = self._total + ahead - self._used - self._claiming
        of_lane = self._by_lane[lane]
        return left > 0 or count <= left + self._excess or not of_lane or of_lane + count <= self._share

    def has_free(self, lane: str) -> bool:
        """Return whether a slot is free for the lane, ignoring claims in flight."""
        return self._used < self._total or self._by_lane[lane] < self._share

    async def wait_free(self, lane: str) -> None:
        """Wait until `has_free`."""
        while not self.has_free(lane):
            self._freed.clear()
            await self._freed.wait()

    def when_freed(self, lane: str, callback: Callable[[], None]) -> None:
        """Call back once, soon after the next slot or claim of any lane has ended."""
        self._waiting[lane] = callback

    def _wake(self) -> None:
        self._freed.set()
        if self._waiting:
            waiting, self._waiting = self._waiting, {}
            loop = asyncio.get_running_loop()
            for callback in waiting.values():
                # After the other endings of this loop turn, so that all freed slots are claimed together.
                loop.call_soon(callback)


class LaneSlots:
    """The slots of one lane: those of its pool, and the separate ones of isolated jobs.

    A bundle may contain jobs of both sorts, which only its claim reveals, so both must have room.
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
        """Return how many jobs the lane may request; 0 if isolated jobs have no slot.

        A quick lane ignores claims in flight: their jobs have ended when more arrive.
        """
        if not self._isolated.has_free(self._lane):
            return 0
        return int(self._pool.has_free(self._lane)) if quick else self._pool.room(self._lane)

    def fits(self, jobs: int, ahead: int) -> bool:
        """Return whether a bundle may be claimed now (see `Slots.fits`)."""
        return self._isolated.has_free(self._lane) and self._pool.fits(self._lane, jobs, ahead=ahead)

    def reserve(self, jobs: int) -> None:
        """Reserve room for jobs of a claim, until `release`."""
        self._pool.reserve(self._lane, jobs)

    def release(self, jobs: int) -> None:
        """Release the room of a claim that has ended. Call `take` first for the claimed jobs."""
        self._pool.release(self._lane, jobs)

    def take(self, jobs: int, *, isolated: int) -> None:
        """Take slots for claimed jobs, `isolated` of them in the separate slots."""
        self._pool.take(self._lane, jobs - isolated)
        self._isolated.take(self._lane, isolated)

    def give(self, *, isolated: bool) -> None:
        """Release the slot of an ended job."""
        (self._isolated if isolated else self._pool).give(self._lane)

    async def wait_free(self) -> None:
        """Wait until `has_free`."""
        while not self.has_free:
            await self._pool.wait_free(self._lane)
            await self._isolated.wait_free(self._lane)

    def when_freed(self, callback: Callable[[], None]) -> None:
        """Call back soon after the next slot or claim of any lane has ended, once per sort."""
        self._pool.when_freed(self._lane, callback)
        self._isolated.when_freed(self._lane, callback)
