"""What bulk actions cost MongoDB: a bounded number of keys and documents a call, whatever else is stored."""

import time
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from pymongo.database import Database

from acked_common.background.job_writer import JobWriter
from acked_common.model.bulk_actions import (
    COUNTED_UP_TO,
    BulkPlan,
    BulkState,
    BulkVerb,
    JobChoice,
)
from acked_common.model.lifecycle import LIVE, State
from acked_common.runtime.clock import SharedClock
from acked_common.store.bulk_actions import Added, ChosenCount
from acked_common.store.mongo import bulk_choice, schema
from acked_common.store.mongo.store import MongoStore
from acked_gateway.bulk.pages import Pages
from acked_gateway.bulk.runner import BulkRunner
from acked_gateway.jobs.acts import Acts
from support.bulk import BY, chosen, ordered
from support.factories import eventually, now, queued
from support.parts import common_settings, running_tasks
from support.profile import Profile
from support.seeding import Seed, error_of, seed

LAST = UUID(int=2**128 - 1)
GROUPS, FAILED, ENDED = 40, 100_000, 200_000
OF_A_GROUP = FAILED // GROUPS
TENANT = "acme"


@pytest.fixture
def mongo_database(fresh_database: str) -> str:
    """A database of its own for each test: to drop very many jobs takes less time than to delete them."""
    return fresh_database


@pytest.fixture
def store(mongo_store: MongoStore) -> MongoStore:
    return mongo_store


def work(profile: Profile) -> list[tuple[int, int]]:
    """Keys and documents that each operation looked at; none of them scanned a collection or sorted."""
    operations = profile.stop()
    for one in operations:
        assert "COLLSCAN" not in one.get("planSummary", ""), one
        assert not one.get("hasSortStage"), one
    return [(one.get("keysExamined", 0), one.get("docsExamined", 0)) for one in operations]


def populate(database: Database[dict[str, Any]], failed: int, ended: int) -> None:
    """Failed jobs of many groups among others that succeeded, of two kinds and batches."""
    end, apart = now() - timedelta(minutes=1), timedelta(milliseconds=10)
    own = lambda n: {"kind": f"k{n % 2}", "batch": f"b{n % 2}", "tags": [f"t{n % 4}"]}  # noqa: E731 - one line a seed
    seed(
        database,
        Seed(failed, State.FAILED, end, apart, lambda n: {**own(n), "error": error_of(f"1{n % GROUPS:02}", n)}, TENANT),
        Seed(ended, State.SUCCEEDED, end, apart, own, TENANT, failed),
        Seed(failed // 10, State.FAILED, end, apart, lambda n: {"error": error_of("100", n)}, "globex", failed + ended),
    )


CHOICES: dict[str, tuple[JobChoice, int, int]] = {
    # Keys and documents of a page of 100.
    "a group": (chosen(tenant=TENANT, error_group="107"), 101, 100),
    "failed ones": (chosen(tenant=TENANT), 101, 100),
    "a batch": (chosen(tenant=TENANT, batch="b1"), 101, 100),
    "a batch in several states": (chosen(State.FAILED, State.SUCCEEDED, tenant=TENANT, batch="b1"), 110, 100),
    "a group of a kind": (chosen(tenant=TENANT, error_group="107", kind="k1"), bulk_choice.SPAN + 102, 200),
    "a tag": (chosen(tenant=TENANT, tag="t1"), 2 * bulk_choice.SPAN + 2, bulk_choice.SPAN),
    "a kind": (chosen(*LIVE, tenant=TENANT, kind="k1"), 2 * bulk_choice.SPAN + 2, bulk_choice.SPAN),
    "a state without an index": (chosen(State.SCHEDULED, tenant=TENANT), 2 * bulk_choice.SPAN + 2, bulk_choice.SPAN),
}


async def test_a_page_looks_at_a_bounded_number_of_jobs(store: MongoStore, database: Database[dict[str, Any]]) -> None:
    populate(database, 8000, 8000)
    profile = Profile(database, schema.JOBS)
    for name, (choice, keys, documents) in CHOICES.items():
        profile.start()
        await store.choices().jobs_in(choice, up_to=LAST, after=None, limit=100)
        looked = work(profile)
        assert sum(one for one, _ in looked) <= keys, (name, looked)
        assert sum(one for _, one in looked) <= documents, (name, looked)
    profile.start()
    await store.choices().newest_id(TENANT)
    assert work(profile) == [(1, 0)]


async def test_a_count_that_takes_too_long_says_so(store: MongoStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_choice, "COUNT_STEP", 2)
    for _ in range(5):
        await queued(store)
    found = await store.choices().count(chosen(State.QUEUED), up_to=LAST, at_most=100, within_s=-1.0)
    assert (found.count, found.is_exact) == (2, False)


async def test_one_group_of_a_hundred_thousand_failed_jobs_is_retried(
    store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    populate(database, FAILED, ENDED)
    choices, actions, clock = store.choices(), store.bulk_actions(), SharedClock()
    profile = Profile(database, schema.JOBS, schema.BULK_ACTIONS)
    choice = chosen(tenant=TENANT, error_group="107")

    profile.start()
    began = time.monotonic()
    up_to = await choices.newest_id(TENANT)
    assert up_to is not None
    counted = await choices.count(choice, up_to=up_to, at_most=COUNTED_UP_TO, within_s=9.0)
    assert counted == ChosenCount(OF_A_GROUP, is_exact=True)
    print(f"the group was counted in {time.monotonic() - began:.3f} s")  # noqa: T201 - a figure
    looked = work(profile)
    assert sum(keys for keys, _ in looked) <= OF_A_GROUP + 3
    assert sum(documents for _, documents in looked) == 0, "from the keys alone"

    profile.start()
    all_failed = await choices.count(chosen(tenant=TENANT), up_to=up_to, at_most=COUNTED_UP_TO, within_s=30.0)
    assert all_failed.count == FAILED
    assert sum(documents for _, documents in work(profile)) == 0

    action = ordered(BulkPlan(clock.now(), up_to, counted.count), BulkVerb.RETRY, choice=choice)
    assert await actions.add(action, ()) is Added.ADDED
    writer = JobWriter(store, lambda jobs: None)
    pages = Pages(choices, writer, clock, Acts(common_settings().times), lambda *_: None)
    runner = BulkRunner(actions, pages, clock, owner="one")
    profile.start()
    began = time.monotonic()
    async with running_tasks() as tasks:
        runner.start(tasks)

        async def is_over() -> bool:
            found = await actions.get(action.id, tenant=TENANT)
            return found is not None and found.ended_at is not None

        await eventually(is_over, within_s=120.0)
        print(f"{OF_A_GROUP:,} jobs were retried in {time.monotonic() - began:.1f} s")  # noqa: T201 - a figure
        await runner.stop()
    looked = work(profile)
    assert max(keys for keys, _ in looked) <= 400
    found = await actions.get(action.id, tenant=TENANT)
    assert found is not None
    assert (found.state, found.tally.done, found.tally.refused) == (BulkState.DONE, OF_A_GROUP, {})
    states = {"state": State.QUEUED.value, "run": 2, "history.by.client": BY.client}
    assert database[schema.JOBS].count_documents(states) == OF_A_GROUP
    assert database[schema.JOBS].count_documents({"run": 2}) == OF_A_GROUP
