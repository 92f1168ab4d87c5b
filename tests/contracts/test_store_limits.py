"""Limits of kinds: set once and read by all; places that no two running jobs have; held jobs, oldest first."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace as replaced
from pymongo.database import Database
from pymongo.monitoring import CommandStartedEvent

from acked_common.model import interventions, lifecycle
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import Owner, State
from acked_common.model.limits import MOST_RUNNING, KindLimit, Placement, TakenPlaces, adopting
from acked_common.store.limits import PLACED_WITHIN_S, LimitUse, PlacedClaim
from acked_common.store.mongo.store import MongoStore
from acked_common.store.records import ClaimedJob, Job
from acked_worker.consume.limited_claims import LimitedClaim
from support.factories import (
    LEASE_S,
    RETENTION_S,
    again,
    ago,
    claimed_job,
    insert,
    kind_record,
    moved,
    new_job,
    now,
    owner,
    queued,
    running,
)
from support.listened_store import StartedListener, listened_store
from support.whole_store import JobStore

LIMIT = KindLimit(3, 2, "ann", "0123", "the provider allows three calls", ago(60))


async def limited(store: JobStore, limit: KindLimit = LIMIT) -> None:
    await store.register_kinds([kind_record("demo", "demo"), kind_record("other", "other")])
    await store.limit_kind("demo", limit)


async def claim(
    store: JobStore, placements: Sequence[Placement], *, by: Owner | None = None, within_s: float = PLACED_WITHIN_S
) -> list[ClaimedJob]:
    until_at = now() + timedelta(seconds=within_s)
    return await store.claim_placed(PlacedClaim(placements, by or owner(), LEASE_S, now(), until_at))


async def placed(store: JobStore, place: int, tenant_place: int, **fields: Any) -> Job:
    """A running job in a place."""
    job = await queued(store, **fields)
    (claimed,) = await claim(store, [Placement(job.id, place, tenant_place)])
    return await again(store, claimed)


async def taken(store: JobStore) -> TakenPlaces:
    return (await store.read_places(["demo"])).taken.get("demo", TakenPlaces())


async def test_a_limit_is_read_with_the_pauses_and_replaced_as_a_whole(store: JobStore) -> None:
    await store.register_kinds([kind_record("demo", "demo")])
    assert await store.limit_kind("unknown", LIMIT) is None
    found = await store.limit_kind("demo", LIMIT)
    assert found is not None and found.limit == LIMIT
    assert await store.pauses() == {"demo": found}
    removed = KindLimit(None, None, "bob", None, None, now())
    after = await store.limit_kind("demo", removed)
    assert after is not None and after.limit == removed and not removed.is_set
    assert (await store.pauses())["demo"].limit == removed
    assert await store.kinds() == {"demo": kind_record("demo", "demo", seen_at=None)}


async def test_a_registration_leaves_the_limit_as_it_is(store: JobStore) -> None:
    await limited(store)
    changed = replace(kind_record("demo", "demo"), version="2", seen_at=now())
    await store.register_kinds([changed])
    assert (await store.kinds())["demo"] == changed
    assert (await store.pauses())["demo"].limit == LIMIT


async def test_places_are_read_with_the_limits_of_their_kinds(store: JobStore) -> None:
    assert (await store.read_places(["demo"])).until_at is None
    await limited(store)
    await placed(store, 0, 0)
    await placed(store, 2, 0, tenant="acme")
    await placed(store, 0, 0, kind="other")
    places = await store.read_places(["demo", "other", "unknown"])
    assert places.limits == {"demo": LIMIT}
    assert places.taken == {"demo": TakenPlaces({0, 2}, {"default": {0}, "acme": {0}})}
    assert places.until_at is not None
    assert abs((places.until_at - now()).total_seconds() - PLACED_WITHIN_S) < 2


async def test_a_placed_claim_is_a_claim(store: JobStore) -> None:
    await limited(store)
    plain, job = await queued(store), await queued(store)
    by = owner()
    (expected,) = await store.claim([plain.id], kinds=["demo"], owner=by, lease_s=LEASE_S, at=now())
    (found,) = await claim(store, [Placement(job.id, 1, 0)], by=by)
    differ = {"id": job.id, "started_at": found.started_at}
    assert found == replaced(expected, **differ)
    stored, other = await again(store, job), await again(store, plain)
    assert (stored.state, stored.rev, stored.attempt, stored.reason) == (
        other.state,
        other.rev,
        other.attempt,
        "claimed",
    )
    assert stored.owner == by and (stored.queued_at, stored.expires_at) == (None, None)
    assert stored.history[-1].rev == 2


async def test_of_two_jobs_one_gets_a_place(store: JobStore) -> None:
    await limited(store)
    job, same, tenant = await queued(store), await queued(store), await queued(store)
    assert [one.id for one in await claim(store, [Placement(job.id, 0, 0), Placement(same.id, 0, 1)])] == [job.id]
    assert await claim(store, [Placement(same.id, 0, 1), Placement(tenant.id, 1, 0)]) == []
    assert (await again(store, same), await again(store, tenant)) == (same, tenant)
    other = await queued(store, tenant="acme")
    assert len(await claim(store, [Placement(same.id, 1, 1), Placement(other.id, 2, 0)])) == 2
    assert await taken(store) == TakenPlaces({0, 1, 2}, {"default": {0, 1}, "acme": {0}})


async def test_of_many_claims_at_once_each_place_goes_to_one(store: JobStore) -> None:
    await limited(store)
    waiting = await insert(store, *(new_job() for _ in range(40)))
    claims = [claim(store, [Placement(job.id, n % 4, n % 4) for n, job in enumerate(waiting)][k::8]) for k in range(8)]
    got = [one.id for found in await asyncio.gather(*claims) for one in found]
    assert len(got) == len(set(got)) == 4
    assert (await taken(store)).of_kind == {0, 1, 2, 3}


async def test_a_claim_can_be_repeated(store: JobStore) -> None:
    await limited(store)
    job, gone = await queued(store), await queued(store)
    await moved(store, gone, interventions.cancel(at=now(), retention_s=RETENTION_S))
    order = PlacedClaim([Placement(job.id, 0, 0), Placement(gone.id, 1, 1)], owner(), LEASE_S, now(), None)
    first = await store.claim_placed(order)
    assert [one.id for one in first] == [job.id]
    assert await store.claim_placed(order) == first
    assert await store.claim_placed(replace(order, placements=[])) == []


async def test_a_claim_that_comes_too_late_takes_nothing(store: JobStore) -> None:
    await limited(store)
    job, expired = await queued(store), await queued(store, at=ago(60), expires_in_s=30)
    assert await claim(store, [Placement(job.id, 0, 0)], within_s=-1) == []
    assert await claim(store, [Placement(expired.id, 0, 0)]) == []
    assert await again(store, job) == job


ENDS = {
    "success": lambda: lifecycle.succeed(at=now(), result=b"1", retention_s=RETENTION_S),
    "failure": lambda: lifecycle.fail(at=now(), error={"type": "x"}, retention_s=RETENTION_S, exhausted=True),
    "back-off": lambda: lifecycle.back_off(at=now(), error={"type": "x"}, delay_s=5),
    "drain": lambda: lifecycle.release(at=now(), grace_s=10, expires_in_s=60),
    "not started": lambda: lifecycle.release(
        at=now(), grace_s=10, expires_in_s=60, reason=lifecycle.Reason.NOT_STARTED
    ),
    "lost lease": lambda: lifecycle.take_back(at=now(), grace_s=10, expires_in_s=60),
    "cancel": lambda: lifecycle.end_cancelled(at=now(), retention_s=RETENTION_S),
}


@pytest.mark.parametrize("how", ENDS)
async def test_every_end_of_an_attempt_frees_its_place_in_the_same_write(store: JobStore, how: str) -> None:
    await limited(store)
    job = await placed(store, 0, 0)
    after = await moved(store, job, ENDS[how]())
    assert await taken(store) == TakenPlaces()
    if after.state is State.QUEUED:
        # The next attempt needs a place again.
        (claimed,) = await claim(store, [Placement(job.id, 2, 1)])
        assert claimed.attempt == 2
        assert (await taken(store)).of_kind == {2}


async def test_a_renewal_keeps_the_place(store: JobStore) -> None:
    await limited(store)
    job = await placed(store, 1, 1)
    assert await store.renew([job.id], boot="boot-1", lease_s=LEASE_S)
    assert await taken(store) == TakenPlaces({1}, {"default": {1}})


async def test_held_jobs_are_read_oldest_first_without_full_tenants(store: JobStore) -> None:
    await limited(store)
    tenants = ["a", "b", "a", "c", "a"]
    waiting = [await queued(store, at=ago(100 - n), tenant=tenant) for n, tenant in enumerate(tenants)]
    foreign = await queued(store, kind="other")
    await store.hold_jobs([job.id for job in (*waiting[:4], foreign)])
    await store.hold_jobs([])
    assert [one.id for one in await store.held_jobs("demo", without=[], limit=10)] == [job.id for job in waiting[:4]]
    found = await store.held_jobs("demo", without=["a"], limit=1)
    assert [(one.id, one.tenant, one.kind, one.queued_at) for one in found] == [
        (waiting[1].id, "b", "demo", waiting[1].queued_at)
    ]
    assert await store.held_jobs("demo", without=["a", "b", "c"], limit=10) == []
    assert await store.held_jobs("unknown", without=[], limit=10) == []
    assert await store.limit_use("demo") == LimitUse(0, {}, 4)


async def test_a_held_job_stays_queued_and_is_checked_when_it_expires(store: JobStore) -> None:
    await limited(store)
    job, runs = await queued(store), await running(store)
    await store.hold_jobs([job.id, runs.id, new_id()])
    held = await again(store, job)
    assert (held.is_held, held.state, held.rev) == (True, State.QUEUED, job.rev)
    assert (held.next_check_at, held.expires_at, held.queued_at) == (job.expires_at, job.expires_at, job.queued_at)
    assert await again(store, runs) == runs
    (found,) = await claim(store, [Placement(job.id, 0, 0)])
    assert not (await again(store, found)).is_held
    assert await store.held_jobs("demo", without=[], limit=10) == []


@pytest.mark.parametrize("how", ["cancel", "expire", "plain claim"])
async def test_what_leaves_the_queue_is_held_no_more(store: JobStore, how: str) -> None:
    await limited(store)
    job = await queued(store)
    await store.hold_jobs([job.id])
    held = await again(store, job)
    if how == "cancel":
        await moved(store, held, interventions.cancel(at=now(), retention_s=RETENTION_S))
    elif how == "expire":
        ended = lifecycle.expire(at=now(), waited_s=1, kind="demo", attempt=0, retention_s=RETENTION_S)
        await moved(store, held, ended)
    else:
        await store.claim([job.id], kinds=["demo"], owner=owner(), lease_s=LEASE_S, at=now())
    assert await store.held_jobs("demo", without=[], limit=10) == []
    assert not (await again(store, job)).is_held


async def test_queued_jobs_are_those_that_may_be_claimed(store: JobStore) -> None:
    job, other, runs = await queued(store), await queued(store, kind="other"), await running(store)
    expired = await queued(store, at=ago(60), expires_in_s=30)
    ids = [job.id, other.id, runs.id, expired.id, new_id()]
    assert [one.id for one in await store.queued_jobs(ids, kinds=["demo"])] == [job.id]
    assert await store.queued_jobs([], kinds=["demo"]) == []


async def test_jobs_that_run_without_a_place_get_one(store: JobStore) -> None:
    await limited(store)
    runs = [await running(store), await running(store, tenant="acme")]
    await running(store, kind="other")
    await placed(store, 0, 0)
    found = await store.unplaced_jobs(["demo"])
    assert {one.id for one in found} == {job.id for job in runs}
    await store.adopt_jobs([])
    for _ in range(2):
        # Another gateway may have done it a moment ago.
        await store.adopt_jobs(adopting(LIMIT, TakenPlaces({0}, {"default": {0}}), found))
    assert await store.unplaced_jobs(["demo"]) == []
    assert (await taken(store)).of_kind == {0, MOST_RUNNING, MOST_RUNNING + 1}
    assert await store.limit_use("demo") == LimitUse(3, {"default": 2, "acme": 1}, 0)
    # The attempt ends as any other.
    await moved(store, runs[0], lifecycle.succeed(at=now(), result=b"1", retention_s=RETENTION_S))
    assert (await store.limit_use("demo")).running == 2


async def test_a_job_that_ended_meanwhile_gets_no_place(store: JobStore) -> None:
    await limited(store)
    job = await running(store)
    ended = await moved(store, job, lifecycle.succeed(at=now(), result=b"1", retention_s=RETENTION_S))
    await store.adopt_jobs([Placement(job.id, 5, 5)])
    assert await again(store, ended) == ended
    assert await taken(store) == TakenPlaces()


async def test_reads_of_places_and_held_jobs_touch_keys_alone(
    mongo_store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    await limited(mongo_store, replaced(LIMIT, running=5, per_tenant=None))
    waiting = await insert(mongo_store, *(new_job(at=ago(500 - n), tenant="a") for n in range(400)))
    late = [await queued(mongo_store, tenant=tenant) for tenant in ("b", "c")]
    await mongo_store.hold_jobs([job.id for job in (*waiting, *late)])
    await claim(mongo_store, [Placement(job.id, n, n) for n, job in enumerate(waiting[:5])])
    database.command("profile", 2)
    try:
        await mongo_store.read_places(["demo"])
        await mongo_store.held_jobs("demo", without=["a"], limit=10)
    finally:
        database.command("profile", 0)
    seen = list(database["system.profile"].find({"ns": f"{database.name}.jobs"}))
    keys, documents = (sum(one.get(name, 0) for one in seen) for name in ("keysExamined", "docsExamined"))
    assert len(seen) == 4
    # Two times five places, three tenants by jumps, and the two held jobs that are found.
    assert keys < 40 and documents == 2, (keys, documents)


async def test_a_job_that_was_adopted_is_still_owned_by_its_claim(store: JobStore) -> None:
    await limited(store)
    job = await running(store)
    await store.adopt_jobs([Placement(job.id, MOST_RUNNING, MOST_RUNNING)])
    assert claimed_job(await again(store, job)) == claimed_job(job)


class Sent(StartedListener):
    """The commands of a store, in order."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, event: CommandStartedEvent) -> None:
        self.names.append(event.command_name)


