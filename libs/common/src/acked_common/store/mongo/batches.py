"""Lists of batches. A batch is what its jobs name, so a list is made from the keys of their index.

For each state the server jumps from batch to batch and reads the first key of each, that of the newest job
(`DISTINCT_SCAN`). So a list costs a few keys for each batch, however many jobs the batches have. A tenant may have more
batches than that is possible for in time. Then a page scans the newest jobs instead, a bounded number of them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pymongo
from pymongo import DESCENDING
from pymongo.errors import PyMongoError

from acked_common.model.batch_ends import BatchEnds, ends_from, step_of
from acked_common.model.lifecycle import TERMINAL, State
from acked_common.model.principal import DEFAULT_TENANT
from acked_common.store import list_limits
from acked_common.store.mongo.connections import Verbs
from acked_common.store.mongo.documents import Document
from acked_common.store.mongo.driver import Collection
from acked_common.store.mongo.errors import store_errors
from acked_common.store.records import BatchPage, BatchSummary

_ANY = {"$gt": ""}
"""A name is never empty. MongoDB jumps from key to key with a range, and not with `$exists`."""
_STATES = sorted(state.value for state in State)


class BatchVerbs(Verbs):
    """`JobLists.list_batches` and `JobLists.batch_ends`."""

    async def list_batches(self, tenant: str, *, page_size: int, before: UUID | None = None) -> BatchPage:
        jobs = self._connections.snapshot_jobs
        with store_errors("listing batches"):
            newest, floor = await _newest(jobs, tenant, page_size, before)
            counts = await _counts(jobs, tenant, [name for name, _ in newest[:page_size]])
        listed = [BatchSummary(name, job_id, *counts[name]) for name, job_id in newest[:page_size] if name in counts]
        return BatchPage(listed, newest[page_size - 1][1] if len(newest) > page_size else floor)

    async def batch_ends(self, batch: str, *, tenant: str = DEFAULT_TENANT) -> BatchEnds | None:
        with store_errors("reading the ends of a batch"):
            return await _ends(self._connections.snapshot_jobs, tenant, batch)


async def _ends(jobs: Collection, tenant: str, batch: str) -> BatchEnds | None:
    """Read the span of the ends, and then the counts of each step."""
    ended = ended_jobs(jobs.name, tenant, batch, list_limits.BATCH_ENDS_READ)
    whole: Document = {"_id": None, "first_at": {"$min": "$finished_at"}, "last_at": {"$max": "$finished_at"}}
    spans = await jobs.aggregate([*ended, {"$group": whole}]).to_list(None)
    if not spans:
        known = await jobs.find_one({"tenant": tenant, "batch": batch}, {"_id": 1})
        return None if known is None else ends_from((), 1, is_complete=True)
    step_s = step_of(spans[0]["first_at"], spans[0]["last_at"])
    index = {"$floor": {"$divide": [{"$toLong": "$finished_at"}, step_s * 1000]}}
    by_step: Document = {"_id": {"state": "$state", "index": index}, "count": {"$sum": 1}}
    groups = await jobs.aggregate([*ended, {"$group": by_step}]).to_list(None)
    of_states: Counter[str] = Counter()
    counts: list[tuple[datetime, State, int]] = []
    for group in groups:
        of_states[group["_id"]["state"]] += group["count"]
        begin = datetime.fromtimestamp(int(group["_id"]["index"]) * step_s, UTC)
        counts.append((begin, State(group["_id"]["state"]), group["count"]))
    is_complete = all(count < list_limits.BATCH_ENDS_READ for count in of_states.values())
    return ends_from(counts, step_s, is_complete=is_complete)


def ended_jobs(collection: str, tenant: str, batch: str, most: int) -> list[Document]:
    """Return the pipeline that reads state and end of the newest jobs in each terminal state, from keys alone."""

    def newest(state: State) -> list[Document]:
        return [
            {"$match": {"tenant": tenant, "batch": batch, "state": state.value}},
            # In the order of the index, so that it is this one.
            {"$sort": {"tenant": 1, "batch": 1, "state": 1, "_id": -1}},
            {"$limit": most},
            {"$project": {"_id": 0, "state": 1, "finished_at": 1}},
        ]

    first, *others = (newest(state) for state in sorted(TERMINAL))
    return [*first, *({"$unionWith": {"coll": collection, "pipeline": other}} for other in others)]


async def _newest(
    jobs: Collection, tenant: str, page_size: int, before: UUID | None
) -> tuple[list[tuple[str, UUID]], UUID | None]:
    """Return the next batches by newest job, one more than a page if there are more, and where a short page goes on."""
    limit = page_size + 1
    try:
        with pymongo.timeout(list_limits.BATCHES_WITHIN_S):
            return await _ordered(jobs, tenant, _ANY, before, limit), None
    except PyMongoError as error:
        if not error.timeout:
            raise
    names, floor = await _recent(jobs, tenant, before)
    return (await _ordered(jobs, tenant, {"$in": names}, before, limit) if names else []), floor


async def _ordered(
    jobs: Collection, tenant: str, names: Mapping[str, Any], before: UUID | None, limit: int
) -> list[tuple[str, UUID]]:
    """Return batches with the id of the newest job of each, in the order of these ids."""
    first, *others = (newest_in_state(tenant, names, state) for state in _STATES)
    pipeline: list[Document] = [
        *first,
        *({"$unionWith": {"coll": jobs.name, "pipeline": other}} for other in others),
        {"$group": {"_id": "$_id", "newest": {"$max": "$newest"}}},
        *([] if before is None else [{"$match": {"newest": {"$lt": before}}}]),
        {"$sort": {"newest": DESCENDING}},
        {"$limit": limit},
    ]
    found = await jobs.aggregate(pipeline).to_list(None)
    return [(one["_id"], one["newest"]) for one in found]


def newest_in_state(tenant: str, names: Mapping[str, Any], state: str) -> list[Document]:
    """Return the pipeline that finds the newest job of each batch in one state, from one key of each batch."""
    return [
        {"$match": {"tenant": tenant, "batch": names, "state": state}},
        {"$sort": {"tenant": 1, "batch": 1, "state": 1, "_id": -1}},
        {"$group": {"_id": "$batch", "newest": {"$first": "$_id"}}},
    ]


async def _recent(jobs: Collection, tenant: str, before: UUID | None) -> tuple[list[str], UUID | None]:
    """Return the batches of the next jobs, and the id of the last of these jobs; None at the end."""
    wanted: Document = {"tenant": tenant} if before is None else {"tenant": tenant, "_id": {"$lt": before}}
    most = list_limits.LIST_SCAN_LIMIT
    cursor = jobs.find(wanted, {"batch": 1}).sort("_id", DESCENDING).hint("tenant_newest").limit(most)
    names: dict[str, None] = {}
    last: UUID | None = None
    looked_at = 0
    async for document in cursor:
        looked_at, last = looked_at + 1, document["_id"]
        if (name := document.get("batch")) is not None:
            names[name] = None
        if len(names) == list_limits.BATCHES_LOOKED_AT:
            await cursor.close()
            return list(names), last
    return list(names), last if looked_at == most else None


async def _counts(jobs: Collection, tenant: str, names: Sequence[str]) -> dict[str, tuple[dict[State, int], bool]]:
    """Count the jobs of each batch by state; say whether these are all of them."""
    if not names:
        return {}
    most = list_limits.BATCH_JOBS_COUNTED
    first, *others = ([*_counting(tenant, name, most)] for name in names)
    unions = ({"$unionWith": {"coll": jobs.name, "pipeline": other}} for other in others)
    counts: dict[str, dict[State, int]] = {}
    for group in await jobs.aggregate([*first, *unions]).to_list(None):
        counts.setdefault(group["_id"]["batch"], {})[State(group["_id"]["state"])] = group["count"]
    return {name: (states, sum(states.values()) < most) for name, states in counts.items()}


def _counting(tenant: str, name: str, most: int) -> list[Document]:
    return [
        {"$match": {"tenant": tenant, "batch": name}},
        # In the order of the index, so that it is this one: failed jobs are counted ahead of those that succeeded.
        {"$sort": {"state": 1, "_id": -1}},
        {"$limit": most},
        {"$group": {"_id": {"batch": {"$literal": name}, "state": "$state"}, "count": {"$sum": 1}}},
    ]
