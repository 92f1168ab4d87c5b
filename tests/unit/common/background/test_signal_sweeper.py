"""Signals whose senders died: the sweeper announces them, one process at a time, a bounded number."""

import pytest

from acked_common.background import signal_sweeper
from acked_common.background.bundle_publisher import QueuedJob
from acked_common.background.job_writer import JobWriter
from acked_common.background.signal_sweeper import OLDER_THAN_S, SignalAnnouncer, SignalSweeper
from acked_common.model.ledger import PendingSignals
from acked_common.model.lifecycle import Reason, State
from support.factories import ManualClock, again, running
from support.ledgers import ledger_of, push
from support.memory_store import MemoryStore
from support.parts import common_settings
from support.signals import waiting


class Bench:
    """Sweepers of two processes over one store."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.ledgers = self.store.ledgers()
        self.offered: list[QueuedJob] = []
        writer = JobWriter(self.store, self.offered.extend)
        self.announcer = SignalAnnouncer(writer, self.ledgers, self.clock, common_settings().times)
        self.sweeper, self.other = (
            SignalSweeper(self.store, self.ledgers, self.announcer, self.clock) for _ in range(2)
        )


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_signal_of_a_sender_that_died_wakes_its_job(bench: Bench) -> None:
    job = await waiting(bench.store, "paid")
    await bench.ledgers.push_signal(push(job.id), at=bench.clock.now())
    await bench.sweeper.sweep()
    assert await again(bench.store, job) == job, "its sender may still announce it"
    bench.clock.advance(OLDER_THAN_S)
    await bench.sweeper.sweep()
    woken = await again(bench.store, job)
    assert (woken.state, woken.reason, woken.signals) == (State.QUEUED, Reason.SIGNALLED, 1)
    assert bench.offered == [(job.id, job.kind, woken.queued_at)]
    assert (await ledger_of(bench.ledgers, job.id)).pending is None


async def test_the_names_of_all_senders_that_died_are_announced(bench: Bench) -> None:
    job = await waiting(bench.store, "paid")
    await bench.ledgers.push_signal(push(job.id, "s1", "paid"), at=bench.clock.now())
    # The second sender announces both names, so the job does not miss the first signal.
    second = await bench.ledgers.push_signal(push(job.id, "s2", "other"), at=bench.clock.now())
    assert second == PendingSignals(job.id, 2, ("other", "paid"))
    bench.clock.advance(OLDER_THAN_S)
    await bench.sweeper.sweep()
    assert (await again(bench.store, job)).state is State.QUEUED


async def test_a_running_job_gets_the_number_of_its_signals(bench: Bench) -> None:
    job = await running(bench.store)
    for number in range(3):
        await bench.ledgers.push_signal(push(job.id, f"s{number}"), at=bench.clock.now())
    bench.clock.advance(OLDER_THAN_S)
    await bench.sweeper.sweep()
    assert (await again(bench.store, job)).signals == 3
    assert await bench.ledgers.pending_signals(limit=10, older_than_s=0) == []


async def test_one_process_sweeps_at_a_time(bench: Bench) -> None:
    job = await running(bench.store)
    await bench.ledgers.push_signal(push(job.id), at=bench.clock.now())
    bench.clock.advance(OLDER_THAN_S)
    assert await bench.store.take_turn(signal_sweeper.SWEEPING, for_s=signal_sweeper.TURN_S)
    await bench.other.sweep()
    assert len(await bench.ledgers.pending_signals(limit=10, older_than_s=0)) == 1
    bench.clock.advance(signal_sweeper.TURN_S)
    await bench.other.sweep()
    assert await bench.ledgers.pending_signals(limit=10, older_than_s=0) == []


async def test_a_sweep_takes_page_after_page(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal_sweeper, "PAGE", 4)
    monkeypatch.setattr(signal_sweeper, "PAGES", 2)
    for _ in range(10):
        job = await waiting(bench.store, "paid")
        await bench.ledgers.push_signal(push(job.id), at=bench.clock.now())
    bench.clock.advance(OLDER_THAN_S)
    await bench.sweeper.sweep()
    assert len(bench.offered) == 8
    bench.clock.advance(signal_sweeper.TURN_S)
    await bench.sweeper.sweep()
    assert len(bench.offered) == 10
