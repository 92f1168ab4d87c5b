"""Durable calls of suspects in real processes: their worker keeps the outcomes."""

import asyncio
import os
from pathlib import Path

import pytest

from acked_common.model.ledger import Signal, SignalPush
from acked_common.outcomes.outcome import Interrupted, InterruptReason, Parked
from support.executor import BOUND_S, assignment
from support.suspects import SuspectBench, handlers_folder, open_bench, result

JOB = "00000000-0000-7000-8000-000000000001"
HOUR_S = 3600.0


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return handlers_folder(tmp_path, monkeypatch)


def wake(bench: SuspectBench) -> None:
    """Let the sleep of the parked attempt end."""
    ending = bench.endings.pop(JOB)
    assert isinstance(ending, Parked) and ending.waits.until_at is not None
    bench.clock.adjust(server_at=ending.waits.until_at, asked=bench.clock.monotonic(), round_trip_s=0.0)


@pytest.mark.parametrize("large", [0, 9])
async def test_isolated_attempt_parks_and_the_next_has_its_steps(folder: Path, large: int) -> None:
    # With 9 MB of results, a ledger is larger than a frame may be.
    async with open_bench() as bench:
        payload = {"large": large, "sleep_s": HOUR_S}
        bench.hold(JOB)
        bench.suspects.submit([assignment("keeps", JOB, payload=payload)])
        await bench.ending(JOB)
        wake(bench)
        bench.hold(JOB, attempt=2)
        bench.suspects.submit([assignment("keeps", JOB, attempt=2, payload=payload)])
        found = result(await bench.ending(JOB))
    assert found["bytes"] == large * 1_000_000 and found["began_with"] == "7"
    ledger = await bench.store.read_ledger(bench.job_of(JOB).id, tenant=bench.job_of(JOB).tenant)
    assert ledger is not None and len(ledger.entries) == 2 + large
    assert found["pid"] != os.getpid()
    assert {entry.value for entry in ledger.entries.values() if entry.name == "pid"} == {str(found["pid"]).encode()}


async def test_isolated_plain_handler_parks(folder: Path) -> None:
    async with open_bench() as bench:
        bench.hold(JOB)
        bench.suspects.submit([assignment("keeps-thread", JOB, payload={"sleep_s": 3.0})])
        await bench.ending(JOB)
        wake(bench)
        bench.hold(JOB, attempt=2)
        bench.suspects.submit([assignment("keeps-thread", JOB, attempt=2, payload={"sleep_s": 3.0})])
        assert "pid" in result(await bench.ending(JOB))


async def test_fenced_write_ends_the_isolated_attempt(folder: Path) -> None:
    async with open_bench() as bench:
        bench.hold(JOB)
        bench.suspects.submit([assignment("awaits", JOB)])
        await bench.until(lambda: JOB in bench.progress, within_s=3 * BOUND_S)
        bench.hold(JOB, attempt=2)
        await bench.desk.open((JOB, 2))
        job = bench.job_of(JOB)
        push = SignalPush(job.id, job.tenant, Signal("s1", "go", b"1", bench.clock.now()))
        await bench.store.push_signal(push, at=bench.clock.now())
        bench.suspects.signal_came(JOB, 1)
        assert await bench.ending(JOB) == Interrupted(InterruptReason.LEASE_LOST)


async def test_signal_reaches_an_isolated_attempt(folder: Path) -> None:
    async with open_bench() as bench:
        bench.hold(JOB)
        bench.suspects.submit([assignment("awaits", JOB)])
        await bench.until(lambda: JOB in bench.progress, within_s=3 * BOUND_S)
        job = bench.job_of(JOB)
        push = SignalPush(job.id, job.tenant, Signal("s1", "go", b"7", bench.clock.now()))
        await bench.store.push_signal(push, at=bench.clock.now())
        async with asyncio.timeout(BOUND_S):
            bench.suspects.signal_came(JOB, 1)
            assert result(await bench.ending(JOB)) == 7
