"""Lists of jobs: a page scans only the jobs that it returns, or a bounded number and ends with a token.

If one index serves filter and order, only matching jobs are read. Any other filter must read the documents of an index
range, including payloads, because MongoDB reads whole documents. So the scanned range doubles while too few jobs match,
and ends at a limit of documents or time.
"""

import asyncio
import time
from uuid import UUID

from pymongo import DESCENDING

from acked_common.model.lifecycle import State
from acked_common.store import list_limits
from acked_common.store.mongo.documents import Document, job_from
from acked_common.store.mongo.driver import Collection
from acked_common.store.mongo.field_names import NEXT_CHECK_AT
from acked_common.store.mongo.list_filters import filter_fields, id_bounds, list_index, listed_bytes
from acked_common.store.mongo.moves import listing_criteria
from acked_common.store.records import Job, JobFilter, JobPage

_BATCH = 100
_WITHOUT_BODIES = dict.fromkeys(("payload", "result", "attempts", "tracebacks"), 0)
_SLICE_BYTES = 32 * 1024
"""Documents that are decoded before other tasks run; a page of long histories takes 14 ms in all."""


async def list_jobs(collection: Collection, job_filter: JobFilter, *, page_size: int, before: UUID | None) -> JobPage:
    """Read one page, newest first. Raises the driver's errors."""
    if job_filter.error_group is not None and job_filter.state not in (None, State.FAILED):
        return JobPage([], None)
    if job_filter.waiting_for is not None and job_filter.state not in (None, State.WAITING):
        return JobPage([], None)
    criteria = filter_fields(job_filter)
    index, names = list_index(job_filter)
    indexed = {name: criteria[name] for name in names}
    # Every list index ends with the ids, so time bounds narrow the scan for any filter.
    lowest, above_all = id_bounds(job_filter)
    before = above_all if before is None else before if above_all is None else min(before, above_all)
    page = _Page(page_size, index)
    if criteria == indexed:
        live = {} if job_filter.worker is None else {NEXT_CHECK_AT: {"$exists": True}}
        await page.fill(collection, {**listing_criteria(criteria), **live}, _behind(before, lowest))
        return page.made(None)
    began_at, looked_at, span = time.monotonic(), 0, list_limits.LIST_FIRST_SPAN
    while True:
        span = min(span, list_limits.LIST_SCAN_LIMIT - looked_at)
        floor = await _floor(collection, index, {**listing_criteria(indexed), **_behind(before, lowest)}, span)
        await page.fill(collection, listing_criteria(criteria), _behind(before, floor or lowest))
        looked_at += span
        is_over = looked_at >= list_limits.LIST_SCAN_LIMIT or time.monotonic() - began_at > list_limits.LIST_WITHIN_S
        if page.is_full or floor is None or is_over:
            return page.made(floor)
        before, span = floor, span * 2


async def _floor(collection: Collection, index: str, indexed: Document, span: int) -> UUID | None:
    """Return the id of the last job in a span of the index, without reading documents; None if the index ends
    before."""
    found = collection.find(indexed, {"_id": 1}).sort("_id", DESCENDING).hint(index).skip(span - 1).limit(1)
    last: list[Document] = await found.to_list(None)
    return last[0]["_id"] if last else None


def _behind(before: UUID | None, floor: UUID | None = None) -> Document:
    position: Document = {"$lt": before} if before is not None else {}
    if floor is not None:
        position["$gte"] = floor
    return {"_id": position} if position else {}


class _Page:
    def __init__(self, size: int, index: str) -> None:
        self._size = size
        self._index = index
        self._jobs: list[Job] = []
        self._bytes = 0
        self._since_pause = 0
        self.is_full = False
        """Whether at least one more job exists that does not fit."""

    async def fill(self, collection: Collection, criteria: Document, position: Document) -> None:
        wanted = self._size - len(self._jobs) + 1
        # The driver's first reply has 101 documents by default.
        cursor = (
            collection.find({**criteria, **position}, _WITHOUT_BODIES)
            .sort("_id", DESCENDING)
            # A plan that the server caches for one filter may be slow for another.
            .hint(self._index)
            .limit(wanted)
            .batch_size(min(wanted, _BATCH) + 1)
        )
        try:
            while documents := await cursor.to_list(_BATCH):
                for document in documents:
                    if len(self._jobs) == self._size or (self._jobs and self._bytes > list_limits.LIST_BYTES):
                        self.is_full = True
                        return
                    self._jobs.append(job_from(document))
                    size = listed_bytes(document)
                    self._bytes += size
                    self._since_pause += size
                    if self._since_pause > _SLICE_BYTES:
                        self._since_pause = 0
                        await asyncio.sleep(0)
        finally:
            await cursor.close()

    def made(self, floor: UUID | None) -> JobPage:
        return JobPage(self._jobs, self._jobs[-1].id if self.is_full else floor)
