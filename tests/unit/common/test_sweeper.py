"""The sweeper moves on what nobody else does, and republishes what is lost and nothing else."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from acked_common import lifecycle
from acked_common.broker import BrokerError
from acked_common.broker.memory import MemoryBroker
from acked_common.ids import new_id
from acked_common.kind_table import KindTable
from acked_common.lifecycle import Reason, State
from acked_common.outbox import Outbox
from acked_common.store import Job, KindRecord, StoreError
from acked_common.sweeper import EMPTY_LOOKS, LostJobs, Sweeper, next_look_s
from acked_common.wire import Bundle
from support.factories import GRACE_S, LEASE_S, ManualClock, again, insert, moved, new_job, owner, queued, scheduled
from support.parts import ShakyStore, common_settings, running_tasks, settle

AT = ManualClock().now()
RENEWAL_S = common_settings().renewal_s


class Broker(MemoryBroker):
    """Refuses what goes to the lanes in `refused`."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[str] = set()
        self.probed: list[str] = []

    async def publish(self, bundle: Bundle) -> None:
        if bundle.lane in self.refused:
            raise BrokerError("refused")
        await super().publish(bundle)

    async def ready_bundles(self, lane: str) -> int:
        self.probed.append(lane)
        return await super().ready_bundles(lane)


class Bench:
    """A sweeper among parts in memory, whose time stands still."""

    def __init__(self, **variables: object) -> None:
        self.clock = ManualClock()
        self.store = ShakyStore(self.clock)
        self.broker = Broker()
        self.settings = common_settings(**variables)
        self.kinds = KindTable(self.store)
        self.sweeper = Sweeper(
            self.store, Outbox(self.broker, self.kinds), self.broker, self.kinds, self.clock, self.settings
        )

    async def queued(self, waits_s: float = 60.0, **fields: object) -> Job:
        """A job that waits for so long already."""
        return await queued(self.store, at=self.clock.now() - timedelta(seconds=waits_s), **fields)

    async def running(self, *, expired_s: float = 1.0, **fields: object) -> Job:
        """A job whose lease has run out so long ago."""
        job = await self.queued(**fields)
        return await self.lose_again(job, expired_s)

    async def lose_again(self, job: Job, expired_s: float = 1.0) -> Job:
        at = self.clock.now() - timedelta(seconds=LEASE_S + expired_s)
        return await moved(self.store, job, lifecycle.claim(at=at, owner=owner(), lease_s=LEASE_S))

    def published(self, lane: str = "demo") -> list[UUID]:
        """What was published since the last call."""
        found: list[UUID] = []
        while (bundle := self.broker.take(lane)) is not None:
            found += bundle.ids
        return found

    async def trust_leases(self) -> None:
        """The store answers for long enough."""
        for _ in range(6):
            await self.sweeper.sweep_running()
            self.clock.advance(RENEWAL_S / 2)

    async def sweep_running(self) -> None:
        await self.sweeper.sweep_running()
        await settle()

    async def take_all_before(self, at: datetime, lane: str = "demo") -> None:
        """Workers have taken what was queued until then."""
        await self.store.raise_watermark(lane, at)

    async def look_and_sweep(self) -> None:
        await self.sweeper.sweep_queued()
        await self.sweeper.look_at_lanes()
        await self.sweeper.sweep_queued()

    async def look_at_empty_lanes(self, times: int) -> None:
        for _ in range(times):
            await self.sweeper.sweep_queued()
            await self.sweeper.look_at_lanes()
            self.clock.advance(1.0)


@pytest.fixture
def bench() -> Bench:
    return Bench()


