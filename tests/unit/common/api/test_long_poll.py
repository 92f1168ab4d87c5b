"""Long polls: answered when the job ends or moves, with one shared query for all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from acked_common.api.long_poll import LongPolls
from acked_common.model import lifecycle
from acked_common.model.lifecycle import State
from acked_common.store.errors import StoreError
from acked_common.store.records import Job
from support.factories import LEASE_S, RETENTION_S, ManualClock, moved, now, owner, queued, running, succeeded
from support.loop_clock import LoopClock
from support.parts import BOUND_S, ShakyStore, running_tasks, settle

LONG_S = 60.0


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acked_common.api.long_poll.LOOK_EVERY_S", 0.002)


@pytest.fixture
def store() -> ShakyStore:
    return ShakyStore(ManualClock())


@asynccontextmanager
async def looking(store: ShakyStore) -> AsyncIterator[LongPolls]:
    waits = LongPolls(store)
    async with running_tasks() as tasks, asyncio.timeout(BOUND_S):
        waits.start(tasks)
        yield waits


async def finish(store: ShakyStore, job: Job) -> Job:
    return await moved(store, job, lifecycle.succeed(at=now(), result=b"1", retention_s=RETENTION_S))


async def test_a_waiter_gets_the_job_when_it_ends(store: ShakyStore) -> None:
    job = await running(store)
    async with looking(store) as waits:
        waiter = asyncio.create_task(waits.wait(job.id, after_rev=None, wait_s=LONG_S))
        await store.until_called("revisions")
        assert not waiter.done()
        done = await finish(store, job)
        assert await waiter == done


async def test_a_waiter_for_a_rev_gets_the_next_move(store: ShakyStore) -> None:
    job = await queued(store)
    async with looking(store) as waits:
        waiter = asyncio.create_task(waits.wait(job.id, after_rev=job.rev, wait_s=LONG_S))
        patient = asyncio.create_task(waits.wait(job.id, after_rev=None, wait_s=LONG_S))
        await store.until_called("revisions")
        claimed = await moved(store, job, lifecycle.claim(at=now(), owner=owner(), lease_s=LEASE_S))
        assert await waiter == claimed
        assert not patient.done()
        done = await finish(store, claimed)
        assert await patient == done


class FeedNews:
    """News that are followed from the moment that a test lets them be."""

    def __init__(self) -> None:
        self.is_open = False
        self.opens = asyncio.Event()
        self.asked = asyncio.Event()
        self.followers = 0

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        self.asked.set()
        self.followers += 1
        try:
            await self.opens.wait()
            self.is_open = True
            yield
        finally:
            self.followers -= 1


@pytest.fixture
def news() -> FeedNews:
    return FeedNews()


async def test_move_before_the_news_are_followed_is_seen(store: ShakyStore, news: FeedNews) -> None:
    job = await running(store)
    waits = LongPolls(store)
    waits.follow(news)
    async with asyncio.timeout(BOUND_S):
        waiter = asyncio.create_task(waits.wait(job.id, after_rev=job.rev, wait_s=LONG_S))
        await news.asked.wait()
        # Nobody tells it: the stream opens behind it, and no look is made.
        done = await finish(store, job)
        news.opens.set()
        assert await waiter == done
    assert news.followers == 0


@pytest.mark.parametrize("after_rev", [None, "own"])
async def test_move_that_is_told_ends_the_wait_without_a_look(
    store: ShakyStore, news: FeedNews, after_rev: str | None
) -> None:
    job = await running(store)
    news.is_open = True
    news.opens.set()
    async with looking(store) as waits:
        waits.follow(news)
        waiter = asyncio.create_task(waits.wait(job.id, after_rev=job.rev if after_rev else None, wait_s=LONG_S))
        await store.until_called("get", 2)
        await settle()
        # What is older, or of another job, is no answer.
        waits.note(job.id, job.rev, State.RUNNING)
        waits.note(uuid4(), job.rev + 1, State.SUCCEEDED)
        await settle()
        assert not waiter.done()
        done = await finish(store, job)
        waits.note(job.id, done.rev, done.state)
        assert await waiter == done
    assert "revisions" not in store.calls


async def test_waits_are_looked_after_while_the_news_are_closed(store: ShakyStore, news: FeedNews) -> None:
    job = await running(store)
    news.opens.set()
    async with looking(store) as waits:
        waits.follow(news)
        waiter = asyncio.create_task(waits.wait(job.id, after_rev=None, wait_s=LONG_S))
        await store.until_called("get", 2)
        news.is_open = False
        await store.until_called("revisions")
        assert not waiter.done()
        done = await finish(store, job)
        assert await waiter == done


async def test_nothing_is_waited_for_that_is_there(store: ShakyStore) -> None:
    job = await succeeded(store)
    waits = LongPolls(store)
    async with asyncio.timeout(BOUND_S):
        assert await waits.wait(job.id, after_rev=None, wait_s=LONG_S) == job
        assert await waits.wait(job.id, after_rev=job.rev + 5, wait_s=LONG_S) == job
        live = await queued(store)
        assert await waits.wait(live.id, after_rev=live.rev - 1, wait_s=LONG_S) == live
        assert await waits.wait(uuid4(), after_rev=None, wait_s=LONG_S) is None


async def test_when_the_time_is_over_the_job_is_told_as_it_is(store: ShakyStore) -> None:
    job = await running(store)
    async with looking(store) as waits:
        found = await waits.wait(job.id, after_rev=None, wait_s=0.02)
    assert found is not None and found.state is State.RUNNING


async def test_at_the_end_all_are_answered_and_nobody_waits_any_more(store: ShakyStore) -> None:
    job = await queued(store)
    async with looking(store) as waits:
        waiters = [asyncio.create_task(waits.wait(job.id, after_rev=rev, wait_s=LONG_S)) for rev in (None, job.rev)]
        await store.until_called("revisions")
        assert not any(waiter.done() for waiter in waiters)
        waits.end()
        assert await asyncio.gather(*waiters) == [job, job]
        assert await waits.wait(job.id, after_rev=None, wait_s=LONG_S) == job


async def test_all_waiters_share_a_query(store: ShakyStore) -> None:
    jobs = [await running(store) for _ in range(50)]
    async with looking(store) as waits:
        waiters = [
            asyncio.create_task(waits.wait(job.id, after_rev=None, wait_s=LONG_S)) for job in jobs for _ in range(4)
        ]
        await settle()
        store.calls.clear()
        await store.until_called("revisions", 3)
        assert set(store.calls) == {"revisions"}
        for job in jobs:
            await finish(store, job)
        found = await asyncio.gather(*waiters)
    assert {job.state for job in found if job is not None} == {State.SUCCEEDED}
    assert len(found) == 200


async def test_without_waiters_nothing_is_asked(store: ShakyStore) -> None:
    job = await running(store)
    async with looking(store) as waits:
        waiter = asyncio.create_task(waits.wait(job.id, after_rev=None, wait_s=LONG_S))
        await store.until_called("revisions")
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
        clock = LoopClock()
        # The look that was under way may still end.
        await clock.advance(0.1)
        store.calls.clear()
        for _ in range(10):
            await clock.advance(0.1)
    assert store.calls == []


async def test_a_store_that_is_away_for_a_moment_costs_no_waiter(store: ShakyStore) -> None:
    job = await running(store)
    async with looking(store) as waits:
        waiter = asyncio.create_task(waits.wait(job.id, after_rev=None, wait_s=LONG_S))
        await settle()
        store.failures["revisions"] = [StoreError("away")] * 3
        await finish(store, job)
        found = await waiter
    assert found is not None and found.state is State.SUCCEEDED
    assert store.failures["revisions"] == []


async def test_a_store_that_is_away_at_the_first_look_is_told(store: ShakyStore) -> None:
    store.is_away = True
    with pytest.raises(StoreError):
        await LongPolls(store).wait(uuid4(), after_rev=None, wait_s=LONG_S)


async def test_many_waiters_of_one_job_share_each_read(store: ShakyStore) -> None:
    job = await running(store)
    async with looking(store) as waits:
        waiters = [asyncio.create_task(waits.wait(job.id, after_rev=None, wait_s=LONG_S)) for _ in range(500)]
        await store.until_called("revisions")
        assert store.calls.count("get") == 1
        done = await finish(store, job)
        assert await asyncio.gather(*waiters) == [done] * 500
        assert store.calls.count("get") == 2


async def test_a_waiter_that_leaves_ends_no_shared_read(store: ShakyStore) -> None:
    job = await running(store)
    async with looking(store) as waits:
        store.holds["get"] = asyncio.Event()
        waiters = [asyncio.create_task(waits.wait(job.id, after_rev=0, wait_s=LONG_S)) for _ in range(2)]
        await store.until_called("get")
        waiters[0].cancel()
        await asyncio.gather(waiters[0], return_exceptions=True)
        store.holds["get"].set()
        assert await waiters[1] == job
