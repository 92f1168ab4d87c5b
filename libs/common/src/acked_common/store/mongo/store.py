"""The store on MongoDB; the only module that imports the driver's async layer.

Writes wait for the journals of a majority. Reads are from the primary with majority read concern, so that nothing is
answered that could be rolled back.
"""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

# The driver runs each call in a thread of one pool; its default of five a core would let slow calls starve renewals.
os.environ.setdefault("MOTOR_MAX_WORKERS", "64")

import pymongo
from bson.binary import Binary
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import ReadPreference, ReturnDocument, UpdateOne, WriteConcern
from pymongo.errors import CollectionInvalid
from pymongo.read_concern import ReadConcern

from acked_common.model.events import JobUpdate
from acked_common.model.lifecycle import UNOWNED, Move, Owner, State
from acked_common.model.principal import DEFAULT_TENANT
from acked_common.store.errors import SchemaMismatch
from acked_common.store.mongo import schema
from acked_common.store.mongo.changes import MongoChanges, watching_options
from acked_common.store.mongo.claim import claim_jobs
from acked_common.store.mongo.documents import (
    KEY_HOLDER_FIELDS,
    is_recorded,
    job_from,
    key_holder_from,
    kind_document,
    kind_from,
    scope_fields,
    worker_document,
    worker_from,
)
from acked_common.store.mongo.errors import store_errors
from acked_common.store.mongo.find import find_by_ids
from acked_common.store.mongo.id_bytes import in_ids
from acked_common.store.mongo.insert import insert_jobs
from acked_common.store.mongo.listing import list_jobs
from acked_common.store.mongo.moves import (
    batch_pipeline,
    counting_pipelines,
    lease_from_now,
    move_updates,
    waiting_pipeline,
)
from acked_common.store.mongo.sweeps import SweeperVerbs
from acked_common.store.mongo.tokens import MongoTokens
from acked_common.store.mongo.updates import GLIMPSE, news_from_document
from acked_common.store.ports import JobChanges
from acked_common.store.records import (
    Applied,
    BatchCount,
    ClaimedJob,
    Insertion,
    Job,
    JobFilter,
    JobPage,
    KeyHolder,
    KindRecord,
    Lease,
    NewJob,
    ProgressReport,
    Revision,
    Scope,
    WorkerRecord,
)
from acked_common.store.tokens import TokenStore

COUNT_WITHIN_S = 15.0
INDEXES_WITHIN_S = 3600.0
"""In which an index is built over the jobs that are there already."""
IDLE_CONNECTION_S = 60.0
"""How long a connection that a burst made is kept unused."""


