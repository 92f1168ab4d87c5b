"""The verbs of the sweeper on MongoDB: reading live jobs, and reserving lost ones for republication."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from acked_common.model.ids import new_id
from acked_common.model.lifecycle import State
from acked_common.store.errors import OutcomeUnknown, StoreError
from acked_common.store.mongo import schema
from acked_common.store.mongo.connections import Verbs
from acked_common.store.mongo.documents import Document, job_from
from acked_common.store.mongo.errors import store_errors
from acked_common.store.mongo.field_names import NEXT_CHECK_AT
from acked_common.store.mongo.find import find_by_ids
from acked_common.store.mongo.id_bytes import in_ids
from acked_common.store.mongo.moves import extension_update, reservation_update, turn_pipeline
from acked_common.store.records import Job, Reservation, SweepPosition, WaitExtension

_WITHOUT_BODIES = dict.fromkeys(("payload", "result", "history", "attempts", "tracebacks"), 0)


class SweeperVerbs(Verbs):
    """`SweepStore` except moves, time and watermarks. A rolled-back lock only costs one more reservation."""

    async def live_jobs(
        self, state: State, *, limit: int, after: SweepPosition | None = None, kinds: Sequence[str] | None = None
    ) -> list[Job]:
        criteria: Document = {
            "state": state.value,
            "$expr": {"$lte": [f"${NEXT_CHECK_AT}", "$$NOW"]},
            NEXT_CHECK_AT: {"$exists": True},
        }
        if after is not None:
            criteria[NEXT_CHECK_AT] = {"$gte": after.next_check_at}
            criteria["$or"] = [
                {NEXT_CHECK_AT: {"$gt": after.next_check_at}},
                {NEXT_CHECK_AT: after.next_check_at, "_id": {"$gt": after.id}},
            ]
        if kinds is not None:
            criteria["kind"] = {"$in": list(kinds)}
        with store_errors("looking at live jobs"):
            documents = await (
                self._connections.jobs.find(criteria, _WITHOUT_BODIES)
                .sort([(NEXT_CHECK_AT, 1), ("_id", 1)])
                .hint(schema.LIVE_INDEX)
                .limit(limit)
                .to_list(None)
            )
        return [job_from(document) for document in documents]

    async def take_turn(self, name: str, *, for_s: float, holder: str | None = None) -> bool:
        nonce = holder or str(new_id())
        try:
            with store_errors("taking a turn"):
                turn = await self._connections.quick_turns.find_one_and_update(
                    {"_id": name},
                    turn_pipeline(nonce, for_s),
                    upsert=True,
                    return_document=ReturnDocument.AFTER,
                )
        except StoreError as error:
            # Two processes created the lock at once.
            if isinstance(error.__cause__, DuplicateKeyError):
                return False
            raise
        return bool(turn["by"] == nonce)

    async def reserve(self, reservations: Sequence[Reservation], *, nonce: str) -> set[UUID]:
        if not reservations:
            return set()
        ids = [one.id for one in reservations]
        try:
            with store_errors("reserving jobs"):
                updates = [reservation_update(one, nonce) for one in reservations]
                if (await self._connections.jobs.bulk_write(updates, ordered=False)).matched_count == len(ids):
                    return set(ids)
        except OutcomeUnknown:
            # The jobs that this call reserved carry its nonce.
            pass
        with store_errors("reading reserved jobs"):
            found = await find_by_ids(self._connections.jobs, ids, {"reserved_by": nonce}, fields=("_id",))
        return {document["_id"] for document in found}

    async def extend_waits(self, extensions: Sequence[WaitExtension]) -> None:
        if not extensions:
            return
        with store_errors("extending waits"):
            await self._connections.jobs.bulk_write([extension_update(one) for one in extensions], ordered=False)

    async def give_back(self, ids: Sequence[UUID], *, nonce: str, next_check_at: datetime) -> None:
        with store_errors("giving reserved jobs back"):
            await self._connections.jobs.update_many(
                {"_id": in_ids(ids), "reserved_by": nonce},
                {"$set": {NEXT_CHECK_AT: next_check_at}, "$inc": {"republished": -1}, "$unset": {"reserved_by": ""}},
            )
