"""Ended jobs are deleted when their retention is over, live ones never, not even where a person retries meanwhile."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from pymongo.database import Database

from acked_common.model import interventions, lifecycle
from acked_common.model.lifecycle import Move, Reason, State
from acked_common.store.errors import StoreError
from acked_common.store.mongo import schema
from acked_common.store.mongo.store import MongoStore
from acked_common.store.records import Applied, Job
from support.factories import ERROR, EXPIRES_IN_S, GRACE_S, RETENTION_S, eventually, insert, new_job, now, owner
from support.servers import Servers

JOBS = 2000
AT_ONCE = 20


@pytest.fixture
def store(mongo_store: MongoStore) -> MongoStore:
    """MongoDB alone: what is tested here has no counterpart in memory."""
    return mongo_store


@pytest.fixture
def quick_deletion(servers: Servers) -> Iterator[None]:
    """The server looks for what is over each second, where it looks each minute."""
    before = servers.mongo().admin.command({"setParameter": 1, "ttlMonitorSleepSecs": 1})["was"]
    yield
    servers.mongo().admin.command({"setParameter": 1, "ttlMonitorSleepSecs": before})


@pytest.mark.usefixtures("quick_deletion")
async def test_a_retry_of_a_job_that_is_about_to_be_deleted_keeps_it_or_finds_nothing(
    store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    jobs = await insert(store, *(new_job() for _ in range(JOBS)))
    claimed = await store.claim([job.id for job in jobs], kinds=["demo"], owner=owner(), lease_s=60.0, at=now())
    end = lifecycle.fail(at=now(), error=ERROR, retention_s=RETENTION_S, exhausted=False)
    assert set(await store.apply([Move(job.seen, end) for job in claimed])) == {Applied.APPLIED}
    failed = list((await store.get_many([job.id for job in claimed])).values())
    kept: set[UUID] = set()

    def end_retention() -> None:
        over = {"$set": {"expire_at": now() + timedelta(seconds=0.5)}}
        database[schema.JOBS].update_many({"state": State.FAILED}, over)

    async def retry(mine: Sequence[Job]) -> None:
        for job in mine:
            again = interventions.retry(at=now(), grace_s=GRACE_S, expires_in_s=EXPIRES_IN_S)
            (applied,) = await store.apply([Move(job.seen, again)])
            if applied is Applied.APPLIED:
                kept.add(job.id)

    async def are_gone() -> bool:
        return database[schema.JOBS].count_documents({"expire_at": {"$exists": True}}) == 0

    # All of them are over within the same second, in which the server looks and people retry: some before, some while,
    # some after the server deletes.
    retrying = (retry(failed[start::AT_ONCE]) for start in range(AT_ONCE))
    await asyncio.gather(asyncio.to_thread(end_retention), *retrying)
    await eventually(are_gone, within_s=20.0)

    left = {document["_id"]: document for document in database[schema.JOBS].find()}
    assert set(left) == kept
    assert len(kept) > 0
    assert {document["state"] for document in left.values()} == {State.QUEUED.value}


async def test_no_live_job_can_get_an_end_of_its_retention(
    store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    (job,) = await insert(store, new_job())
    keeps_it = lifecycle.Transition(
        Reason.DRAINED,
        frozenset({State.QUEUED}),
        State.QUEUED,
        now(),
        sets={"delete_at": now()},
    )
    with pytest.raises(StoreError, match="121"):
        await store.apply([Move(job.seen, keeps_it)])
    assert database[schema.JOBS].count_documents({"expire_at": {"$exists": True}}) == 0
