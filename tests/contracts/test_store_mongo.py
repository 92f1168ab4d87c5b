"""Properties of the store on MongoDB alone: inserts that no server takes, connections, replies, decoding."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from pymongo.database import Database

from acked_common.store.mongo import listing
from acked_common.store.mongo.documents import Document, job_from
from acked_common.store.mongo.store import MongoStore
from acked_common.store.records import Insertion, Job, JobFilter
from support.factories import (
    LEASE_S,
    count_queued,
    eventually,
    insert,
    new_job,
    now,
    owner,
)


@pytest.fixture
def store(mongo_store: MongoStore) -> MongoStore:
    """MongoDB alone: what is tested here has no counterpart in memory."""
    return mongo_store


async def test_what_no_server_takes_does_not_spoil_the_commit(store: MongoStore) -> None:
    good = [new_job() for _ in range(3)]
    too_large = new_job(payload=b"x" * (17 * 1024 * 1024))
    no_text, too_long = new_job(batch="\ud800"), new_job(max_attempts=2**70)

    outcome = await store.insert([good[0], too_large, good[1], no_text, too_long, good[2]])

    assert outcome == [Insertion.STORED, Insertion.NOT_STORED] * 2 + [Insertion.NOT_STORED, Insertion.STORED]
    assert await count_queued(store, 10) == 3
    assert await store.insert([no_text]) == [Insertion.NOT_STORED]


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
