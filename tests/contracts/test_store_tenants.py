"""What answers a client is of its tenant alone; what services do by themselves concerns all."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest
from msgspec.structs import replace

from acked_common.model import interventions
from acked_common.model.events import JobUpdate
from acked_common.model.lifecycle import State
from acked_common.store.ports import JobChanges
from acked_common.store.records import JobFilter
from support.factories import LEASE_S, ago, failed, moved, now, owner, queued, running, succeeded, topic
from support.whole_store import JobStore

MINE, THEIRS = "acme", "globex"
BOUND_S = 10.0


async def test_another_tenants_job_is_not_there(store: JobStore) -> None:
    job = await queued_of(store, THEIRS)
    assert await store.get(job, tenant=THEIRS) is not None
    assert await store.get(job, tenant=MINE) is None
    assert await store.get(job) is None, "nor does it belong to the tenant that stands where none is named"
    assert set(await store.get_many([job])) == {job}, "workers and sweepers see all"
    assert set(await store.histories([job])) == {job}
    assert set(await store.revisions([job])) == {job}


async def queued_of(store: JobStore, tenant: str, **fields: object) -> UUID:
    return (await queued(store, tenant=tenant, **fields)).id


@pytest.mark.parametrize(
    "fields",
    [{}, {"kind": "demo"}, {"batch": "b"}, {"tag": "t"}, {"state": State.QUEUED}, {"kind": "demo", "batch": "b"}],
)
async def test_a_list_holds_the_tenants_own_jobs(store: JobStore, fields: dict[str, object]) -> None:
    mine = [await queued_of(store, MINE, batch="b", tags=("t",)) for _ in range(3)]
    for _ in range(3):
        await queued_of(store, THEIRS, batch="b", tags=("t",))
    page = await store.list_jobs(JobFilter(tenant=MINE, **fields), page_size=2)  # type: ignore[arg-type]
    rest = await store.list_jobs(JobFilter(tenant=MINE, **fields), page_size=9, before=page.next_before)  # type: ignore[arg-type]
    assert [job.id for job in [*page.jobs, *rest.jobs]] == mine[::-1]
    assert rest.next_before is None
    nobody = await store.list_jobs(JobFilter(tenant="nobody", **fields), page_size=9)  # type: ignore[arg-type]
    assert (list(nobody.jobs), nobody.next_before) == ([], None)


async def test_a_position_in_another_tenants_list_opens_nothing(store: JobStore) -> None:
    mine = await queued_of(store, MINE)
    theirs = await queued_of(store, THEIRS)
    page = await store.list_jobs(JobFilter(tenant=MINE), page_size=9, before=theirs)
    assert [job.id for job in page.jobs] == [mine]


async def test_one_batch_name_is_a_batch_of_each_tenant(store: JobStore) -> None:
    for tenant, count in ((MINE, 2), (THEIRS, 3)):
        for _ in range(count):
            await queued_of(store, tenant, batch="b")
    mine, theirs = [await store.count_batch("b", tenant=tenant) for tenant in (MINE, THEIRS)]
    assert mine is not None
    assert theirs is not None
    assert (mine.states, theirs.states) == ({State.QUEUED: 2}, {State.QUEUED: 3})
    assert await store.count_batch("b") is None


async def test_a_look_and_a_count_see_the_tenants_own_jobs(store: JobStore) -> None:
    ids: dict[str, list[UUID]] = {}
    for tenant in (MINE, THEIRS, THEIRS):
        ids.setdefault(tenant, []).append(await queued_of(store, tenant, batch="b"))
    both = frozenset(ids[MINE] + ids[THEIRS])
    for scope in (topic(), topic("batch", "b"), topic("kind", "demo"), topic("ids", both)):
        for tenant, wanted in ids.items():
            own = replace(scope, tenant=tenant)
            looked = await store.look(own, limit=9)
            assert looked is not None
            assert {news.id for news in looked} == set(wanted)
            assert {news.origin.tenant for news in looked} == {tenant}
            assert (await store.count(own, at_most=100)).states == {State.QUEUED: len(wanted)}
        assert await store.look(scope, limit=9) == []
        assert (await store.count(scope, at_most=100)).states == {}


async def test_another_tenants_failures_hide_none_of_mine(store: JobStore) -> None:
    await failed(store, tenant=MINE)
    for _ in range(3):
        await failed(store, tenant=THEIRS)
    assert (await store.count(topic(tenant=MINE), at_most=2)).states == {State.FAILED: 1}


async def test_workers_and_sweepers_serve_all_tenants(store: JobStore) -> None:
    jobs = [(await queued(store, at=ago(60), tenant=tenant)).id for tenant in (MINE, THEIRS)]
    assert {job.id for job in await store.live_jobs(State.QUEUED, limit=9)} == set(jobs)
    taken = await store.claim(jobs, kinds=["demo"], owner=owner(), lease_s=LEASE_S, at=now())
    assert {job.id for job in taken} == set(jobs)


async def read(changes: JobChanges, news: Sequence[UUID]) -> list[JobUpdate]:
    found: list[JobUpdate] = []
    async with asyncio.timeout(BOUND_S):
        while {one.id for one in found} < set(news):
            found += (await changes.read()).updates
    return found


async def test_the_stream_tells_whose_job_it_is(store: JobStore) -> None:
    before = await running(store, tenant=THEIRS)
    changes = store.changes()
    await changes.open()
    after = await succeeded(store, tenant=MINE)
    await moved(store, before, interventions.request_cancel(at=now()))
    told = await read(changes, [before.id, after.id])
    # Also of a job whose beginning the stream has not shown.
    assert {(news.id, news.origin.tenant) for news in told} == {(before.id, THEIRS), (after.id, MINE)}
    await changes.close()
