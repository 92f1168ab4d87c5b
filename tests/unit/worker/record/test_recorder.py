"""Outcomes are recorded in batches that are bounded in number and in bytes, and each attempt is held until then."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from structlog.testing import capture_logs

from acked_common.background.bundle_publisher import QueuedJob
from acked_common.background.job_writer import JobWriter
from acked_common.model import interventions, lifecycle
from acked_common.model.attempts import AttemptOutcome
from acked_common.model.events import JobEvent
from acked_common.model.lifecycle import Move, Reason, State
from acked_common.outcomes.outcome import (
    Ending,
    ErrorInfo,
    Failed,
    Interrupted,
    InterruptReason,
    Succeeded,
    failed,
    weight_bytes,
)
from acked_common.outcomes.outcome_rules import Defaults
from acked_common.runtime.batch_window import IN_FLIGHT, LARGE_JOBS
from acked_common.store.errors import OutcomeUnknown, StoreError, StoreUnavailable
from acked_common.store.records import Applied
from acked_worker.consume.in_flight import InFlight, InFlightAttempts
from acked_worker.record.recorder import BATCH, BATCH_BYTES, HELD_BYTES, Recorder
from support.factories import EXPIRES_IN_S, GRACE_S, LEASE_S, ManualClock, again, insert, kind_record, new_job, owner
from support.parts import BOUND_S, ShakyStore, settle

MIB = 2**20
LARGE = Succeeded(b'"' + b"x" * (MIB - 2) + b'"')


class CountingStore(ShakyStore):
    """Notes what each write of moves holds."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.writes: list[Sequence[Move]] = []
        self.at_once = self.most_at_once = 0

    async def apply(self, moves: Sequence[Move]) -> list[Applied]:
        self.writes.append(moves)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(0)
            return await super().apply(moves)
        finally:
            self.at_once -= 1


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = CountingStore(self.clock)
        self.running = InFlightAttempts()
        self.room: list[bool] = []
        self.offered: list[QueuedJob] = []
        self.told: list[JobEvent] = []
        self.recorder = Recorder(
            self.store,
            JobWriter(self.store, self.offered.extend),
            self.running,
            lambda kind: kind_record(kind, kind),
            Defaults(10.0, 3600.0, 3600.0),
            self.clock,
            self,
            "worker-7",
        )

    def recorded(self, events: Sequence[JobEvent]) -> None:
        self.told += events

    def room_changed(self, has_room: bool) -> None:
        self.room.append(has_room)

    async def held(self, count: int) -> list[InFlight]:
        """Attempts that this worker owns."""
        jobs = await insert(self.store, *(new_job(at=self.clock.now()) for _ in range(count)))
        claimed = await self.store.claim(
            [job.id for job in jobs], kinds=["demo"], owner=owner(), lease_s=LEASE_S, at=self.clock.now()
        )
        found = [InFlight(job, "demo", self.clock.monotonic()) for job in claimed]
        self.running.add(found)
        return found

    async def all_recorded(self) -> None:
        await self.recorder.wait_recorded(BOUND_S)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.recorder.stop()


def bytes_of(moves: Sequence[Move]) -> int:
    return sum(len(move.transition.sets.get("result", b"")) for move in moves)


