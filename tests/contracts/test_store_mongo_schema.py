"""The schema on MongoDB: its validator, its version, and how indexes grow over stored jobs."""

from datetime import timedelta
from typing import Any

import pytest
from bson.binary import Binary
from pymongo.database import Database
from pymongo.errors import WriteError

from acked_common.model import lifecycle
from acked_common.model.ledger import JobLedger
from acked_common.model.lifecycle import Move, Reason, State
from acked_common.store.errors import SchemaMismatch, StoreError
from acked_common.store.mongo import schema
from acked_common.store.mongo.documents import Document, job_document
from acked_common.store.mongo.store import MongoStore
from acked_common.store.records import JobFilter
from contracts.test_store_success_cost import Sent
from support.factories import (
    RETENTION_S,
    insert,
    new_job,
    now,
    queued,
    running,
    succeeded,
)
from support.ledgers import opening
from support.listened_store import listened_store


@pytest.fixture
def mongo_database(fresh_database: str) -> str:
    """A database of its own for each test: they change the schema."""
    return fresh_database


@pytest.fixture
def store(mongo_store: MongoStore) -> MongoStore:
    """MongoDB alone: what is tested here has no counterpart in memory."""
    return mongo_store


def _changed(**fields: Any) -> Document:
    document = job_document(new_job())
    for name, value in fields.items():
        if value is None:
            del document[name]
        else:
            document[name] = value
    return document


NONSENSE = {
    "an unknown state": {"state": "done"},
    "no state": {"state": None},
    "live without a wake": {"wake": None},
    "live with an end": {"expire_at": now()},
    "ended with a wake": {"state": State.SUCCEEDED.value, "expire_at": now()},
    "ended without an end": {"state": State.SUCCEEDED.value, "wake": None},
    "ended with an owner": {"state": State.FAILED.value, "wake": None, "expire_at": now(), "owner": {"nonce": "x"}},
    "a wake that is no instant": {"wake": "soon"},
    "a payload that is text": {"payload": "{}"},
    "rev 0": {"rev": 0},
    "a falling attempt": {"attempt": -1},
    "a long history": {"history": [{}] * 50},
    "no kind": {"kind": None},
    "a key without a fingerprint": {"key": "k"},
    "a fingerprint without a key": {"key_fingerprint": Binary(b"f")},
    "a key that is no text": {"key": 7, "key_fingerprint": Binary(b"f")},
}


@pytest.mark.parametrize("fields", NONSENSE.values(), ids=NONSENSE.keys())
async def test_the_validator_refuses_nonsense(
    store: MongoStore, database: Database[dict[str, Any]], fields: Document
) -> None:
    with pytest.raises(WriteError) as refused:
        database[schema.JOBS].insert_one(_changed(**fields))
    assert refused.value.code == 121

    good = job_document(new_job())
    database[schema.JOBS].insert_one(good)
    with pytest.raises(WriteError) as refused:
        database[schema.JOBS].replace_one({"_id": good["_id"]}, {**_changed(**fields), "_id": good["_id"]})
    assert refused.value.code == 121


@pytest.mark.parametrize("changed", [{"a": -1}, {"c": 10_001}, {"in": [{}] * 1001}, {"e": []}, {"look_at": "soon"}])
async def test_the_validator_refuses_a_broken_ledger(
    store: MongoStore, database: Database[dict[str, Any]], changed: Document
) -> None:
    (made,) = await store.ledgers().open_ledgers([opening()], at=now())
    assert isinstance(made, JobLedger)
    with pytest.raises(WriteError) as refused:
        database[schema.LEDGERS].update_one({"_id": made.id}, {"$set": changed})
    assert refused.value.code == 121