FULL = {
    # Limits; then the places of kinds and of tenants; then whether another tenant has held jobs.
    "of each tenant": (replaced(LIMIT, running=None), ["aggregate", "find", "find", "aggregate"]),
    "of the kind": (replaced(LIMIT, running=2, per_tenant=None), ["aggregate", "find", "find"]),
}


@pytest.mark.parametrize("which", FULL)
@pytest.mark.parametrize("waiting", [10, 1000])
async def test_a_full_kind_costs_few_commands_however_many_jobs_wait(
    mongo_url: str,
    mongo_database: str,
    monkeypatch: pytest.MonkeyPatch,
    which: str,
    waiting: int,
) -> None:
    limit, commands = FULL[which]
    sent = Sent()
    async with listened_store(mongo_url, mongo_database, sent, monkeypatch) as store:
        await limited(store, limit)
        jobs = await insert(store, *(new_job() for _ in range(waiting)))
        ids = [job.id for job in jobs]
        claim_all = LimitedClaim(store, ids, room=waiting, kinds=["demo"], owner=owner(), lease_s=LEASE_S)
        assert len(await claim_all.run(now())) == 2
        assert (await store.limit_use("demo")).held == waiting - 2
        sent.names.clear()
        pull = LimitedClaim(store, [], room=32, kinds=["demo"], owner=owner(), lease_s=LEASE_S)
        assert await pull.run(now()) == []
        assert sent.names == commands
