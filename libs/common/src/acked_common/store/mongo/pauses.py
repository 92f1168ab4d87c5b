"""The pauses of kinds on MongoDB: fields of the kind's document that only these verbs write."""

from datetime import datetime

from pymongo import ReturnDocument

from acked_common.model.pauses import PAUSES_KEPT, KindPauses, Pause
from acked_common.store.mongo.connections import Verbs
from acked_common.store.mongo.documents import Document, pause_document, pauses_from
from acked_common.store.mongo.errors import store_errors

_FIELDS = {"paused": 1, "pauses": 1, "limit": 1}


class PauseVerbs(Verbs):
    """`PauseStore`. It reads limits with the pauses, so that all processes need one query."""

    async def pause_kind(self, kind: str, pause: Pause) -> KindPauses | None:
        return await self._change(
            "pausing a kind", {"_id": kind, "paused": {"$exists": False}}, {"$set": {"paused": pause_document(pause)}}
        )

    async def resume_kind(self, kind: str, *, at: datetime) -> KindPauses | None:
        # The clocks of two gateways may differ, but a pause must not end before it began.
        past: Document = {"from_at": "$paused.since_at", "to_at": {"$max": [at, "$paused.since_at"]}}
        kept: Document = {"$slice": [{"$concatArrays": [{"$ifNull": ["$pauses", []]}, [past]]}, -PAUSES_KEPT]}
        return await self._change(
            "resuming a kind",
            {"_id": kind, "paused": {"$exists": True}},
            [{"$set": {"pauses": kept}}, {"$unset": "paused"}],
        )

    async def pauses(self) -> dict[str, KindPauses]:
        with store_errors("reading pauses"):
            found = self._connections.kinds.find({"$or": [{name: {"$exists": True}} for name in _FIELDS]}, _FIELDS)
            documents = await found.to_list(None)
        return {document["_id"]: pauses_from(document) for document in documents}

    async def _change(self, what: str, criteria: Document, change: Document | list[Document]) -> KindPauses | None:
        """Update a kind that matches the criteria. Return its pauses, changed or not."""
        kinds = self._connections.kinds
        with store_errors(what):
            document: Document | None = await kinds.find_one_and_update(
                criteria, change, projection=_FIELDS, return_document=ReturnDocument.AFTER
            )
            if document is None:
                document = await kinds.find_one({"_id": criteria["_id"]}, _FIELDS)
        return None if document is None else pauses_from(document)
