"""Bundles that arrive while claims are under way are claimed together, each with its own answer."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest

from acked_common.model.bundle import Bundle
from acked_common.runtime.batch_window import IN_FLIGHT, LARGE_JOBS
from acked_common.store.errors import StoreError
from acked_common.store.records import ClaimedJob
from acked_worker.consume.claim_batcher import ClaimBatcher
from acked_worker.consume.kind_times import KindTimes
from acked_worker.consume.lane_state import LaneSettings
from support.factories import ManualClock, insert, kind_record, new_job
from support.memory_store import MemoryStore
from support.parts import BOUND_S, settle


class HeldStore(MemoryStore):
    """A store that answers claims when it is let, and notes them."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.answers = asyncio.Event()
        self.asked: list[tuple[tuple[UUID, ...], str]] = []
        self.failures = 0
        self.broken: Exception | None = None

    async def claim(self, ids: Sequence[UUID], **options: object) -> list[ClaimedJob]:
        self.asked.append((tuple(ids), options["owner"].nonce))  # type: ignore[attr-defined]
        await self.answers.wait()
        if self.broken is not None:
            raise self.broken
        claimed = await super().claim(ids, **options)  # type: ignore[arg-type]
        if self.failures:
            self.failures -= 1
            raise StoreError("the answer is lost")
        return claimed


