"""Outcomes are recorded in batches that are bounded in number and in bytes."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from acked_common import lifecycle
from acked_common.lifecycle import Move, State
from acked_common.store import Applied, KindRecord
from acked_worker.outcome import Ending, Failed, Succeeded, failed, weight_bytes
from acked_worker.outcome_rules import Defaults
from acked_worker.pace import IN_FLIGHT, LARGE_JOBS
from acked_worker.recorder import BATCH, BATCH_BYTES, HELD_BYTES, Recorder
from acked_worker.running import Held, Running
from support.factories import LEASE_S, ManualClock, again, insert, new_job, owner
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
        self.running = Running()
        self.room: list[bool] = []
        self.recorder = Recorder(
            self.store,
            self.running,
            lambda kind: KindRecord(kind, kind),
            Defaults(10.0, 3600.0, 3600.0),
            self.clock,
            lambda _: None,
            lambda _: None,
            self.room.append,
        )

    async def held(self, count: int) -> list[Held]:
        """Attempts that this worker owns."""
        jobs = await insert(self.store, *(new_job(at=self.clock.now()) for _ in range(count)))
        claimed = await self.store.claim(
            [job.id for job in jobs], kinds=["demo"], owner=owner(), lease_s=LEASE_S, at=self.clock.now()
        )
        found = [Held(job, "demo", self.clock.monotonic()) for job in claimed]
        self.running.add(found)
        return found

    async def recorded(self) -> None:
        async with asyncio.timeout(BOUND_S):
            await self.recorder.wait_recorded()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.recorder.stop()


def bytes_of(moves: Sequence[Move]) -> int:
    return sum(len(move.transition.sets.get("result", b"")) for move in moves)


async def test_a_thousand_large_results_are_many_writes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    # A thousandth of the true sizes: 1,000 results of 1 MiB against 8 MiB a write.
    monkeypatch.setattr("acked_worker.recorder.BATCH_BYTES", bound := BATCH_BYTES // 1000)
    monkeypatch.setattr("acked_worker.outcome._TRANSITION_BYTES", 0)
    result = Succeeded(b"1" * (MIB // 1000))
    held = await bench.held(1000)
    bench.recorder.record([(one, result) for one in held])
    await bench.recorded()
    assert max(map(bytes_of, bench.store.writes)) <= bound
    assert len(bench.store.writes) >= 1000 / 8
    assert bench.store.most_at_once <= IN_FLIGHT
    assert bench.recorder.finished == 1000
    assert {(await again(bench.store, one.job)).state for one in held[::97]} == {State.SUCCEEDED}


async def test_small_outcomes_share_a_write(bench: Bench) -> None:
    held = await bench.held(BATCH + 1)
    bench.recorder.record([(one, Succeeded(b"1")) for one in held])
    await bench.recorded()
    assert [len(moves) for moves in bench.store.writes] == [BATCH, 1]


async def test_small_writes_go_one_after_the_other_and_a_large_one_beside_them(bench: Bench) -> None:
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
    await bench.recorded()
    assert [len(moves) for moves in bench.store.writes] == [1, LARGE_JOBS, 1]


async def test_a_write_that_hangs_holds_up_no_other(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acked_worker.pace.SLOW_S", 0.01)
    held = await bench.held(2)
    write = bench.store.holds["apply"] = asyncio.Event()
    for one in held:
        bench.recorder.record([(one, Succeeded(b"1"))])
        await settle()
    assert bench.store.calls.count("apply") == 1
    await bench.store.until_called("apply", 2)
    write.set()
    await bench.recorded()


async def test_those_that_returned_the_same_share_their_transition(bench: Bench) -> None:
    held = await bench.held(4)
    endings: list[Ending] = [Succeeded(b"1"), Succeeded(b"2"), Succeeded(b"1"), failed("T", "m", retryable=False)]
    bench.recorder.record(list(zip(held, endings, strict=True)))
    await bench.recorded()
    (moves,) = bench.store.writes
    assert len({id(move.transition) for move in moves}) == 3
    found = [await again(bench.store, one.job) for one in held]
    assert [job.result for job in found] == [b"1", b"2", b"1", None]


async def test_a_result_that_is_too_large_for_a_batch_goes_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acked_worker.recorder.BATCH_BYTES", 1000)
    held = await bench.held(3)
    bench.recorder.record([(one, LARGE) for one in held])
    await bench.recorded()
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
    await bench.recorded()
    assert bench.room == [False, True]


@pytest.mark.parametrize(
    ("ending", "at_least"),
    [(LARGE, MIB), (failed("T", "m" * 4000, retryable=True), 4000)],
    ids=["result", "error"],
)
def test_results_and_errors_have_their_weight(ending: Ending, at_least: int) -> None:
    assert at_least < weight_bytes(ending) < at_least + 1024


async def test_a_cancel_that_came_between_is_not_lost_in_a_batch(bench: Bench) -> None:
    held = await bench.held(3)
    cancel = lifecycle.request_cancel(at=bench.clock.now())
    await bench.store.apply([Move(held[1].job.seen, cancel)])
    ending: Failed = failed("T", "m", retryable=False)
    bench.recorder.record([(one, ending) for one in held])
    await bench.recorded()
    found = [(await again(bench.store, one.job)).state for one in held]
    assert found == [State.FAILED, State.CANCELLED, State.FAILED]