class MongoStore(SweeperVerbs):
    """Every role of `ports` on one MongoDB database."""

    def __init__(
        self,
        url: str,
        database: str,
        *,
        app_name: str,
        timeout_s: float,
        pool_size: int = 32,
        idle_connection_s: float = IDLE_CONNECTION_S,
    ) -> None:
        """Connects lazily: a service starts without a server. `timeout_s` bounds each call, retries included."""
        options: dict[str, Any] = {
            "appname": app_name,
            "tz_aware": True,
            "uuidRepresentation": "standard",
            "timeoutMS": int(timeout_s * 1000),
            # The driver looks for a server in steps of half a second, so it may end that much late.
            "serverSelectionTimeoutMS": int(timeout_s * 600),
            "connectTimeoutMS": int(timeout_s * 1000),
            "heartbeatFrequencyMS": 2000,
            "maxPoolSize": pool_size,
            "minPoolSize": 2,
            "maxIdleTimeMS": int(idle_connection_s * 1000),
            "retryWrites": True,
        }
        self._timeout_s = timeout_s
        self._database_name = database
        self._watching: Any = AsyncIOMotorClient(url, **watching_options(options))
        self._client: Any = AsyncIOMotorClient(url, **options)
        # Renewals have connections of their own, so that no queue of slow writes can cost a lease.
        self._renewal_client: Any = AsyncIOMotorClient(url, **{**options, "maxPoolSize": 4, "minPoolSize": 1})
        majority: dict[str, Any] = {
            "write_concern": WriteConcern(w="majority", j=True),
            "read_concern": ReadConcern("majority"),
            "read_preference": ReadPreference.PRIMARY,
        }
        self._database = self._client.get_database(database, **majority)
        self._jobs = self._database[schema.JOBS]
        self._snapshot_jobs = self._jobs.with_options(read_concern=ReadConcern("snapshot"))
        self._quick_jobs = self._jobs.with_options(write_concern=WriteConcern(w=1))
        renewals = self._renewal_client.get_database(database, **majority)
        self._renewed_jobs = renewals[schema.JOBS]
        self._renewed_jobs_quick = self._renewed_jobs.with_options(write_concern=WriteConcern(w=1))
        self._workers = renewals[schema.WORKERS].with_options(write_concern=WriteConcern(w=1))
        self._kinds = self._database[schema.KINDS]
        self._lanes = self._database[schema.LANES].with_options(write_concern=WriteConcern(w=1))
        self._meta = self._database[schema.META]
        super().__init__(self._jobs, self._database[schema.TURNS].with_options(write_concern=WriteConcern(w=1)))

    def close(self) -> None:
        """Closes all connections."""
        self._client.close()
        self._renewal_client.close()
        self._watching.close()

    async def insert(self, jobs: Sequence[NewJob]) -> list[Insertion]:
        return await insert_jobs(self._jobs, jobs, within_s=self._timeout_s)

    async def key_holder(self, tenant: str, key: str) -> KeyHolder | None:
        with store_errors("reading the holder of a key"):
            document = await self._jobs.find_one({"tenant": tenant, "key": key}, KEY_HOLDER_FIELDS)
        return key_holder_from(document) if document is not None else None

    async def get(self, job_id: UUID, *, tenant: str = DEFAULT_TENANT) -> Job | None:
        with store_errors("reading a job"):
            document = await self._jobs.find_one({"_id": job_id, "tenant": tenant})
        return job_from(document) if document is not None else None

    async def get_many(self, ids: Sequence[UUID]) -> dict[UUID, Job]:
        with store_errors("reading jobs"):
            documents = await find_by_ids(self._jobs, ids)
        return {document["_id"]: job_from(document) for document in documents}

    async def claim(
        self, ids: Sequence[UUID], *, kinds: Sequence[str], owner: Owner, lease_s: float, at: datetime
    ) -> list[ClaimedJob]:
        return await claim_jobs(self._jobs, ids, kinds=kinds, owner=owner, lease_s=lease_s, at=at)

    async def apply(self, moves: Sequence[Move]) -> list[Applied]:
        if not moves:
            return []
        with store_errors("moving jobs"):
            result = await self._jobs.bulk_write(move_updates(moves), ordered=False)
        if result.matched_count == len(moves):
            return [Applied.APPLIED] * len(moves)
        with store_errors("reading moved jobs"):
            documents = await find_by_ids(self._jobs, [move.seen.id for move in moves], fields=("history",))
        found = {document["_id"]: document for document in documents}
        return [Applied.APPLIED if is_recorded(move, found.get(move.seen.id, {})) else Applied.STALE for move in moves]

    async def renew(self, ids: Sequence[UUID], *, boot: str, lease_s: float) -> dict[UUID, Lease]:
        ours = {"state": State.RUNNING.value, "owner.boot": boot}
        lease = [{"$set": {"wake": lease_from_now(lease_s)}}]
        with store_errors("renewing leases"):
            # A renewal that is rolled back only brings an early second attempt, which the attempt number fences.
            await self._renewed_jobs_quick.update_many({"_id": in_ids(ids), **ours}, lease)
            fields = ("attempt", "owner.nonce", "rev", "cancel_requested_at")
            documents = await find_by_ids(self._renewed_jobs, ids, ours, fields=fields)
        return {
            d["_id"]: Lease(d["_id"], d["attempt"], d["owner"]["nonce"], d["rev"], "cancel_requested_at" in d)
            for d in documents
        }

    async def report_progress(self, reports: Sequence[ProgressReport]) -> None:
        if not reports:
            return
        updates = [
            UpdateOne(
                {"_id": r.id, "state": State.RUNNING.value, "attempt": r.attempt, "owner.nonce": r.nonce},
                {"$set": {"progress": Binary(r.progress)}},
            )
            for r in reports
        ]
        with store_errors("writing progress"):
            await self._quick_jobs.bulk_write(updates, ordered=False)

    async def revisions(self, ids: Sequence[UUID]) -> dict[UUID, Revision]:
        with store_errors("reading revisions"):
            documents = await find_by_ids(self._jobs, ids, fields=("rev", "state"))
        return {d["_id"]: Revision(d["rev"], State(d["state"])) for d in documents}

    async def list_jobs(self, job_filter: JobFilter, *, page_size: int, before: UUID | None = None) -> JobPage:
        with store_errors("listing jobs"):
            return await list_jobs(self._jobs, job_filter, page_size=page_size, before=before)

    async def count_batch(self, batch: str, *, tenant: str = DEFAULT_TENANT) -> BatchCount | None:
        with store_errors("counting a batch"):
            # From one snapshot: a job that moves during the count would else be met twice, or never.
            groups = await self._snapshot_jobs.aggregate(batch_pipeline(tenant, batch)).to_list(None)
        if not groups:
            return None
        lasts = [g[name] for g in groups for name in ("last_accepted_at", "last_finished_at") if g[name] is not None]
        return BatchCount(
            states={State(group["_id"]): group["count"] for group in groups},
            first_at=min(group["first_at"] for group in groups),
            last_at=max(lasts),
        )

    async def look(self, scope: Scope, *, limit: int) -> list[JobUpdate] | None:
        with store_errors("looking at jobs"):
            # From one snapshot: a job that moves along the index during the look would else be met twice, or never.
            documents = await self._snapshot_jobs.find(scope_fields(scope), GLIMPSE).limit(limit + 1).to_list(None)
        return None if len(documents) > limit else [news_from_document(document) for document in documents]

    async def count(self, scope: Scope, *, at_most: int) -> dict[State, int]:
        counts: dict[State, int] = {}
        with store_errors("counting jobs"):
            for state, pipeline, options in counting_pipelines(scope, at_most):
                jobs = self._snapshot_jobs if state is None else self._jobs
                for group in await jobs.aggregate(pipeline, **options).to_list(None):
                    counts[State(group["_id"]) if state is None else state] = group["count"]
        return counts

    async def count_waiting(self, *, at_most: int) -> int:
        return sum((await self._count_waiting(at_most, by_tenant=False)).values())

    async def count_waiting_by_tenant(self, *, at_most: int) -> dict[str, int]:
        return await self._count_waiting(at_most, by_tenant=True)

    async def _count_waiting(self, at_most: int, *, by_tenant: bool) -> dict[str, int]:
        counts: dict[str, int] = {}
        # A long count is no sign of a server that does not answer.
        with store_errors("counting jobs that wait"), pymongo.timeout(COUNT_WITHIN_S):
            for state in sorted(UNOWNED):
                pipeline = waiting_pipeline(state, at_most, by_tenant=by_tenant)
                for group in await self._jobs.aggregate(pipeline, hint="live").to_list(None):
                    counts[group["_id"] or ""] = counts.get(group["_id"] or "", 0) + group["count"]
        return counts

    def changes(self) -> JobChanges:
        """A stream of changes on a connection of its own, without the bound in time that other calls have."""
        return MongoChanges(self._watching, self._database_name, self._jobs)

    def tokens(self) -> TokenStore:
        """The tokens of the same database."""
        return MongoTokens(self._database[schema.TOKENS])

    async def register_kinds(self, kinds: Sequence[KindRecord]) -> None:
        if not kinds:
            return
        updates = [UpdateOne({"_id": kind.name}, {"$set": kind_document(kind)}, upsert=True) for kind in kinds]
        with store_errors("registering kinds"):
            await self._kinds.bulk_write(updates, ordered=False)

    async def kinds(self) -> dict[str, KindRecord]:
        with store_errors("reading kinds"):
            documents = await self._kinds.find().to_list(None)
        return {document["_id"]: kind_from(document) for document in documents}

    async def refresh_worker(self, worker: WorkerRecord) -> bool:
        with store_errors("refreshing a worker"):
            document = await self._workers.find_one_and_update(
                {"_id": worker.boot},
                {"$set": worker_document(worker)},
                projection={"drain_requested": True},
                upsert=True,
                return_document=ReturnDocument.AFTER,
            )
        return bool(document.get("drain_requested", False))

    async def forget_worker(self, boot: str) -> None:
        with store_errors("forgetting a worker"):
            await self._workers.delete_one({"_id": boot})

    async def request_drain(self, boot: str) -> bool:
        with store_errors("asking a worker to drain"):
            done = await self._database[schema.WORKERS].update_one({"_id": boot}, {"$set": {"drain_requested": True}})
        return bool(done.matched_count)

    async def workers(self, *, seen_within_s: float) -> list[WorkerRecord]:
        fresh = {"$expr": {"$gte": ["$seen_at", {"$subtract": ["$$NOW", int(seen_within_s * 1000)]}]}}
        with store_errors("reading workers"):
            documents = await self._workers.find(fresh).sort("name", 1).to_list(None)
        return [worker_from(document) for document in documents]

    async def raise_watermark(self, lane: str, taken_at: datetime) -> None:
        with store_errors("raising a watermark"):
            await self._lanes.update_one({"_id": lane}, {"$max": {"taken_at": taken_at}}, upsert=True)

    async def watermarks(self) -> dict[str, datetime]:
        with store_errors("reading watermarks"):
            documents = await self._lanes.find().to_list(None)
        return {document["_id"]: document["taken_at"] for document in documents}

    async def server_time(self) -> datetime:
        with store_errors("asking for the time"):
            answer = await self._client.admin.command("hello")
        local: datetime = answer["localTime"]
        return local if local.tzinfo is not None else local.replace(tzinfo=UTC)

    async def database_id(self) -> str | None:
        with store_errors("reading the id of the database"):
            found = await self._meta.find_one({"_id": "database"})
        return str(found["id"]) if found else None

    async def check_schema(self) -> None:
        with store_errors("reading the schema version"):
            found = await self._meta.find_one({"_id": "schema"})
        version = found["version"] if found else None
        if version != schema.SCHEMA_VERSION:
            raise SchemaMismatch(
                f"the database has schema {version}, this version needs {schema.SCHEMA_VERSION}: run init"
            )

    async def ensure_schema(self) -> None:
        """Makes collections, indexes and the validator; writes the version last. Idempotent; run by `init`."""
        with store_errors("making the schema"):
            try:
                await self._database.create_collection(schema.JOBS)
            except CollectionInvalid:
                pass
            await self._database.command("collMod", schema.JOBS, validator=schema.JOB_VALIDATOR)
            # Others read and write meanwhile; the driver's own bound would end the wait, not the build.
            with pymongo.timeout(INDEXES_WITHIN_S):
                await self._jobs.create_indexes(schema.JOB_INDEXES)
            known = await self._jobs.index_information()
            for name in schema.FORMER_JOB_INDEXES & known.keys():
                await self._jobs.drop_index(name)
            await self._database[schema.WORKERS].create_indexes(schema.WORKER_INDEXES)
            await self._database[schema.TOKENS].create_indexes(schema.TOKEN_INDEXES)
            await self._meta.update_one({"_id": "database"}, {"$setOnInsert": {"id": str(uuid4())}}, upsert=True)
            await self._meta.update_one({"_id": "schema"}, {"$set": {"version": schema.SCHEMA_VERSION}}, upsert=True)
