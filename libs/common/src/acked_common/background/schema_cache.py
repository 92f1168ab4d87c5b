"""The payload schemas that count now: those that live workers serve.

A worker's document contains its schema of each kind. It is refreshed every two seconds, and removed when the
worker stops, so that a stopped worker no longer counts. The schemas themselves are in the document of the kind.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

from acked_common.background.kind_cache import KindCache
from acked_common.background.worker_cache import WorkerCache
from acked_common.model.payload_schemas import UNCHECKED, ServedSchemas
from acked_common.runtime.lifetime import Tasks
from acked_common.store.records import KindRecord, WorkerRecord

REFRESH_S = 2.0
# Many refused payloads share one read.
_SECOND_LOOK_EVERY_S = 0.2


def served_schemas(kind: KindRecord, workers: Sequence[WorkerRecord]) -> ServedSchemas:
    """Return the schemas of a kind that count, given the live workers.

    Payloads are checked unless a live worker serves the kind without a schema: it takes all. If no worker serves the
    kind, the schema of its last registration counts, if that had one.
    """
    if not kind.schemas:
        return UNCHECKED
    digests = {worker.schemas.get(kind.name) for worker in workers if kind.name in worker.kinds}
    if not digests:
        is_newest = kind.payload_schema is not None
        return ServedSchemas(kind.schemas[:1], is_checked=True) if is_newest else UNCHECKED
    found = [schema for schema in kind.schemas if schema.digest in digests]
    return ServedSchemas(found, is_checked=len(found) == len(digests))


class SchemaCache:
    """Looks up without I/O which schemas count. Workers are read only while a kind has schemas."""

    def __init__(self, kinds: KindCache, workers: WorkerCache, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._kinds = kinds
        self._source = workers
        self._monotonic = monotonic
        self._workers: Sequence[WorkerRecord] | None = None
        self._served: dict[str, tuple[KindRecord, Sequence[WorkerRecord], ServedSchemas]] = {}
        """By kind, what followed from its record and these workers."""
        self._known_lacking: frozenset[tuple[str, str]] = frozenset()
        self._looked_at: float | None = None
        self._looking: asyncio.Task[None] | None = None

    def start(self, tasks: Tasks) -> None:
        """Start to refresh the cache."""
        tasks.repeat("payload schemas", self.refresh, every_s=REFRESH_S)

    async def refresh(self) -> None:
        """Read the live workers, if a kind has schemas, and the kinds if a worker has a schema that they lack. Raises
        `StoreError`."""
        if not any(kind.schemas for kind in self._kinds.all()):
            return
        workers = await self._source.workers()
        # Otherwise nothing would be checked until the kinds are read for another reason. What they still lack then is
        # beyond the schemas that a kind keeps.
        if self._lacking(workers) - self._known_lacking:
            await self._kinds.refresh()
        self._known_lacking = self._lacking(workers)
        self._workers = workers

    @property
    def is_read(self) -> bool:
        """Whether the workers were read; before that, it is not known which schemas count."""
        return self._workers is not None

    def served(self, kind: KindRecord) -> ServedSchemas:
        """Return the schemas that count; nothing is checked before the workers were read."""
        if self._workers is None:
            return UNCHECKED
        known = self._served.get(kind.name)
        if known is None or known[0] is not kind or known[1] is not self._workers:
            known = self._served[kind.name] = (kind, self._workers, served_schemas(kind, self._workers))
        return known[2]

    async def look_again(self, name: str) -> KindRecord | None:
        """Read kind and workers again, and return the kind: a worker with another schema may have come meanwhile.

        Raises `StoreError`.
        """
        if self._looked_at is None or self._monotonic() - self._looked_at > _SECOND_LOOK_EVERY_S:
            # Concurrent callers share the read, and its failure.
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look())
            await asyncio.shield(self._looking)
        return self._kinds.get(name)

    def _lacking(self, workers: Sequence[WorkerRecord]) -> frozenset[tuple[str, str]]:
        """Return the kinds and digests of schemas that workers have and the known kinds lack."""
        known = {(kind.name, schema.digest) for kind in self._kinds.all() for schema in kind.schemas}
        return frozenset((kind, digest) for worker in workers for kind, digest in worker.schemas.items()) - known

    async def _look(self) -> None:
        workers = await self._source.workers(fresh=True)
        # After the workers: each has registered its kinds before it is listed with them.
        await self._kinds.refresh()
        self._workers = workers
        self._looked_at = self._monotonic()
