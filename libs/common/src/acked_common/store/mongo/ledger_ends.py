"""`LedgerKeeper` on MongoDB: the ends of ledgers and of their parts.

MongoDB deletes what has reached its end; no account may. Parts get their end first and a day later than the ledger. A
ledger gets it by compare-and-set on the instant of its look, which each open and each retry moves. So the end of a job
that was retried in between is refused; the next look unsets the ends of its parts, before they are reached.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from pymongo import ASCENDING

from acked_common.store.ledgers import LOOKED_AT_AFTER, PARTS_KEPT_BEHIND_LEDGER, Collected, deletion_of
from acked_common.store.mongo import schema
from acked_common.store.mongo.documents import Document
from acked_common.store.mongo.errors import store_errors
from acked_common.store.mongo.field_names import DELETE_AT
from acked_common.store.mongo.find import find_by_ids
from acked_common.store.mongo.id_bytes import in_ids
from acked_common.store.mongo.ledger_documents import LOOK_AT, parts_of
from acked_common.store.mongo.ledgers import LedgerCollections, send_update


class EndVerbs(LedgerCollections):
    """The verbs of sweepers and of retries."""

    async def keep_ledgers(self, ids: Sequence[UUID], *, at: datetime) -> None:
        if not ids:
            return
        with store_errors("keeping ledgers"):
            keeps = {"$set": {LOOK_AT: at + LOOKED_AT_AFTER}, "$unset": {DELETE_AT: ""}}
            await send_update(self._ledgers, [{"q": {"_id": in_ids(ids)}, "u": keeps, "multi": True}])
            await send_update(self._parts, [_parts_kept(job_id) for job_id in ids])

    async def collect_ledgers(self, *, limit: int, at: datetime) -> Collected:
        with store_errors("collecting ledgers"):
            due: Document = {LOOK_AT: {"$exists": True}, "$expr": {"$lte": [f"${LOOK_AT}", "$$NOW"]}}
            looks = (
                await self._ledgers.find(due, {LOOK_AT: 1})
                .sort(LOOK_AT, ASCENDING)
                .hint(schema.LEDGER_LOOKS)
                .limit(limit)
                .to_list(None)
            )
            if not looks:
                return Collected(0, 0)
            found = await find_by_ids(self._jobs, [one["_id"] for one in looks], fields=(DELETE_AT, "finished_at"))
            jobs = {document["_id"]: document for document in found}
            ends = {
                one["_id"]: deletion_of(job.get(DELETE_AT), at)
                for one in looks
                if DELETE_AT in (job := jobs.get(one["_id"], {})) or one["_id"] not in jobs
            }
            await send_update(self._parts, [_parts_end(one["_id"], ends.get(one["_id"])) for one in looks])
            await send_update(self._ledgers, [_ledger_end(one, ends.get(one["_id"]), at) for one in looks])
        return Collected(len(looks), len(ends))


def _parts_kept(job_id: UUID) -> Document:
    return {"q": {**parts_of(job_id), DELETE_AT: {"$exists": True}}, "u": {"$unset": {DELETE_AT: ""}}, "multi": True}


def _parts_end(job_id: UUID, delete_at: datetime | None) -> Document:
    """Return the end of a ledger's parts, or its removal for a live job."""
    if delete_at is None:
        return _parts_kept(job_id)
    end = {"$set": {DELETE_AT: delete_at + PARTS_KEPT_BEHIND_LEDGER}}
    return {"q": parts_of(job_id), "u": end, "multi": True}


def _ledger_end(look: dict[str, Any], delete_at: datetime | None, at: datetime) -> Document:
    """Return the compare-and-set of a ledger's end, or of its next look for a live job."""
    if delete_at is None:
        change: Document = {"$set": {LOOK_AT: at + LOOKED_AT_AFTER}}
    else:
        change = {"$set": {DELETE_AT: delete_at}, "$unset": {LOOK_AT: ""}}
    return {"q": {"_id": look["_id"], LOOK_AT: look[LOOK_AT]}, "u": change}