class Bench:
    """The claims of a lane, and jobs to claim."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = HeldStore(self.clock)
        kinds = {"demo": kind_record("demo", "demo")}
        times = KindTimes(kinds, lease_s=30.0, renewal_s=8.0)
        settings = LaneSettings("demo", ("demo",), "w", "b", times, hold_s=10.0)
        self.claims = ClaimBatcher(settings, self.store, self.clock)

    async def bundle(self, count: int) -> Bundle:
        jobs = await insert(self.store, *(new_job(at=self.clock.now()) for _ in range(count)))
        return Bundle("demo", self.clock.now(), tuple(job.id for job in jobs))

    def begin(self, *bundles: Bundle) -> "list[asyncio.Task[list[ClaimedJob] | None]]":
        return [asyncio.create_task(self.claims.claim(bundle)) for bundle in bundles]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    # However slow the machine is, no claim counts as slow.
    monkeypatch.setattr("acked_common.runtime.batch_window.SLOW_S", 3600.0)
    return Bench()


def ids_of(jobs: list[ClaimedJob] | None) -> list[UUID]:
    assert jobs is not None
    return [job.id for job in jobs]


async def begin_one_by_one(bench: Bench, bundles: Sequence[Bundle]) -> "list[asyncio.Task[list[ClaimedJob] | None]]":
    tasks = []
    for bundle in bundles:
        tasks += bench.begin(bundle)
        await settle()
    return tasks


async def test_what_arrives_meanwhile_shares_a_claim_and_each_bundle_gets_its_own(bench: Bench) -> None:
    bundles = [await bench.bundle(2) for _ in range(4)]
    tasks = await begin_one_by_one(bench, bundles)
    assert len(bench.store.asked) == 1
    bench.store.answers.set()
    async with asyncio.timeout(BOUND_S):
        claimed = await asyncio.gather(*tasks)
    assert [ids_of(jobs) for jobs in claimed] == [list(bundle.ids) for bundle in bundles]
    assert [len(ids) for ids, _ in bench.store.asked] == [2, 6]


async def test_a_large_claim_goes_out_beside_the_one_under_way(bench: Bench) -> None:
    half = LARGE_JOBS // 2
    bundles = [await bench.bundle(count) for count in (1, half, LARGE_JOBS - half, LARGE_JOBS, 1)]
    tasks = await begin_one_by_one(bench, bundles)
    assert [len(ids) for ids, _ in bench.store.asked] == [1, LARGE_JOBS]
    assert IN_FLIGHT == 2
    bench.store.answers.set()
    async with asyncio.timeout(BOUND_S):
        await asyncio.gather(*tasks)
    assert [len(ids) for ids, _ in bench.store.asked] == [1, LARGE_JOBS, LARGE_JOBS + 1]


async def test_one_claim_that_hangs_does_not_hold_up_the_next(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acked_common.runtime.batch_window.SLOW_S", 0.01)
    hanging = asyncio.Event()
    claim = bench.store.claim

    async def hang_once(ids: Sequence[UUID], **options: object) -> list[ClaimedJob]:
        monkeypatch.setattr(bench.store, "claim", claim)
        await hanging.wait()
        return await claim(ids, **options)

    monkeypatch.setattr(bench.store, "claim", hang_once)
    bench.store.answers.set()
    first, *others = await begin_one_by_one(bench, bundles := [await bench.bundle(1) for _ in range(3)])
    async with asyncio.timeout(BOUND_S):
        assert [ids_of(jobs) for jobs in await asyncio.gather(*others)] == [list(b.ids) for b in bundles[1:]]
        assert not first.done()
        hanging.set()
        assert ids_of(await first) == list(bundles[0].ids)


async def test_what_waits_for_a_claim_under_way_is_held_back_with_it(bench: Bench) -> None:
    bundles = [await bench.bundle(1) for _ in range(3)]
    first, *others = await begin_one_by_one(bench, bundles)
    bench.claims.hold()
    others += bench.begin(bundles[1])
    async with asyncio.timeout(BOUND_S):
        assert await asyncio.gather(*others) == [None, None, None]
    bench.store.answers.set()
    async with asyncio.timeout(BOUND_S):
        assert ids_of(await first) == list(bundles[0].ids)
        bench.claims.go_on()
        (later,) = bench.begin(bundles[2])
        assert ids_of(await later) == list(bundles[2].ids)
    assert [ids for ids, _ in bench.store.asked] == [bundles[0].ids, bundles[2].ids]


async def test_a_claim_that_has_not_left_yet_is_held_too(bench: Bench) -> None:
    bench.store.answers.set()
    (task,) = bench.begin(await bench.bundle(1))
    # The turn in which it joins, ahead of the one in which it is sent.
    await asyncio.sleep(0)
    bench.claims.hold()
    async with asyncio.timeout(BOUND_S):
        assert await task is None
    assert bench.store.asked == []


async def test_bundles_of_one_turn_share_a_claim(bench: Bench) -> None:
    bench.store.answers.set()
    tasks = bench.begin(await bench.bundle(1), await bench.bundle(3))
    async with asyncio.timeout(BOUND_S):
        assert [len(ids_of(await task)) for task in tasks] == [1, 3]
    assert [len(ids) for ids, _ in bench.store.asked] == [4]


async def test_a_bundle_that_was_published_twice_is_claimed_once(bench: Bench) -> None:
    bench.store.answers.set()
    bundle = await bench.bundle(2)
    tasks = bench.begin(bundle, bundle)
    async with asyncio.timeout(BOUND_S):
        claimed = [ids_of(await task) for task in tasks]
    assert claimed == [list(bundle.ids), []]
    assert bench.store.asked[0][0] == bundle.ids


async def test_a_lost_answer_is_asked_for_again_with_the_same_nonce(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("acked_worker.consume.claim_batcher.RETRY_S", 0.001)
    bench.store.answers.set()
    bench.store.failures = 2
    (task,) = bench.begin(bundle := await bench.bundle(2))
    async with asyncio.timeout(BOUND_S):
        assert ids_of(await task) == list(bundle.ids)
    assert len(bench.store.asked) == 3
    assert len(set(bench.store.asked)) == 1


async def test_a_worker_that_drains_claims_nothing_new_and_hears_what_is_under_way(bench: Bench) -> None:
    tasks = await begin_one_by_one(bench, [await bench.bundle(1) for _ in range(2)])
    bench.claims.drain()
    bench.store.answers.set()
    async with asyncio.timeout(BOUND_S):
        claimed = await asyncio.gather(*tasks)
    assert [None if jobs is None else len(jobs) for jobs in claimed] == [1, None]


async def test_what_goes_wrong_reaches_every_bundle_and_the_next_are_claimed(bench: Bench) -> None:
    bench.store.answers.set()
    bench.store.broken = RuntimeError("no store does this")
    tasks = bench.begin(await bench.bundle(1), await bench.bundle(1))
    for task in tasks:
        with pytest.raises(RuntimeError):
            await asyncio.wait_for(task, BOUND_S)
    bench.store.broken = None
    (later,) = bench.begin(bundle := await bench.bundle(1))
    assert ids_of(await asyncio.wait_for(later, BOUND_S)) == list(bundle.ids)


async def test_stopping_leaves_nobody_waiting(bench: Bench) -> None:
    (task,) = bench.begin(await bench.bundle(1))
    await settle()
    await bench.claims.stop()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, BOUND_S)