async def test_a_thousand_large_results_are_many_writes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    # A thousandth of the true sizes: 1,000 results of 1 MiB against 8 MiB a write.
    monkeypatch.setattr("acked_worker.record.recorder.BATCH_BYTES", bound := BATCH_BYTES // 1000)
    monkeypatch.setattr("acked_common.outcomes.outcome._TRANSITION_BYTES", 0)
    result = Succeeded(b"1" * (MIB // 1000))
    held = await bench.held(1000)
    bench.recorder.record([(one, result) for one in held])
    await bench.all_recorded()
    assert max(map(bytes_of, bench.store.writes)) <= bound
    assert len(bench.store.writes) >= 1000 / 8
    assert bench.store.most_at_once <= IN_FLIGHT
    assert bench.recorder.finished == 1000
    assert {(await again(bench.store, one.job)).state for one in held[::97]} == {State.SUCCEEDED}


async def test_small_outcomes_share_a_write(bench: Bench) -> None:
    held = await bench.held(BATCH + 1)
    bench.recorder.record([(one, Succeeded(b"1")) for one in held])
    await bench.all_recorded()
    assert [len(moves) for moves in bench.store.writes] == [BATCH, 1]


async def test_small_writes_go_one_after_the_other_and_a_large_one_beside_them(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However slow the machine is, none of them counts as slow.
    monkeypatch.setattr("acked_common.runtime.batch_window.SLOW_S", 3600.0)
    held = await bench.held(1 + LARGE_JOBS + 1)
    write = bench.store.holds["apply"] = asyncio.Event()
    for one in held[:LARGE_JOBS]:
        bench.recorder.record([(one, Succeeded(b"1"))])
        await settle()
    assert bench.store.calls.count("apply") == 1
    for one in held[LARGE_JOBS:]:
        bench.recorder.record([(one, Succeeded(b"1"))])
        await settle()
    assert bench.store.calls.count("apply") == 2
    write.set()
    await bench.all_recorded()
    assert [len(moves) for moves in bench.store.writes] == [1, LARGE_JOBS, 1]


async def test_a_write_that_hangs_holds_up_no_other(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acked_common.runtime.batch_window.SLOW_S", 0.01)
    held = await bench.held(2)
    write = bench.store.holds["apply"] = asyncio.Event()
    for one in held:
        bench.recorder.record([(one, Succeeded(b"1"))])
        await settle()
    assert bench.store.calls.count("apply") == 1
    await bench.store.until_called("apply", 2)
    write.set()
    await bench.all_recorded()


async def test_those_that_returned_the_same_share_their_transition(bench: Bench) -> None:
    held = await bench.held(4)
    endings: list[Ending] = [Succeeded(b"1"), Succeeded(b"2"), Succeeded(b"1"), failed("T", "m", retryable=False)]
    bench.recorder.record(list(zip(held, endings, strict=True)))
    await bench.all_recorded()
    (moves,) = bench.store.writes
    assert len({id(move.transition) for move in moves}) == 3
    found = [await again(bench.store, one.job) for one in held]
    assert [job.result for job in found] == [b"1", b"2", b"1", None]


async def test_a_result_that_is_too_large_for_a_batch_goes_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acked_worker.record.recorder.BATCH_BYTES", 1000)
    held = await bench.held(3)
    bench.recorder.record([(one, LARGE) for one in held])
    await bench.all_recorded()
    assert [len(moves) for moves in bench.store.writes] == [1, 1, 1]


async def test_while_too_much_waits_nothing_more_is_wanted(bench: Bench) -> None:
    fits = HELD_BYTES // weight_bytes(LARGE)
    held = await bench.held(fits + 1)
    write = bench.store.holds["apply"] = asyncio.Event()
    bench.recorder.record([(one, LARGE) for one in held[:fits]])
    await settle()
    assert bench.room == []
    bench.recorder.record([(held[fits], LARGE)])
    assert bench.room == [False]
    write.set()
    await bench.all_recorded()
    assert bench.room == [False, True]


@pytest.mark.parametrize(
    ("ending", "at_least"),
    [(LARGE, MIB), (failed("T", "m" * 4000, retryable=True), 8000)],
    ids=["result", "error"],
)
def test_results_and_errors_have_their_weight(ending: Ending, at_least: int) -> None:
    assert at_least < weight_bytes(ending) < at_least + 1024


async def test_a_cancel_that_came_between_is_not_lost_in_a_batch(bench: Bench) -> None:
    held = await bench.held(3)
    cancel = interventions.request_cancel(at=bench.clock.now())
    await bench.store.apply([Move(held[1].job.seen, cancel)])
    ending: Failed = failed("T", "m", retryable=False)
    bench.recorder.record([(one, ending) for one in held])
    await bench.all_recorded()
    found = [(await again(bench.store, one.job)).state for one in held]
    assert found == [State.FAILED, State.CANCELLED, State.FAILED]


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be written is written again at once."""
    monkeypatch.setattr("acked_worker.record.recorder.RETRY_S", 0.0)


async def test_attempt_is_held_until_its_outcome_is_recorded(bench: Bench) -> None:
    held = await bench.held(2)
    write = bench.store.holds["apply"] = asyncio.Event()
    bench.recorder.record([(one, Succeeded(b"1")) for one in held])
    await bench.store.until_called("apply")
    # Renewals cover what is held, and these leases must last until the write is known.
    assert bench.running.all() == held
    write.set()
    await bench.all_recorded()
    assert bench.running.all() == []


@pytest.mark.parametrize("error", [StoreUnavailable, OutcomeUnknown])
async def test_outcome_is_written_again_until_it_is_known(
    bench: Bench, no_pause: None, error: type[StoreError]
) -> None:
    (held,) = await bench.held(1)
    bench.store.failures["apply"] = [error("away")] * 5
    bench.recorder.record([(held, Succeeded(b"1"))])
    await bench.store.until_called("apply", 5)
    assert bench.running.all() == [held]
    await bench.all_recorded()
    assert (await again(bench.store, held.job)).state is State.SUCCEEDED
    assert (bench.recorder.finished, bench.running.all()) == (1, [])


async def test_outcome_that_the_store_refuses_costs_no_neighbour(bench: Bench, no_pause: None) -> None:
    held = await bench.held(3)
    # The batch, then the first of those that are sent one by one; a look finds that it is still owned.
    bench.store.failures["apply"] = [StoreError("refused")] * 2
    bench.store.failures["get_many"] = [StoreUnavailable("away")]
    bench.recorder.record([(one, Succeeded(b"1")) for one in held])
    await bench.all_recorded()
    states = [(await again(bench.store, one.job)).state for one in held]
    assert states == [State.SUCCEEDED] * 3
    assert (bench.recorder.finished, bench.running.all()) == (3, [])


async def test_outcome_that_is_always_refused_is_let_go(bench: Bench) -> None:
    (held,) = await bench.held(1)
    bench.store.failures["apply"] = [StoreError("refused")] * 4
    bench.recorder.record([(held, Succeeded(b"1"))])
    await bench.all_recorded()
    # The lease brings it back: no renewal covers it any more.
    assert (await again(bench.store, held.job)).state is State.RUNNING
    assert (bench.recorder.finished, bench.running.all(), bench.told) == (0, [], [])


async def test_outcome_of_an_attempt_that_lost_its_job_is_dropped(bench: Bench) -> None:
    lost, kept = await bench.held(2)
    back = lifecycle.take_back(at=bench.clock.now(), grace_s=GRACE_S, expires_in_s=EXPIRES_IN_S)
    await bench.store.apply([Move(lost.job.seen, back)])
    await bench.store.claim(
        [lost.job.id], kinds=["demo"], owner=owner(boot="boot-2"), lease_s=LEASE_S, at=bench.clock.now()
    )
    before = await again(bench.store, lost.job)
    bench.recorder.record([(one, Succeeded(b"1")) for one in (lost, kept)])
    await bench.all_recorded()
    assert await again(bench.store, lost.job) == before
    assert [event.id for event in bench.told] == [kept.job.id]
    assert (bench.recorder.finished, bench.running.all()) == (1, [])


async def test_attempt_that_knows_that_it_lost_writes_nothing(bench: Bench) -> None:
    (held,) = await bench.held(1)
    bench.recorder.record([(held, Interrupted(InterruptReason.LEASE_LOST))])
    await bench.all_recorded()
    assert (await again(bench.store, held.job)).state is State.RUNNING
    assert (bench.running.all(), bench.told, bench.offered) == ([], [], [])


async def test_what_is_released_is_published_and_all_is_reported(bench: Bench) -> None:
    drained, done, broken = await bench.held(3)
    endings: list[Ending] = [
        Interrupted(InterruptReason.DRAINED),
        Succeeded(b"1"),
        failed("T", "m", retryable=True),
    ]
    bench.recorder.record(list(zip((drained, done, broken), endings, strict=True)))
    await bench.all_recorded()
    assert bench.offered == [(drained.job.id, "demo", (await again(bench.store, drained.job)).queued_at)]
    assert [(event.id, event.state, event.reason, event.rev, event.attempt) for event in bench.told] == [
        (drained.job.id, State.QUEUED, Reason.DRAINED, 3, 1),
        (done.job.id, State.SUCCEEDED, Reason.COMPLETED, 3, 1),
        (broken.job.id, State.SCHEDULED, Reason.BACKING_OFF, 3, 1),
    ]
    assert bench.recorder.finished == 1


async def test_room_is_wanted_again_when_half_of_it_is_free(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acked_worker.record.recorder.HELD_BYTES", 4 * weight_bytes(LARGE))
    monkeypatch.setattr("acked_worker.record.recorder.BATCH_BYTES", 0)
    held = await bench.held(5)
    writes = []

    async def one_by_one(moves: Sequence[Move]) -> list[Applied]:
        writes.append(asyncio.Event())
        await writes[-1].wait()
        return [Applied.APPLIED] * len(moves)

    monkeypatch.setattr(bench.store, "apply", one_by_one)
    monkeypatch.setattr(ShakyStore, "VERBS", ShakyStore.VERBS - {"apply"})
    bench.recorder.record([(one, LARGE) for one in held])
    rooms = []
    for _ in held:
        await settle()
        writes.pop(0).set()
        await settle()
        rooms.append(bench.room[-1])
    assert rooms == [False, False, True, True, True]
    await bench.all_recorded()


async def test_a_recorded_failure_is_kept_and_told_in_one_line(bench: Bench) -> None:
    broken, done = await bench.held(2)
    bench.clock.advance(2.5)
    ending = Failed(ErrorInfo("T", "secret words", retryable=True, culprit="mail.send: raise T()"), True)
    with capture_logs() as logs:
        bench.recorder.record([(broken, ending), (done, Succeeded(b"1"))])
        await bench.all_recorded()
    kept = (await again(bench.store, broken.job)).attempts
    assert [(one.attempt, one.worker, one.outcome) for one in kept] == [(1, "worker-7", AttemptOutcome.FAILED)]
    assert (await again(bench.store, done.job)).attempts == ()
    (line,) = logs
    delay_s = line.pop("will_retry_in_s")
    assert line == {
        "event": "attempt failed",
        "log_level": "info",
        "job_id": broken.id,
        "kind": "demo",
        "attempt": 1,
        "worker": "worker-7",
        "outcome": "failed",
        "group": kept[0].error["group"],
        "type": "T",
        "culprit": "mail.send: raise T()",
        "duration_s": 2.5,
        "reason": "backing_off",
        "left_out": 0,
    }
    due_at = (await again(bench.store, broken.job)).due_at
    # The store truncates to milliseconds; the line rounds.
    assert due_at is not None and abs(delay_s - (due_at - bench.clock.now()).total_seconds()) < 0.0015


async def test_the_lines_of_many_failures_add_up_at_a_stop(bench: Bench) -> None:
    held = await bench.held(700)
    with capture_logs() as logs:
        bench.recorder.record([(one, failed("T", f"no order {n}", retryable=n != 0)) for n, one in enumerate(held)])
        await bench.all_recorded()
        assert [line["left_out"] for line in logs] == [0]
        await bench.recorder.stop()
    assert [line["left_out"] for line in logs] == [0, 698]
    # Only the one that ended its job is reported.
    assert logs[0]["log_level"] == "warning" and logs[0]["will_retry_in_s"] is None


async def test_an_outcome_that_was_fenced_is_no_failure_in_the_log(bench: Bench) -> None:
    (held,) = await bench.held(1)
    back = lifecycle.take_back(at=bench.clock.now(), grace_s=GRACE_S, expires_in_s=EXPIRES_IN_S)
    await bench.store.apply([Move(held.job.seen, back)])
    with capture_logs() as logs:
        bench.recorder.record([(held, failed("T", "m", retryable=True))])
        await bench.all_recorded()
    assert [line["event"] for line in logs] == ["outcome dropped: another attempt owns the job"]
    assert (await again(bench.store, held.job)).attempts == ()
