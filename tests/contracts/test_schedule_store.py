"""Schedules as both stores keep them: one of several writers wins, lists are of one tenant, due ones are found."""

from datetime import timedelta
from typing import Any, TypeAlias

import pytest
from msgspec.structs import replace
from pymongo.database import Database

from acked_common.model import schedule_rules
from acked_common.model.ids import new_id
from acked_common.model.options import JobOptions
from acked_common.model.pauses import Pause
from acked_common.model.schedules import Overlap, Schedule, ScheduleOrder, Timing, Work
from acked_common.store.mongo import schema
from acked_common.store.mongo.schedules import MongoSchedules
from acked_common.store.mongo.store import MongoStore
from acked_common.store.schedules import ScheduleAdded
from support.factories import now
from support.memory_schedules import MemorySchedules
from support.memory_store import MemoryStore

AnyStore: TypeAlias = MemoryStore | MongoStore
AnySchedules: TypeAlias = MemorySchedules | MongoSchedules
AT = now()
RARELY_S = 100_000
"""Due hours after the test."""


@pytest.fixture
def schedules(store: AnyStore) -> AnySchedules:
    return store.schedules()


def made(name: str = "nightly", *, tenant: str = "acme", ago_s: float = 0, every_s: int = 60) -> Schedule:
    timing = Timing(every_s=every_s, from_at=AT - timedelta(days=1), jitter_s=0)
    work = Work("noop", b'{"n":1}', JobOptions(batch="b", tags=("x", "y")))
    order = ScheduleOrder(timing, work, Overlap.QUEUE_ONE)
    at = AT - timedelta(seconds=ago_s)
    return schedule_rules.written(schedule_rules.define(None, order, tenant=tenant, name=name, now=at), at)


def decided(schedule: Schedule) -> Schedule:
    """A schedule of which all parts are filled in."""
    found = schedule_rules.decide(schedule, now=AT + timedelta(minutes=5), live=())
    return schedule_rules.written(found, AT)


async def test_a_schedule_comes_back_as_it_was_stored(schedules: AnySchedules) -> None:
    paused = replace(made(), pause=Pause("ann", "t1", "why", AT))
    assert await schedules.add(paused) is ScheduleAdded.ADDED
    assert await schedules.get("nightly", tenant="acme") == paused
    filled = decided(paused)
    assert filled.progress.starting and filled.progress.held
    assert await schedules.replace(filled)
    assert await schedules.get("nightly", tenant="acme") == filled


async def test_of_two_new_ones_with_a_name_one_is_stored(schedules: AnySchedules) -> None:
    assert await schedules.add(made()) is ScheduleAdded.ADDED
    assert await schedules.add(made(every_s=7)) is ScheduleAdded.EXISTS
    assert await schedules.add(made(tenant="globex")) is ScheduleAdded.ADDED
    assert await schedules.get("nightly", tenant="acme") == made()


async def test_of_two_writers_one_wins(schedules: AnySchedules) -> None:
    await schedules.add(made())
    ours, theirs = decided(made()), replace(decided(made()), revision=9)
    assert await schedules.save_progress([ours], nonce=new_id()) == {("acme", "nightly")}
    assert not await schedules.replace(theirs)
    assert await schedules.save_progress([ours], nonce=new_id()) == set()
    assert await schedules.get("nightly", tenant="acme") == ours


async def test_a_write_is_safe_to_repeat(schedules: AnySchedules) -> None:
    await schedules.add(made())
    nonce = new_id()
    first = await schedules.save_progress([decided(made())], nonce=nonce)
    assert first == {("acme", "nightly")}
    assert await schedules.get("nightly", tenant="acme") == decided(made())


async def test_progress_leaves_the_definition_alone(schedules: AnySchedules) -> None:
    await schedules.add(made())
    changed = replace(decided(made()), revision=5, order=made(every_s=9).order)
    await schedules.save_progress([changed], nonce=new_id())
    found = await schedules.get("nightly", tenant="acme")
    assert found is not None
    assert (found.revision, found.order, found.progress) == (1, made().order, changed.progress)


async def test_lists_are_of_one_tenant_by_name_in_pages(schedules: AnySchedules) -> None:
    for name in ("c", "a", "b-1", "b"):
        await schedules.add(made(name))
    await schedules.add(made("a", tenant="acme-2"))
    await schedules.add(made("z", tenant="acm"))
    first = await schedules.list("acme", page_size=3)
    assert ([one.name for one in first.schedules], first.next_after) == (["a", "b", "b-1"], "b-1")
    rest = await schedules.list("acme", page_size=3, after="b-1")
    assert ([one.name for one in rest.schedules], rest.next_after) == (["c"], None)
    assert rest.schedules[0].order.work == replace(made().order.work, payload=b"{}")
    assert await schedules.get("c", tenant="acme-2") is None


async def test_due_ones_are_found_longest_due_first(schedules: AnySchedules) -> None:
    await schedules.add(made("later", every_s=RARELY_S))
    await schedules.add(made("first", ago_s=300))
    await schedules.add(made("second", ago_s=200))
    await schedules.add(replace(made("never"), look_at=None))
    assert [one.name for one in await schedules.due(limit=9)] == ["first", "second"]
    assert [one.name for one in await schedules.due(limit=1)] == ["first"]
    ended = schedule_rules.written(replace(made("first"), progress=schedule_rules.ScheduleProgress()), AT)
    await schedules.save_progress([ended], nonce=new_id())
    assert [one.name for one in await schedules.due(limit=9)] == ["second"]


async def test_a_deleted_one_is_gone(schedules: AnySchedules) -> None:
    await schedules.add(made())
    assert not await schedules.remove("nightly", tenant="globex")
    assert await schedules.remove("nightly", tenant="acme")
    assert not await schedules.remove("nightly", tenant="acme")
    assert await schedules.due(limit=9) == []
    assert await schedules.save_progress([decided(made())], nonce=new_id()) == set()


async def test_the_number_is_bounded(schedules: AnySchedules, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("acked_common.store.mongo.schedules", "support.memory_schedules"):
        monkeypatch.setattr(f"{module}.MOST_OF_TENANT", 2)
        monkeypatch.setattr(f"{module}.MOST_IN_ALL", 3)
    assert [await schedules.add(made(name)) for name in "abc"] == [
        ScheduleAdded.ADDED,
        ScheduleAdded.ADDED,
        ScheduleAdded.TENANT_FULL,
    ]
    assert await schedules.add(made("a", tenant="globex")) is ScheduleAdded.ADDED
    assert await schedules.add(made("b", tenant="globex")) is ScheduleAdded.ALL_FULL


async def test_due_ones_and_lists_read_no_others(mongo_store: MongoStore, database: "Database[dict[str, Any]]") -> None:
    schedules = mongo_store.schedules()
    for n in range(20):
        await schedules.add(made(f"s{n}", ago_s=300) if n == 3 else made(f"s{n}", every_s=RARELY_S))
        await schedules.add(made(f"s{n}", tenant="globex", every_s=RARELY_S))
    collection = database[schema.SCHEDULES]
    due = collection.find({"look_at": {"$exists": True}, "$expr": {"$lte": ["$look_at", "$$NOW"]}})
    plan = due.sort("look_at", 1).explain()["executionStats"]
    assert (plan["totalDocsExamined"], plan["nReturned"]) == (1, 1)
    listed = collection.find({"_id": {"$gt": "acme/", "$lt": "acme0"}}).explain()["executionStats"]
    assert listed["totalDocsExamined"] == 20
