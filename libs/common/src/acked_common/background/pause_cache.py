"""The pauses of all kinds, read every second; while MongoDB is away, what was read last holds."""

import asyncio
from collections.abc import Callable, Mapping

from acked_common.model.pauses import NO_PAUSES, KindPauses, Pause
from acked_common.runtime.lifetime import Tasks
from acked_common.store.ports import PauseStore

READ_EVERY_S = 1.0


class PauseCache:
    """Which kinds are paused, without I/O."""

    def __init__(self, store: PauseStore) -> None:
        self._store = store
        self._pauses: Mapping[str, KindPauses] = {}
        self._was_read = asyncio.Event()
        self._asked = 0
        self._answered = 0
        """The newest look whose answer is known: one that was sent earlier and comes later says nothing."""
        self._listeners: list[Callable[[], None]] = []

    def on_read(self, listener: Callable[[], None]) -> None:
        """Call back after each look, also if it found nothing new."""
        self._listeners.append(listener)

    def start(self, tasks: Tasks) -> None:
        """Read in the background."""
        tasks.repeat("pauses", self.refresh, every_s=READ_EVERY_S)

    @property
    def was_read(self) -> bool:
        """Whether the pauses were ever read."""
        return self._was_read.is_set()

    async def wait_read(self) -> None:
        """Return when the pauses were read: before that a paused kind looks like any other."""
        await self._was_read.wait()

    async def refresh(self) -> None:
        """Read all pauses as they are now. Raises `StoreError`."""
        self._asked += 1
        asked = self._asked
        found = await self._store.pauses()
        if asked < self._answered:
            return
        self._pauses, self._answered = found, asked
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
