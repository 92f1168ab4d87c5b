"""The choice of jobs of a bulk action, on MongoDB. Each call scans a bounded number of keys of one named index.

Jobs are read by rising id, so a move does not shift jobs past the cursor. If the index does not cover the choice, the
documents of one span of the index are scanned at a time.
"""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import pymongo
from pymongo import ASCENDING, DESCENDING

from acked_common.model.attempts import UNGROUPED
from acked_common.model.bulk_actions import JobChoice
from acked_common.model.ids import first_id_at
from acked_common.model.lifecycle import State
from acked_common.store.bulk_actions import ChosenCount, ChosenJobs
from acked_common.store.mongo.documents import ATTENDED_TO, ERROR_GROUP, Document, job_from
from acked_common.store.mongo.driver import Collection
from acked_common.store.mongo.errors import store_errors
from acked_common.store.mongo.field_names import WAITING_INDEX
from acked_common.store.mongo.id_bytes import in_ids
from acked_common.store.mongo.list_filters import AWAITED, awaited_criteria
from acked_common.store.records import Job

SPAN = 2000
"""Documents that one page scans if its index does not cover the choice."""
COUNT_STEP = 5000
"""Keys that one step of a count scans."""
_WITHIN_S = 5.0
"""A long scan does not mean that the server is unresponsive."""
_WITHOUT_BODIES = dict.fromkeys(("payload", "result", "attempts", "tracebacks"), 0)


class Lookup(NamedTuple):
    """The query of a choice: the index, the criteria that it covers, and those that need documents."""

    name: str
    covered: Document
    others: Document


def lookup_of(choice: JobChoice) -> Lookup:
    """Return the query with the index that scans the fewest jobs."""
    states = [state.value for state in choice.states]
    wanted: Document = {"tenant": choice.tenant, "state": states[0] if len(states) == 1 else {"$in": states}}
    given = {"kind": choice.kind, "batch": choice.batch, "tags": choice.tag, ERROR_GROUP: choice.error_group}
    wanted |= {name: value for name, value in given.items() if value is not None}
    if choice.error_group == UNGROUPED:
        wanted |= {ERROR_GROUP: None, "reason": {"$nin": ATTENDED_TO}}
    if choice.waiting_for is not None:
        wanted[AWAITED] = awaited_criteria(choice.waiting_for)
    is_failed = choice.states == (State.FAILED,)
    candidates = (
        (WAITING_INDEX, ("tenant", "state", AWAITED), choice.waiting_for is not None),
        ("failed_group", ("tenant", "state", ERROR_GROUP), choice.error_group is not None and is_failed),
        ("tenant_batch_state", ("tenant", "batch", "state"), choice.batch is not None),
        ("tenant_tags", ("tenant", "tags"), choice.tag is not None),
        ("tenant_failed", ("tenant", "state"), is_failed),
        ("tenant_kind", ("tenant", "kind"), choice.kind is not None),
        ("tenant_newest", ("tenant",), True),
    )
    index, names = next((index, names) for index, names, fits in candidates if fits)
    covered = {name: wanted[name] for name in names}
    return Lookup(index, covered, {name: value for name, value in wanted.items() if name not in covered})


def id_range(choice: JobChoice, *, after: UUID | None, up_to: UUID) -> Document:
    """Return the bounds of the ids, from the page and from the instants of acceptance."""
    found: Document = {"$lte": up_to}
    if choice.until_at is not None:
        found["$lt"] = first_id_at(choice.until_at)
    if choice.since_at is not None:
        found["$gte"] = first_id_at(choice.since_at)
    if after is not None:
        found["$gt"] = after
    return found


class MongoChoices:
    """`ChoiceStore` over the jobs of one database."""

    def __init__(self, jobs: Collection) -> None:
        """`jobs` is the collection; its reads see what a majority has."""
        self._jobs = jobs

    async def newest_id(self, tenant: str) -> UUID | None:
        with store_errors("looking for the newest job"):
            found = self._jobs.find({"tenant": tenant}, {"_id": 1}, hint="tenant_newest").sort("_id", DESCENDING)
            documents = await found.limit(1).to_list(None)
        return documents[0]["_id"] if documents else None

    async def count(self, choice: JobChoice, *, up_to: UUID, at_most: int, within_s: float) -> ChosenCount:
        lookup, count, after = lookup_of(choice), 0, None
        end = time.monotonic() + within_s
        with store_errors("counting jobs"), pymongo.timeout(_WITHIN_S + within_s):
            while True:
                found, last, is_over = await self._step(lookup, id_range(choice, after=after, up_to=up_to))
                count += found
                if count >= at_most:
                    return ChosenCount(at_most, is_exact=is_over and count == at_most)
                if is_over:
                    return ChosenCount(count, is_exact=True)
                if time.monotonic() > end:
                    return ChosenCount(count, is_exact=False)
                after = last

    async def _step(self, lookup: Lookup, ids: Document) -> tuple[int, UUID | None, bool]:
        looked, last = await self._span(lookup, ids, COUNT_STEP)
        if looked and lookup.others:
            criteria = {**lookup.covered, **lookup.others, "_id": {**ids, "$lte": last}}
            return await self._jobs.count_documents(criteria, hint=lookup.name), last, looked < COUNT_STEP
        return looked, last, looked < COUNT_STEP

    async def _span(self, lookup: Lookup, ids: Document, size: int) -> tuple[int, UUID | None]:
        """Return the number of keys, at most `size`, and the id of the last one."""
        pipeline: list[Document] = [
            {"$match": {**lookup.covered, "_id": ids}},
            {"$sort": {"_id": ASCENDING}},
            {"$limit": size},
            {"$group": {"_id": None, "looked": {"$sum": 1}, "last": {"$max": "$_id"}}},
        ]
        groups = await self._jobs.aggregate(pipeline, hint=lookup.name).to_list(None)
        return (groups[0]["looked"], groups[0]["last"]) if groups else (0, None)

    async def jobs_in(self, choice: JobChoice, *, up_to: UUID, after: UUID | None, limit: int) -> ChosenJobs:
        lookup = lookup_of(choice)
        ids = id_range(choice, after=after, up_to=up_to)
        with store_errors("looking for jobs"), pymongo.timeout(_WITHIN_S):
            last: UUID | None = None
            if lookup.others:
                looked, end = await self._span(lookup, ids, SPAN)
                if not looked:
                    return ChosenJobs([], None)
                ids["$lte"] = end
                # After a full span, more may follow.
                last = end if looked == SPAN else None
            criteria: dict[str, Any] = {**lookup.covered, **lookup.others, "_id": ids}
            found = self._jobs.find(criteria, _WITHOUT_BODIES, hint=lookup.name).sort("_id", ASCENDING).limit(limit)
            documents = await found.batch_size(limit + 1).to_list(None)
        jobs = [job_from(document) for document in documents]
        return ChosenJobs(jobs, jobs[-1].id if len(jobs) == limit else last)

    async def jobs_of(self, tenant: str, ids: Sequence[UUID]) -> dict[UUID, Job]:
        with store_errors("reading jobs"):
            found = self._jobs.find({"_id": in_ids(ids), "tenant": tenant}, _WITHOUT_BODIES, batch_size=len(ids) + 1)
            documents = await found.to_list(None)
        return {document["_id"]: job_from(document) for document in documents}
