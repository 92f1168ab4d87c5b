"""Bulk actions are carried out once, whoever is killed, stalled or stopped, and wherever; the parts are in memory."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from acked_common.model import interventions, lifecycle
from acked_common.model.bulk_actions import (
    Abort,
    BulkAction,
    BulkState,
)
from acked_common.model.lifecycle import State
from acked_common.model.principal import DEFAULT_TENANT
from acked_common.store.errors import OutcomeUnknown, StoreError, StoreUnavailable
from acked_gateway.bulk import runner
from acked_gateway.bulk.runner import LEASE_S, SAFE_S, BulkRunner
from support.bulk import BY, GROUP, Life, chosen, ordered
from support.bulk_bench import PAGE, Bench, carried_out, idle, moves_of
from support.factories import (
    ERROR,
    RETENTION_S,
    again,
    moved,
    owner,
)
from support.factories import LEASE_S as JOB_LEASE_S
from support.parts import BOUND_S

pytestmark = pytest.mark.usefixtures("small_pages")

CALLS = 20
"""More than an action of three pages needs."""
MOVES = 5
"""The call that moves the first page: behind two takes, a look, and the page itself."""


@pytest.mark.parametrize("is_done_before", [False, True], ids=["before the call", "after the call"])
@pytest.mark.parametrize("nth", range(1, CALLS))
async def test_a_kill_at_any_call_changes_nothing(bench: Bench, nth: int, is_done_before: bool) -> None:
    jobs = await bench.failed(20)
    resolved = interventions.resolve(
        at=bench.clock.now(), to=State.FAILED, result=None, note=None, retention_s=RETENTION_S
    )
    for job in jobs[5:8]:
        await moved(bench.store, job, resolved)
    ids = sorted(job.id for job in jobs)
    bench.clock.advance(1.0)
    action = await bench.add(ordered(bench.plan(jobs), choice=chosen(kind="demo")))
    lives = [Life(nth, is_done_before=is_done_before), Life(nth, is_done_before=is_done_before), Life()]
    for life in lives:
        # What the former owner was about to write may come late: another minute of jobs that fail again.
        await _fail_again(bench, ids[::3])
        gateway = bench.gateway(life)
        try:
            await gateway.take()
        except asyncio.CancelledError:
            assert life.is_over
        await idle(gateway)
        bench.clock.advance(LEASE_S + 0.1)
    found = await bench.get(action)
    assert (found.state, found.tally.done, found.tally.refused) == (BulkState.DONE, 17, {"resolved": 3})
    runs = Counter([(await again(bench.store, job)).run for job in jobs])
    # A resolve is a run of its own.
    assert runs == {2: 20}
    assert {moves_of(await again(bench.store, job), action) for job in [*jobs[:5], *jobs[8:]]} == {1}
    assert await _is_idle(bench)


async def _is_idle(bench: Bench) -> bool:
    """Whether nothing is left to be taken."""
    return await bench.store.bulk_actions().take("nobody", lease_s=1.0, but=[]) is None


async def _fail_again(bench: Bench, ids: list[UUID]) -> None:
    """Let those that wait run and fail: they match the filter again, and must not move again."""
    error = {**ERROR, "group": GROUP}
    for job in (await bench.store.get_many(ids)).values():
        if job.state is State.QUEUED:
            at = bench.clock.now()
            job = await moved(bench.store, job, lifecycle.claim(at=at, owner=owner(), lease_s=JOB_LEASE_S))
            await moved(bench.store, job, lifecycle.fail(at=at, error=error, retention_s=RETENTION_S, exhausted=False))


@pytest.mark.parametrize("nth", range(1, CALLS))
async def test_a_stalled_owner_that_wakes_moves_nothing_twice(bench: Bench, nth: int) -> None:
    jobs = await bench.failed(20)
    action = await bench.add(ordered(bench.plan(jobs)))
    stalled = _Stalled(nth)
    first = bench.gateway(stalled)
    taking = asyncio.create_task(first.take())
    await stalled.until_stalled(first, taking)
    bench.clock.advance(LEASE_S + 0.1)
    second = bench.gateway()
    await second.take()
    stalled.go_on.set()
    await taking
    await idle(second)
    await idle(first)
    found = await bench.get(action)
    if found.ended_at is None:
        # It was this owner's again before the other could take it.
        bench.clock.advance(LEASE_S + 0.1)
        found = await carried_out(bench, action)
    assert (found.state, found.tally.done, found.tally.refused) == (BulkState.DONE, 20, {})
    assert {moves_of(await again(bench.store, job), action) for job in jobs} == {1}


class _Stalled(Life):
    """A process that stands still in its n-th call, before it is made, as a paused machine does."""

    def __init__(self, nth: int) -> None:
        super().__init__()
        self.go_on = asyncio.Event()
        self._nth = nth
        self._stands = asyncio.Event()

    async def through(self, call: Any) -> Any:
        self.calls += 1
        if self.calls == self._nth:
            self._stands.set()
            await self.go_on.wait()
        return await call()

    async def until_stalled(self, gateway: BulkRunner, taking: "asyncio.Task[None]") -> None:
        async with asyncio.timeout(BOUND_S):
            while not self._stands.is_set() and not (taking.done() and not gateway.held):  # noqa: ASYNC110 - as `idle`
                await asyncio.sleep(0)


async def test_an_owner_leaves_what_another_one_has_taken(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def until_stirred(held: Any, for_s: float) -> None:
        await held.stirred.wait()

    monkeypatch.setattr(runner, "_pause", until_stirred)
    jobs = await bench.failed(3)
    await bench.add(ordered(bench.plan(jobs), rate_per_s=1.0))
    first, second = bench.gateway(), bench.gateway()
    await first.take()
    bench.clock.advance(LEASE_S + 0.1)
    await second.take()
    assert (first.held, second.held) == (1, 1)
    await first.renew()
    await second.renew()
    await idle(first)
    assert second.held == 1
    await second.stop()


async def test_an_owner_without_a_lease_moves_nothing(bench: Bench) -> None:
    jobs = await bench.failed(3)
    action = await bench.add(ordered(bench.plan(jobs)))
    stalled = _Stalled(3)
    gateway = bench.gateway(stalled)
    await gateway.take()
    await stalled.until_stalled(gateway, asyncio.create_task(asyncio.sleep(0)))
    bench.clock.advance(SAFE_S + 0.1)
    stalled.go_on.set()
    for _ in range(200):
        await asyncio.sleep(0)
    assert [await again(bench.store, job) for job in jobs] == jobs
    await gateway.renew()
    await idle(gateway)
    assert (await bench.get(action)).tally.done == 3


@pytest.mark.parametrize("error", [StoreUnavailable("away"), OutcomeUnknown("unknown")])
@pytest.mark.parametrize("nth", range(3, CALLS))
@pytest.mark.parametrize("is_done_before", [False, True])
async def test_errors_of_the_store_are_outlived(
    bench: Bench, error: StoreError, nth: int, is_done_before: bool
) -> None:
    jobs = await bench.failed(20)
    action = await bench.add(ordered(bench.plan(jobs)))
    gateway = bench.gateway(_Failing(nth, error, is_done_before=is_done_before))
    await gateway.take()
    await idle(gateway)
    if (found := await bench.get(action)).ended_at is None:
        # The reply to a write was lost, and another write followed: the next owner continues.
        bench.clock.advance(LEASE_S + 0.1)
        found = await carried_out(bench, action)
    assert (found.state, found.tally.done, found.tally.refused) == (BulkState.DONE, 20, {})
    assert {moves_of(await again(bench.store, job), action) for job in jobs} == {1}


class _Failing(Life):
    """A process whose store fails at one call, before it has taken effect or behind that."""

    def __init__(self, nth: int, error: StoreError, *, is_done_before: bool) -> None:
        super().__init__()
        self._nth, self._error, self._is_done = nth, error, is_done_before

    async def through(self, call: Any) -> Any:
        self.calls += 1
        if self.calls != self._nth:
            return await call()
        if self._is_done:
            await call()
        raise self._error


async def test_an_abort_leaves_what_has_not_moved(bench: Bench) -> None:
    jobs = await bench.failed(30)
    action = await bench.add(ordered(bench.plan(jobs)))
    # The first page has moved and is counted when the abort comes.
    stalled = _Stalled(7)
    gateway = bench.gateway(stalled)
    await gateway.take()
    await stalled.until_stalled(gateway, asyncio.create_task(asyncio.sleep(0)))
    abort = Abort(BY, bench.clock.now())
    await bench.store.bulk_actions().request_abort(action.id, abort, tenant=DEFAULT_TENANT)
    stalled.go_on.set()
    await idle(gateway)
    found = await bench.get(action)
    assert (found.state, found.tally.done, found.abort) == (BulkState.ABORTED, PAGE, abort)
    assert sum([(await again(bench.store, job)).run == 2 for job in jobs]) == PAGE


async def test_a_stalled_owner_moves_nothing_after_an_abort(bench: Bench) -> None:
    jobs = await bench.failed(10)
    action = await bench.add(ordered(bench.plan(jobs)))
    # It has looked at its lease, and stands still before its write.
    stalled = _Stalled(MOVES)
    gateway = bench.gateway(stalled)
    await gateway.take()
    await stalled.until_stalled(gateway, asyncio.create_task(asyncio.sleep(0)))
    bench.clock.advance(LEASE_S + 0.1)
    await _abort(bench, action)
    found = await carried_out(bench, action)
    assert (found.state, found.tally.done) == (BulkState.ABORTED, 0)
    stalled.go_on.set()
    for _ in range(200):
        await asyncio.sleep(0)
    assert [await again(bench.store, job) for job in jobs] == jobs


@pytest.mark.parametrize("is_in_time", [True, False], ids=["within the lease", "behind the lease"])
async def test_an_abort_counts_a_write_without_an_answer(bench: Bench, is_in_time: bool) -> None:
    jobs = await bench.failed(10)
    action = await bench.add(ordered(bench.plan(jobs)))
    late = _Late(lambda: _abort_seen(bench, action, gateway))
    gateway = bench.gateway(late)
    await gateway.take()
    for _ in range(200):
        await asyncio.sleep(0)
    assert (await bench.get(action)).ended_at is None, "jobs may still move"
    if is_in_time:
        await late.arrive()
    bench.clock.advance(LEASE_S)
    await idle(gateway)
    if not is_in_time:
        await late.arrive()
    moved_already = sum([(await again(bench.store, job)).run == 2 for job in jobs])
    assert moved_already == (PAGE if is_in_time else 0)
    found = await bench.get(action)
    assert (found.state, found.tally.done) == (BulkState.ABORTED, moved_already)


async def _abort(bench: Bench, action: BulkAction) -> None:
    await bench.store.bulk_actions().request_abort(action.id, Abort(BY, bench.clock.now()), tenant=DEFAULT_TENANT)


async def _abort_seen(bench: Bench, action: BulkAction, gateway: BulkRunner) -> None:
    await _abort(bench, action)
    await gateway.renew()


class _Late(Life):
    """A process whose write of the moves gets no answer, and arrives when the test says so."""

    def __init__(self, meanwhile: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self._meanwhile = meanwhile
        self._call: Callable[[], Awaitable[Any]] | None = None

    async def through(self, call: Any) -> Any:
        self.calls += 1
        if self.calls != MOVES:
            return await call()
        self._call = call
        await self._meanwhile()
        raise OutcomeUnknown("no answer in time")

    async def arrive(self) -> None:
        """Let the write take effect."""
        assert self._call is not None
        await self._call()


async def test_an_abort_counts_what_a_killed_owner_had_moved(bench: Bench) -> None:
    jobs = await bench.failed(10)
    action = await bench.add(ordered(bench.plan(jobs)))
    gateway = bench.gateway(Life(MOVES, is_done_before=True))
    await gateway.take()
    await idle(gateway)
    moved_already = sum([(await again(bench.store, job)).run == 2 for job in jobs])
    await _abort(bench, action)
    bench.clock.advance(LEASE_S + 0.1)
    found = await carried_out(bench, action)
    assert (found.state, found.tally.done) == (BulkState.ABORTED, moved_already)
    assert sum([(await again(bench.store, job)).run == 2 for job in jobs]) == moved_already == PAGE


async def test_a_gateway_that_stops_gives_its_actions_to_others_at_once(bench: Bench) -> None:
    jobs = await bench.failed(20)
    action = await bench.add(ordered(bench.plan(jobs)))
    stalled = _Stalled(7)
    gateway = bench.gateway(stalled)
    await gateway.take()
    await stalled.until_stalled(gateway, asyncio.create_task(asyncio.sleep(0)))
    stopping = asyncio.create_task(gateway.stop())
    await asyncio.sleep(0)
    stalled.go_on.set()
    await stopping
    assert (await bench.get(action)).ended_at is None
    # No time has passed: no lease has run out.
    found = await carried_out(bench, action)
    assert (found.state, found.tally.done) == (BulkState.DONE, 20)


async def test_a_gateway_that_stops_lets_its_late_writes_run_out(bench: Bench) -> None:
    jobs = await bench.failed(10)
    action = await bench.add(ordered(bench.plan(jobs)))
    stopping: list[asyncio.Task[None]] = []

    async def stop() -> None:
        stopping.append(asyncio.create_task(gateway.stop()))
        await asyncio.sleep(0)

    gateway = bench.gateway(_Late(stop))
    await gateway.take()
    await idle(gateway)
    await asyncio.gather(*stopping)
    await _abort(bench, action)
    # Whoever counted the page now would leave out what arrives next.
    assert await _is_idle(bench)
    bench.clock.advance(LEASE_S)
    assert (await carried_out(bench, action)).state is BulkState.ABORTED
