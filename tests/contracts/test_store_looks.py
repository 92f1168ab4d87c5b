"""What sweepers and lists see of many jobs."""

import asyncio
import itertools
from collections import Counter
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from msgspec.structs import replace

from acked_common.model import lifecycle
from acked_common.model.batch_ends import BatchEnds, EndsPoint, begin_of
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import State
from acked_common.model.principal import DEFAULT_TENANT
from acked_common.store import list_limits
from acked_common.store.records import BatchCount, Job, JobFilter, Reservation, SweepPosition
from support.factories import (
    ERROR,
    GRACE_S,
    LEASE_S,
    RETENTION_S,
    again,
    ago,
    cancelled,
    count_queued,
    eventually,
    failed,
    insert,
    moved,
    new_job,
    now,
    owner,
    queued,
    running,
    scheduled,
    succeeded,
)
from support.whole_store import JobStore


async def _queued_for(store: JobStore, seconds: float) -> Job:
    return await queued(store, at=ago(seconds + GRACE_S), batch="b")


async def _due_for(store: JobStore, seconds: float) -> Job:
    return await scheduled(store, at=ago(seconds + 60), delay_s=60.0, batch="b")


async def _lost_for(store: JobStore, seconds: float) -> Job:
    return await running(store, claimed_at=ago(seconds + LEASE_S), batch="b")


LIVE_MAKERS = {State.QUEUED: _queued_for, State.SCHEDULED: _due_for, State.RUNNING: _lost_for}


@pytest.mark.parametrize("state", LIVE_MAKERS)
async def test_a_look_sees_the_jobs_of_its_state_whose_wake_has_come(store: JobStore, state: State) -> None:
    make = LIVE_MAKERS[state]
    late, later, latest = [await make(store, seconds) for seconds in (1.0, 5.0, 9.0)]
    not_yet = await make(store, -60.0)
    for other, make_other in LIVE_MAKERS.items():
        if other is not state:
            await make_other(store, 7.0)
    await succeeded(store), await failed(store), await cancelled(store)

    seen = await store.live_jobs(state, limit=10)

    assert [job.id for job in seen] == [latest.id, later.id, late.id]
    assert not_yet.id not in {job.id for job in seen}
    assert seen[0] == replace(latest, payload=b"", history=latest.history[:1])
    assert [job.id for job in await store.live_jobs(state, limit=2)] == [latest.id, later.id]


async def test_a_look_at_a_state_that_nothing_is_in(store: JobStore) -> None:
    await queued(store, at=ago(60))

    assert await store.live_jobs(State.WAITING, limit=10) == []
    assert await store.live_jobs(State.SCHEDULED, limit=10) == []


async def test_a_look_can_be_limited_to_kinds(store: JobStore) -> None:
    jobs = {kind: await queued(store, kind=kind, at=ago(60)) for kind in ("a", "b", "c")}

    seen = await store.live_jobs(State.QUEUED, limit=10, kinds=["a", "c"])

    assert {job.id for job in seen} == {jobs["a"].id, jobs["c"].id}
    assert await store.live_jobs(State.QUEUED, limit=10, kinds=[]) == []


async def test_looks_page_over_equal_wakes_without_a_loss(store: JobStore) -> None:
    wakes = [ago(60), ago(50), ago(40)]
    jobs = await insert(store, *(new_job(at=wakes[n % 3]) for n in range(50)))
    expected = [job.id for job in sorted(jobs, key=lambda job: (_wake(job), job.id))]

    seen: list[Job] = []
    position: SweepPosition | None = None
    while page := await store.live_jobs(State.QUEUED, limit=7, after=position):
        seen += page
        position = SweepPosition(_wake(page[-1]), page[-1].id)

    assert [job.id for job in seen] == expected


def _wake(job: Job) -> datetime:
    assert job.next_check_at is not None
    return job.next_check_at


async def test_a_reserved_job_is_looked_at_later(store: JobStore) -> None:
    job, untouched = await queued(store, at=ago(60)), await queued(store, at=ago(50))
    taken = await running(store)
    later = now() + timedelta(seconds=60)

    wanted = [Reservation(one.id, _wake(one), later) for one in (job, taken)]
    assert await store.reserve([*wanted, Reservation(new_id(), now(), later)], nonce="n") == {job.id}
    assert await store.reserve([], nonce="n") == set()

    assert await again(store, job) == replace(job, next_check_at=later, republished=1)
    assert await again(store, taken) == taken
    assert [found.id for found in await store.live_jobs(State.QUEUED, limit=10)] == [untouched.id]


