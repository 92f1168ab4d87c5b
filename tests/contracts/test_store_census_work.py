"""The cost of a census and of a read of attention on MongoDB: keys of two indexes, up to the bounds."""

from datetime import timedelta
from typing import Any

import pytest
from pymongo.database import Database

from acked_common.model.attempts import UNGROUPED
from acked_common.model.lifecycle import State
from acked_common.store import census
from acked_common.store.census import GroupCount
from acked_common.store.mongo import census_pipelines as pipelines
from acked_common.store.mongo import schema
from acked_common.store.mongo.documents import Document
from acked_common.store.mongo.store import MongoStore
from support.factories import insert, new_job, now, running
from support.profile import Profile
from support.seeding import Seed, error_of, seed

LIVE_PLAN = "IXSCAN { state: 1, wake: 1, _id: 1, kind: 1, queued_at: 1 }"
FINISHED_KEYS = "{ tenant: 1, state: 1, error.group: 1, finished_at: -1, _id: -1 }"


@pytest.fixture
def store(mongo_store: MongoStore) -> MongoStore:
    return mongo_store


def _failed(tenant: str, count: int, groups: int, number: int = 0, *, ungrouped: int = 0) -> list[Seed]:
    end = now()
    found = [
        Seed(
            count,
            State.FAILED,
            end,
            timedelta(seconds=1),
            lambda n: {"error": error_of(f"1{n % groups:04}", n), "kind": f"k{n % groups}"},
            tenant,
            number,
        )
    ]
    if ungrouped:
        error = {"error": error_of(None, 0), "kind": "old"}
        found.append(Seed(ungrouped, State.FAILED, end, timedelta(seconds=1), lambda _: error, tenant, number + count))
    return found


def _sum(operations: list[Document], name: str) -> int:
    return sum(operation.get(name, 0) for operation in operations)


async def _groups(store: MongoStore, tenant: str) -> dict[str, GroupCount]:
    await store.write_census(await store.count_census(at=now()))
    return {group.group: group for group in (await store.read_attention(tenant=tenant)).groups}


async def test_live_jobs_are_counted_from_keys_alone(store: MongoStore, database: Database[dict[str, Any]]) -> None:
    await insert(store, *(new_job(kind=f"k{n % 3}") for n in range(300)))
    await insert(store, *(new_job(kind="later", delay_s=60.0) for _ in range(50)))
    await running(store)
    profile = Profile(database, schema.JOBS)
    profile.start()
    counted = await store.count_census(at=now())
    operations = [one for one in profile.stop() if LIVE_PLAN in one.get("planSummary", "")]
    assert len(operations) == 4
    assert _sum(operations, "docsExamined") == 0
    assert _sum(operations, "keysExamined") <= 351 + 4
    assert sum(kind.states.get(State.QUEUED, 0) for kind in counted.summary.kinds) == 300


async def test_failed_jobs_are_counted_from_keys_alone(store: MongoStore, database: Database[dict[str, Any]]) -> None:
    seed(database, *_failed("acme", 3000, 10), *_failed("globex", 1000, 4, 3000))
    profile = Profile(database, schema.JOBS)
    profile.start()
    counted = await store.count_census(at=now())
    operations = profile.stop()
    assert [sum(group.count for group in tenant.groups) for tenant in counted.tenants] == [3000, 1000]
    plans = {operation["planSummary"] for operation in operations}
    assert f"DISTINCT_SCAN {FINISHED_KEYS}" in plans, plans
    assert not any("COLLSCAN" in plan for plan in plans)
    # The newest job of each group, to say what happened.
    assert _sum(operations, "docsExamined") <= 14
    # Each key once, and one for each group and tenant.
    assert _sum(operations, "keysExamined") <= 4000 + 14 * 3 + 40
    # Nothing new: no document is read at all.
    await store.write_census(counted)
    profile.start()
    await store.count_census(at=now())
    assert _sum(profile.stop(), "docsExamined") == 0