class TestLost:
    """Which jobs the broker can't have any more."""

    def test_nothing_is_lost_of_which_nothing_is_known(self) -> None:
        assert not LostJobs(30.0).is_lost("demo", AT)

    @pytest.mark.parametrize(("ahead_s", "is_lost"), [(-1, False), (29, False), (30, False), (30.001, True)])
    def test_a_job_is_lost_when_the_watermark_has_passed_it_by_the_margin(self, ahead_s: float, is_lost: bool) -> None:
        lost = LostJobs(30.0)
        lost.note_watermarks({"demo": AT + timedelta(seconds=ahead_s)})
        assert lost.is_lost("demo", AT) is is_lost
        assert not lost.is_lost("other", AT)

    def test_a_job_is_lost_when_its_lane_was_empty_for_three_looks(self) -> None:
        lost = LostJobs(30.0)
        for look in range(1, EMPTY_LOOKS + 1):
            assert not lost.is_lost("demo", AT)
            lost.note_depth("demo", 0, AT + timedelta(seconds=look))
        assert lost.is_lost("demo", AT)
        assert not lost.is_lost("other", AT)

    def test_looks_before_a_job_was_queued_say_nothing_about_it(self) -> None:
        lost = LostJobs(30.0)
        for look in range(EMPTY_LOOKS):
            lost.note_depth("demo", 0, AT + timedelta(seconds=look))
        assert not lost.is_lost("demo", AT)
        assert not lost.is_lost("demo", AT + timedelta(seconds=10))
        lost.note_depth("demo", 0, AT + timedelta(seconds=3))
        assert lost.is_lost("demo", AT)

    def test_one_look_that_finds_something_begins_anew(self) -> None:
        lost = LostJobs(30.0)
        for ready in (0, 0, 1, 0, 0):
            lost.note_depth("demo", ready, AT + timedelta(seconds=1))
            assert not lost.is_lost("demo", AT)
        lost.note_depth("demo", 0, AT + timedelta(seconds=1))
        assert lost.is_lost("demo", AT)

    def test_republications_are_ever_further_apart(self) -> None:
        assert [next_look_s(n) for n in (0, 1, 2, 3, 4, 5, 10_000)] == [60, 120, 240, 480, 900, 900, 900]


class TestScheduled:
    """What is due."""

    async def test_what_is_due_is_queued_and_published(self, bench: Bench) -> None:
        due = await scheduled(bench.store, at=AT - timedelta(seconds=61), delay_s=60.0, expires_in_s=50.0)
        later = await scheduled(bench.store, at=AT, delay_s=60.0)
        await bench.sweeper.sweep_scheduled()
        await settle()
        job = await again(bench.store, due)
        assert (job.state, job.reason, job.queued_at) == (State.QUEUED, Reason.DUE.value, AT)
        assert job.wake == AT + timedelta(seconds=GRACE_S)
        assert await again(bench.store, later) == later
        assert bench.published() == [due.id]

    async def test_the_job_s_own_expiry_counts_from_when_it_is_queued(self, bench: Bench) -> None:
        kept = new_job(at=AT - timedelta(days=2), delay_s=60.0)
        own, default = await insert(
            bench.store, replace(kept, id=new_id(), expires_in_s=77.0), replace(kept, id=new_id())
        )
        await bench.sweeper.sweep_scheduled()
        await settle()
        assert (await again(bench.store, own)).expires_at == AT + timedelta(seconds=77)
        assert (await again(bench.store, default)).expires_at == AT + timedelta(seconds=bench.settings.expires_in_s)

    async def test_two_sweepers_queue_a_job_once(self, bench: Bench) -> None:
        due = await scheduled(bench.store, at=AT - timedelta(seconds=61), delay_s=60.0)
        write = bench.store.holds["apply"] = asyncio.Event()
        both = []
        for times in (1, 2):
            both.append(asyncio.create_task(bench.sweeper.sweep_scheduled()))
            await bench.store.until_called("apply", times)
            bench.clock.advance(0.001)
        write.set()
        await asyncio.gather(*both)
        await settle()
        assert (await again(bench.store, due)).rev == due.rev + 1
        assert bench.published() == [due.id]

    async def test_without_a_broker_what_is_due_is_queued_all_the_same(self, bench: Bench) -> None:
        bench.broker.is_away = True
        due = await scheduled(bench.store, at=AT - timedelta(seconds=61), delay_s=60.0)
        await bench.sweeper.sweep_scheduled()
        await settle()
        assert (await again(bench.store, due)).state is State.QUEUED