async def test_of_all_who_saw_a_job_one_gets_it(store: JobStore) -> None:
    jobs = await insert(store, *(new_job(at=ago(60)) for _ in range(200)))
    later = now() + timedelta(seconds=60)

    # All want the same instant: it is not by their wakes that they are told apart.
    wanted = [Reservation(job.id, _wake(job), later) for job in jobs]
    got = await asyncio.gather(*(store.reserve(wanted, nonce=f"n{n}") for n in range(8)))

    assert Counter(job_id for one in got for job_id in one) == Counter(job.id for job in jobs)
    assert {(await again(store, job)).republished for job in jobs[:20]} == {1}


async def test_a_wake_that_was_moved_since_is_not_reserved(store: JobStore) -> None:
    job = await queued(store, at=ago(60))
    first, second = now() + timedelta(seconds=60), now() + timedelta(seconds=120)
    assert await store.reserve([Reservation(job.id, _wake(job), first)], nonce="a") == {job.id}

    assert await store.reserve([Reservation(job.id, _wake(job), second)], nonce="b") == set()
    assert await store.reserve([Reservation(job.id, first, second)], nonce="b") == {job.id}


async def test_what_is_given_back_is_looked_at_again_as_if_nothing_had_been(store: JobStore) -> None:
    mine, other = await queued(store, at=ago(60)), await queued(store, at=ago(50))
    later, soon = now() + timedelta(seconds=60), now() - timedelta(seconds=1)
    await store.reserve([Reservation(mine.id, _wake(mine), later)], nonce="a")
    await store.reserve([Reservation(other.id, _wake(other), later)], nonce="b")

    await store.give_back([mine.id, other.id, new_id()], nonce="a", next_check_at=soon)

    assert await again(store, mine) == replace(mine, next_check_at=soon)
    assert await again(store, other) == replace(other, next_check_at=later, republished=1)
    await store.give_back([mine.id], nonce="a", next_check_at=later)
    assert await again(store, mine) == replace(mine, next_check_at=soon), "once"


async def test_what_a_worker_took_is_not_given_back(store: JobStore) -> None:
    job = await queued(store, at=ago(60))
    await store.reserve([Reservation(job.id, _wake(job), now())], nonce="a")
    job = await moved(store, await again(store, job), lifecycle.claim(at=now(), owner=owner(), lease_s=LEASE_S))

    await store.give_back([job.id], nonce="a", next_check_at=ago(5))

    assert await again(store, job) == job


async def test_each_reservation_counts_until_a_worker_takes_the_job(store: JobStore) -> None:
    job = await queued(store, at=ago(60))
    for n in range(3):
        seen = await again(store, job)
        await store.reserve([Reservation(job.id, _wake(seen), now())], nonce=f"n{n}")
    assert (await again(store, job)).republished == 3

    job = await moved(store, await again(store, job), lifecycle.claim(at=now(), owner=owner(), lease_s=LEASE_S))

    assert job.republished == 0


async def test_a_turn_is_taken_by_one_until_it_is_over(store: JobStore) -> None:
    took = await asyncio.gather(*(store.take_turn("a", for_s=60.0) for _ in range(8)))
    assert Counter(took) == {True: 1, False: 7}
    assert await store.take_turn("a", for_s=0.01) is False
    assert await store.take_turn("b", for_s=0.01) is True

    async def is_free_again() -> bool:
        return await store.take_turn("b", for_s=60.0)

    await eventually(is_free_again)
    assert await store.take_turn("b", for_s=0.01) is False


async def _listable_jobs(store: JobStore) -> list[Job]:
    """Forty jobs of all sorts, newest first."""
    makers = [queued, running, failed, succeeded, cancelled]
    jobs = [
        await makers[n % 5](
            store, kind="ab"[n % 2], batch=(None, "x", "y")[n % 3], tags=((), ("s",), ("s", "t"), ("t",))[n % 4]
        )
        for n in range(40)
    ]
    return sorted(jobs, key=lambda job: job.id, reverse=True)


