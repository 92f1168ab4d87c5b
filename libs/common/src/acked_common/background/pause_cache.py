"""The pauses and limits of all kinds, read every second; while MongoDB is unavailable, the last result is used."""

import asyncio
from collections.abc import Callable, Iterable, Mapping

from acked_common.model.limits import KindLimit
from acked_common.model.pauses import NO_PAUSES, KindPauses, Pause
from acked_common.runtime.lifetime import Tasks
from acked_common.store.ports import PauseStore

READ_EVERY_S = 1.0


class PauseCache:
    """Returns the pauses of kinds without I/O."""

    def __init__(self, store: PauseStore) -> None:
        self._store = store
        self._pauses: Mapping[str, KindPauses] = {}
        self._ever_limited: frozenset[str] = frozenset()
        self._limited: frozenset[str] = frozenset()
        self._was_read = asyncio.Event()
        self._asked = 0
        self._answered = 0
        """The number of the newest completed read; an older read that completes later is ignored."""
        self._listeners: list[Callable[[], None]] = []

    def on_read(self, listener: Callable[[], None]) -> None:
        """Call back after each read, even without changes."""
        self._listeners.append(listener)

    def start(self, tasks: Tasks) -> None:
        """Read in the background."""
        tasks.repeat("pauses", self.refresh, every_s=READ_EVERY_S)

    @property
    def was_read(self) -> bool:
        """Whether the pauses have been read."""
        return self._was_read.is_set()

    async def wait_read(self) -> None:
        """Wait until the pauses are read. Before that, paused kinds are unknown."""
        await self._was_read.wait()

    async def refresh(self) -> None:
        """Read all pauses as they are now. Raises `StoreError`."""
        self._asked += 1
        asked = self._asked
        found = await self._store.pauses()
        if asked < self._answered:
            return
        self._pauses, self._answered = found, asked
        self._ever_limited = frozenset(kind for kind, one in found.items() if one.limit is not None)
        self._limited = frozenset(self.limits)
        self._was_read.set()
        for listener in self._listeners:
            listener()

    def of(self, kind: str) -> KindPauses:
        """Return the pauses of a kind as they were last read."""
        return self._pauses.get(kind, NO_PAUSES)

    @property
    def paused(self) -> Mapping[str, Pause]:
        """The kinds that are paused, each with its pause."""
        return {kind: found.current for kind, found in self._pauses.items() if found.current is not None}

    def any_limited(self, kinds: Iterable[str]) -> bool:
        """Return whether one of these kinds has, or had, a limit. Asked for each job, so it is quick without limits."""
        return bool(self._ever_limited) and not self._ever_limited.isdisjoint(kinds)

    def any_limit_set(self, kinds: Iterable[str]) -> bool:
        """Return whether one of these kinds has a limit now."""
        return not self._limited.isdisjoint(kinds)

    @property
    def limits(self) -> Mapping[str, KindLimit]:
        """The limits that are set, by kind."""
        return {k: found.limit for k, found in self._pauses.items() if found.limit is not None and found.limit.is_set}
