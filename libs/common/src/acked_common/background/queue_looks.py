"""Positions of queued jobs, from looks that all requests of a process share: one every two seconds, while requests
arrive.

The rate comes from two looks. Before the second one, it comes from the starts of the last minutes, if these were busy
throughout.
"""

import asyncio
from collections import deque
from datetime import datetime, timedelta

from msgspec.structs import replace

from acked_common.model.minute_buckets import MINUTE_S, start_rate_per_s
from acked_common.model.queue_place import MOST_LOOKED_AT, Place, QueueLook, starts_per_s
from acked_common.runtime.clock import Clock
from acked_common.runtime.logs import get_log
from acked_common.store.errors import StoreError
from acked_common.store.ports import MinuteStore, QueueStore

log = get_log(__name__)

FRESH_FOR_S = 2.0
USABLE_FOR_S = 6.0
"""An older look is not used; the request waits for a new one."""
COMPARED_FOR_S = 20.0
"""The maximum time between the two looks of a rate."""
MOST_KINDS = 1000
"""The maximum of kinds with a cached rate."""


class QueueLooks:
    """The looks of one process at the queues of all kinds."""

    def __init__(self, queue: QueueStore, minutes: MinuteStore, clock: Clock) -> None:
        self._queue = queue
        self._minutes = minutes
        self._clock = clock
        self._looks: deque[QueueLook] = deque()
        self._looking: asyncio.Task[None] | None = None
        self._rates: dict[str, tuple[float, float | None]] = {}
        """Rates from the minute buckets, and when these were read."""

    async def place(self, kind: str, queued_at: datetime) -> Place | None:
        """Return the position of a job that was queued at this instant; None while MongoDB is unavailable."""
        age_s = self._age_s
        if age_s is None or age_s > FRESH_FOR_S:
            # Concurrent callers share the look.
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look())
            if age_s is None or age_s > USABLE_FOR_S:
                await asyncio.shield(self._looking)
        if self._age_s is None:
            return None
        return replace(self._looks[-1].ahead(kind, queued_at), starts_per_s=await self._rate(kind))

    @property
    def _age_s(self) -> float | None:
        return self._clock.monotonic() - self._looks[-1].at_s if self._looks else None

    async def _look(self) -> None:
        at_s = self._clock.monotonic()
        try:
            shares = await self._queue.queued_by_kind(at_most=MOST_LOOKED_AT)
        except StoreError as error:
            log.debug("the queues could not be looked at", error=str(error))
            self._looks.clear()
            return
        while self._looks and at_s - self._looks[0].at_s > COMPARED_FOR_S:
            self._looks.popleft()
        self._looks.append(QueueLook(shares, at_s=at_s))

    async def _rate(self, kind: str) -> float | None:
        if len(self._looks) > 1:
            rate = starts_per_s(self._looks[0], self._looks[-1], kind)
            if rate is not None:
                return rate
        now_s = self._clock.monotonic()
        read_at_s, rate = self._rates.get(kind, (None, None))
        if read_at_s is None or now_s - read_at_s > COMPARED_FOR_S:
            if len(self._rates) >= MOST_KINDS:
                self._rates.clear()
            # Set this first, so that only one of the concurrent callers reads.
            self._rates[kind] = now_s, rate
            rate = await self._read_rate(kind)
            self._rates[kind] = now_s, rate
        return rate

    async def _read_rate(self, kind: str) -> float | None:
        now = self._clock.now()
        try:
            starts = await self._minutes.minutes(
                None, kind, step_s=MINUTE_S, since_at=now - timedelta(seconds=3 * MINUTE_S)
            )
        except StoreError:
            return None
        return start_rate_per_s(starts, now)