FILTERS = [
    JobFilter(state, kind, batch, tag)
    for state, kind, batch, tag in itertools.product(
        (None, State.FAILED, State.QUEUED, State.SCHEDULED), (None, "a"), (None, "x", "absent"), (None, "t")
    )
]


def _fits(job: Job, wanted: JobFilter) -> bool:
    return (
        wanted.state in (None, job.state)
        and wanted.kind in (None, job.kind)
        and wanted.batch in (None, job.options.batch)
        and (wanted.tag is None or wanted.tag in job.options.tags)
    )


async def test_lists_show_what_fits_newest_first(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = await _listable_jobs(store)
    for limit, page_size, wanted in itertools.product((10_000, 7), (3, 100), FILTERS):
        monkeypatch.setattr("acked_common.store.list_limits.LIST_SCAN_LIMIT", limit)
        monkeypatch.setattr("acked_common.store.list_limits.LIST_FIRST_SPAN", 3)
        listed: list[Job] = []
        before, pages = None, 0
        while True:
            page = await store.list_jobs(wanted, page_size=page_size, before=before)
            assert len(page.jobs) <= page_size
            listed += page.jobs
            before, pages = page.next_before, pages + 1
            if before is None:
                break
            assert pages < 100
        assert listed == [replace(job, payload=b"", result=None) for job in jobs if _fits(job, wanted)], wanted


async def test_a_page_looks_at_a_bounded_span_and_then_answers_with_a_token(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("acked_common.store.list_limits.LIST_SCAN_LIMIT", 5)
    oldest = await failed(store, kind="a")
    others = [await queued(store, kind="a") for _ in range(12)]

    first = await store.list_jobs(JobFilter(state=State.FAILED, kind="a"), page_size=10)
    second = await store.list_jobs(JobFilter(state=State.FAILED, kind="a"), page_size=10, before=first.next_before)
    third = await store.list_jobs(JobFilter(state=State.FAILED, kind="a"), page_size=10, before=second.next_before)

    assert (first.jobs, first.next_before) == ([], others[-5].id)
    assert (second.jobs, second.next_before) == ([], others[-10].id)
    assert ([job.id for job in third.jobs], third.next_before) == ([oldest.id], None)
    # One filter from an index needs no span.
    alone = await store.list_jobs(JobFilter(state=State.FAILED), page_size=10)
    assert ([job.id for job in alone.jobs], alone.next_before) == ([oldest.id], None)


async def test_a_page_of_large_jobs_ends_before_it_is_full(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acked_common.store.list_limits.LIST_BYTES", 10_000)
    jobs = []
    for _ in range(5):
        job = await running(store)
        error = {**ERROR, "traceback": "x" * 6000}
        fail = lifecycle.fail(at=now(), error=error, exhausted=True, retention_s=RETENTION_S)
        jobs.append(await moved(store, job, fail))

    found: list[UUID] = []
    sizes, before = [], None
    while not sizes or before is not None:
        page = await store.list_jobs(JobFilter(), page_size=100, before=before)
        found += [job.id for job in page.jobs]
        sizes.append(len(page.jobs))
        before = page.next_before

    assert found == [job.id for job in reversed(jobs)]
    assert sizes == [2, 2, 1]


async def test_a_full_last_page_has_no_token(store: JobStore) -> None:
    for _ in range(4):
        await queued(store)

    page = await store.list_jobs(JobFilter(), page_size=4)

    assert (len(page.jobs), page.next_before) == (4, None)
    assert (await store.list_jobs(JobFilter(), page_size=3)).next_before == page.jobs[2].id


async def test_a_batch_is_counted_by_state(store: JobStore) -> None:
    start = ago(1000)
    await insert(store, *(new_job(batch="b", at=start + timedelta(seconds=n)) for n in range(3)))
    await queued(store), await queued(store, batch="other", at=ago(5000))
    await running(store, batch="b")
    ended = [await succeeded(store, batch="b"), await failed(store, batch="b"), await failed(store, batch="b")]
    assert all(job.finished_at for job in ended)

    count = await store.count_batch("b")

    assert count == BatchCount(
        states={State.QUEUED: 3, State.RUNNING: 1, State.SUCCEEDED: 1, State.FAILED: 2},
        first_at=start,
        last_at=max(job.finished_at for job in ended if job.finished_at),
    )
    assert await store.count_batch("absent") is None


async def test_ends_of_a_batch_are_counted_by_step_and_state(store: JobStore) -> None:
    begin = begin_of(ago(3600), 60)

    assert await store.batch_ends("b") is None
    await queued(store, batch="b")
    assert await store.batch_ends("b") == BatchEnds(1, (), is_complete=True)
    # Ten minutes: 119 steps of five seconds would not do.
    for after_s, ends_well in ((0.5, False), (2.0, True), (9.9, True), (600.0, False)):
        at = begin + timedelta(seconds=after_s)
        succeeds = lifecycle.succeed(at=at, result=b"1", retention_s=RETENTION_S)
        fails = lifecycle.fail(at=at, error=ERROR, exhausted=True, retention_s=RETENTION_S)
        job = await running(store, batch="b", claimed_at=at)
        await moved(store, job, succeeds if ends_well else fails)

    ends = await store.batch_ends("b")

    assert ends is not None
    assert (ends.step_s, len(ends.points), ends.is_complete) == (10, 61, True)
    assert ends.points[0] == EndsPoint(begin, {State.FAILED: 1, State.SUCCEEDED: 2})
    assert ends.points[-1] == EndsPoint(begin + timedelta(seconds=600), {State.FAILED: 1})
    assert all(not point.states for point in ends.points[1:-1])
    assert await store.batch_ends("b", tenant="acme") is None


async def test_ends_of_a_large_batch_are_those_of_its_newest_jobs(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_limits, "BATCH_ENDS_READ", 2)
    for _ in range(3):
        await succeeded(store, batch="b")
    await failed(store, batch="b")

    ends = await store.batch_ends("b")

    assert ends is not None
    assert not ends.is_complete
    counted: Counter[State] = Counter()
    for point in ends.points:
        counted.update(point.states)
    assert counted == {State.SUCCEEDED: 2, State.FAILED: 1}


async def test_the_last_instant_of_an_unfinished_batch_is_its_newest_acceptance(store: JobStore) -> None:
    start, end = ago(20), ago(10)
    await insert(store, new_job(batch="b", at=start), new_job(batch="b", at=end))

    assert await store.count_batch("b") == BatchCount(states={State.QUEUED: 2}, first_at=start, last_at=end)


async def test_a_batch_whose_jobs_moved_is_counted_anew(store: JobStore) -> None:
    job = await running(store, batch="b")
    at = now()
    await moved(store, job, lifecycle.fail(at=at, error=ERROR, exhausted=True, retention_s=RETENTION_S))

    count = await store.count_batch("b")

    assert count is not None
    assert (Counter(count.states), count.last_at) == (Counter({State.FAILED: 1}), at)


async def test_queued_jobs_are_counted_up_to_a_limit(store: JobStore) -> None:
    assert await count_queued(store, 10) == 0
    await insert(store, *(new_job() for _ in range(5)))
    await running(store), await scheduled(store), await failed(store), await cancelled(store)

    assert await count_queued(store, 10) == 5
    assert await count_queued(store, 5) == 5
    assert await count_queued(store, 3) == 3


async def test_what_waits_is_counted_in_all_and_by_tenant(store: JobStore) -> None:
    assert await store.count_waiting(at_most=100) == 0
    assert await store.count_waiting_by_tenant(at_most=100) == {}
    await store.insert([replace(new_job(), tenant=tenant) for tenant in ("acme", "acme", "umbrella")])
    await scheduled(store, at=now(), delay_s=60.0)
    await running(store, claimed_at=now())
    await succeeded(store), await failed(store), await cancelled(store)
    assert await store.count_waiting(at_most=100) == 4
    assert await store.count_waiting_by_tenant(at_most=100) == {"acme": 2, "umbrella": 1, DEFAULT_TENANT: 1}


async def test_a_count_of_what_waits_ends_at_its_bound(store: JobStore) -> None:
    await store.insert([new_job() for _ in range(5)])
    await scheduled(store, at=now(), delay_s=60.0)
    assert await store.count_waiting(at_most=3) == 4
    assert await store.count_waiting_by_tenant(at_most=3) == {DEFAULT_TENANT: 4}
