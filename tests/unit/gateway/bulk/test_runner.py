"""What a bulk action does to its jobs, and to no others; the parts are in memory."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import pytest

from acked_common.model import lifecycle
from acked_common.model.bulk_actions import (
    Abort,
    BulkPlan,
    BulkResolution,
    BulkState,
    BulkVerb,
    with_page,
)
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import Move, State
from acked_common.model.principal import DEFAULT_TENANT
from acked_common.store.errors import StoreError, StoreUnavailable
from acked_common.store.records import Applied, Job
from acked_gateway.bulk import pages, rules, runner
from support.bulk import BY, GROUP, chosen, failed_in_group, ordered
from support.bulk_bench import Bench, carried_out, idle, moves_of
from support.factories import (
    ERROR,
    RETENTION_S,
    again,
    moved,
    owner,
    queued,
    running,
    scheduled,
    succeeded,
)
from support.factories import LEASE_S as JOB_LEASE_S
from support.memory_store import MemoryStore

pytestmark = pytest.mark.usefixtures("small_pages")


async def test_jobs_of_a_group_run_again(bench: Bench) -> None:
    jobs = await bench.failed(20)
    others = [await failed_in_group(bench.store, "1bb", at=bench.clock.now()) for _ in range(3)]
    action = await bench.add(ordered(bench.plan(jobs)))
    found = await carried_out(bench, action)
    assert (found.state, found.tally.done, found.tally.refused, found.progress) == (BulkState.DONE, 20, {}, 1.0)
    for job in jobs:
        now = await again(bench.store, job)
        assert (now.state, now.run, moves_of(now, action)) == (State.QUEUED, 2, 1)
        assert now.history[-1].by == rules.actor_of(action)
    assert [await again(bench.store, job) for job in others] == others
    assert sorted(bench.published) == sorted(job.id for job in jobs)


async def test_later_arrivals_are_not_touched(bench: Bench) -> None:
    # These fail only after the plan, and their ids are lower than its bound.
    late = [await running(bench.store, claimed_at=bench.clock.now()) for _ in range(4)]
    jobs = await bench.failed(10)
    plan = bench.plan(jobs)
    bench.clock.advance(1.0)
    arrived = await bench.failed(4)
    error = {**ERROR, "group": GROUP}
    for job in late:
        end = lifecycle.fail(at=bench.clock.now(), error=error, retention_s=RETENTION_S, exhausted=False)
        await moved(bench.store, job, end)
    found = await carried_out(bench, await bench.add(ordered(plan)))
    assert (found.tally.done, found.tally.refused) == (10, {})
    assert [(await again(bench.store, job)).run for job in jobs] == [2] * 10
    assert [(await again(bench.store, job)).run for job in [*late, *arrived]] == [1] * 8


@pytest.mark.parametrize("verb", BulkVerb)
async def test_each_verb_moves_its_jobs(bench: Bench, verb: BulkVerb) -> None:
    at = bench.clock.now()
    makers: dict[BulkVerb, Callable[[], Any]] = {
        BulkVerb.RETRY: lambda: failed_in_group(bench.store, at=at),
        BulkVerb.CANCEL: lambda: queued(bench.store, at=at),
        BulkVerb.RESOLVE: lambda: failed_in_group(bench.store, at=at),
        BulkVerb.RUN_NOW: lambda: scheduled(bench.store, at=at),
        BulkVerb.ERASE: lambda: failed_in_group(bench.store, at=at),
    }
    jobs = [await makers[verb]() for _ in range(9)]
    resolution = BulkResolution(State.SUCCEEDED, b"3") if verb is BulkVerb.RESOLVE else None
    action = ordered(bench.plan(jobs), verb, ids=9, resolution=resolution)
    found = await carried_out(bench, await bench.add(action, sorted(job.id for job in jobs)))
    assert (found.state, found.tally.done) == (BulkState.DONE, 9)
    ends = {
        BulkVerb.RETRY: State.QUEUED,
        BulkVerb.CANCEL: State.CANCELLED,
        BulkVerb.RESOLVE: State.SUCCEEDED,
        BulkVerb.RUN_NOW: State.QUEUED,
        BulkVerb.ERASE: State.FAILED,
    }
    for job in jobs:
        now = await again(bench.store, job)
        assert (now.state, moves_of(now, action)) == (ends[verb], 1)
        assert (now.erased_at is not None) == (verb is BulkVerb.ERASE)


async def test_a_running_job_is_stopped_at_its_worker(bench: Bench) -> None:
    job = await running(bench.store, by=owner(boot="boot-9"), claimed_at=bench.clock.now())
    action = ordered(bench.plan([job]), BulkVerb.CANCEL, choice=chosen(State.RUNNING, kind="demo"))
    await carried_out(bench, await bench.add(action))
    assert bench.stopped == [("boot-9", job.id, 1)]
    assert (await again(bench.store, job)).cancel_requested


async def test_refusals_are_counted_by_reason(bench: Bench) -> None:
    jobs = await bench.failed(3)
    done = await succeeded(bench.store, at=bench.clock.now())
    foreign = await failed_in_group(bench.store, at=bench.clock.now(), tenant="globex")
    ids = sorted([*(job.id for job in jobs), done.id, foreign.id, new_id()])
    action = ordered(BulkPlan(bench.clock.now() + timedelta(days=365), ids[-1], 6), ids=6)
    found = await carried_out(bench, await bench.add(action, ids))
    assert found.tally.done == 3
    assert found.tally.refused == {"not-found": 2, "wrong-state": 1}
    assert {one.id: one.why for one in found.tally.examples}[done.id] == "wrong-state"
    assert found.tally.handled == 6
    assert await again(bench.store, foreign) == foreign


async def test_examples_of_refusals_are_few(bench: Bench) -> None:
    ids = sorted(new_id() for _ in range(50))
    found = await carried_out(bench, await bench.add(ordered(BulkPlan(bench.clock.now(), ids[-1], 50), ids=50), ids))
    assert found.tally.refused == {"not-found": 50}
    assert [one.id for one in found.tally.examples] == ids[:20]


async def test_a_claim_in_between_is_overtaken(bench: Bench) -> None:
    job = await queued(bench.store, at=bench.clock.now())
    action = await bench.add(ordered(bench.plan([job]), BulkVerb.CANCEL, choice=chosen(*lifecycle.LIVE, kind="demo")))
    claim = lifecycle.claim(at=bench.clock.now(), owner=owner(), lease_s=JOB_LEASE_S)
    bench.store = _Behind(bench.store, [Move(job.seen, claim)])
    found = await carried_out(bench, action)
    assert found.tally.done == 1
    assert (await again(bench.store, job)).cancel_requested
    assert len(bench.stopped) == 1


async def test_a_job_that_never_stands_still_counts_as_moved(bench: Bench) -> None:
    (job,) = await bench.failed(1)
    action = await bench.add(ordered(bench.plan([job])))
    bench.store = _Behind(bench.store, [], is_restless=True)
    found = await carried_out(bench, action)
    assert (found.state, found.tally.done, found.tally.refused) == (BulkState.DONE, 0, {"moved": 1})


class _Behind(MemoryStore):
    """Moves jobs just before a write: some, or each one before each write."""

    def __init__(self, store: MemoryStore, moves: list[Move], *, is_restless: bool = False) -> None:
        self.__dict__ = store.__dict__
        self._behind, self._is_restless = moves, is_restless

    async def apply(self, moves: Any) -> list[Applied]:
        if self._is_restless:
            for move in moves:
                self._jobs[move.seen.id]["rev"] += 1
        if self._behind:
            await super().apply([self._behind.pop()])
        return await super().apply(moves)


async def test_a_job_that_the_database_refuses_stops_no_other(bench: Bench) -> None:
    jobs = await bench.failed(5)
    action = await bench.add(ordered(bench.plan(jobs)))
    bench.store = _Refusing(bench.store, jobs[2].id)
    found = await carried_out(bench, action)
    assert (found.tally.done, found.tally.refused) == (4, {"refused": 1})


class _Refusing(MemoryStore):
    """Refuses to move one job, as a validator does."""

    def __init__(self, store: MemoryStore, refused: UUID) -> None:
        self.__dict__ = store.__dict__
        self._refused = refused

    async def apply(self, moves: Any) -> list[Applied]:
        if any(move.seen.id == self._refused for move in moves):
            raise StoreError("moving jobs: MongoDB refused (codes [121])")
        return await super().apply(moves)


async def test_a_defect_ends_the_action_as_failed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = await bench.failed(5)
    action = await bench.add(ordered(bench.plan(jobs)))

    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(pages.rules, "decide", broken)
    found = await carried_out(bench, action)
    assert (found.state, found.tally.done) == (BulkState.FAILED, 0)
    assert found.failure is not None and found.failure.startswith("ZeroDivisionError")
    assert await bench.store.bulk_actions().take("nobody", lease_s=1.0, but=[]) is None


async def test_an_abort_before_the_start_moves_nothing(bench: Bench) -> None:
    jobs = await bench.failed(3)
    action = await bench.add(ordered(bench.plan(jobs)))
    await bench.store.bulk_actions().request_abort(action.id, Abort(BY, bench.clock.now()), tenant=DEFAULT_TENANT)
    found = await carried_out(bench, action)
    assert (found.state, found.tally.handled) == (BulkState.ABORTED, 0)
    assert [await again(bench.store, job) for job in jobs] == jobs


async def test_a_rate_is_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = await bench.failed(60)
    started_at = bench.clock.now()
    action = await bench.add(ordered(bench.plan(jobs), rate_per_s=10.0))

    async def passes(held: Any, for_s: float) -> None:
        bench.clock.advance(for_s)
        await gateway.renew()

    monkeypatch.setattr(runner, "_pause", passes)
    gateway = bench.gateway()
    await gateway.take()
    await idle(gateway)
    found = await bench.get(action)
    assert found.tally.done == 60
    moved_at = sorted([(await again(bench.store, job)).history[-1].at for job in jobs])
    assert found.ended_at is not None
    took_s = (found.ended_at - started_at).total_seconds()
    assert 60 / 12 <= took_s <= 60 / 8
    # In no second more than the rate, the first one included.
    for first in moved_at:
        assert sum(first <= at < first + timedelta(seconds=1) for at in moved_at) <= 10


async def test_several_actions_go_on_at_once(bench: Bench) -> None:
    actions = []
    for n in range(8):
        group = f"1{n:02}"
        jobs = [await failed_in_group(bench.store, group, at=bench.clock.now()) for _ in range(10)]
        actions.append(await bench.add(ordered(bench.plan(jobs), choice=chosen(error_group=group))))
    gateways = [bench.gateway(), bench.gateway()]
    await asyncio.gather(*(gateway.take() for gateway in gateways))
    for gateway in gateways:
        await idle(gateway)
    found = [await bench.get(action) for action in actions]
    assert [(one.state, one.tally.done) for one in found] == [(BulkState.DONE, 10)] * 8


async def test_a_page_left_by_an_earlier_owner_is_settled_first(bench: Bench) -> None:
    jobs = await bench.failed(4)
    action = await bench.add(ordered(bench.plan(jobs)))
    store = bench.store.bulk_actions()
    taken = await store.take("before", lease_s=1.0, but=[])
    assert taken is not None
    await store.save(with_page(taken.action, [jobs[0].id, jobs[1].id], bench.clock.now()), owner="before")
    bench.clock.advance(1.1)
    found = await carried_out(bench, action)
    assert (found.state, found.tally.done) == (BulkState.DONE, 4)
    assert found.position.number == 2 + 2 + 1


async def test_reads_that_are_older_than_the_writes_refuse_no_job(bench: Bench) -> None:
    jobs = await bench.failed(3)
    before = {job.id: job for job in jobs}
    action = await bench.add(ordered(bench.plan(jobs)))
    await carried_out(bench, action)

    class Behind:
        """As a new primary that does not show yet what the old one has confirmed."""

        async def jobs_of(self, tenant: str, ids: Sequence[UUID]) -> dict[UUID, Job]:
            return {job_id: before[job_id] for job_id in ids}

    bench.clock.advance(1.0)
    page = with_page(action, sorted(before), bench.clock.now())
    parts = {"may_move": True, "write_until": lambda: bench.clock.now() + timedelta(seconds=9)}
    with pytest.raises(StoreUnavailable):
        await bench.pages(cast(Any, Behind())).settle(page, before, **parts)
    settled = await bench.pages(bench.store.choices()).settle(page, None, **parts)
    assert (settled.done, settled.refusals) == (3, [])
    assert [moves_of(await again(bench.store, job), action) for job in jobs] == [1] * 3
