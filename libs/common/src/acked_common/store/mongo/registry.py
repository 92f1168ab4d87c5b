"""The records that workers write about themselves: kinds, presence, watermarks of lanes."""

from collections.abc import Sequence
from datetime import datetime

from pymongo import ReturnDocument, UpdateOne

from acked_common.store.mongo.connections import Verbs
from acked_common.store.mongo.documents import kind_document, kind_from, worker_document, worker_from
from acked_common.store.mongo.errors import store_errors
from acked_common.store.records import KindRecord, WorkerRecord


class RegistryVerbs(Verbs):
    """`KindStore`, `PresenceStore` and `WatermarkStore`."""

    async def register_kinds(self, kinds: Sequence[KindRecord]) -> None:
        if not kinds:
            return
        updates = [UpdateOne({"_id": kind.name}, {"$set": kind_document(kind)}, upsert=True) for kind in kinds]
        with store_errors("registering kinds"):
            await self._connections.kinds.bulk_write(updates, ordered=False)

    async def kinds(self) -> dict[str, KindRecord]:
        with store_errors("reading kinds"):
            documents = await self._connections.kinds.find().to_list(None)
        return {document["_id"]: kind_from(document) for document in documents}

    async def refresh_worker(self, worker: WorkerRecord) -> bool:
        with store_errors("refreshing a worker"):
            document = await self._connections.quick_workers.find_one_and_update(
                {"_id": worker.boot},
                {"$set": worker_document(worker)},
                projection={"drain_requested": True},
                upsert=True,
                return_document=ReturnDocument.AFTER,
            )
        return bool(document.get("drain_requested", False))

    async def forget_worker(self, boot: str) -> None:
        with store_errors("forgetting a worker"):
            await self._connections.quick_workers.delete_one({"_id": boot})

    async def request_drain(self, boot: str) -> bool:
        with store_errors("asking a worker to drain"):
            done = await self._connections.workers.update_one({"_id": boot}, {"$set": {"drain_requested": True}})
        return bool(done.matched_count)

    async def workers(self, *, seen_within_s: float) -> list[WorkerRecord]:
        fresh = {"$expr": {"$gte": ["$seen_at", {"$subtract": ["$$NOW", int(seen_within_s * 1000)]}]}}
        with store_errors("reading workers"):
            documents = await self._connections.quick_workers.find(fresh).sort("name", 1).to_list(None)
        return [worker_from(document) for document in documents]

    async def raise_watermark(self, lane: str, taken_at: datetime) -> None:
        with store_errors("raising a watermark"):
            await self._connections.quick_lanes.update_one({"_id": lane}, {"$max": {"taken_at": taken_at}}, upsert=True)

    async def watermarks(self) -> dict[str, datetime]:
        with store_errors("reading watermarks"):
            documents = await self._connections.quick_lanes.find().to_list(None)
        return {document["_id"]: document["taken_at"] for document in documents}
