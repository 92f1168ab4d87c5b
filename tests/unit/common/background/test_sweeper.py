"""The sweeper moves on what nobody else does, and republishes what is lost and nothing else."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace

import pytest
from msgspec.structs import replace
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from acked_common.background.sweeper import EMPTY_LOOKS, LostJobs, ServerAnswer, next_look_s
from acked_common.model import interventions
from acked_common.model.attempts import AttemptOutcome
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import Reason, State
from acked_common.model.options import JobOptions
from acked_common.runtime.settings import WORKER_STORE_TIMEOUT_S
from acked_common.store.errors import StoreError
from support.factories import GRACE_S, LEASE_S, ManualClock, again, insert, moved, new_job, scheduled
from support.parts import running_tasks, settle
from support.sweeper_bench import RENEWAL_S, Bench

AT = ManualClock().now()


@pytest.fixture
async def bench() -> Bench:
    return await Bench.ready()


@pytest.fixture(autouse=True)
def draw(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """What the sweeper draws: the same in every run; a test gives its own."""
    drawn: float = getattr(request, "param", 0.5)
    monkeypatch.setattr("acked_common.background.sweeper.random", SimpleNamespace(random=lambda: drawn))
    return drawn


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
        assert job.next_check_at == AT + timedelta(seconds=GRACE_S)
        assert await again(bench.store, later) == later
        assert bench.published() == [due.id]

    async def test_the_job_s_own_expiry_counts_from_when_it_is_queued(self, bench: Bench) -> None:
        kept = new_job(at=AT - timedelta(days=2), delay_s=60.0)
        own, default = await insert(
            bench.store, replace(kept, id=new_id(), options=JobOptions(expires_in_s=77.0)), replace(kept, id=new_id())
        )
        await bench.sweeper.sweep_scheduled()
        await settle()
        assert (await again(bench.store, own)).expires_at == AT + timedelta(seconds=77)
        assert (await again(bench.store, default)).expires_at == AT + timedelta(
            seconds=bench.settings.times.expires_in_s
        )

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

    async def test_a_lost_attempt_counts_as_one(self, bench: Bench) -> None:
        await bench.trust_leases()
        labels = {"kind": "loses", "outcome": "lost"}
        for times in (1, 2):
            await bench.running(kind="loses")
            await bench.sweep_running()
            assert REGISTRY.get_sample_value("acked_attempts_total", labels) == times

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
        await moved(bench.store, job, interventions.request_cancel(at=bench.clock.now()))
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

    @pytest.mark.parametrize("draw", [0.0, 0.5, 0.999], indirect=True)
    @pytest.mark.parametrize("begins", ["the store was away", "this process is new"])
    async def test_leases_count_once_every_worker_can_have_renewed(
        self, bench: Bench, draw: float, begins: str
    ) -> None:
        if begins == "the store was away":
            await bench.trust_leases()
            bench.store.is_away = True
            with pytest.raises(StoreError):
                await bench.sweeper.sweep_running()
            bench.store.is_away = False
        job = await bench.running()
        # A renewal that is under way may still take its longest; the next one comes a round later, with its jitter.
        earliest_s = WORKER_STORE_TIMEOUT_S + RENEWAL_S * 1.1 + draw * RENEWAL_S / 2
        begun = bench.clock.monotonic()
        while bench.clock.monotonic() - begun < earliest_s - 1.0:
            await bench.sweep_running()
            bench.clock.advance(1.0)
        bench.clock.advance(begun + earliest_s - 0.01 - bench.clock.monotonic())
        await bench.sweep_running()
        assert (await again(bench.store, job)).state is State.RUNNING
        bench.clock.advance(0.02)
        await bench.sweep_running()
        assert (await again(bench.store, job)).state is State.QUEUED

    async def test_leases_do_not_count_right_after_this_process_stood_still(self, bench: Bench) -> None:
        await bench.trust_leases()
        job = await bench.running()
        bench.clock.advance(RENEWAL_S * 3)
        await bench.sweep_running()
        assert (await again(bench.store, job)).state is State.RUNNING

    @pytest.mark.parametrize("jump_s", [3600.0, -3600.0, 1.5])
    async def test_leases_do_not_count_right_after_the_servers_clock_jumped(self, bench: Bench, jump_s: float) -> None:
        await bench.trust_leases()
        bench.clock.jump(jump_s)
        job = await bench.running()
        await bench.sweep_running()
        assert (await again(bench.store, job)).state is State.RUNNING
        await bench.trust_leases()
        job = await bench.running()
        await bench.sweep_running()
        assert (await again(bench.store, job)).state is State.QUEUED


@pytest.mark.parametrize(
    ("passed_s", "first_took_s", "second_took_s", "jumped"),
    [
        (10, 0, 0, False),
        (10.9, 0, 0, False),
        (11.1, 0, 0, True),
        (8.9, 0, 0, True),
        (13, 0, 2.5, False),
        (7, 2.5, 0, False),
    ],
)
def test_a_jump_is_told_from_slow_answers(
    passed_s: float, first_took_s: float, second_took_s: float, jumped: bool
) -> None:
    first = ServerAnswer(AT, 100.0, 100.0 + first_took_s)
    second = ServerAnswer(AT + timedelta(seconds=passed_s), 110.0, 110.0 + second_took_s)
    assert second.jumped_since(first) is jumped


class TestLostAttempts:
    """What stays of attempts whose leases were lost."""

    async def test_a_lost_attempt_is_kept_and_told_in_one_line(self, bench: Bench) -> None:
        await bench.trust_leases()
        job = await bench.running()
        with capture_logs() as logs:
            await bench.sweep_running()
        (kept,) = (await again(bench.store, job)).attempts
        assert (kept.attempt, kept.outcome, kept.worker) == (1, AttemptOutcome.LOST, "worker-1")
        (line,) = logs
        duration_s = (kept.ended_at - kept.started_at).total_seconds()
        assert line == {
            "event": "attempt lost",
            "log_level": "warning",
            "job_id": str(job.id),
            "kind": "demo",
            "attempt": 1,
            "worker": "worker-1",
            "group": kept.error["group"],
            "duration_s": duration_s,
            "left_out": 0,
        }

    async def test_the_lines_of_many_lost_attempts_add_up_by_kind(self, bench: Bench) -> None:
        await bench.trust_leases()
        for kind in ("demo", "demo", "demo", "other"):
            await bench.running(kind=kind)
        with capture_logs() as logs:
            await bench.sweep_running()
            await bench.sweeper.stop()
        assert [(line["kind"], line["left_out"]) for line in logs] == [("demo", 0), ("other", 0), ("demo", 1)]

    async def test_a_lost_attempt_of_a_cancelled_job_is_kept_too(self, bench: Bench) -> None:
        await bench.trust_leases()
        job = await bench.running()
        await moved(bench.store, job, interventions.request_cancel(at=bench.clock.now()))
        await bench.sweep_running()
        found = await again(bench.store, job)
        assert (found.state, [one.outcome for one in found.attempts]) == (State.CANCELLED, [AttemptOutcome.LOST])


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


async def test_the_looks_go_on_by_themselves(bench: Bench) -> None:
    bench = await Bench.ready(sweep_tick_s=0.05)
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