class TestRunning:
    """Lost leases."""

    async def test_a_lost_lease_gives_the_job_back(self, bench: Bench) -> None:
        await bench.trust_leases()
        job = await bench.running()
        await bench.sweep_running()
        found = await again(bench.store, job)
        assert (found.state, found.reason, found.owner) == (State.QUEUED, Reason.LEASE_EXPIRED.value, None)
        assert (found.attempt, found.failures, found.crashes, found.suspect) == (1, 0, 0, True)
        assert bench.published() == [job.id]

    async def test_a_lease_that_holds_is_left_alone(self, bench: Bench) -> None:
        await bench.trust_leases()
        job = await bench.running(expired_s=-5.0)
        await bench.sweep_running()
        assert await again(bench.store, job) == job
        assert bench.published() == []

    async def test_a_renewal_behind_the_look_wins(self, bench: Bench) -> None:
        await bench.trust_leases()
        job = await bench.running()
        assert job.owner is not None
        write = bench.store.holds["apply"] = asyncio.Event()
        sweep = asyncio.create_task(bench.sweep_running())
        await bench.store.until_called("apply", 2)
        await bench.store.renew([job.id], boot=job.owner.boot, lease_s=LEASE_S)
        write.set()
        await sweep
        found = await again(bench.store, job)
        assert (found.state, found.rev) == (State.RUNNING, job.rev)
        assert bench.published() == []

    async def test_the_cancel_flag_wins_over_the_take_back(self, bench: Bench) -> None:
        await bench.trust_leases()
        job = await bench.running()
        await moved(bench.store, job, lifecycle.request_cancel(at=bench.clock.now()))
        await bench.sweep_running()
        found = await again(bench.store, job)
        assert (found.state, found.reason) == (State.CANCELLED, Reason.CANCELLED.value)
        assert bench.published() == []

    async def test_a_job_that_loses_every_worker_is_run_again_each_time(self, bench: Bench) -> None:
        await bench.trust_leases()
        job = await bench.running()
        for lost in range(1, 9):
            await bench.sweep_running()
            job = await again(bench.store, job)
            assert (job.state, job.attempt, job.suspect, job.crashes) == (State.QUEUED, lost, True, 0)
            job = await bench.lose_again(job)

    async def test_leases_do_not_count_in_the_first_moments(self, bench: Bench) -> None:
        job = await bench.running()
        await bench.sweep_running()
        bench.clock.advance(RENEWAL_S / 2)
        await bench.sweep_running()
        assert await again(bench.store, job) == job

    async def test_leases_do_not_count_right_after_the_store_was_away(self, bench: Bench) -> None:
        await bench.trust_leases()
        job = await bench.running()
        bench.store.is_away = True
        with pytest.raises(StoreError):
            await bench.sweeper.sweep_running()
        bench.store.is_away = False
        for _ in range(3):
            await bench.sweep_running()
            assert (await again(bench.store, job)).state is State.RUNNING
            bench.clock.advance(RENEWAL_S / 2)
        for _ in range(3):
            bench.clock.advance(RENEWAL_S / 2)
            await bench.sweep_running()
        assert (await again(bench.store, job)).state is State.QUEUED

    async def test_leases_do_not_count_right_after_this_process_stood_still(self, bench: Bench) -> None:
        await bench.trust_leases()
        job = await bench.running()
        bench.clock.advance(RENEWAL_S * 3)
        await bench.sweep_running()
        assert (await again(bench.store, job)).state is State.RUNNING


class TestExpiry:
    """Jobs that no worker took."""

    async def test_a_job_that_waited_too_long_has_failed(self, bench: Bench) -> None:
        job = await bench.queued(waits_s=61.0, expires_in_s=60.0, kind="lonely")
        await bench.sweeper.sweep_queued()
        found = await again(bench.store, job)
        assert (found.state, found.reason, found.attempt) == (State.FAILED, Reason.EXPIRED.value, 0)
        assert found.error is not None
        assert "within 61 s" in found.error["message"] and "'lonely'" in found.error["message"]

    async def test_an_expired_job_is_not_republished(self, bench: Bench) -> None:
        await bench.queued(waits_s=61.0, expires_in_s=60.0)
        await bench.take_all_before(AT)
        await bench.look_and_sweep()
        assert bench.published() == []

    async def test_a_job_that_was_looked_at_before_its_end_is_looked_at_then(self, bench: Bench) -> None:
        job = await bench.queued(waits_s=60.0, expires_in_s=70.0)
        await bench.take_all_before(AT)
        await bench.look_and_sweep()
        assert bench.published() == [job.id]
        bench.clock.advance(11.0)
        await bench.sweeper.sweep_queued()
        assert (await again(bench.store, job)).state is State.FAILED


