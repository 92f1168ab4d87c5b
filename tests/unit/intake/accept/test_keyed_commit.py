"""Requests with one key at the same time: who leads, who follows, who is answered what."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from acked_common.model.lifecycle import State
from acked_common.store.mongo.documents import job_document, key_holder_from
from acked_common.store.records import Insertion, KeyHolder, NewJob
from acked_intake.accept.group_commit import TICK_S, Busy
from acked_intake.accept.keyed_commit import MAX_TRIES, Kept, answer_of_follower
from acked_intake.settings import CommitLimits
from support.commit_bench import CommitBench, open_commit_bench, outcomes
from support.factories import key_of, new_job
from support.loop_clock import LoopClock
from support.parts import BOUND_S, settle

STORED, NOT_STORED, UNKNOWN, TAKEN = Insertion.STORED, Insertion.NOT_STORED, Insertion.UNKNOWN, Insertion.KEY_TAKEN


def holder(job: NewJob) -> KeyHolder:
    assert job.key is not None
    return KeyHolder(job.id, job.kind, job.lifecycle["state"], job.accepted_at, job.key.fingerprint)


def asking(what: str, count: int = 1, *, key: str = "k", tenant: str = "t") -> list[NewJob]:
    return [new_job(key=key_of(key, what), tenant=tenant) for _ in range(count)]


@pytest.fixture
def limits() -> CommitLimits:
    return CommitLimits()


@pytest.fixture
async def bench(limits: CommitLimits) -> AsyncIterator[CommitBench]:
    async with open_commit_bench(limits) as opened:
        yield opened


class TestRule:
    """What a follower is answered, by what became of its leader."""

    leader, same, other = asking("a") + asking("a") + asking("b")
    elsewhere = holder(new_job(key=key_of("k", "c")))

    @pytest.mark.parametrize("follower", [same, other])
    def test_a_stored_leader_holds_the_key(self, follower: NewJob) -> None:
        assert answer_of_follower(self.leader, STORED, follower) == holder(self.leader)

    @pytest.mark.parametrize("follower", [same, other])
    def test_what_is_unknown_is_unknown_to_all(self, follower: NewJob) -> None:
        assert answer_of_follower(self.leader, UNKNOWN, follower) is UNKNOWN

    @pytest.mark.parametrize("follower", [same, other])
    def test_who_holds_the_key_elsewhere_holds_it_for_all(self, follower: NewJob) -> None:
        assert answer_of_follower(self.leader, self.elsewhere, follower) == self.elsewhere

    def test_what_is_certainly_not_stored_binds_the_others_not(self) -> None:
        assert answer_of_follower(self.leader, NOT_STORED, self.same) is NOT_STORED
        assert answer_of_follower(self.leader, NOT_STORED, self.other) is None


async def test_a_lonely_request_is_stored(bench: CommitBench) -> None:
    (job,) = asking("a")
    assert await bench.keyed.keep(job) is STORED
    assert bench.published == [job.id]
    assert bench.store.lookups == 0


async def test_the_first_of_many_is_sent_and_all_others_get_its_job(bench: CommitBench) -> None:
    jobs = asking("a", 50) + asking("b", 50)
    bench.store.confirms.clear()
    waiting = await bench.keep_keyed(*jobs)
    assert not any(task.done() for task in waiting)
    bench.store.confirms.set()
    assert await outcomes(waiting) == [STORED] + [holder(jobs[0])] * 99
    assert bench.store.sent == [jobs[0]]
    assert bench.published == [jobs[0].id]


async def test_who_comes_later_is_told_by_the_store(bench: CommitBench) -> None:
    first, *later = asking("a", 3) + asking("b", 3)
    await bench.keyed.keep(first)
    assert await outcomes(await bench.keep_keyed(*later)) == [holder(first)] * 5
    # The first of them asked for all.
    assert (len(bench.store.sent), bench.store.lookups) == (2, 1)


async def test_other_keys_and_other_tenants_do_not_wait(bench: CommitBench) -> None:
    jobs = asking("a") + asking("a", key="other") + asking("a", tenant="other")
    assert await outcomes(await bench.keep_keyed(*jobs)) == [STORED] * 3
    assert len(bench.store.groups) == 1


async def test_what_is_not_stored_is_so_for_all_that_ask_for_the_same(bench: CommitBench) -> None:
    bench.store.spoiled_groups = [NOT_STORED]
    jobs = asking("a") + asking("b", 2) + asking("a", 2)
    assert await outcomes(await bench.keep_keyed(*jobs)) == [
        NOT_STORED,
        STORED,
        holder(jobs[1]),
        NOT_STORED,
        NOT_STORED,
    ]
    assert bench.store.sent == jobs[:2]


async def test_each_that_asks_for_something_else_is_tried_in_turn(bench: CommitBench) -> None:
    bench.store.spoiled_groups = [NOT_STORED, NOT_STORED]
    jobs = asking("a") + asking("b") + asking("c") + asking("b") + asking("d")
    assert await outcomes(await bench.keep_keyed(*jobs)) == [
        NOT_STORED,
        NOT_STORED,
        STORED,
        NOT_STORED,
        holder(jobs[2]),
    ]


async def test_what_is_unknown_is_sent_by_nobody_again(bench: CommitBench) -> None:
    bench.store.spoiled_groups = [UNKNOWN]
    jobs = asking("a", 3) + asking("b", 3)
    assert await outcomes(await bench.keep_keyed(*jobs)) == [UNKNOWN] * 6
    assert len(bench.store.sent) == 1


async def test_a_bug_of_the_store_is_unknown_to_all_and_over(
    bench: CommitBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def key_holder(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    await bench.keyed.keep(*asking("a"))
    with monkeypatch.context() as patched:
        patched.setattr(bench.store, "key_holder", key_holder)
        assert await outcomes(await bench.keep_keyed(*asking("a", 3))) == [UNKNOWN] * 3
    assert isinstance(await bench.keyed.keep(*asking("a")), KeyHolder)


class TestTaken:
    """Another process has stored the key."""

    async def test_a_holder_that_is_gone_when_it_is_looked_for_leaves_the_key_to_the_next_try(
        self, bench: CommitBench
    ) -> None:
        bench.store.spoiled_groups = [TAKEN] * (MAX_TRIES - 1)
        bench.store.gone = MAX_TRIES - 1
        assert await bench.keyed.keep(*asking("a")) is STORED
        assert len(bench.store.groups) == MAX_TRIES

    async def test_a_holder_that_is_never_found_is_unknown(self, bench: CommitBench) -> None:
        bench.store.spoiled_groups = [TAKEN] * MAX_TRIES
        bench.store.gone = MAX_TRIES
        jobs = asking("a") + asking("b")
        assert await outcomes(await bench.keep_keyed(*jobs)) == [UNKNOWN] * 2
        assert len(bench.store.groups) == MAX_TRIES

    async def test_a_holder_that_can_not_be_read_is_unknown(self, bench: CommitBench) -> None:
        first, *later = asking("a", 3)
        await bench.keyed.keep(first)
        bench.store.is_away = True
        assert await outcomes(await bench.keep_keyed(*later)) == [UNKNOWN] * 2
        bench.store.is_away = False
        assert await bench.keyed.keep(*asking("a")) == holder(first)


class TestOverdue:
    """Each request has its own deadline."""

    WITHIN_S = 30.0

    @pytest.fixture
    def limits(self) -> CommitLimits:
        return CommitLimits(commits_in_flight=1, answer_within_s=self.WITHIN_S)

    @pytest.fixture
    async def clock(self) -> LoopClock:
        return LoopClock()

    async def test_what_was_sent_is_unknown_to_all(self, bench: CommitBench, clock: LoopClock) -> None:
        bench.store.confirms.clear()
        overdue = await bench.keep_keyed(*asking("a", 2), *asking("b"))
        await clock.advance(self.WITHIN_S)
        assert await outcomes(overdue) == [UNKNOWN] * 3

    async def test_what_was_never_sent_is_not_stored(self, bench: CommitBench, clock: LoopClock) -> None:
        bench.store.confirms.clear()
        sent = asyncio.create_task(bench.commit.keep(new_job()))
        await settle()
        overdue = await bench.keep_keyed(*asking("a", 2), *asking("b", 2))
        await clock.advance(self.WITHIN_S)
        assert await outcomes(overdue) == [NOT_STORED] * 4
        assert await sent is UNKNOWN
        bench.store.confirms.set()
        await settle()
        assert len(bench.store.sent) == 1

    async def test_a_look_for_the_holder_is_bounded_too(
        self, bench: CommitBench, clock: LoopClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        never = asyncio.Event()

        async def key_holder(*_: object) -> None:
            await never.wait()

        await bench.keyed.keep(*asking("a"))
        with monkeypatch.context() as patched:
            patched.setattr(bench.store, "key_holder", key_holder)
            overdue = await bench.keep_keyed(*asking("a", 2))
            await clock.advance(self.WITHIN_S + 2 * TICK_S)
            assert await outcomes(overdue) == [UNKNOWN] * 2
        never.set()


class TestLeaving:
    """Clients that go away."""

    async def test_a_leader_that_leaves_behind_the_commit_strands_nobody(self, bench: CommitBench) -> None:
        bench.store.confirms.clear()
        first, same, other = asking("a", 2) + asking("b")
        left, *stay = await bench.keep_keyed(first, same, other)
        left.cancel()
        await settle()
        bench.store.confirms.set()
        assert await outcomes(stay) == [holder(first)] * 2
        assert bench.published == [first.id]

    async def test_who_left_does_not_lead(self, bench: CommitBench) -> None:
        bench.store.confirms.clear()
        bench.store.spoiled_groups = [NOT_STORED]
        jobs = asking("a") + asking("b") + asking("c")
        first, left, last = await bench.keep_keyed(*jobs)
        left.cancel()
        await settle()
        bench.store.confirms.set()
        assert await outcomes([first, last]) == [NOT_STORED, STORED]
        assert bench.store.sent == [jobs[0], jobs[2]]

    async def test_all_that_leave_give_their_room_back(self, bench: CommitBench) -> None:
        bench.store.confirms.clear()
        for task in await bench.keep_keyed(*asking("a", 20), *asking("b", 20)):
            task.cancel()
        await settle()
        bench.store.confirms.set()
        async with asyncio.timeout(BOUND_S):
            await bench.keyed.stop()


class TestBusy:
    """Followers take room as everybody does."""

    @pytest.fixture
    def limits(self) -> CommitLimits:
        return CommitLimits(waiting_jobs=5)

    async def test_too_many_followers_are_refused(self, bench: CommitBench) -> None:
        bench.store.confirms.clear()
        jobs = asking("a", 5)
        waiting = await bench.keep_keyed(*jobs)
        with pytest.raises(Busy):
            await bench.keyed.keep(*asking("a"))
        with pytest.raises(Busy):
            await bench.commit.keep(new_job())
        bench.store.confirms.set()
        assert await outcomes(waiting) == [STORED] + [holder(jobs[0])] * 4
        assert await bench.commit.keep(new_job()) is STORED


async def test_stop_waits_for_all_that_wait(bench: CommitBench) -> None:
    bench.store.confirms.clear()
    waiting = await bench.keep_keyed(*asking("a", 3), *asking("b", key="other"))
    stopping = asyncio.create_task(bench.keyed.stop())
    await settle()
    assert not stopping.done()
    bench.store.confirms.set()
    async with asyncio.timeout(BOUND_S):
        await stopping
    assert STORED in await outcomes(waiting)


async def test_any_order_of_requests_stores_one_job_a_key(bench: CommitBench) -> None:
    jobs = [job for n in range(40) for job in asking(f"{n % 7}", key=f"k{n % 3}")]
    tasks: list[asyncio.Task[Kept]] = []
    for at in range(0, len(jobs), 5):
        tasks += await bench.keep_keyed(*jobs[at : at + 5])
    found = await outcomes(tasks)
    assert len(bench.published) == 3
    held = {job.key.text: holder(job) for job in jobs if job.id in bench.published and job.key is not None}
    for job, answer in zip(jobs, found, strict=True):
        assert job.key is not None
        assert answer is STORED if holder(job) == held[job.key.text] else answer == held[job.key.text]
    assert {one.state for one in held.values()} == {State.QUEUED}


def test_holder_told_to_followers_is_the_stored_one() -> None:
    (job,) = asking("a")
    assert answer_of_follower(job, STORED, job) == key_holder_from(job_document(job))
