"""Expose how many workers serve each kind; 0 for a registered kind that no worker serves."""

from acked_common.background.kind_cache import KindCache
from acked_common.background.worker_cache import WorkerCache
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.metrics import Reading, ScrapedGauge, kind_label

COUNT_EVERY_S = 5.0

_workers = ScrapedGauge("acked_workers", "Workers that serve the kind, by their documents in MongoDB.", ("kind",))


class WorkerCounts:
    """The counts of one gateway, read every few seconds. While MongoDB is unavailable, the last counts stay."""

    def __init__(self, workers: WorkerCache, kinds: KindCache) -> None:
        self._workers = workers
        self._kinds = kinds
        self._counts: dict[str, int] = {}
        _workers.read_from(self._read)

    def start(self, tasks: Tasks) -> None:
        """Count in the background."""
        tasks.repeat("workers by kind", self.count, every_s=COUNT_EVERY_S)

    async def count(self) -> None:
        """Count once. Raises `StoreError`."""
        await self._kinds.wait_read()
        counts = dict.fromkeys(map(kind_label, self._kinds.names), 0)
        for worker in await self._workers.workers():
            # Kinds that share a label are one: a worker counts once for it.
            for label in set(map(kind_label, worker.kinds)):
                counts[label] = counts.get(label, 0) + 1
        self._counts = counts

    def _read(self) -> Reading:
        return [((label,), count) for label, count in self._counts.items()]
