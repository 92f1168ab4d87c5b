"""What only the store on MongoDB promises: its validator, its indexes."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from bson.binary import Binary
from pymongo.database import Database
from pymongo.errors import WriteError

from acked_common.model import lifecycle
from acked_common.model.lifecycle import LIVE as LIVE_STATES
from acked_common.model.lifecycle import Move, Reason, State
from acked_common.store.errors import SchemaMismatch, StoreError
from acked_common.store.list_limits import LIST_FIRST_SPAN
from acked_common.store.mongo import listing, schema
from acked_common.store.mongo.documents import Document, job_document, job_from
from acked_common.store.mongo.store import MongoStore
from acked_common.store.records import Insertion, Job, JobFilter, JobPage, SweepPosition
from support.factories import (
    LEASE_S,
    RETENTION_S,
    ago,
    count_queued,
    eventually,
    failed,
    insert,
    key_of,
    new_job,
    now,
    owner,
    queued,
    running,
    succeeded,
)


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


async def test_a_move_to_nonsense_is_an_error_and_leaves_the_job(store: MongoStore) -> None:
    job = await running(store)
    ends_live = lifecycle.Transition(
        Reason.COMPLETED, frozenset({State.RUNNING}), State.SUCCEEDED, now(), sets={"delete_at": now()}
    )

    with pytest.raises(StoreError, match="121"):
        await store.apply([Move(job.seen, ends_live)])

    assert await store.get(job.id) == job


async def test_what_no_server_takes_does_not_spoil_the_commit(store: MongoStore) -> None:
    good = [new_job() for _ in range(3)]
    too_large = new_job(payload=b"x" * (17 * 1024 * 1024))
    no_text, too_long = new_job(batch="\ud800"), new_job(max_attempts=2**70)

    outcome = await store.insert([good[0], too_large, good[1], no_text, too_long, good[2]])

    assert outcome == [Insertion.STORED, Insertion.NOT_STORED] * 2 + [Insertion.NOT_STORED, Insertion.STORED]
    assert await count_queued(store, 10) == 3
    assert await store.insert([no_text]) == [Insertion.NOT_STORED]


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

    assert jobs.index_information() == wanted
    await store.check_schema()


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


class Profile:
    """What the server did, by its own profiler."""

    def __init__(self, database: Database[dict[str, Any]]) -> None:
        self._database = database

    def start(self) -> None:
        """Profiles all operations from now on."""
        self._database.command("profile", 2)

    def stop(self) -> list[Document]:
        """The operations on jobs since the start."""
        self._database.command("profile", 0)
        return list(self._database["system.profile"].find({"ns": f"{self._database.name}.{schema.JOBS}"}))


@pytest.fixture
async def profile(database: Database[dict[str, Any]], store: MongoStore) -> AsyncIterator[Profile]:
    profile = Profile(database)
    await _many_jobs(store)
    profile.start()
    yield profile


async def _many_jobs(store: MongoStore) -> None:
    """Enough of everything that a wrong plan shows."""
    await insert(store, *(new_job(at=ago(600 - n), batch=f"b{n % 10}", tags=(f"t{n % 10}",)) for n in range(500)))
    await insert(store, *(new_job(kind="other", delay_s=1000.0) for _ in range(200)))
    for _ in range(5):
        await running(store, claimed_at=ago(100))
        await failed(store)
        await succeeded(store)


def _plans(operations: list[Document]) -> list[str]:
    return [operation["planSummary"] for operation in operations]


LIVE = "IXSCAN { state: 1, wake: 1, _id: 1 }"
BY_ID = "IXSCAN { _id: 1 }"


async def test_looks_walk_the_live_index_in_order(store: MongoStore, profile: Profile) -> None:
    first = await store.live_jobs(State.QUEUED, limit=100)
    assert first[-1].next_check_at is not None
    await store.live_jobs(State.QUEUED, limit=100, after=SweepPosition(first[-1].next_check_at, first[-1].id))
    await store.live_jobs(State.RUNNING, limit=100)
    await store.live_jobs(State.SCHEDULED, limit=100)

    operations = profile.stop()

    assert _plans(operations) == [LIVE] * 4
    assert [operation["nreturned"] for operation in operations] == [100, 100, 5, 0]
    # Nothing is sorted, nothing is fetched that is not answered: a backlog costs a page, not itself.
    assert not any(operation.get("hasSortStage") for operation in operations)
    assert [operation["docsExamined"] for operation in operations] == [100, 101, 5, 0]
    assert all(operation["keysExamined"] <= operation["docsExamined"] + 2 for operation in operations)


async def test_a_count_over_all_jobs_looks_at_a_bounded_span_of_the_indexes(
    store: MongoStore, profile: Profile
) -> None:
    assert await count_queued(store, 200) == 200

    operations = profile.stop()

    assert len(operations) == len(LIVE_STATES) + 1
    assert set(_plans(operations)) == {LIVE, "IXSCAN { tenant: 1, state: 1, _id: -1 }"}
    assert all(operation["keysExamined"] <= 201 for operation in operations)


async def test_what_waits_is_counted_from_the_index_alone(store: MongoStore, profile: Profile) -> None:
    waiting = await store.count_waiting(at_most=1000)
    assert waiting > 200

    operations = profile.stop()

    assert set(_plans(operations)) == {LIVE}
    assert sum(operation["docsExamined"] for operation in operations) == 0
    assert sum(operation["keysExamined"] for operation in operations) <= waiting + 3


async def test_claims_and_moves_go_by_id(store: MongoStore, profile: Profile) -> None:
    jobs = await store.live_jobs(State.QUEUED, limit=32)
    taken = await store.claim(
        [job.id for job in jobs], kinds=["demo", "other"], owner=owner(), lease_s=LEASE_S, at=ago(500)
    )
    assert len(taken) == 32
    # One instant: what ends at another one does not end alike.
    at = now()
    ends = [Move(job.seen, lifecycle.succeed(at=at, result=b"1", retention_s=RETENTION_S)) for job in taken]
    other = lifecycle.succeed(at=at, result=b"2", retention_s=RETENTION_S)
    await store.apply([*ends[:15], Move(taken[15].seen, other)])
    await store.renew([job.id for job in taken], boot="boot-1", lease_s=LEASE_S)

    operations = [operation for operation in profile.stop() if operation["planSummary"] != LIVE]

    assert set(_plans(operations)) == {BY_ID}
    updates = [operation for operation in operations if operation["op"] == "update"]
    assert [update["docsExamined"] for update in updates] == [32, 15, 1, 32], "what moves alike is one write"


async def test_the_holder_of_a_key_is_found_by_its_index(store: MongoStore, profile: Profile) -> None:
    await insert(store, *(new_job(key=key_of(f"k{n}")) for n in range(50)))
    assert await store.key_holder("default", "k7") is not None

    *_, reading = profile.stop()

    assert reading["planSummary"] == "IXSCAN { tenant: 1, key: 1 }"
    assert reading["docsExamined"] == 1


BATCH_INDEX = "IXSCAN { tenant: 1, batch: 1, state: 1, _id: -1, accepted_at: 1, finished_at: 1 }"


async def test_a_batch_is_counted_from_keys_alone(store: MongoStore, profile: Profile) -> None:
    count = await store.count_batch("b3")
    assert count is not None

    (counting,) = profile.stop()

    assert counting["planSummary"] == BATCH_INDEX
    assert (counting["docsExamined"], counting["keysExamined"]) == (0, 50)


async def test_a_list_of_a_batch_looks_at_what_it_shows(store: MongoStore, profile: Profile) -> None:
    page = await store.list_jobs(JobFilter(batch="b3"), page_size=4)
    assert len(page.jobs) == 4
    assert await store.list_jobs(JobFilter(batch="b3", state=State.CANCELLED), page_size=4) == JobPage([], None)
    in_state = await store.list_jobs(JobFilter(batch="b3", state=State.QUEUED), page_size=4)
    assert len(in_state.jobs) == 4

    operations = [operation for operation in profile.stop() if operation["op"] == "query"]

    for operation in operations:
        assert set(operation["planSummary"].split(", ")) == {*BATCH_INDEX.split(", ")}
        assert not operation.get("hasSortStage")
    assert [operation["docsExamined"] for operation in operations] == [5, 0, 5]
    # One key of each state to merge them.
    assert all(operation["keysExamined"] <= 5 + 2 * len(State) for operation in operations)


async def test_a_list_with_two_filters_looks_at_growing_spans(store: MongoStore, profile: Profile) -> None:
    page = await store.list_jobs(JobFilter(kind="demo", tag="t1"), page_size=2)
    assert len(page.jobs) == 2
    absent = await store.list_jobs(JobFilter(kind="absent", tag="t1"), page_size=2)
    assert absent == JobPage([], None)

    operations = profile.stop()

    floors = [operation for operation in operations if operation["command"].get("projection") == {"_id": 1}]
    assert floors and all(operation["docsExamined"] == 0 for operation in floors), "a span is found from keys alone"
    assert sum(operation["docsExamined"] for operation in operations) <= 2 * LIST_FIRST_SPAN


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


@pytest.mark.parametrize(
    ("wanted", "plan"),
    [
        (JobFilter(), "IXSCAN { tenant: 1, _id: -1 }"),
        (JobFilter(kind="other"), "IXSCAN { tenant: 1, kind: 1, _id: -1 }"),
        (JobFilter(tag="t1"), "IXSCAN { tenant: 1, tags: 1, _id: -1 }"),
        (JobFilter(state=State.FAILED), "IXSCAN { tenant: 1, state: 1, _id: -1 }"),
    ],
)
async def test_a_list_with_one_filter_walks_one_index(
    store: MongoStore, profile: Profile, wanted: JobFilter, plan: str
) -> None:
    page = await store.list_jobs(wanted, page_size=4)
    assert len(page.jobs) == 4

    (operation,) = profile.stop()

    assert operation["planSummary"] == plan
    assert operation["docsExamined"] == 5
    assert not operation.get("hasSortStage")


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


async def test_a_store_is_made_without_a_server() -> None:
    store = MongoStore("mongodb://127.0.0.1:1", "nowhere", app_name="contracts", timeout_s=0.1)
    await store.close()


async def test_connections_that_a_burst_made_go_when_they_are_idle(
    mongo_url: str, mongo_database: str, database: Database[dict[str, Any]]
) -> None:
    name = f"burst-{mongo_database}"
    store = MongoStore(mongo_url, mongo_database, app_name=name, timeout_s=10.0, idle_connection_s=1.0)

    async def count_connections() -> int:
        pipeline: list[Document] = [
            {"$currentOp": {"allUsers": True, "idleConnections": True}},
            {"$match": {"appName": name}},
        ]
        return len(await asyncio.to_thread(lambda: list(database.client.admin.aggregate(pipeline))))

    try:
        await store.server_time()
        at_first = await count_connections()

        async def has_grown() -> bool:
            await asyncio.gather(*(store.server_time() for _ in range(200)))
            return await count_connections() > at_first + 10

        async def is_small_again() -> bool:
            # One that works, as always in a service, keeps one connection busy and no more.
            await store.server_time()
            return await count_connections() <= at_first + 2

        await eventually(has_grown)
        await eventually(is_small_again)
    finally:
        await store.close()


async def test_claims_renewals_and_looks_at_many_jobs_take_one_answer_each(
    store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    def further_answers() -> int:
        found: int = database.command("serverStatus")["metrics"]["commands"]["getMore"]["total"]
        return found

    ids = [job.id for job in await insert(store, *(new_job() for _ in range(250)))]
    before = further_answers()
    claimed = await store.claim(ids, kinds=["demo"], owner=owner(boot="b"), lease_s=LEASE_S, at=now())
    assert {job.id for job in claimed} == set(ids)
    assert (await store.renew(ids, boot="b", lease_s=LEASE_S)).keys() == set(ids)
    assert (await store.get_many(ids)).keys() == (await store.revisions(ids)).keys() == set(ids)
    assert further_answers() == before


async def test_other_tasks_run_while_a_page_is_decoded(store: MongoStore, monkeypatch: pytest.MonkeyPatch) -> None:
    turn = 0
    by_turn: Counter[int] = Counter()

    async def others() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    def noting(document: Document) -> Job:
        by_turn[turn] += 1
        return job_from(document)

    monkeypatch.setattr(listing, "job_from", noting)
    monkeypatch.setattr(listing, "_SLICE_BYTES", 4 * 1024, raising=False)
    await insert(store, *(new_job() for _ in range(80)))
    task = asyncio.create_task(others())
    page = await store.list_jobs(JobFilter(), page_size=100)
    task.cancel()
    assert len(page.jobs) == 80
    assert max(by_turn.values()) < 20
