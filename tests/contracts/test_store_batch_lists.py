"""Lists of batches: newest first, each once, and no dearer than the number of batches; counts of large ones."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from pymongo.database import Database

from acked_common.model import lifecycle
from acked_common.model.ids import id_at
from acked_common.model.lifecycle import State
from acked_common.store import list_limits
from acked_common.store.mongo import schema
from acked_common.store.mongo.store import MongoStore
from acked_common.store.records import BatchCount, BatchPage, BatchSummary, NewJob
from support.factories import (
    ERROR,
    RETENTION_S,
    ago,
    failed,
    insert,
    moved,
    new_job,
    now,
    queued,
    running,
    succeeded,
)
from support.profile import Profile
from support.seeding import Seed, seed
from support.whole_store import JobStore

TENANT = "default"
KEYS_OF_A_PAGE = 10_000


def accepted(seconds_ago: float, **fields: Any) -> NewJob:
    """A job that was accepted so long ago; its id is of that instant."""
    at = ago(seconds_ago)
    return new_job(id=id_at(at), at=at, **fields)


async def all_of(store: JobStore, page_size: int) -> list[BatchSummary]:
    """Every page of the list, one after the other."""
    found: list[BatchSummary] = []
    before: UUID | None = None
    while True:
        page = await store.list_batches(TENANT, page_size=page_size, before=before)
        assert len(page.batches) <= page_size
        found += page.batches
        if page.next_before is None:
            return found
        assert before is None or page.next_before < before
        before = page.next_before


async def test_no_batches(store: JobStore) -> None:
    await insert(store, new_job())
    assert await store.list_batches(TENANT, page_size=3) == BatchPage([], None)


async def test_batches_are_listed_by_their_newest_job(store: JobStore) -> None:
    ages = {"a": (100, 1), "b": (50, 40), "c": (3,), "d": (99, 98, 97), "e": (2,)}
    for name, seconds in ages.items():
        await insert(store, *(accepted(one, batch=name) for one in seconds))
    await insert(store, accepted(0), accepted(0, batch="theirs", tenant="acme"))

    pages = [[one.name for one in await all_of(store, size)] for size in (1, 2, 5, 50)]

    assert pages == [["a", "e", "c", "b", "d"]] * 4
    assert [one.name for one in (await store.list_batches("acme", page_size=5)).batches] == ["theirs"]


async def test_jobs_in_any_state_count(store: JobStore) -> None:
    job = await running(store, batch="b")
    await moved(store, job, lifecycle.fail(at=now(), error=ERROR, exhausted=True, retention_s=RETENTION_S))
    newest = await running(store, batch="b")
    await insert(store, accepted(10, batch="b"), accepted(9, batch="b"))

    (listed,) = (await store.list_batches(TENANT, page_size=5)).batches

    states = {State.FAILED: 1, State.QUEUED: 2, State.RUNNING: 1}
    assert listed == BatchSummary("b", newest.id, states, is_exact=True)


async def test_a_large_batch_is_counted_in_part(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_limits, "BATCH_JOBS_COUNTED", 3)
    for name, count in {"two": 2, "four": 4}.items():
        await insert(store, *(new_job(batch=name) for _ in range(count)))

    listed = {one.name: one for one in (await store.list_batches(TENANT, page_size=5)).batches}

    assert (listed["two"].states, listed["two"].is_exact) == ({State.QUEUED: 2}, True)
    assert (listed["four"].states, listed["four"].is_exact) == ({State.QUEUED: 3}, False)


async def test_without_time_the_newest_jobs_give_the_same_list(
    mongo_store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await insert(mongo_store, *(accepted(100 - n, batch=f"b{n % 7}") for n in range(60)), accepted(1))
    whole = await all_of(mongo_store, 3)
    assert len(whole) == 7
    monkeypatch.setattr(list_limits, "BATCHES_WITHIN_S", 1e-9)
    assert await all_of(mongo_store, 3) == whole
    # A page that looks at fewer jobs than it would need goes on with the next ones.
    monkeypatch.setattr(list_limits, "LIST_SCAN_LIMIT", 2)
    assert await all_of(mongo_store, 3) == whole
    monkeypatch.setattr(list_limits, "BATCHES_LOOKED_AT", 1)
    assert await all_of(mongo_store, 3) == whole


async def test_a_page_examines_keys_alone_and_few_for_each_batch(
    mongo_store: MongoStore, database: Database[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # By its bound, and not by how quick this machine is.
    monkeypatch.setattr(list_limits, "BATCHES_WITHIN_S", 60.0)
    batches, jobs = 100, 20_000
    apart = timedelta(seconds=1)
    inserted = seed(
        database,
        Seed(jobs, State.SUCCEEDED, now(), apart, lambda n: {"batch": f"b{n % batches}"}),
        Seed(jobs // 10, State.FAILED, now(), apart, lambda n: {"batch": f"b{n % batches}"}, first_number=jobs),
    )
    assert inserted == jobs + jobs // 10
    profile = Profile(database, schema.JOBS)
    profile.start()
    page = await mongo_store.list_batches(TENANT, page_size=20)
    operations = profile.stop()
    assert len(page.batches) == 20
    assert {one.states[State.FAILED] for one in page.batches} == {20}
    assert sum(operation.get("docsExamined", 0) for operation in operations) == 0
    keys = sum(operation.get("keysExamined", 0) for operation in operations)
    # Some for each batch and state, and each job of the 20 batches that are shown.
    assert keys <= batches * len(State) * 3 + 20 * 220 < KEYS_OF_A_PAGE, keys


async def test_a_large_batch_is_counted_up_to_a_bound_in_each_state(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_limits, "BATCH_COUNTED", 4)
    start = ago(1000)
    jobs = [new_job(id=id_at(at), batch="b", at=at) for at in (start + timedelta(seconds=n) for n in range(4))]
    await insert(store, *jobs)
    exact = await store.count_batch("b")
    assert exact == BatchCount({State.QUEUED: 4}, start, start + timedelta(seconds=3))
    ended = [await succeeded(store, batch="b"), await failed(store, batch="b")]
    assert await store.count_batch("b") == BatchCount(
        states={State.QUEUED: 4, State.SUCCEEDED: 1, State.FAILED: 1},
        first_at=start,
        last_at=max(job.finished_at for job in ended if job.finished_at),
        is_exact=False,
    )
    for _ in range(5):
        last = await queued(store, batch="b")
    await queued(store, batch="other")

    found = await store.count_batch("b")

    assert found is not None
    assert (found.states, found.is_exact) == ({State.QUEUED: 4, State.SUCCEEDED: 1, State.FAILED: 1}, False)
    assert found.first_at == start, "of the oldest, although it is not counted"
    assert found.last_at >= last.accepted_at
    assert await store.count_batch("b", tenant="acme") is None
