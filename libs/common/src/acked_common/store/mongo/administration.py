"""MongoDB's clock, and the schema, which `init` creates and every service checks."""

from datetime import UTC, datetime
from uuid import uuid4

import pymongo
from pymongo.errors import CollectionInvalid

from acked_common.store.errors import SchemaMismatch
from acked_common.store.mongo import schema
from acked_common.store.mongo.connections import Verbs
from acked_common.store.mongo.documents import Document
from acked_common.store.mongo.driver import Database
from acked_common.store.mongo.errors import store_errors

INDEXES_WITHIN_S = 3600.0
"""The time limit for building an index over existing jobs."""


class AdministrationVerbs(Verbs):
    """`HealthStore` and `IdentityStore`, and the work of `init`."""

    async def server_time(self) -> datetime:
        with store_errors("asking for the time"):
            reply = await self._connections.admin.command("hello")
        local: datetime = reply["localTime"]
        return local if local.tzinfo is not None else local.replace(tzinfo=UTC)

    async def database_id(self) -> str | None:
        with store_errors("reading the id of the database"):
            found = await self._connections.meta.find_one({"_id": "database"})
        return str(found["id"]) if found else None

    async def check_schema(self) -> None:
        with store_errors("reading the schema version"):
            found = await self._connections.meta.find_one({"_id": "schema"})
        version = found["version"] if found else None
        if version != schema.SCHEMA_VERSION:
            raise SchemaMismatch(
                f"the database has schema {version}, this version needs {schema.SCHEMA_VERSION}: run init"
            )

    async def ensure_schema(self) -> None:
        """Create collections, indexes and the validator, then write the version. Idempotent; run by `init`."""
        database, jobs = self._connections.database, self._connections.jobs
        with store_errors("making the schema"):
            await _validate(database, schema.JOBS, schema.JOB_VALIDATOR)
            await _validate(database, schema.LEDGERS, schema.LEDGER_VALIDATOR)
            # Other clients read and write meanwhile. The driver's own timeout would end the wait, but not the build.
            with pymongo.timeout(INDEXES_WITHIN_S):
                await jobs.create_indexes(schema.JOB_INDEXES)
            before = await self._connections.meta.find_one({"_id": "schema"})
            if before is None or before["version"] >= schema.SCHEMA_VERSION:
                known = await jobs.index_information()
                for name in schema.FORMER_JOB_INDEXES & known.keys():
                    await jobs.drop_index(name)
            await self._connections.workers.create_indexes(schema.WORKER_INDEXES)
            await self._connections.tokens.create_indexes(schema.TOKEN_INDEXES)
            await self._connections.audit.create_indexes(schema.AUDIT_INDEXES)
            await self._connections.census.create_indexes(schema.CENSUS_INDEXES)
            await self._connections.error_groups.create_indexes(schema.ERROR_GROUP_INDEXES)
            await self._connections.bulk_actions.create_indexes(schema.BULK_ACTION_INDEXES)
            await self._connections.load_tests.create_indexes(schema.LOAD_TEST_INDEXES)
            await self._connections.ledgers.create_indexes(schema.LEDGER_INDEXES)
            await self._connections.ledger_parts.create_indexes(schema.LEDGER_PART_INDEXES)
            await self._connections.schedules.create_indexes(schema.SCHEDULE_INDEXES)
            await self._connections.minutes.create_indexes(schema.MINUTE_INDEXES)
            await self._connections.meta.update_one(
                {"_id": "database"}, {"$setOnInsert": {"id": str(uuid4())}}, upsert=True
            )
            await self._connections.meta.update_one(
                {"_id": "schema"}, {"$set": {"version": schema.SCHEMA_VERSION}}, upsert=True
            )


async def _validate(database: Database, name: str, validator: Document) -> None:
    """Create a collection with its validator, or give it another one. Nothing is sent for a validator that is there:
    accounts of an earlier version may not change that of a new collection."""
    try:
        await database.create_collection(name, validator=validator)
        return
    except CollectionInvalid:
        pass
    (found,) = await (await database.list_collections(filter={"name": name})).to_list(None)
    if found.get("options", {}).get("validator") != validator:
        await database.command("collMod", name, validator=validator)
