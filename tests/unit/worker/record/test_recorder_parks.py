"""Parks are recorded as other outcomes are; what comes in between wins, for as long as the attempt owns its job."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from acked_common.background.bundle_publisher import QueuedJob
from acked_common.background.job_writer import JobWriter
from acked_common.model import interventions
from acked_common.model.events import JobEvent
from acked_common.model.ledger import LedgerEntry, LedgerWrite, Opening
from acked_common.model.lifecycle import HistoryEntry, Move, Reason, State
from acked_common.model.lifecycle_waits import Waits
from acked_common.outcomes.outcome import Crashed, Ending, Interrupted, InterruptReason, Parked, failed
from acked_common.outcomes.outcome_rules import Defaults
from acked_common.store.errors import StoreUnavailable
from acked_common.store.mongo.documents import history_document
from acked_common.store.records import Applied, Job, KindRecord
from acked_worker.consume.in_flight import InFlight, InFlightAttempts
from acked_worker.record.recorder import Recorder
from support.factories import LEASE_S, ManualClock, again, insert, kind_record, new_job, owner
from support.parts import BOUND_S, ShakyStore

Race = Callable[[], Awaitable[None]]


class RacingStore(ShakyStore):
    """Lets others change the jobs right before a write of moves."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.races: list[Race] = []

    async def apply(self, moves: Sequence[Move]) -> list[Applied]:
        if self.races:
            await self.races.pop(0)()
        return await super().apply(moves)


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = RacingStore(self.clock)
        self.running = InFlightAttempts()
        self.offered: list[QueuedJob] = []
        self.events: list[JobEvent] = []
        self.recorder = Recorder(
            self.store,
            JobWriter(self.store, self.offered.extend),
            self.running,
            _kind_of,
            Defaults(10.0, 3600.0, 3600.0),
            self.clock,
            self,
            "worker-7",
        )

    def recorded(self, events: Sequence[JobEvent]) -> None:
        self.events += events

    def room_changed(self, has_room: bool) -> None:
        raise AssertionError("nothing here fills the memory")

    async def held(self, **fields: Any) -> InFlight:
        """An attempt that this worker owns."""
        (job,) = await insert(self.store, new_job(at=self.clock.now()))
        self.store._jobs[job.id] |= fields
        (claimed,) = await self.store.claim(
            [job.id], kinds=["demo"], owner=owner(), lease_s=LEASE_S, at=self.clock.now()
        )
        found = InFlight(claimed, "demo", self.clock.monotonic())
        self.running.add([found])
        return found

    async def record(self, held: InFlight, ending: Ending) -> Job:
        self.recorder.record([(held, ending)])
        await self.recorder.wait_recorded(BOUND_S)
        assert len(self.running) == 0
        return await again(self.store, held.job)

    def park(self, in_seq: int = 0) -> Parked:
        return Parked(Waits("wait", "go", self.clock.now() + timedelta(days=1), ("go",)), in_seq)

    def signal(self, held: InFlight, number: int) -> Race:
        async def announce() -> None:
            self.store._jobs[held.job.id]["signals"] = number

        return announce

    def cancel(self, held: InFlight) -> Race:
        async def ask() -> None:
            job = await again(self.store, held.job)
            move = Move(job.seen, interventions.request_cancel(at=self.clock.now()))
            assert await ShakyStore.apply(self.store, [move]) == [Applied.APPLIED]

        return ask


def _kind_of(name: str) -> KindRecord:
    return kind_record(name, name, max_attempts=3)


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr("acked_worker.record.recorder.RETRY_S", 0.0)
    monkeypatch.setattr("acked_worker.record.earlier_attempts.RETRY_S", 0.0)
    made = Bench()
    yield made
    await made.recorder.stop()


async def test_parked_job_waits_without_an_owner(bench: Bench) -> None:
    held = await bench.held()
    job = await bench.record(held, bench.park())
    assert (job.state, job.reason, job.owner, job.failures) == (State.WAITING, Reason.PARKED, None, 0)
    assert job.waits == bench.park().waits and job.next_check_at == job.waits.until_at
    assert [event.reason for event in bench.events] == [Reason.PARKED] and not bench.offered


async def test_park_with_all_signals_read_applies(bench: Bench) -> None:
    held = await bench.held(signals=4)
    assert (await bench.record(held, bench.park(in_seq=4))).state is State.WAITING


async def test_park_behind_a_signal_is_released_as_signalled(bench: Bench) -> None:
    held = await bench.held(signals=4)
    bench.store.races = [bench.signal(held, 5)]
    job = await bench.record(held, bench.park(in_seq=4))
    assert (job.state, job.reason, job.owner, job.waits) == (State.QUEUED, Reason.SIGNALLED, None, None)
    assert [queued[0] for queued in bench.offered] == [job.id], "a worker gets it at once"


