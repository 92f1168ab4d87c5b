"""The stream of changes: every transition, in order, from the opening on; and looks at what it follows."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import pytest

from acked_common.model import interventions, lifecycle, lifecycle_waits
from acked_common.model.events import JobUpdate
from acked_common.model.ids import new_id
from acked_common.model.instants import whole_ms
from acked_common.model.lifecycle import Move, Reason, State
from acked_common.model.lifecycle_waits import Waits
from acked_common.model.topics import Topic
from acked_common.store import list_limits
from acked_common.store.ports import JobChanges
from acked_common.store.records import Job, ProgressReport, Reservation, TopicCount
from support.factories import (
    ERROR,
    GRACE_S,
    LEASE_S,
    RETENTION_S,
    again,
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
    topic,
)
from support.signals import pending, wake_order
from support.whole_store import JobStore

BOUND_S = 10.0


async def read(changes: JobChanges, count: int) -> list[JobUpdate]:
    """The next `count` news, and the proof that there are no more."""
    found: list[JobUpdate] = []
    async with asyncio.timeout(BOUND_S):
        while len(found) < count:
            found += (await changes.read()).updates
        last = await changes.read()
        assert last.is_current
    assert [*found, *last.updates] == found
    return found


def history_of(job: Job) -> list[tuple[int, State, str, int]]:
    return [(entry.rev, entry.state, str(entry.reason), entry.attempt) for entry in job.history]


def told_of(news: Sequence[JobUpdate], job_id: UUID) -> list[tuple[int, State, str, int]]:
    return [(e.rev, e.state, str(e.reason), e.attempt) for n in news if (e := n.event) is not None and n.id == job_id]


async def test_a_life_is_told_as_its_history_has_it(store: JobStore) -> None:
    changes = store.changes()
    await changes.open()
    job = await running(store, kind="demo", batch="b")
    job = await moved(store, job, lifecycle.back_off(at=now(), error=ERROR, delay_s=0.0))
    job = await moved(store, job, lifecycle.become_due(at=now(), grace_s=GRACE_S, expires_in_s=60.0))
    me = owner(nonce="nonce-9")
    await store.claim([job.id], kinds=["demo"], owner=me, lease_s=LEASE_S, at=now())
    job = await again(store, job)
    job = await moved(store, job, interventions.request_cancel(at=now()))
    job = await moved(store, job, lifecycle.end_cancelled(at=now(), retention_s=RETENTION_S))

    news = await read(changes, len(job.history))

    assert told_of(news, job.id) == history_of(job)
    assert [n.event.at for n in news if n.event] == [entry.at for entry in job.history]
    assert {(n.origin.kind, n.origin.batch) for n in news} == {("demo", "b")}
    assert [n.nonce for n in news if n.event and n.event.reason == Reason.CLAIMED][-1] == "nonce-9"
    await changes.close()


async def test_a_park_is_told_with_what_it_waits_for(store: JobStore) -> None:
    changes = store.changes()
    await changes.open()
    until_at = whole_ms(now() + timedelta(days=30))
    job = await running(store, kind="demo")
    parks = [Waits("wait", "paid", None, ("paid",)), Waits("first", "paid-or-late", until_at, ("late", "paid"))]
    for waits in parks:
        job = await moved(store, job, lifecycle_waits.park(at=now(), waits=waits))
        assert [one.waits for one in await store.look(topic("kind", "demo"), limit=9) or ()] == [waits]
        await store.announce(pending(job.id, 1, "paid"), wake_order())
        assert [one.waits for one in await store.look(topic("kind", "demo"), limit=9) or ()] == [None]
        await store.claim([job.id], kinds=["demo"], owner=owner(), lease_s=LEASE_S, at=now())
        job = await again(store, job)

    news = await read(changes, len(job.history))

    assert told_of(news, job.id) == history_of(job)
    told = {one.event.rev: one.waits for one in news if one.event is not None}
    parked = [entry.rev for entry in job.history if entry.state is State.WAITING]
    assert told == dict.fromkeys(told) | dict(zip(parked, parks, strict=True))
    await changes.close()


async def test_a_life_longer_than_the_kept_history_is_told_whole(store: JobStore) -> None:
    job = await queued(store, kind="demo")
    changes = store.changes()
    await changes.open()
    expected = []
    for _ in range(40):
        await store.claim([job.id], kinds=["demo"], owner=owner(), lease_s=LEASE_S, at=now())
        job = await again(store, job)
        expected.append((job.rev, job.state, str(job.reason), job.attempt))
        job = await moved(store, job, lifecycle.release(at=now(), grace_s=GRACE_S, expires_in_s=60.0))
        expected.append((job.rev, job.state, str(job.reason), job.attempt))

    assert told_of(await read(changes, len(expected)), job.id) == expected
    await changes.close()


async def test_jobs_from_before_the_opening_are_told_with_kind_and_batch(store: JobStore) -> None:
    earlier = [await running(store, kind="k1", batch="b1"), await running(store, kind="k2")]
    changes = store.changes()
    await changes.open()
    for job in earlier:
        await moved(store, job, lifecycle.succeed(at=now(), result=b"[1]", retention_s=RETENTION_S))

    news = await read(changes, 2)

    assert [(n.id, n.origin.kind, n.origin.batch) for n in news] == [
        (earlier[0].id, "k1", "b1"),
        (earlier[1].id, "k2", None),
    ]
    await changes.close()


async def test_progress_is_told_without_a_transition_and_renewals_are_not(store: JobStore) -> None:
    job = await running(store)
    assert job.owner is not None
    changes = store.changes()
    await changes.open()
    await store.renew([job.id], boot=job.owner.boot, lease_s=LEASE_S)
    await store.report_progress([ProgressReport(job.id, job.attempt, job.owner.nonce, b'{"done":1}')])
    await store.renew([job.id], boot=job.owner.boot, lease_s=LEASE_S)
    waiting = await queued(store)
    await read(changes, 2)
    assert waiting.next_check_at is not None
    assert await store.reserve(
        [Reservation(waiting.id, waiting.next_check_at, now() + timedelta(seconds=9))], nonce="n"
    )
    await store.report_progress([ProgressReport(job.id, job.attempt, job.owner.nonce, b'{"done":2}')])

    (news,) = await read(changes, 1)

    assert (news.id, news.event, news.progress) == (job.id, None, b'{"done":2}')
    await changes.close()


async def test_many_changes_come_in_order_and_none_twice(store: JobStore) -> None:
    changes = store.changes()
    await changes.open()
    jobs = [new_job() for _ in range(2500)]
    await store.insert(jobs)

    news = await read(changes, len(jobs))

    assert Counter(n.id for n in news) == Counter(job.id for job in jobs)
    await changes.close()


async def test_a_closed_stream_begins_anew(store: JobStore) -> None:
    changes = store.changes()
    await changes.open()
    await queued(store)
    await changes.close()
    await queued(store)
    await changes.open()
    last = await queued(store)

    assert [n.id for n in await read(changes, 1)] == [last.id]
    await changes.close()


async def test_a_reading_that_is_cancelled_loses_nothing(store: JobStore) -> None:
    changes = store.changes()
    await changes.open()
    reading = asyncio.create_task(changes.read())
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    jobs = [await queued(store) for _ in range(3)]

    assert [n.id for n in await read(changes, 3)] == [job.id for job in jobs]
    await changes.close()


async def test_a_look_tells_how_the_jobs_of_a_scope_stand(store: JobStore) -> None:
    mine = await running(store, kind="k1", batch="b1")
    other = await failed(store, kind="k2", batch="b2")
    third = await scheduled(store, kind="k1")

    async def ids(scope: Topic, limit: int = 10) -> set[UUID] | None:
        found = await store.look(scope, limit=limit)
        return None if found is None else {news.id for news in found}

    assert await ids(topic("kind", "k1")) == {mine.id, third.id}
    assert await ids(topic("batch", "b2")) == {other.id}
    assert await ids(topic("ids", frozenset({mine.id, new_id()}))) == {mine.id}
    assert await ids(topic()) == {mine.id, other.id, third.id}
    assert await ids(topic(), limit=3) == {mine.id, other.id, third.id}
    assert await ids(topic(), limit=2) is None
    assert await ids(topic("batch", "none")) == set()
    found = await store.look(topic("ids", frozenset({mine.id})), limit=1)
    assert found is not None
    assert [history_of(mine)[-1]] == told_of(found, mine.id)
    assert mine.owner is not None
    assert (found[0].origin.kind, found[0].origin.batch, found[0].nonce) == ("k1", "b1", mine.owner.nonce)


async def test_a_look_meets_each_job_once_while_they_move(store: JobStore) -> None:
    jobs = [new_job(kind="demo", batch="b") for _ in range(600)]
    await insert(store, *jobs)
    ids = [job.id for job in jobs]
    is_over = False

    async def keep_moving(mine: Sequence[UUID]) -> None:
        while not is_over:
            claimed = await store.claim(mine, kinds=["demo"], owner=owner(), lease_s=LEASE_S, at=now())
            back = lifecycle.release(at=now(), grace_s=GRACE_S, expires_in_s=60.0)
            await store.apply([Move(job.seen, back) for job in claimed])
            await asyncio.sleep(0)

    moving = [asyncio.create_task(keep_moving(ids[start::6])) for start in range(6)]
    for _ in range(40):
        found = await store.look(topic("batch", "b"), limit=600)
        assert found is not None
        assert Counter(news.id for news in found) == Counter(ids)
    is_over = True
    await asyncio.gather(*moving)


async def test_a_count_of_a_batch_is_whole_and_of_more_is_bounded(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await insert(store, *(new_job(kind="k1", batch="b1") for _ in range(5)))
    await running(store, kind="k1", batch="b1")
    await succeeded(store, kind="k1", batch="b1")
    await failed(store, kind="k2")
    await insert(store, new_job(kind="k2"))

    of_batch, live_and_failed = {State.QUEUED: 5, State.RUNNING: 1, State.SUCCEEDED: 1}, {State.QUEUED: 6}
    assert await store.count(topic("batch", "b1"), at_most=2) == TopicCount(of_batch, None, 7)
    of_kind = {State.QUEUED: 1, State.FAILED: 1}
    assert await store.count(topic("kind", "k2"), at_most=100) == TopicCount(of_kind, 100, 8)
    assert await store.count(topic("kind", "$kind"), at_most=100) == TopicCount({}, 100, 8)
    live_and_failed |= {State.RUNNING: 1, State.FAILED: 1}
    assert await store.count(topic(), at_most=100) == TopicCount(live_and_failed, 100, 8)
    assert await store.count(topic(), at_most=3) == TopicCount({**live_and_failed, State.QUEUED: 3}, 3, 5)
    assert await store.count(topic("batch", "none"), at_most=3) == TopicCount({}, None, 0)
    # Of a large batch, each state is counted up to the bound; one more key says that there are more.
    monkeypatch.setattr(list_limits, "BATCH_COUNTED", 4)
    assert await store.count(topic("batch", "b1"), at_most=2) == TopicCount({**of_batch, State.QUEUED: 4}, 4, 7)
    monkeypatch.setattr(list_limits, "BATCH_COUNTED", 5)
    assert await store.count(topic("batch", "b1"), at_most=2) == TopicCount(of_batch, None, 7)


async def test_what_is_being_written_at_the_opening_is_either_told_or_seen_by_a_look_behind_it(store: JobStore) -> None:
    for n in range(100):
        changes = store.changes()
        job = new_job()
        writing = asyncio.create_task(store.insert([job]))
        # The opening meets the write at another point each time.
        await asyncio.sleep(n % 10 * 0.0004)
        await changes.open()
        looked = await store.get(job.id)
        await writing
        if looked is None:
            assert [news.id for news in await read(changes, 1)] == [job.id], f"round {n}: nobody would hear of it"
        await changes.close()
