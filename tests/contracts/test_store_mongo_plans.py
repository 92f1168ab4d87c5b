"""Which index serves each query of the store on MongoDB, and how much it examines."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pymongo.database import Database

from acked_common.model import lifecycle
from acked_common.model.lifecycle import LIVE as LIVE_STATES
from acked_common.model.lifecycle import Move, State
from acked_common.store import list_limits
from acked_common.store.list_limits import LIST_FIRST_SPAN
from acked_common.store.mongo import schema
from acked_common.store.mongo.documents import Document
from acked_common.store.mongo.store import MongoStore
from acked_common.store.records import JobFilter, JobPage, SweepPosition
from support.factories import (
    LEASE_S,
    RETENTION_S,
    ago,
    count_queued,
    failed,
    insert,
    key_of,
    new_job,
    now,
    owner,
    running,
    succeeded,
    topic,
)


@pytest.fixture
def store(mongo_store: MongoStore) -> MongoStore:
    """MongoDB alone: what is tested here has no counterpart in memory."""
    return mongo_store


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


LIVE = "IXSCAN { state: 1, wake: 1, _id: 1, kind: 1, queued_at: 1 }"
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
    # No sort, and no fetch of a document that is not returned: a backlog costs a page, not its length.
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


async def test_a_large_batch_is_counted_from_a_bounded_number_of_keys(
    store: MongoStore, profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_limits, "BATCH_COUNTED", 20)
    count = await store.count_batch("b3")
    assert count is not None and not count.is_exact and max(count.states.values()) <= 20

    operations = profile.stop()

    assert all(operation["planSummary"] == BATCH_INDEX for operation in operations if "planSummary" in operation)
    assert sum(operation["docsExamined"] for operation in operations) == 0
    assert all(operation["keysExamined"] <= 21 for operation in operations)
    assert not any(operation.get("hasSortStage") for operation in operations)


async def test_the_feed_counts_a_batch_from_a_bounded_number_of_keys(
    store: MongoStore, profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_limits, "BATCH_COUNTED", 20)
    found = await store.count(topic("batch", "b3"), at_most=7)
    assert (found.at_most, max(found.states.values())) == (20, 20)

    (counting,) = [operation for operation in profile.stop() if operation["op"] == "command"]

    assert counting["planSummary"] == BATCH_INDEX
    assert counting["docsExamined"] == 0
    assert found.looked_at <= counting["keysExamined"] <= found.looked_at + len(State), "one key ends each range"
    assert counting["keysExamined"] <= 22 * len(State)
    assert not counting.get("hasSortStage")


async def test_the_ends_of_a_batch_are_read_from_keys_alone(store: MongoStore, profile: Profile) -> None:
    ends = await store.batch_ends("b3")
    assert ends is not None

    operations = profile.stop()

    assert all(operation["planSummary"] == BATCH_INDEX for operation in operations if "planSummary" in operation)
    assert sum(operation["docsExamined"] for operation in operations) == 0
    assert not any(operation.get("hasSortStage") for operation in operations)


async def test_a_list_of_a_worker_reads_running_jobs_alone(store: MongoStore, profile: Profile) -> None:
    (job,) = (await store.list_jobs(JobFilter(state=State.RUNNING), page_size=1)).jobs
    assert job.owner is not None
    page = await store.list_jobs(JobFilter(worker=job.owner.worker), page_size=9)
    assert len(page.jobs) == 5
    *_, listing = profile.stop()

    assert listing["planSummary"] == LIVE
    assert (listing["keysExamined"], listing["docsExamined"]) == (5, 5)


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
