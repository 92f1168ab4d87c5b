"""Group commit: who waits with whom, who is answered what, and what is bounded."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from prometheus_client import REGISTRY

from acked_common.background.job_writer import JobWriter
from acked_common.store.records import Insertion, NewJob
from acked_intake.accept.group_commit import (
    LARGE_JOBS,
    MAX_GROUP_BYTES,
    MAX_GROUP_JOBS,
    Busy,
    GroupCommit,
)
from acked_intake.settings import CommitLimits
from support.commit_bench import CommitBench, open_commit_bench, outcomes
from support.factories import new_job
from support.loop_clock import LoopClock
from support.parts import BOUND_S, settle


@pytest.fixture
def limits() -> CommitLimits:
    return CommitLimits()


@pytest.fixture
async def bench(limits: CommitLimits) -> AsyncIterator[CommitBench]:
    async with open_commit_bench(limits) as opened:
        yield opened


def jobs(count: int, payload: bytes = b"{}") -> list[NewJob]:
    return [new_job(payload=payload) for _ in range(count)]


async def test_a_lonely_request_does_not_wait_for_others(bench: CommitBench) -> None:
    (job,) = jobs(1)
    assert await bench.commit.keep(job) is Insertion.STORED
    assert bench.store.sizes == [1]
    assert bench.published == [job.id]


async def test_what_is_stored_counts_by_kind(bench: CommitBench) -> None:
    def accepted(kind: str) -> float | None:
        return REGISTRY.get_sample_value("acked_jobs_accepted_total", {"kind": kind})

    commits = REGISTRY.get_sample_value("acked_commit_duration_seconds_count") or 0
    asked = [new_job(kind=kind) for kind in ("counted", "counted", "apart")]
    assert await outcomes(await bench.keep(*asked)) == [Insertion.STORED] * 3
    assert (accepted("counted"), accepted("apart")) == (2, 1)
    assert REGISTRY.get_sample_value("acked_commit_duration_seconds_count") == commits + 1


async def test_requests_of_one_turn_are_one_group(bench: CommitBench) -> None:
    assert await outcomes(await bench.keep(*jobs(200))) == [Insertion.STORED] * 200
    assert bench.store.sizes == [200]


async def test_groups_form_while_commits_are_in_flight(bench: CommitBench, limits: CommitLimits) -> None:
    bench.store.confirms.clear()
    waiting = []
    for count in (1, 40, 50, 60, 70):
        waiting += await bench.keep(*jobs(count))
    assert bench.store.sizes == [1, 40, 50]
    assert limits.commits_in_flight == 3
    bench.store.confirms.set()
    assert set(await outcomes(waiting)) == {Insertion.STORED}
    assert bench.store.sizes == [1, 40, 50, 130]


async def test_small_groups_go_one_after_the_other(bench: CommitBench) -> None:
    bench.store.confirms.clear()
    waiting = await bench.keep(*jobs(1))
    for _ in range(LARGE_JOBS - 1):
        waiting += await bench.keep(*jobs(1))
    assert bench.store.sizes == [1]
    bench.store.confirms.set()
    assert set(await outcomes(waiting)) == {Insertion.STORED}
    assert bench.store.sizes == [1, LARGE_JOBS - 1]


async def test_beside_a_large_group_another_begins_with_as_many(bench: CommitBench) -> None:
    bench.store.confirms.clear()
    waiting = []
    for count, sizes in ((40, [40]), (39, [40]), (1, [40, 40]), (39, [40, 40]), (2, [40, 40, 41])):
        waiting += await bench.keep(*jobs(count))
        assert bench.store.sizes == sizes
    bench.store.confirms.set()
    assert set(await outcomes(waiting)) == {Insertion.STORED}


async def test_too_few_for_a_group_of_their_own_go_when_the_group_before_them_ends(bench: CommitBench) -> None:
    bench.store.confirms.clear()
    waiting = await bench.keep(*jobs(40))
    waiting += await bench.keep(*jobs(3))
    assert bench.store.sizes == [40]
    bench.store.confirms.set()
    assert set(await outcomes(waiting)) == {Insertion.STORED}
    assert bench.store.sizes == [40, 3]


async def test_a_write_that_hangs_holds_up_nobody(bench: CommitBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acked_common.runtime.batch_window.SLOW_S", 0.01)
    bench.store.confirms.clear()
    waiting = await bench.keep(*jobs(40))
    waiting += await bench.keep(*jobs(3))
    async with asyncio.timeout(BOUND_S):
        while bench.store.sizes != [40, 3]:  # noqa: ASYNC110 - a group sets no event
            await asyncio.sleep(0.001)
    bench.store.confirms.set()
    assert set(await outcomes(waiting)) == {Insertion.STORED}


async def test_the_answer_comes_before_anything_is_published(bench: CommitBench) -> None:
    order: list[str] = []
    loop = asyncio.get_running_loop()
    # A bundle publisher sends in a task of its own.
    commit = GroupCommit(JobWriter(bench.store, lambda _: loop.call_soon(order.append, "published")), CommitLimits())

    async def request(job: NewJob) -> None:
        await commit.keep(job)
        order.append("answered")

    async with asyncio.timeout(BOUND_S):
        await asyncio.gather(*(request(job) for job in jobs(3)))
        await commit.stop()
    await settle()
    assert order == ["answered", "answered", "answered", "published"]


async def test_a_group_has_a_bounded_number_of_jobs(bench: CommitBench) -> None:
    await outcomes(await bench.keep(*jobs(MAX_GROUP_JOBS * 2 + 5)))
    assert bench.store.sizes == [MAX_GROUP_JOBS, MAX_GROUP_JOBS, 5]


async def test_a_group_has_a_bounded_size(bench: CommitBench) -> None:
    quarter = b'"' + b"x" * (MAX_GROUP_BYTES // 4) + b'"'
    await outcomes(await bench.keep(*jobs(7, quarter)))
    assert bench.store.sizes == [3, 3, 1]


async def test_a_job_above_the_size_of_a_group_goes_alone(bench: CommitBench) -> None:
    large = jobs(1, b"x" * (MAX_GROUP_BYTES + 1))
    await outcomes(await bench.keep(*jobs(1), *large, *jobs(1)))
    assert bench.store.sizes == [1, 1, 1]


async def test_one_bad_neighbour_spoils_nothing(bench: CommitBench) -> None:
    group = jobs(5)
    bench.store.spoiled = {group[1].id: Insertion.NOT_STORED, group[3].id: Insertion.UNKNOWN}
    found = await outcomes(await bench.keep(*group))
    assert found == [
        Insertion.STORED,
        Insertion.NOT_STORED,
        Insertion.STORED,
        Insertion.UNKNOWN,
        Insertion.STORED,
    ]
    assert bench.published == [group[0].id, group[2].id, group[4].id]


async def test_a_store_that_breaks_its_word_leaves_no_request_behind(bench: CommitBench) -> None:
    bench.store.bug = ZeroDivisionError("a bug")
    assert await outcomes(await bench.keep(*jobs(3))) == [Insertion.UNKNOWN] * 3
    assert bench.published == []
    bench.store.bug = None
    assert await outcomes(await bench.keep(*jobs(1))) == [Insertion.STORED]


class TestBusy:
    """Waiting requests are bounded."""

    @pytest.fixture
    def limits(self) -> CommitLimits:
        return CommitLimits(waiting_jobs=5, waiting_bytes=10_000, commits_in_flight=1)

    async def test_too_many_waiting_requests_are_refused(self, bench: CommitBench) -> None:
        bench.store.confirms.clear()
        waiting = await bench.keep(*jobs(5))
        with pytest.raises(Busy):
            await bench.commit.keep(*jobs(1))
        bench.store.confirms.set()
        await outcomes(waiting)
        assert await bench.commit.keep(*jobs(1)) is Insertion.STORED

    async def test_too_large_waiting_requests_are_refused(self, bench: CommitBench) -> None:
        bench.store.confirms.clear()
        waiting = await bench.keep(*jobs(2, b"x" * 4000))
        with pytest.raises(Busy):
            await bench.commit.keep(*jobs(1, b"x" * 4000))
        bench.store.confirms.set()
        await outcomes(waiting)
        assert await outcomes(await bench.keep(*jobs(2, b"x" * 4000))) == [Insertion.STORED] * 2

    async def test_a_burst_of_refusals_costs_no_room(self, bench: CommitBench) -> None:
        bench.store.confirms.clear()
        waiting = await bench.keep(*jobs(50))
        bench.store.confirms.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in found].count(Busy) == 45
        assert found.count(Insertion.STORED) == 5
        assert await outcomes(await bench.keep(*jobs(5))) == [Insertion.STORED] * 5


class TestOverdue:
    """Each request has its own deadline."""

    WITHIN_S = 30.0

    @pytest.fixture
    def limits(self) -> CommitLimits:
        return CommitLimits(commits_in_flight=1, answer_within_s=self.WITHIN_S)

    @pytest.fixture
    async def clock(self) -> LoopClock:
        return LoopClock()

    async def test_what_was_sent_is_unknown_and_what_was_not_is_not_stored(
        self, bench: CommitBench, clock: LoopClock
    ) -> None:
        bench.store.confirms.clear()
        sent = await bench.keep(*jobs(2))
        unsent = await bench.keep(*jobs(3))
        await clock.advance(self.WITHIN_S)
        assert await outcomes(sent) == [Insertion.UNKNOWN] * 2
        assert await outcomes(unsent) == [Insertion.NOT_STORED] * 3
        assert bench.store.sizes == [2]

    async def test_what_was_called_not_stored_is_never_sent(self, bench: CommitBench, clock: LoopClock) -> None:
        bench.store.confirms.clear()
        overdue = [*await bench.keep(*jobs(2)), *await bench.keep(*jobs(3))]
        await clock.advance(self.WITHIN_S)
        await outcomes(overdue)
        bench.store.confirms.set()
        await settle()
        assert bench.store.sizes == [2]
        assert await bench.commit.keep(*jobs(1)) is Insertion.STORED
        assert bench.store.sizes == [2, 1]

    async def test_what_was_called_unknown_and_is_stored_is_published(
        self, bench: CommitBench, clock: LoopClock
    ) -> None:
        bench.store.confirms.clear()
        late = jobs(2)
        overdue = await bench.keep(*late)
        await clock.advance(self.WITHIN_S)
        await outcomes(overdue)
        assert bench.published == []
        bench.store.confirms.set()
        await settle()
        assert bench.published == [job.id for job in late]

    async def test_a_deadline_is_the_request_s_own(self, bench: CommitBench, clock: LoopClock) -> None:
        bench.store.confirms.clear()
        first = await bench.keep(*jobs(1))
        await clock.advance(self.WITHIN_S / 2)
        second = await bench.keep(*jobs(1))
        await clock.advance(self.WITHIN_S / 2)
        await outcomes(first)
        assert not second[0].done()
        await clock.advance(self.WITHIN_S / 2)
        await outcomes(second)


class TestLeaving:
    """Clients that go away."""

    @pytest.fixture
    def limits(self) -> CommitLimits:
        return CommitLimits(commits_in_flight=1)

    async def test_who_left_before_the_commit_is_not_stored(self, bench: CommitBench) -> None:
        bench.store.confirms.clear()
        sent = await bench.keep(*jobs(1))
        left, stays = await bench.keep(*jobs(2))
        left.cancel()
        await settle()
        bench.store.confirms.set()
        assert await outcomes([*sent, stays]) == [Insertion.STORED] * 2
        assert bench.store.sizes == [1, 1]
        assert left.cancelled()

    async def test_who_left_behind_the_commit_is_published_all_the_same(self, bench: CommitBench) -> None:
        bench.store.confirms.clear()
        (job,) = jobs(1)
        (task,) = await bench.keep(job)
        task.cancel()
        await settle()
        bench.store.confirms.set()
        await settle()
        assert bench.published == [job.id]

    async def test_who_left_gives_its_room_back(self, bench: CommitBench) -> None:
        bench.store.confirms.clear()
        tasks = [*await bench.keep(*jobs(1)), *await bench.keep(*jobs(100))]
        for task in tasks:
            task.cancel()
        bench.store.confirms.set()
        async with asyncio.timeout(BOUND_S):
            await bench.commit.stop()


async def test_stop_waits_for_all_that_is_held(bench: CommitBench) -> None:
    bench.store.confirms.clear()
    waiting = []
    for _ in range(5):
        waiting += await bench.keep(*jobs(2))
    stopping = asyncio.create_task(bench.commit.stop())
    await settle()
    assert not stopping.done()
    bench.store.confirms.set()
    async with asyncio.timeout(BOUND_S):
        await stopping
    assert set(await outcomes(waiting)) == {Insertion.STORED}


async def test_stop_with_nothing_held_returns(bench: CommitBench) -> None:
    async with asyncio.timeout(BOUND_S):
        await bench.commit.stop()