class TestRepublishing:
    """What the broker has lost."""

    async def test_nothing_consumed_nothing_republished(self, bench: Bench) -> None:
        for _ in range(50):
            await bench.queued(waits_s=3000.0)
        await bench.broker.publish(Bundle("demo", AT, (UUID(int=1),)))
        await bench.look_at_empty_lanes(10)
        assert bench.published() == [UUID(int=1)]

    async def test_what_the_watermark_has_passed_is_republished(self, bench: Bench) -> None:
        lost = await bench.queued(waits_s=60.0)
        waits = await bench.queued(waits_s=20.0)
        await bench.take_all_before(AT - timedelta(seconds=20))
        await bench.look_and_sweep()
        assert bench.published() == [lost.id]
        assert await again(bench.store, waits) == waits

    async def test_a_bundle_is_republished_with_its_own_instant(self, bench: Bench) -> None:
        job = await bench.queued(waits_s=60.0)
        await bench.take_all_before(AT)
        await bench.look_and_sweep()
        bundle = bench.broker.take("demo")
        assert bundle is not None and bundle.queued_at == job.queued_at

    async def test_what_waits_on_an_empty_lane_is_republished_at_the_third_look(self, bench: Bench) -> None:
        job = await bench.queued(waits_s=15.0)
        for look in range(EMPTY_LOOKS):
            assert bench.published() == [], look
            await bench.look_at_empty_lanes(1)
        await bench.sweeper.sweep_queued()
        assert bench.published() == [job.id]

    async def test_what_has_not_waited_for_its_grace_is_not_looked_at(self, bench: Bench) -> None:
        await bench.queued(waits_s=5.0)
        await bench.take_all_before(AT + timedelta(seconds=100))
        await bench.look_and_sweep()
        assert (bench.published(), bench.broker.probed) == ([], [])

    async def test_no_lane_is_looked_at_on_which_nothing_waits_too_long(self, bench: Bench) -> None:
        await bench.store.register_kinds([KindRecord("a", "lane-a"), KindRecord("b", "lane-b")])
        await bench.kinds.refresh()
        await bench.queued(kind="a")
        await bench.sweeper.sweep_queued()
        await bench.sweeper.look_at_lanes()
        assert bench.broker.probed == ["lane-a"]

    async def test_a_lane_on_another_page_is_looked_at_too(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("acked_common.sweeper.QUEUED_PAGE", 2)
        for kind in ("a", "a", "b"):
            await bench.queued(kind=kind)
        await bench.sweeper.sweep_queued()
        await bench.sweeper.sweep_queued()
        await bench.sweeper.look_at_lanes()
        assert bench.broker.probed == ["a", "b"]

    async def test_each_republication_moves_the_next_look_further_away(self, bench: Bench) -> None:
        job = await bench.queued(waits_s=60.0)
        await bench.take_all_before(bench.clock.now())
        for republished, step_s in enumerate((60, 120, 240, 480, 900, 900)):
            await bench.look_and_sweep()
            assert bench.published() == [job.id], republished
            found = await again(bench.store, job)
            assert found.wake == bench.clock.now() + timedelta(seconds=step_s)
            assert found.rev == job.rev
            bench.clock.advance(step_s - 1)
            await bench.look_and_sweep()
            assert bench.published() == []
            bench.clock.advance(1)

    async def test_no_more_than_the_allowance_is_republished_each_second(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        allowed = 200
        monkeypatch.setattr("acked_common.sweeper.REPUBLISHED_PER_S", allowed)
        at = AT - timedelta(seconds=60)
        jobs = await insert(bench.store, *(new_job(at=at + timedelta(milliseconds=n)) for n in range(allowed * 2 + 50)))
        await bench.take_all_before(AT)
        await bench.sweeper.sweep_queued()
        await bench.sweeper.look_at_lanes()
        bench.clock.advance(100.0)
        await bench.sweeper.sweep_queued()
        first = bench.published()
        # The oldest first, whatever was saved up.
        assert first == [job.id for job in jobs[:allowed]]
        await bench.sweeper.sweep_queued()
        assert bench.published() == []
        bench.clock.advance(0.5)
        await bench.sweeper.sweep_queued()
        assert len(bench.published()) == allowed // 2

    async def test_what_is_not_confirmed_is_not_postponed(self, bench: Bench) -> None:
        job = await bench.queued(waits_s=60.0)
        await bench.take_all_before(AT)
        await bench.sweeper.sweep_queued()
        await bench.sweeper.look_at_lanes()
        bench.broker.is_away = True
        await bench.sweeper.sweep_queued()
        assert await again(bench.store, job) == job
        bench.broker.is_away = False
        await bench.sweeper.sweep_queued()
        assert bench.published() == [job.id]

    async def test_a_lane_that_refuses_does_not_multiply_the_bundles_of_others(self, bench: Bench) -> None:
        good, bad = await bench.queued(kind="good"), await bench.queued(kind="bad")
        for lane in ("good", "bad"):
            await bench.take_all_before(AT, lane)
        bench.broker.refused = {"bad"}
        await bench.look_and_sweep()
        for _ in range(5):
            await bench.sweeper.sweep_queued()
        assert bench.published("good") == [good.id]
        assert (await again(bench.store, bad)).republished == 0

    async def test_a_job_that_was_claimed_meanwhile_is_not_postponed(self, bench: Bench) -> None:
        job = await bench.queued(waits_s=60.0)
        await bench.take_all_before(AT)
        await bench.look_and_sweep()
        running = await bench.lose_again(await again(bench.store, job), expired_s=-LEASE_S)
        assert running.wake == AT + timedelta(seconds=LEASE_S)
        await bench.store.postpone({job.id: AT + timedelta(days=1)})
        assert await again(bench.store, job) == running

    async def test_a_broker_that_is_away_is_no_empty_lane(self, bench: Bench) -> None:
        await bench.queued(waits_s=60.0)
        bench.broker.is_away = True
        await bench.look_at_empty_lanes(5)
        bench.broker.is_away = False
        await bench.sweeper.sweep_queued()
        assert bench.published() == []

    async def test_a_page_is_followed_by_the_next(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("acked_common.sweeper.QUEUED_PAGE", 3)
        at = AT - timedelta(seconds=60)
        jobs = await insert(bench.store, *(new_job(at=at + timedelta(milliseconds=n), kind=f"k{n}") for n in range(7)))
        for job in jobs[3:]:
            await bench.take_all_before(AT, job.kind)
        await bench.sweeper.sweep_queued()
        await bench.sweeper.look_at_lanes()
        for _ in range(3):
            await bench.sweeper.sweep_queued()
        found = {job.id for job in jobs if bench.published(job.kind)}
        assert found == {job.id for job in jobs[3:]}


async def test_the_looks_go_on_by_themselves(bench: Bench) -> None:
    bench = Bench(sweep_tick_s=0.05)
    due = await scheduled(bench.store, at=AT - timedelta(seconds=61), delay_s=60.0)
    async with running_tasks() as tasks:
        bench.sweeper.start(tasks)
        await bench.store.until_called("live_jobs", 3)
        await settle()
    assert (await again(bench.store, due)).state is State.QUEUED
    assert bench.published() == [due.id]


async def test_a_backlog_hides_no_lease_and_no_due_time(bench: Bench) -> None:
    await bench.trust_leases()
    at = AT - timedelta(seconds=60)
    await insert(bench.store, *(new_job(at=at) for _ in range(3000)))
    lost, due = await bench.running(), await scheduled(bench.store, at=at - timedelta(seconds=60), delay_s=60.0)
    await bench.sweeper.sweep_running()
    await bench.sweeper.sweep_scheduled()
    assert {(await again(bench.store, job)).state for job in (lost, due)} == {State.QUEUED}
