"""Counts of jobs, and the states of the jobs of a topic."""

import pymongo

from acked_common.model.events import JobUpdate
from acked_common.model.lifecycle import FOR_WORKERS, State
from acked_common.model.principal import DEFAULT_TENANT
from acked_common.model.topics import COUNTED_WHOLE, Topic
from acked_common.store import list_limits
from acked_common.store.mongo import schema
from acked_common.store.mongo.change_events import GLIMPSE, topic_fields, update_from_document
from acked_common.store.mongo.connections import Verbs
from acked_common.store.mongo.documents import Document
from acked_common.store.mongo.errors import store_errors
from acked_common.store.mongo.moves import (
    batch_pipeline,
    counting_pipelines,
    large_batch_pipeline,
    waiting_pipeline,
    whole_pipeline,
)
from acked_common.store.records import BatchCount, TopicCount

COUNT_WITHIN_S = 15.0


class CountVerbs(Verbs):
    """`SnapshotStore`, `BacklogStore` and `JobLists.count_batch`."""

    async def count_batch(self, batch: str, *, tenant: str = DEFAULT_TENANT) -> BatchCount | None:
        with store_errors("counting a batch"):
            # Read from one snapshot: a job that moves during the count could be counted twice or not at all.
            jobs, most = self._connections.snapshot_jobs, list_limits.BATCH_COUNTED
            groups = await jobs.aggregate(batch_pipeline(tenant, batch, most + 1)).to_list(None)
            is_exact = sum(group["count"] for group in groups) <= most
            if not is_exact:
                groups = await jobs.aggregate(large_batch_pipeline(jobs.name, tenant, batch, most)).to_list(None)
        if not groups:
            return None
        lasts = [g[name] for g in groups for name in ("last_accepted_at", "last_finished_at") if g[name] is not None]
        states: dict[State, int] = {}
        for group in groups:
            states[State(group["_id"])] = states.get(State(group["_id"]), 0) + group["count"]
        first_at = min(group["first_at"] for group in groups)
        return BatchCount(states, first_at, max(lasts), is_exact)

    async def look(self, topic: Topic, *, limit: int) -> list[JobUpdate] | None:
        with store_errors("looking at jobs"):
            # Read from one snapshot: a job that moves in the index meanwhile could be read twice or not at all.
            found = self._connections.snapshot_jobs.find(topic_fields(topic), GLIMPSE).limit(limit + 1)
            documents = await found.to_list(None)
        return None if len(documents) > limit else [update_from_document(document) for document in documents]

    async def count(self, topic: Topic, *, at_most: int) -> TopicCount:
        with store_errors("counting jobs"):
            if topic.name in COUNTED_WHOLE:
                return await self._count_whole(topic)
            states: dict[State, int] = {}
            looked_at = 0
            for state, pipeline, index in counting_pipelines(topic, at_most):
                for group in await self._connections.jobs.aggregate(pipeline, hint=index).to_list(None):
                    looked_at += group["looked_at"]
                    if group["count"]:
                        states[state] = group["count"]
            return TopicCount(states, at_most, looked_at)

    async def _count_whole(self, topic: Topic) -> TopicCount:
        """Count a topic that one index counts, from one snapshot, up to a bound in each state."""
        jobs, most = self._connections.snapshot_jobs, list_limits.BATCH_COUNTED
        groups = await jobs.aggregate(whole_pipeline(jobs.name, topic, most + 1)).to_list(None)
        found = {State(group["_id"]): group["count"] for group in groups}
        is_exact = all(count <= most for count in found.values())
        states = {state: min(count, most) for state, count in found.items()}
        return TopicCount(states, None if is_exact else most, sum(found.values()))

    async def count_waiting(self, *, at_most: int) -> int:
        return sum((await self._count_waiting(at_most, by_tenant=False)).values())

    async def count_waiting_by_tenant(self, *, at_most: int) -> dict[str, int]:
        return await self._count_waiting(at_most, by_tenant=True)

    async def crowds_parked(self, *, at_least: int) -> dict[str, int]:
        jobs, parked = self._connections.jobs, {"tenant": {"$gt": ""}, "state": State.WAITING.value}
        few: list[Document] = [{"$match": parked}, {"$limit": at_least}, {"$count": "count"}]
        crowds: list[Document] = [
            {"$match": parked},
            {"$group": {"_id": "$tenant", "count": {"$sum": 1}}},
            {"$match": {"count": {"$gte": at_least}}},
        ]
        with store_errors("counting parked jobs"), pymongo.timeout(COUNT_WITHIN_S):
            found = await jobs.aggregate(few, hint=schema.PARKED_INDEX).to_list(None)
            if not found or found[0]["count"] < at_least:
                return {}
            groups = await jobs.aggregate(crowds, hint=schema.PARKED_INDEX).to_list(None)
        return {group["_id"]: group["count"] for group in groups}

    async def _count_waiting(self, at_most: int, *, by_tenant: bool) -> dict[str, int]:
        counts: dict[str, int] = {}
        # A long count does not mean that the server is unresponsive.
        with store_errors("counting jobs that wait"), pymongo.timeout(COUNT_WITHIN_S):
            for state in sorted(FOR_WORKERS):
                pipeline = waiting_pipeline(state, at_most, by_tenant=by_tenant)
                for group in await self._connections.jobs.aggregate(pipeline, hint=schema.LIVE_INDEX).to_list(None):
                    counts[group["_id"] or ""] = counts.get(group["_id"] or "", 0) + group["count"]
        return counts
