"""The records that workers write about themselves: kinds, presence, watermarks of lanes."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pymongo import ReturnDocument, UpdateOne

from acked_common.model.payload_schemas import KEPT_FOR_S, SCHEMAS_KEPT
from acked_common.store.mongo.connections import Verbs
from acked_common.store.mongo.documents import SCHEMAS, kind_document, kind_from, worker_document, worker_from
from acked_common.store.mongo.errors import store_errors
from acked_common.store.records import KindRecord, WorkerRecord


def _registration(kind: KindRecord) -> Mapping[str, Any] | list[Mapping[str, Any]]:
    """Return the update that registers a kind: a pipeline if it has a schema, which joins those of other versions."""
    document = kind_document(kind)
    own = document.pop(SCHEMAS, None)
    if own is None:
        return {"$set": document}
    # A literal: the text of a schema is no expression.
    entries = [{**{name: {"$literal": value} for name, value in one.items()}, "seen_at": "$$NOW"} for one in own]
    oldest = {"$subtract": ["$$NOW", int(KEPT_FOR_S * 1000)]}
    is_kept = {
        "$and": [
            {"$not": {"$in": ["$$one.digest", [one["digest"] for one in own]]}},
            {"$gte": ["$$one.seen_at", oldest]},
        ]
    }
    others = {"$filter": {"input": {"$ifNull": [f"${SCHEMAS}", []]}, "as": "one", "cond": is_kept}}
    fields = {name: {"$literal": value} for name, value in document.items()}
    return [{"$set": {**fields, SCHEMAS: {"$slice": [{"$concatArrays": [entries, others]}, SCHEMAS_KEPT]}}}]


class RegistryVerbs(Verbs):
    """`KindStore`, `PresenceStore` and `WatermarkStore`."""

    async def register_kinds(self, kinds: Sequence[KindRecord]) -> None:
        if not kinds:
            return
        updates = [UpdateOne({"_id": kind.name}, _registration(kind), upsert=True) for kind in kinds]
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