async def test_cancel_wins_over_the_park(bench: Bench) -> None:
    held = await bench.held()
    bench.store.races = [bench.cancel(held)]
    job = await bench.record(held, bench.park())
    assert (job.state, job.waits) == (State.CANCELLED, None)


async def test_cancel_behind_a_signal_wins_over_the_park(bench: Bench) -> None:
    held = await bench.held()
    bench.store.races = [bench.signal(held, 1), bench.cancel(held)]
    assert (await bench.record(held, bench.park())).state is State.CANCELLED


async def test_signal_behind_a_cancel_does_not_undo_it(bench: Bench) -> None:
    held = await bench.held()
    bench.store.races = [bench.cancel(held), bench.signal(held, 1)]
    assert (await bench.record(held, bench.park())).state is State.CANCELLED


async def test_park_of_an_attempt_that_lost_its_job_is_dropped(bench: Bench) -> None:
    held = await bench.held()

    async def take_over() -> None:
        bench.store._jobs[held.job.id]["owner"] = {"worker": "w", "boot": "b", "nonce": "another"}

    bench.store.races = [take_over]
    job = await bench.record(held, bench.park())
    assert job.state is State.RUNNING and job.waits is None and not bench.events


async def progressed(bench: Bench, held: InFlight, *, failures: int = 0, crashes: int = 0) -> None:
    """Have an earlier attempt of the job keep an outcome behind so many failures and crashes."""
    job, ledgers = held.job, bench.store.ledgers()
    opening = Opening(job.id, job.tenant, job.run, 0, "earlier", "1")
    await ledgers.open_ledgers([opening], at=bench.clock.now())
    entry = LedgerEntry(call="step", name="a", at=bench.clock.now(), value=b"1", seq=1, by="earlier")
    (kept,) = await ledgers.write_entries([LedgerWrite(job.id, "0" * 32, entry, failures, crashes)])
    assert kept == entry


FAILED = failed("T", "m", retryable=True)


async def test_last_failure_of_a_job_that_made_progress_backs_off(bench: Bench) -> None:
    held = await bench.held(failures=2)
    await progressed(bench, held, failures=2)
    bench.store.failures["read_progress"] = [StoreUnavailable("away")]
    job = await bench.record(held, FAILED)
    assert (job.state, job.reason, job.failures) == (State.SCHEDULED, Reason.BACKING_OFF, 3)


@pytest.mark.parametrize("progressed_at", [None, 0])
async def test_last_failure_without_progress_ends_the_run(bench: Bench, progressed_at: int | None) -> None:
    held = await bench.held(failures=2)
    if progressed_at is not None:
        await progressed(bench, held, failures=progressed_at)
    assert (await bench.record(held, FAILED)).reason == Reason.ATTEMPTS_EXHAUSTED


async def test_ledger_is_read_only_for_the_last_failure(bench: Bench) -> None:
    read: list[object] = []
    held = [await bench.held(), await bench.held(failures=2), await bench.held(failures=2)]
    held[2].progressed_at_failures = 1

    async def read_progress(ids: object) -> dict[Any, Any]:
        read.append(ids)
        return {}

    bench.store.ledgers().read_progress = read_progress  # type: ignore[method-assign]
    bench.recorder.record([(one, FAILED) for one in held])
    await bench.recorder.wait_recorded(BOUND_S)
    assert read == [[held[1].job.id]]
    assert [(await again(bench.store, one.job)).state for one in held] == [
        State.SCHEDULED,
        State.FAILED,
        State.SCHEDULED,
    ]


@pytest.mark.parametrize("progressed_at", [None, 0, 1, 2])
async def test_crashes_of_a_job_count_from_its_progress(bench: Bench, progressed_at: int | None) -> None:
    held = await bench.held(crashes=2)
    if progressed_at is not None:
        await progressed(bench, held, crashes=progressed_at)
    job = await bench.record(held, Crashed("exit code 1"))
    assert job.crashes == 3
    assert job.reason == (Reason.CRASHED if progressed_at else Reason.POISON)


async def test_much_parked_job_that_does_not_start_is_queued_at_once(bench: Bench) -> None:
    held = await bench.held(attempt=40)
    bench.store.failures["histories"] = [StoreUnavailable("away")]
    job = await bench.record(held, Interrupted(InterruptReason.NOT_STARTED))
    assert (job.state, job.reason) == (State.QUEUED, Reason.NOT_STARTED)


async def test_job_that_never_starts_is_delayed(bench: Bench) -> None:
    held = await bench.held(attempt=4)
    bench.store._jobs[held.job.id]["history"] = [
        history_document(HistoryEntry(rev, State.QUEUED, Reason.NOT_STARTED, rev, bench.clock.now()))
        for rev in range(2, 5)
    ]
    job = await bench.record(held, Interrupted(InterruptReason.NOT_STARTED))
    assert (job.state, job.reason) == (State.SCHEDULED, Reason.NOT_STARTED)
