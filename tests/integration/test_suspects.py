"""Suspects in real processes: how each ends, and that none of it reaches another job."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from acked_common.outcomes.outcome import Crashed, Failed, Interrupted, InterruptReason, Succeeded, TimedOut
from acked_worker.execute.executor import GRACE_S
from acked_worker.execute.stall_fence import since_boot
from acked_worker.isolate.attempts import LATE_S
from support.executor import BOUND_S, assignment
from support.suspects import gone, handlers_folder, open_bench, parent_of, result


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return handlers_folder(tmp_path, monkeypatch)


async def test_each_runs_in_a_process_of_its_own(folder: Path) -> None:
    async with open_bench() as bench:
        payload = {"text": "\U0001f680", "whole": 2**63 - 1, "list": [None, 1.5]}
        bench.suspects.submit(
            [
                *(assignment("echo", id=f"a{n}", payload=payload, attempt=3, tags=("t",)) for n in range(8)),
                *(assignment("thread", id=f"s{n}") for n in range(4)),
            ]
        )
        found = [result(await bench.ending(f"a{n}")) for n in range(8)]
        plain = [result(await bench.ending(f"s{n}")) for n in range(4)]
        pids = {one["pid"] for one in [*found, *plain]}
        assert len(pids | {os.getpid()}) == 13
        assert all(one | {"pid": 0} == {"pid": 0, "payload": payload, "attempt": 3, "tags": ["t"]} for one in found)


@pytest.mark.parametrize(
    ("kind", "payload", "how"),
    [
        ("exits", 1, "exit code 1"),
        ("exits", 0, "exit code 0"),
        ("signals", int(signal.SIGKILL), "killed by SIGKILL, as when memory runs out"),
        ("signals", int(signal.SIGABRT), "killed by SIGABRT"),
        ("reads-nothing", None, "killed by SIGSEGV"),
    ],
)
async def test_a_process_that_dies_is_a_crash_and_harms_nobody(folder: Path, kind: str, payload: Any, how: str) -> None:
    async with open_bench() as bench:
        bench.suspects.submit(
            [
                *(assignment("echo", id=f"before{n}") for n in range(3)),
                assignment(kind, payload=payload),
                *(assignment("echo", id=f"after{n}") for n in range(3)),
            ]
        )
        assert await bench.ending() == Crashed(how)
        for n in range(3):
            assert isinstance(await bench.ending(f"before{n}"), Succeeded)
            assert isinstance(await bench.ending(f"after{n}"), Succeeded)


async def test_what_ends_otherwise_is_no_crash(folder: Path) -> None:
    async with open_bench() as bench:
        bench.suspects.submit(
            [assignment(kind, id=kind) for kind in ("fails", "quits", "large", "unknown")]
            + [assignment("tells", id="late", timeout_s=0.3)]
        )
        failed = await bench.ending("fails")
        assert isinstance(failed, Failed)
        assert (failed.error.type, failed.error.message, failed.retryable) == ("ValueError", "it broke", True)
        assert 'raise ValueError("it broke")' in (failed.error.traceback or "")
        assert "acked_worker" not in (failed.error.traceback or "")
        assert (failed.error.culprit or "").endswith('.fails: raise ValueError("it broke")')
        assert isinstance(await bench.ending("quits"), Failed)
        assert len(result(await bench.ending("large"))) == 1_000_000
        unknown = await bench.ending("unknown")
        assert isinstance(unknown, Failed) and unknown.error.type == "UnknownKind"
        assert isinstance(await bench.ending("late"), TimedOut)
        assert bench.progress["late"]["message"] == "mine"


async def test_a_plain_function_that_hangs_is_ended_with_its_process(folder: Path) -> None:
    async with open_bench() as bench:
        bench.suspects.submit([assignment("deaf", timeout_s=0.3)])
        pid = await bench.pid_of()
        assert isinstance(await bench.ending(), TimedOut)
        await gone(pid)


@pytest.mark.parametrize("kind", ["tells", "deaf"])
@pytest.mark.parametrize("reason", [InterruptReason.CANCELLED, InterruptReason.DRAINED, InterruptReason.LEASE_LOST])
async def test_an_interruption_ends_the_process(folder: Path, kind: str, reason: InterruptReason) -> None:
    async with open_bench() as bench:
        bench.suspects.submit([assignment(kind)])
        pid = await bench.pid_of()
        bench.suspects.interrupt("job", 1, reason)
        assert await bench.ending() == Interrupted(reason)
        await gone(pid)


async def test_what_is_lost_while_it_is_being_cancelled_ends_at_once(folder: Path) -> None:
    async with open_bench() as bench:
        bench.suspects.submit([assignment("deaf")])
        pid = await bench.pid_of()
        bench.suspects.interrupt("job", 1, InterruptReason.CANCELLED)
        asked_at = since_boot()
        bench.suspects.interrupt("job", 1, InterruptReason.LEASE_LOST)
        assert await bench.ending() == Interrupted(InterruptReason.CANCELLED)
        await gone(pid)
        assert since_boot() - asked_at < GRACE_S + LATE_S


async def test_it_stops_at_its_gate_while_the_worker_stands_still(folder: Path) -> None:
    steps = folder / "steps.txt"
    lease_s = 1.0

    def made() -> int:
        return steps.stat().st_size if steps.exists() else 0

    async def reaches(count: int) -> None:
        async with asyncio.timeout(3 * BOUND_S):
            while made() < count:  # noqa: ASYNC110 - the steps are made in another process
                await asyncio.sleep(0.01)

    async with open_bench(lease_s=lease_s) as bench:
        bench.fence.prove(since_boot())
        bench.suspects.submit([assignment("steps", payload=str(steps))])
        await reaches(5)
        # Without a word of the worker for longer than the lease, as the process of the job sees it.
        async with asyncio.timeout(BOUND_S):
            stood_at, since = -1, since_boot()
            while since_boot() - since < lease_s / 2:
                if made() != stood_at:
                    stood_at, since = made(), since_boot()
                await asyncio.sleep(0.01)
        bench.fence.prove(since_boot())
        bench.suspects.beat()
        await reaches(stood_at + 5)


async def test_what_waits_is_given_back_as_not_started(folder: Path) -> None:
    async with open_bench(most=1) as bench:
        bench.suspects.submit([assignment("tells"), *(assignment("echo", id=f"{n}") for n in range(3))])
        await bench.pid_of()
        bench.suspects.interrupt("0", 1, InterruptReason.DRAINED)
        bench.suspects.interrupt("1", 1, InterruptReason.CANCELLED)
        assert bench.endings == {
            "0": Interrupted(InterruptReason.NOT_STARTED),
            "1": Interrupted(InterruptReason.CANCELLED),
        }
        left = await bench.suspects.close(0.0)
        assert sorted(one.id for one in left) == ["2", "job"]


async def test_no_more_run_at_once_than_may(folder: Path) -> None:
    seen = folder / "seen.txt"
    async with open_bench(most=2) as bench:
        bench.suspects.submit([assignment("meets", id=f"{n}", payload=str(seen)) for n in range(12)])
        for n in range(12):
            assert isinstance(await bench.ending(f"{n}"), Succeeded)
    at_once = most = 0
    for sign in seen.read_text():
        at_once += 1 if sign == "+" else -1
        most = max(most, at_once)
    assert (at_once, most) == (0, 2)


async def test_a_stop_of_all_processes_at_once_is_no_crash(folder: Path) -> None:
    async with open_bench() as bench:
        bench.suspects.submit([assignment("tells")])
        pid = await bench.pid_of()
        for one in (parent_of(pid), pid):
            for number in (signal.SIGTERM, signal.SIGINT):
                os.kill(one, number)
        bench.suspects.interrupt("job", 1, InterruptReason.DRAINED)
        assert await bench.ending() == Interrupted(InterruptReason.DRAINED)


async def test_suspect_may_use_a_pool_of_processes(folder: Path) -> None:
    """The pool ends its processes by a signal, which a suspect itself leaves to its worker."""
    async with open_bench() as bench:
        bench.suspects.submit([assignment("pools")])
        assert await bench.ending() == Succeeded(b"[1,2]")
