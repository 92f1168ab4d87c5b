"""Reads of jobs, for clients and for services."""

from collections.abc import Sequence
from uuid import UUID

from acked_common.model.lifecycle import HistoryEntry, State
from acked_common.model.principal import DEFAULT_TENANT
from acked_common.store.mongo.connections import Verbs
from acked_common.store.mongo.documents import HISTORY_FIELDS, history_from, job_from
from acked_common.store.mongo.errors import store_errors
from acked_common.store.mongo.find import find_by_ids
from acked_common.store.mongo.listing import list_jobs
from acked_common.store.records import Job, JobFilter, JobPage, Revision


class ReadVerbs(Verbs):
    """`JobReader`, the reads of `OutcomeStore`, and `JobLists.list_jobs`."""

    async def get(self, job_id: UUID, *, tenant: str = DEFAULT_TENANT) -> Job | None:
        with store_errors("reading a job"):
            document = await self._connections.jobs.find_one({"_id": job_id, "tenant": tenant})
        return job_from(document) if document is not None else None

    async def get_many(self, ids: Sequence[UUID]) -> dict[UUID, Job]:
        with store_errors("reading jobs"):
            documents = await find_by_ids(self._connections.jobs, ids)
        return {document["_id"]: job_from(document) for document in documents}

    async def histories(self, ids: Sequence[UUID]) -> dict[UUID, Sequence[HistoryEntry]]:
        with store_errors("reading histories"):
            documents = await find_by_ids(self._connections.jobs, ids, fields=HISTORY_FIELDS)
        return {document["_id"]: history_from(document) for document in documents}

    async def revisions(self, ids: Sequence[UUID]) -> dict[UUID, Revision]:
        with store_errors("reading revisions"):
            documents = await find_by_ids(self._connections.jobs, ids, fields=("rev", "state"))
        return {d["_id"]: Revision(d["rev"], State(d["state"])) for d in documents}

    async def list_jobs(self, job_filter: JobFilter, *, page_size: int, before: UUID | None = None) -> JobPage:
        with store_errors("listing jobs"):
            # Read from one snapshot: a job that moves in the index meanwhile could be read twice or not at all.
            jobs = self._connections.snapshot_jobs
            return await list_jobs(jobs, job_filter, page_size=page_size, before=before)
