"""The verbs of the resumer on MongoDB: the search for waits that have ended, and the resume of many jobs in one write.

The index `parked` has only parked jobs, in the order of each tenant. So a search reads keys and no documents, and
jumps from tenant to tenant.
"""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from acked_common.model.lifecycle import HISTORY_KEPT, State
from acked_common.store.errors import OutcomeUnknown
from acked_common.store.mongo import schema
from acked_common.store.mongo.connections import Verbs
from acked_common.store.mongo.documents import Document, transition_fields
from acked_common.store.mongo.errors import store_errors
from acked_common.store.mongo.field_names import NEXT_CHECK_AT, stored_name
from acked_common.store.mongo.find import find_by_ids
from acked_common.store.mongo.id_bytes import in_ids
from acked_common.store.mongo.moves import BEFORE_ALL
from acked_common.store.parked import ResumedJob, ResumeOrder
from acked_common.store.records import SweepPosition

_DUE: Document = {"$expr": {"$lte": [f"${NEXT_CHECK_AT}", "$$NOW"]}}


class ParkedVerbs(Verbs):
    """`ParkedStore`, and `TransitionStore.resume`."""

    async def tenants_to_resume(self, *, limit: int) -> list[str]:
        pipeline: list[Document] = [
            # A name is never empty. MongoDB jumps from key to key with a range, and not with `$exists`.
            {"$match": {"tenant": {"$gt": ""}, "state": State.WAITING.value}},
            {"$sort": {"tenant": 1, "state": 1, NEXT_CHECK_AT: 1}},
            {"$group": {"_id": "$tenant", NEXT_CHECK_AT: {"$first": f"${NEXT_CHECK_AT}"}}},
            {"$match": _DUE},
            {"$sort": {NEXT_CHECK_AT: 1, "_id": 1}},
            {"$limit": limit},
        ]
        with store_errors("looking for waits that have ended"):
            found = await self._connections.jobs.aggregate(pipeline, hint=schema.PARKED_INDEX).to_list(None)
        return [group["_id"] for group in found]

    async def waits_ended(self, tenant: str, *, limit: int, after: SweepPosition | None = None) -> list[SweepPosition]:
        position: Document = {} if after is None else _behind(after)
        pipeline: list[Document] = [
            {
                "$match": {
                    "tenant": tenant,
                    "state": State.WAITING.value,
                    NEXT_CHECK_AT: {"$gte": BEFORE_ALL},
                    **position,
                }
            },
            {"$sort": {NEXT_CHECK_AT: 1, "_id": 1}},
            {"$limit": limit},
            # Compared in the result: in `$match` the comparison with `$$NOW` would read the documents.
            {"$project": {NEXT_CHECK_AT: 1, "has_ended": {"$lte": [f"${NEXT_CHECK_AT}", "$$NOW"]}}},
        ]
        options: dict[str, Any] = {"hint": schema.PARKED_INDEX, "batchSize": limit + 1}
        with store_errors("looking for waits that have ended"):
            found = await self._connections.jobs.aggregate(pipeline, **options).to_list(None)
        return [SweepPosition(one[NEXT_CHECK_AT], one["_id"]) for one in found if one["has_ended"]]

    async def of_other_kinds(self, ids: Sequence[UUID], kinds: Collection[str]) -> set[UUID]:
        with store_errors("reading kinds of parked jobs"):
            criteria: Document = {"kind": {"$nin": sorted(kinds)}}
            found = await find_by_ids(self._connections.jobs, ids, criteria, fields=("_id",))
        return {one["_id"] for one in found}

    async def resume(self, ids: Sequence[UUID], order: ResumeOrder) -> list[ResumedJob]:
        if not ids:
            return []
        jobs = self._connections.jobs
        parked: Document = {"_id": in_ids(ids), "state": State.WAITING.value, **_DUE}
        unknown: OutcomeUnknown | None = None
        try:
            with store_errors("resuming jobs"):
                await jobs.update_many(parked, resume_pipeline(order))
        except OutcomeUnknown as error:
            unknown = error
        with store_errors("reading resumed jobs"):
            ours = {"reserved_by": order.nonce, "state": State.QUEUED.value}
            found = await find_by_ids(jobs, ids, ours, fields=("kind", "queued_at", "rev"))
        if unknown is not None and len(found) < len(ids):
            # The write may still take effect. A repetition resumes the rest, and then reads all.
            raise unknown
        return [ResumedJob(one["_id"], one["kind"], one["queued_at"], one["rev"]) for one in found]


def _behind(position: SweepPosition) -> Document:
    """Return the criteria of jobs after a position, in the order of checks."""
    at = position.next_check_at
    either = [{NEXT_CHECK_AT: {"$gt": at}}, {NEXT_CHECK_AT: at, "_id": {"$gt": position.id}}]
    return {NEXT_CHECK_AT: {"$gte": at}, "$or": either}


def resume_pipeline(order: ResumeOrder) -> list[Document]:
    """Return the resume of many jobs in one write."""
    return [{"$set": resumed_fields(order)}, {"$unset": sorted(map(stored_name, order.transition.clears))}]


def resumed_fields(order: ResumeOrder) -> Document:
    """Return the fields of a job that is queued again. Values are wrapped in `$literal`, so that none is evaluated.

    The instant is never earlier than the newest transition, which another process's clock may have set.
    """
    transition = order.transition
    at: Document = {"$max": [transition.at, {"$last": "$history.at"}]}
    own_expiry: Document = {"$multiply": [{"$ifNull": ["$expires_in_s", order.expires_in_s]}, 1000]}
    expires_at: Document = {"$add": [at, {"$toLong": own_expiry}]}
    rev: Document = {"$add": ["$rev", 1]}
    entry: dict[str, Any] = {
        "rev": rev,
        "state": transition.to.value,
        "reason": transition.reason.value,
        "attempt": "$attempt",
        "at": at,
    }
    fields: Document = {name: {"$literal": value} for name, value in transition_fields(transition).items()}
    return fields | {
        "rev": rev,
        "history": {"$slice": [{"$concatArrays": ["$history", [entry]]}, -HISTORY_KEPT]},
        "queued_at": at,
        "expires_at": expires_at,
        NEXT_CHECK_AT: {"$min": [{"$add": [at, int(order.grace_s * 1000)]}, expires_at]},
        "reserved_by": {"$literal": order.nonce},
    }
