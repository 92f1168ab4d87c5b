"""Parked jobs on both stores: the park that compares signals, the search for ended waits, and the bulk resume."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from pymongo.database import Database

from acked_common.model import interventions, lifecycle_waits
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import Move, Owner, Reason, State
from acked_common.model.lifecycle_waits import WITHOUT_END, Waits
from acked_common.store.mongo import schema
from acked_common.store.mongo.store import MongoStore
from acked_common.store.records import Applied
from support.factories import EXPIRES_IN_S, GRACE_S, LEASE_S, RETENTION_S, again, eventually, moved, now, running
from support.memory_store import MemoryStore
from support.parked import parked, resume_order
from support.whole_store import JobStore

WAIT = Waits("wait", "paid", None, ("paid",))
ENDED = Waits("sleep", "nap", now() - timedelta(days=1))


def announce(store: Any, database: Database[dict[str, Any]] | None, job_id: Any, signals: int) -> None:
    """Note signals of a job, as their sender does."""
    if isinstance(store, MemoryStore):
        store._jobs[job_id]["signals"] = signals
    else:
        assert database is not None
        database[schema.JOBS].update_one({"_id": job_id}, {"$max": {"signals": signals}})


@pytest.fixture
def past(request: pytest.FixtureRequest, store: JobStore) -> Database[dict[str, Any]] | None:
    """The database past the store; None for the store in memory."""
    return None if isinstance(store, MemoryStore) else request.getfixturevalue("database")


async def test_a_park_stores_why_the_job_waits(store: JobStore) -> None:
    job = await parked(store, due_s=60.0, waits=WAIT)
    assert (job.state, job.reason, job.waits, job.owner) == (State.WAITING, Reason.PARKED, WAIT, None)
    assert job.next_check_at is not None and job.next_check_at > now() + WITHOUT_END - timedelta(minutes=1)
    ended = await moved(store, job, interventions.cancel(at=now(), retention_s=RETENTION_S))
    assert (ended.state, ended.waits) == (State.CANCELLED, None)


@pytest.mark.parametrize(
    ("announced", "read", "outcome"),
    [(0, 0, Applied.APPLIED), (2, 2, Applied.APPLIED), (1, 0, Applied.STALE), (2, 1, Applied.STALE)],
)
async def test_a_park_that_missed_a_signal_is_stale(
    store: JobStore, past: Any, announced: int, read: int, outcome: Applied
) -> None:
    job = await running(store)
    if announced:
        announce(store, past, job.id, announced)
    park = Move(replace(job.seen, signals=read), lifecycle_waits.park(at=now(), waits=WAIT))
    assert await store.apply([park]) == [outcome]
    after = await again(store, job)
    assert (after.state is State.WAITING, after.signals) == (outcome is Applied.APPLIED, announced)
    # A repetition has the same outcome.
    assert await store.apply([park]) == [outcome]


async def test_ended_waits_are_found_by_tenant_in_order(store: JobStore) -> None:
    late = await parked(store, due_s=-5, tenant="b")
    first = await parked(store, due_s=-90, tenant="a")
    second = await parked(store, due_s=-80, tenant="a")
    await parked(store, due_s=60, tenant="c")
    await running(store, tenant="d")

    assert await store.tenants_to_resume(limit=9) == ["a", "b"]
    assert await store.tenants_to_resume(limit=1) == ["a"]
    found = await store.waits_ended("a", limit=9)
    assert [one.id for one in found] == [first.id, second.id]
    assert [one.id for one in await store.waits_ended("a", limit=1)] == [first.id]
    assert [one.id for one in await store.waits_ended("a", limit=9, after=found[0])] == [second.id]
    assert [one.id for one in await store.waits_ended("b", limit=9)] == [late.id]
    assert await store.waits_ended("c", limit=9) == []


async def test_jobs_of_other_kinds_are_told_apart(store: JobStore) -> None:
    jobs = {kind: await parked(store, kind=kind) for kind in ("a", "b", "c")}
    ids = [*(job.id for job in jobs.values()), new_id()]
    assert await store.of_other_kinds(ids, {"a", "c", "d"}) == {jobs["b"].id}
    assert await store.of_other_kinds([], {"a"}) == set()


async def test_a_resume_queues_what_has_ended(store: JobStore) -> None:
    ended, own = await parked(store), await parked(store, expires_in_s=77.0)
    waiting, busy = await parked(store, due_s=60), await running(store)
    at = now()
    order = resume_order(at=at)
    ids = [job.id for job in (ended, own, waiting, busy)]
    found = await store.resume([*ids, new_id()], order)

    assert {job.id for job in found} == {ended.id, own.id}
    assert {(job.kind, job.queued_at, job.rev) for job in found} == {("demo", at, 4)}
    job = await again(store, ended)
    assert (job.state, job.reason, job.waits, job.queued_at) == (State.QUEUED, Reason.WOKEN, None, at)
    assert (job.next_check_at, job.expires_at) == (
        at + timedelta(seconds=GRACE_S),
        at + timedelta(seconds=EXPIRES_IN_S),
    )
    assert (await again(store, own)).expires_at == at + timedelta(seconds=77)
    newest = job.history[-1]
    assert (newest.rev, newest.state, newest.reason, newest.attempt, newest.at) == (4, State.QUEUED, "woken", 1, at)
    assert await again(store, waiting) == waiting
    assert await again(store, busy) == busy
    (claimed,) = await store.claim([ended.id], kinds=["demo"], owner=Owner("w", "b", "n"), lease_s=LEASE_S, at=now())
    assert claimed.attempt == 2


async def test_a_repeated_resume_changes_nothing(store: JobStore) -> None:
    jobs = [await parked(store) for _ in range(3)]
    order = resume_order()
    first = await store.resume([job.id for job in jobs], order)
    before = [await again(store, job) for job in jobs]
    assert sorted(await store.resume([job.id for job in jobs], order), key=str) == sorted(first, key=str)
    assert [await again(store, job) for job in jobs] == before
    assert await store.resume([job.id for job in jobs], resume_order()) == []
    assert await store.resume([], order) == []


async def test_of_two_resumes_at_once_one_gets_each_job(store: JobStore) -> None:
    ids = [(await parked(store)).id for _ in range(10)]
    found = await asyncio.gather(*(store.resume(ids, resume_order()) for _ in range(3)))
    assert sorted(job.id for page in found for job in page) == sorted(ids)


async def test_a_resume_is_never_earlier_than_the_park(store: JobStore) -> None:
    job = await parked(store)
    (found,) = await store.resume([job.id], resume_order(at=job.history[-1].at - timedelta(days=1)))
    assert found.queued_at == job.history[-1].at
    after = await again(store, job)
    assert after.next_check_at == found.queued_at + timedelta(seconds=GRACE_S)


async def test_a_cancelled_park_is_not_resumed(store: JobStore) -> None:
    job = await parked(store)
    await moved(store, job, interventions.cancel(at=now(), retention_s=RETENTION_S))
    assert await store.tenants_to_resume(limit=9) == []
    assert await store.resume([job.id], resume_order()) == []


async def test_many_parks_and_resumes_are_told_as_the_history_has_them(store: JobStore) -> None:
    """Longer than the kept history, of which each resume drops the oldest entry."""
    changes = store.changes()
    await changes.open()
    job = await parked(store)
    told: list[tuple[int, str]] = []
    for _ in range(20):
        await store.resume([job.id], resume_order())
        by = Owner("w", "b", str(new_id()))
        await store.claim([job.id], kinds=["demo"], owner=by, lease_s=LEASE_S, at=now())
        job = await moved(store, await again(store, job), lifecycle_waits.park(at=now(), waits=ENDED))
    async with asyncio.timeout(20):
        while len(told) < job.rev:
            told += [(one.event.rev, one.event.reason) for one in (await changes.read()).updates if one.event]
    await changes.close()
    first = [(1, Reason.ACCEPTED), (2, Reason.CLAIMED), (3, Reason.PARKED)]
    cycle = [Reason.WOKEN, Reason.CLAIMED, Reason.PARKED]
    assert told == first + [(4 + number, cycle[number % 3]) for number in range(60)]


async def test_parked_jobs_wait_for_no_worker(store: JobStore) -> None:
    for tenant, count in (("a", 3), ("b", 2)):
        for _ in range(count):
            await parked(store, due_s=60, tenant=tenant)
    await running(store, tenant="a")
    assert await store.count_waiting(at_most=10) == 0
    assert await store.count_waiting_by_tenant(at_most=10) == {}
    assert await store.crowds_parked(at_least=3) == {"a": 3}
    assert await store.crowds_parked(at_least=2) == {"a": 3, "b": 2}
    assert await store.crowds_parked(at_least=6) == {}


async def test_searches_for_ended_waits_read_keys_alone(
    mongo_store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    for number in range(20):
        await parked(mongo_store, tenant=f"t{number % 2}", due_s=-number - 1.0)
        await running(mongo_store, tenant=f"t{number % 2}")
    database.command("profile", 2)
    await mongo_store.tenants_to_resume(limit=9)
    await mongo_store.waits_ended("t1", limit=5)
    await mongo_store.crowds_parked(at_least=10)
    database.command("profile", 0)
    looks = list(database["system.profile"].find({"op": {"$in": ["query", "command"]}, "ns": f"{database.name}.jobs"}))
    assert [look["docsExamined"] for look in looks] == [0] * 4
    assert looks[0]["keysExamined"] <= 4, "a key of each tenant, and not of each job"


async def test_a_turn_is_extended_by_its_holder_alone(store: JobStore) -> None:
    assert await store.take_turn("a", for_s=60.0, holder="h")
    assert await store.take_turn("a", for_s=60.0, holder="h")
    assert not await store.take_turn("a", for_s=60.0, holder="other")
    assert not await store.take_turn("a", for_s=60.0)

    # It may also give it up.
    assert await store.take_turn("a", for_s=0.0, holder="h")

    async def is_free() -> bool:
        return await store.take_turn("a", for_s=60.0, holder="other")

    await eventually(is_free)
    assert not await store.take_turn("a", for_s=60.0, holder="h")