async def test_a_validator_that_is_there_is_not_set_again(
    mongo_url: str, mongo_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The account of the version before may not change the validator of a collection that is new."""
    sent = Sent()
    async with listened_store(mongo_url, mongo_database, sent, monkeypatch) as store:
        await store.ensure_schema()
    assert [name for name, _ in sent.take() if name == "collMod"] == []


async def test_another_validator_is_replaced(store: MongoStore, database: Database[dict[str, Any]]) -> None:
    database.command("collMod", schema.LEDGERS, validator={})
    await store.ensure_schema()
    (found,) = database.list_collections(filter={"name": schema.LEDGERS})
    assert found["options"]["validator"] == schema.LEDGER_VALIDATOR


async def test_a_move_to_nonsense_is_an_error_and_leaves_the_job(store: MongoStore) -> None:
    job = await running(store)
    ends_live = lifecycle.Transition(
        Reason.COMPLETED, frozenset({State.RUNNING}), State.SUCCEEDED, now(), sets={"delete_at": now()}
    )

    with pytest.raises(StoreError, match="121"):
        await store.apply([Move(job.seen, ends_live)])

    assert await store.get(job.id) == job


async def test_another_versions_schema_is_refused(store: MongoStore, database: Database[dict[str, Any]]) -> None:
    database[schema.META].update_one({"_id": "schema"}, {"$inc": {"version": 1}})

    with pytest.raises(SchemaMismatch, match="run init"):
        await store.check_schema()


async def test_making_the_schema_twice_leaves_one_of_each_index(
    store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    before = database[schema.JOBS].index_information()

    await store.ensure_schema()

    assert database[schema.JOBS].index_information() == before
    assert set(before) == {"_id_", *(index.document["name"] for index in schema.JOB_INDEXES)}


async def test_a_schema_of_before_is_brought_up_to_date(store: MongoStore, database: Database[dict[str, Any]]) -> None:
    wanted = database[schema.JOBS].index_information()
    jobs = database[schema.JOBS]
    for name, keys in (("batch", ["batch", "state"]), ("kind", ["kind", "_id"]), ("tags", ["tags", "_id"])):
        jobs.create_index([(key, 1) for key in keys], name=name)
    jobs.create_index(
        [("state", 1), ("_id", -1)], name="failed_newest", partialFilterExpression={"state": State.FAILED}
    )
    jobs.drop_index("tenant_newest")
    database[schema.META].update_one({"_id": "schema"}, {"$set": {"version": 1}})
    with pytest.raises(SchemaMismatch, match="run init"):
        await store.check_schema()

    await store.ensure_schema()

    await store.check_schema()
    # Services of the version before still name their indexes; the next `init` finds none of them.
    assert set(jobs.index_information()) > set(wanted)
    await store.ensure_schema()
    assert jobs.index_information() == wanted


async def test_the_schema_grows_over_jobs_that_are_there(
    mongo_url: str, mongo_database: str, database: Database[dict[str, Any]]
) -> None:
    given = new_job()
    database[schema.JOBS].insert_one(job_document(given))
    store = MongoStore(mongo_url, mongo_database, app_name="contracts", timeout_s=10.0)

    await store.ensure_schema()

    assert await store.get(given.id) is not None
    with pytest.raises(WriteError):
        database[schema.JOBS].insert_one(_changed(wake=None))
    await store.close()


async def test_an_index_that_is_new_is_built_over_what_is_there(
    store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    jobs = database[schema.JOBS]
    jobs.drop_index("tenant_batch_state")
    jobs.create_index([("tenant", 1), ("batch", 1), ("state", 1)], name="tenant_batch")
    await insert(store, *(new_job(batch="old") for _ in range(20)))
    before = await store.count_batch("old")

    await store.ensure_schema()

    names = set(jobs.index_information())
    assert "tenant_batch_state" in names and "tenant_batch" not in names
    assert await store.count_batch("old") == before
    assert len((await store.list_jobs(JobFilter(batch="old"), page_size=100)).jobs) == 20


async def test_ended_jobs_leave_by_their_retention(store: MongoStore, database: Database[dict[str, Any]]) -> None:
    ended = await succeeded(store)
    document = database[schema.JOBS].find_one({"_id": ended.id})
    assert document is not None
    assert ended.finished_at is not None
    index = database[schema.JOBS].index_information()["retention"]

    assert document["expire_at"] == ended.finished_at + timedelta(seconds=RETENTION_S)
    assert (index["key"], index["expireAfterSeconds"]) == ([("expire_at", 1)], 0)
    # A live job has no such instant, so that retention can never take it.
    assert database[schema.JOBS].count_documents({"expire_at": {"$exists": True}}) == 1
    await queued(store)
    assert database[schema.JOBS].count_documents({"expire_at": {"$exists": True}}) == 1
