"""Counts of queued jobs, from the keys of the index of live jobs."""

from acked_common.model.lifecycle import State
from acked_common.model.queue_place import SPAN_S, QueuedShare
from acked_common.store.mongo import schema
from acked_common.store.mongo.connections import Verbs
from acked_common.store.mongo.documents import Document
from acked_common.store.mongo.errors import store_errors
from acked_common.store.mongo.field_names import NEXT_CHECK_AT
from acked_common.store.mongo.moves import BEFORE_ALL


class QueueVerbs(Verbs):
    """`QueueStore`."""

    async def queued_by_kind(self, *, at_most: int) -> list[QueuedShare]:
        with store_errors("counting queued jobs"):
            found = self._connections.jobs.aggregate(queued_pipeline(at_most), hint=schema.LIVE_INDEX)
            groups = await found.to_list(None)
        return [QueuedShare(group["_id"]["kind"], group["_id"]["at"], group["count"]) for group in groups]


def queued_pipeline(at_most: int) -> list[Document]:
    """Return the aggregation, which reads only index keys (see `moves.waiting_pipeline`)."""
    span = {"date": "$queued_at", "unit": "millisecond", "binSize": int(SPAN_S * 1000)}
    return [
        {"$match": {"state": State.QUEUED.value, NEXT_CHECK_AT: {"$gte": BEFORE_ALL}}},
        {"$limit": at_most},
        {"$group": {"_id": {"kind": "$kind", "at": {"$dateTrunc": span}}, "count": {"$sum": 1}}},
    ]
