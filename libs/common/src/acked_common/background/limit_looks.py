"""How much of each limit is used, counted at most once a second and kind, for all requests of a process."""

import asyncio

from acked_common.runtime.clock import Clock
from acked_common.runtime.logs import get_log
from acked_common.store.errors import StoreError
from acked_common.store.limits import LimitUse, LimitUseStore

log = get_log(__name__)

FRESH_FOR_S = 1.0
MOST_KINDS = 1000
"""The maximum of kinds with a cached count."""


class LimitLooks:
    """The counts of one process."""

    def __init__(self, store: LimitUseStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._counts: dict[str, tuple[float, asyncio.Task[LimitUse | None]]] = {}
        """By kind: when the count began, and its result."""

    async def use(self, kind: str) -> LimitUse | None:
        """Return how much of the kind's limit is used; None while MongoDB is unavailable."""
        now_s = self._clock.monotonic()
        began_s, count = self._counts.get(kind, (float("-inf"), None))
        if count is None or (count.done() and now_s - began_s > FRESH_FOR_S):
            if len(self._counts) >= MOST_KINDS:
                self._counts.clear()
            # Concurrent callers share the count.
            count = asyncio.create_task(self._count(kind))
            self._counts[kind] = now_s, count
        return await asyncio.shield(count)

    async def _count(self, kind: str) -> LimitUse | None:
        try:
            return await self._store.limit_use(kind)
        except StoreError as error:
            log.debug("the use of a limit could not be counted", kind=kind, error=str(error))
            return None