async def test_large_groups_are_counted_to_their_bound(
    store: MongoStore, database: Database[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(census, "TENANT_KEYS", 100)
    monkeypatch.setattr(census, "GROUP_KEYS", 100)
    seed(database, *_failed("acme", 450, 3), *_failed("acme", 30, 1, 450))
    groups = await _groups(store, "acme")
    assert {name: (group.count, group.is_exact) for name, group in groups.items()} == {
        "10000": (100, False),
        "10001": (100, False),
        "10002": (100, False),
    }
    monkeypatch.setattr(census, "GROUP_KEYS", 160)
    groups = await _groups(store, "acme")
    assert {name: (group.count, group.is_exact) for name, group in groups.items()} == {
        "10000": (160, False),
        "10001": (150, True),
        "10002": (150, True),
    }


async def test_all_failed_jobs_together_are_counted_to_their_bound(
    store: MongoStore, database: Database[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(census, "TENANT_KEYS", 100)
    monkeypatch.setattr(census, "GROUP_KEYS", 100)
    monkeypatch.setattr(census, "FAILED_KEYS", 150)
    monkeypatch.setattr(census, "LEAST_KEYS", 10)
    seed(database, *_failed("acme", 400, 4))
    groups = await _groups(store, "acme")
    assert [(group.count, group.is_exact) for _, group in sorted(groups.items())] == [
        *[(100, False)] * 2,
        *[(10, False)] * 2,
    ]


async def test_many_groups_are_shared_among_tenants(
    store: MongoStore, database: Database[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(census, "ALL_GROUPS", 20)
    monkeypatch.setattr(census, "TENANT_GROUPS", 15)
    seed(database, *_failed("a", 40, 40), *_failed("b", 3, 3, 40), *_failed("c", 40, 40, 43))
    counted = await store.count_census(at=now())
    assert [(tenant.tenant, len(tenant.groups), tenant.is_complete) for tenant in counted.tenants] == [
        ("a", 6, False),
        ("b", 3, True),
        ("c", 11, False),
    ]
    assert State.FAILED in counted.summary.inexact


async def test_jobs_without_a_group_are_read_up_to_a_bound(
    store: MongoStore, database: Database[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(census, "UNGROUPED_LOOKS", 50)
    seed(database, *_failed("acme", 10, 1, ungrouped=200))
    profile = Profile(database, schema.JOBS)
    profile.start()
    groups = await _groups(store, "acme")
    assert (groups[UNGROUPED].count, groups[UNGROUPED].is_exact) == (50, False)
    # Those that are counted, and the newest one of each group.
    assert _sum(profile.stop(), "docsExamined") <= 52


async def test_a_look_at_attention_reads_two_documents_and_the_groups(
    store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    seed(database, *_failed("acme", 2000, 1000), *_failed("globex", 10, 10, 2000))
    await store.write_census(await store.count_census(at=now()))
    profile = Profile(database, schema.JOBS, schema.CENSUS, schema.ERROR_GROUPS)
    profile.start()
    attention = await store.read_attention(tenant="acme")
    operations = profile.stop()
    assert len(attention.groups) == len(attention.known) == 1000
    assert {operation["planSummary"] for operation in operations} == {"IXSCAN { _id: 1 }"}
    assert {operation["ns"].partition(".")[2] for operation in operations} == {schema.CENSUS, schema.ERROR_GROUPS}
    assert _sum(operations, "keysExamined") <= 3000
    assert _sum(operations, "docsExamined") <= 1002


async def test_what_is_gone_is_forgotten_by_the_server(store: MongoStore, database: Database[dict[str, Any]]) -> None:
    seed(database, *_failed("acme", 2, 2))
    await store.write_census(await store.count_census(at=now()))
    await store.note_group("10000", {"comment": "keep"}, tenant="acme")
    database[schema.JOBS].delete_many({})
    at = now()
    await store.write_census(await store.count_census(at=at))
    groups = database[schema.ERROR_GROUPS]
    kept = {document["group"]: document["forget_at"] for document in groups.find()}
    assert kept == {"10000": at + timedelta(days=90), "10001": at + timedelta(days=1)}
    for name in (schema.ERROR_GROUPS, schema.CENSUS):
        index = database[name].index_information()["forgotten"]
        assert (index["key"], index["expireAfterSeconds"]) == ([("forget_at", 1)], 0)
    (document,) = database[schema.CENSUS].find({"_id": pipelines.tenant_id("acme")})
    assert (document["groups"], document["forget_at"]) == ([], at + timedelta(days=1))
    # It returns, and its record stays as long as it does.
    seed(database, *_failed("acme", 1, 1, 10))
    await store.write_census(await store.count_census(at=now()))
    assert "forget_at" not in next(groups.find({"group": "10000"}))
    assert "forget_at" not in next(database[schema.CENSUS].find({"_id": pipelines.tenant_id("acme")}))
    assert (await store.read_attention(tenant="acme")).known["10000"].notes.comment == "keep"
