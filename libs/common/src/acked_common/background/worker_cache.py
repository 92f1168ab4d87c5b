"""The live workers and the kinds that they serve, read at most once a second."""

import asyncio
import hashlib
import time
from collections.abc import Sequence

from acked_common.store.ports import PresenceStore
from acked_common.store.records import WorkerRecord

FRESH_FOR_S = 1.0
_INSTANCE_CHARS = 12


def instance_of(boot: str) -> str:
    """Return the public name of one worker process. The boot itself is known only to workers and gateways."""
    return hashlib.sha256(boot.encode()).hexdigest()[:_INSTANCE_CHARS]


class WorkerCache:
    """A short-lived view of the workers' documents."""

    def __init__(self, store: PresenceStore, *, seen_within_s: float) -> None:
        self._store = store
        self._seen_within_s = seen_within_s
        self._workers: Sequence[WorkerRecord] = ()
        self._read_at: float | None = None
        self._reading: asyncio.Task[None] | None = None

    async def workers(self, *, fresh: bool = False) -> Sequence[WorkerRecord]:
        """Return the live workers; with `fresh`, read them now. Raises `StoreError`."""
        if fresh or self._read_at is None or time.monotonic() - self._read_at > FRESH_FOR_S:
            # Concurrent callers share the read, and its failure.
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._read())
            await asyncio.shield(self._reading)
        return self._workers

    async def _read(self) -> None:
        self._workers = await self._store.workers(seen_within_s=self._seen_within_s)
        self._read_at = time.monotonic()

    async def serves(self, kind: str) -> bool:
        """Return whether a live worker serves the kind. Raises `StoreError`."""
        return any(kind in worker.kinds for worker in await self.workers())
