"""What is stored of a job, byte for byte: a name or a type that changes would lose the jobs of the version before."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions
from bson.json_util import CANONICAL_JSON_OPTIONS, dumps, loads
from msgspec.structs import replace
from pymongo.database import Database

from acked_common.model import lifecycle, lifecycle_waits
from acked_common.model.lifecycle import Move, Owner
from acked_common.model.lifecycle_waits import Waits
from acked_common.store.mongo import schema
from acked_common.store.mongo.store import MongoStore
from acked_common.store.records import Applied, IdempotencyKey
from support.factories import ERROR, insert, new_job

GOLDEN = Path(__file__).with_name("golden_documents.jsonl")
OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True, uuid_representation=UuidRepresentation.STANDARD)
JSON = CANONICAL_JSON_OPTIONS.with_options(uuid_representation=UuidRepresentation.STANDARD, tz_aware=True)
AT = datetime(2100, 1, 2, 3, 4, 5, 678000, UTC)
"""Far enough that retention takes nothing while the test runs."""
OF_THE_SERVER = datetime(2000, 1, 1, tzinfo=UTC)
"""Stands for an instant of the server's clock."""


def later(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


async def lives(store: MongoStore) -> list[UUID]:
    """One job in each of six states, with all that a request may ask for."""
    asked = {"batch": "b", "tags": ("x", "y"), "max_attempts": 3, "timeout_s": 1.5, "tenant": "acme"}
    key = IdempotencyKey("k", hashlib.sha256(b"asked").digest())
    given = [
        new_job(id=UUID(int=1), payload=b'{"n":1}', at=AT, expires_in_s=60.0, key=key, **asked),
        new_job(id=UUID(int=2), at=AT, delay_s=5.0),
        new_job(id=UUID(int=3), at=AT, **asked),
        new_job(id=UUID(int=4), at=AT),
        new_job(id=UUID(int=5), at=AT),
        new_job(id=UUID(int=6), at=AT),
    ]
    ids = [job.id for job in await insert(store, *given)]
    by = Owner("worker-1", "boot-1", "nonce-1")
    claimed = await store.claim(ids[2:], kinds=["demo"], owner=by, lease_s=30.0, at=later(1))
    assert {job.id for job in claimed} == set(ids[2:])
    seen = {job.id: job.seen for job in claimed}
    moves = [
        Move(seen[ids[3]], lifecycle.fail(at=later(2), error=ERROR, retention_s=60.0, exhausted=True)),
        Move(seen[ids[4]], lifecycle.succeed(at=later(2), result=b'{"ok":true}', retention_s=60.0)),
        Move(seen[ids[5]], lifecycle_waits.park(at=later(2), waits=Waits("first", "payment", later(9), ("paid",)))),
    ]
    assert await store.apply(moves) == [Applied.APPLIED] * 3
    return ids


async def test_documents_are_stored_as_the_version_before_had_them(
    mongo_store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    ids = await lives(mongo_store)
    jobs = database[schema.JOBS].with_options(codec_options=OPTIONS)
    found = [jobs.find_one({"_id": job_id}) for job_id in ids]
    assert found[2] is not None
    found[2]["wake"] = OF_THE_SERVER

    stored = [dumps(document, json_options=JSON) for document in found]

    assert stored == GOLDEN.read_text().splitlines()


async def test_documents_of_the_version_before_are_read(
    mongo_store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    ids = await lives(mongo_store)
    jobs = await mongo_store.get_many(ids)
    lines = GOLDEN.read_text().splitlines()
    database[schema.JOBS].delete_many({})
    database[schema.JOBS].insert_many([loads(line, json_options=JSON) for line in lines])

    jobs[ids[2]] = replace(jobs[ids[2]], next_check_at=OF_THE_SERVER)
    assert await mongo_store.get_many(ids) == jobs
