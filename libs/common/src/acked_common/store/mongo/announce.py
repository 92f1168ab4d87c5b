"""`TransitionStore.announce` on MongoDB: one update, which depends on the state of the job.

Two updates, one for each state, would leave a gap: a job that parks between them would miss the signal.
"""

from pymongo import ReturnDocument

from acked_common.model.ledger import PendingSignals
from acked_common.model.lifecycle import State
from acked_common.model.lifecycle_waits import ANY_SIGNAL
from acked_common.store.mongo.connections import Verbs
from acked_common.store.mongo.documents import Document
from acked_common.store.mongo.errors import store_errors
from acked_common.store.mongo.parked import resumed_fields
from acked_common.store.parked import Announced, ResumeOrder

_READ = ("kind", "state", "attempt", "owner.boot", "queued_at", "reserved_by")
_UNREAD_STATES = sorted(state.value for state in (State.RUNNING, State.QUEUED, State.SCHEDULED))
"""In these states, an attempt that runs or will run learns of signals by the job's number of them."""


class AnnounceVerbs(Verbs):
    """The announcement of signals to jobs."""

    async def announce(self, pending: PendingSignals, order: ResumeOrder) -> Announced | None:
        with store_errors("announcing a signal"):
            found: Document | None = await self._connections.jobs.find_one_and_update(
                {"_id": pending.id},
                announce_pipeline(pending, order),
                projection=dict.fromkeys(_READ, 1),
                return_document=ReturnDocument.AFTER,
            )
        if found is None:
            return None
        state = State(found["state"])
        is_woken = state is State.QUEUED and found.get("reserved_by") == order.nonce
        return Announced(
            id=pending.id,
            kind=found["kind"],
            state=state,
            attempt=found["attempt"],
            boot=found.get("owner", {}).get("boot"),
            woken_at=found["queued_at"] if is_woken else None,
        )


def announce_pipeline(pending: PendingSignals, order: ResumeOrder) -> list[Document]:
    """Return the update of one job. Values are wrapped in `$literal`, so that none is evaluated."""
    signals: Document = {"$max": ["$signals", pending.in_seq]}
    woken: Document = {"$mergeObjects": ["$$ROOT", {**resumed_fields(order), "signals": signals}]}
    for name in sorted(order.transition.clears):
        woken = {"$unsetField": {"field": {"$literal": name}, "input": woken}}
    branches: list[Document] = [
        {"case": {"$and": [{"$eq": ["$state", State.WAITING.value]}, _is_awaited(pending)]}, "then": woken},
        {
            "case": {"$in": ["$state", _UNREAD_STATES]},
            "then": {"$mergeObjects": ["$$ROOT", {"signals": signals}]},
        },
    ]
    return [{"$replaceWith": {"$switch": {"branches": branches, "default": "$$ROOT"}}}]


def _is_awaited(pending: PendingSignals) -> Document:
    """Return whether the parked job waits for one of the names, as `Waits.wakes_on` does."""
    awaited: Document = {"$ifNull": ["$waits.signals", []]}
    if ANY_SIGNAL in pending.names:
        return {"$gt": [{"$size": awaited}, 0]}
    names: Document = {"$literal": [*pending.names, ANY_SIGNAL]}
    return {"$gt": [{"$size": {"$setIntersection": [awaited, names]}}, 0]}
