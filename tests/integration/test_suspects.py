"""Suspects in real processes: how each ends, and that none of it reaches anybody else."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from acked_worker.execute.attempt import Assignment
from acked_worker.execute.executor import GRACE_S
from acked_worker.execute.outcome import Crashed, Ending, Failed, Interrupted, InterruptReason, Succeeded, TimedOut
from acked_worker.execute.stall_fence import StallFence, since_boot
from acked_worker.isolate.isolated_runner import LATE_S, IsolatedRunner
from support.executor import BOUND_S, assignment

HANDLERS = """
import asyncio, ctypes, multiprocessing, os, signal, sys, threading, time
from acked import handler

@handler("echo")
async def echo(ctx, payload):
    return {"pid": os.getpid(), "payload": payload, "attempt": ctx.attempt, "tags": list(ctx.tags)}

@handler("thread")
def thread(ctx, payload):
    return {"pid": os.getpid(), "threads": threading.active_count()}

@handler("exits")
async def exits(ctx, payload):
    os._exit(payload)

@handler("signals")
def signals(ctx, payload):
    os.kill(os.getpid(), payload)
    time.sleep(60)

@handler("reads-nothing")
async def reads_nothing(ctx, payload):
    ctypes.string_at(0)

@handler("fails")
async def fails(ctx, payload):
    raise ValueError("it broke")

@handler("quits")
async def quits(ctx, payload):
    sys.exit(3)

@handler("tells")
async def tells(ctx, payload):
    ctx.progress(os.getpid(), "mine")
    await asyncio.sleep(60)

@handler("deaf")
def deaf(ctx, payload):
    ctx.progress(os.getpid())
    time.sleep(60)

@handler("pools")
def pools(ctx, payload):
    for _ in range(5):
        with multiprocessing.get_context("fork").Pool(2) as pool:
            found = pool.map(abs, [-1, -2])
    return found

@handler("large")
async def large(ctx, payload):
    return "x" * 1_000_000

@handler("steps")
async def steps(ctx, payload):
    while True:
        with open(payload, "a") as file:
            file.write("+")
        await asyncio.sleep(0.01)

@handler("meets")
async def meets(ctx, payload):
    with open(payload, "a") as file:
        file.write("+")
    await asyncio.sleep(0.05)
    with open(payload, "a") as file:
        file.write("-")
"""


class Bench:
    """The suspects of a worker, and what came out of them."""

    def __init__(self, most: int, lease_s: float) -> None:
        self.endings: dict[str, Ending] = {}
        self.progress: dict[str, Any] = {}
        self.fence = StallFence()
        self._changed = asyncio.Event()
        self.suspects = IsolatedRunner(
            most=most,
            lease_s=lease_s,
            renewal_s=lease_s / 4,
            fence=self.fence,
            on_ended=self._on_ended,
            on_progress=self._on_progress,
        )

    def _on_ended(self, ended: list[tuple[Assignment, Ending]]) -> None:
        for one, ending in ended:
            assert one.id not in self.endings, "an attempt had two endings"
            self.endings[one.id] = ending
        self._changed.set()

    def _on_progress(self, reports: list[tuple[str, int, object]]) -> None:
        for id_, _, value in reports:
            self.progress[id_] = value
        self._changed.set()

    async def until(self, holds: Callable[[], bool], within_s: float = BOUND_S) -> None:
        """Waits for what a callback tells."""
        async with asyncio.timeout(within_s):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    async def ending(self, id_: str = "job") -> Ending:
        """The ending of an attempt."""
        await self.until(lambda: id_ in self.endings, within_s=3 * BOUND_S)
        return self.endings[id_]

    async def pid_of(self, id_: str = "job") -> int:
        """The process of an attempt that tells it."""
        await self.until(lambda: id_ in self.progress, within_s=3 * BOUND_S)
        return int(self.progress[id_]["value"])


def result(ending: Ending) -> Any:
    assert isinstance(ending, Succeeded), ending
    return msgspec.json.decode(ending.result_json)


async def gone(pid: int) -> None:
    """Returns when a process has ended."""
    async with asyncio.timeout(BOUND_S):
        while is_alive(pid):  # noqa: ASYNC110 - a process of somebody else sets no event
            await asyncio.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The handlers' folder; hosts and their processes read the environment as a worker does."""
    for name in [name for name in os.environ if name.startswith("ACKED_")]:
        monkeypatch.delenv(name)
    (tmp_path / "suspect_kinds.py").write_text(HANDLERS)
    monkeypatch.setenv("ACKED_HANDLERS_DIR", str(tmp_path))
    monkeypatch.setenv("ACKED_HANDLER_MODULES", "acked.kinds.noop")
    return tmp_path


@asynccontextmanager
async def open_bench(most: int = 4, lease_s: float = 30.0) -> AsyncIterator[Bench]:
    bench = Bench(most, lease_s)
    bench.suspects.start()
    try:
        yield bench
    finally:
        await bench.suspects.close(0.0)


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


async def test_without_its_host_nothing_is_blamed_and_the_next_host_goes_on(folder: Path) -> None:
    async with open_bench(most=1) as bench:
        bench.suspects.submit([assignment("tells"), assignment("echo", id="waits")])
        pid = await bench.pid_of()
        os.kill(parent_of(pid), signal.SIGKILL)
        assert await bench.ending() == Interrupted(InterruptReason.NOT_STARTED)
        assert await bench.ending("waits") == Interrupted(InterruptReason.NOT_STARTED)
        await gone(pid)
        bench.suspects.submit([assignment("echo", id="next")])
        assert isinstance(await bench.ending("next"), Succeeded)


@pytest.mark.parametrize(
    "opens",
    [
        "threading.Thread(target=threading.Event().wait, daemon=True).start()",
        "import socket; kept = socket.socketpair()",
    ],
    ids=["thread", "socket"],
)
async def test_what_copies_would_share_makes_a_new_program_of_each(folder: Path, opens: str) -> None:
    with (folder / "suspect_kinds.py").open("a") as file:
        file.write(f"\nprogram = os.getpid()\n{opens}\n\n@handler('program')\nasync def it(ctx, payload):\n")
        file.write("    return program == os.getpid()\n")
    async with open_bench() as bench:
        bench.suspects.submit([assignment("program"), assignment("exits", id="dies", payload=9)])
        assert result(await bench.ending()) is True
        assert await bench.ending("dies") == Crashed("exit code 9")


async def test_handlers_that_can_not_be_loaded_give_the_suspects_back(folder: Path) -> None:
    (folder / "broken.py").write_text("raise RuntimeError('not today')")
    async with open_bench() as bench:
        bench.suspects.submit([assignment("echo")])
        assert await bench.ending() == Interrupted(InterruptReason.NOT_STARTED)
        assert "does not start" in (bench.suspects.problem or "")


async def test_a_stop_of_all_processes_at_once_is_no_crash(folder: Path) -> None:
    async with open_bench() as bench:
        bench.suspects.submit([assignment("tells")])
        pid = await bench.pid_of()
        for one in (parent_of(pid), pid):
            for number in (signal.SIGTERM, signal.SIGINT):
                os.kill(one, number)
        bench.suspects.interrupt("job", 1, InterruptReason.DRAINED)
        assert await bench.ending() == Interrupted(InterruptReason.DRAINED)


OWNER = """
import asyncio, sys
from acked_worker.execute.attempt import Assignment
from acked_worker.execute.stall_fence import StallFence
from acked_worker.isolate.isolated_runner import Suspects

async def main():
    suspects = Suspects(
        most=2, lease_s=30.0, renewal_s=8.0, fence=StallFence(), on_ended=print,
        on_progress=lambda reports: print("pid", reports[0][2]["value"], flush=True),
    )
    suspects.start()
    suspects.submit([Assignment(kind, kind, 1, 1, 0, None, 60.0) for kind in ("tells", "deaf")])
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_all_of_it_dies_with_the_worker(folder: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
    try:
        assert owner.stdout is not None
        pids: list[int] = []
        while len(pids) < 2:
            line = await asyncio.to_thread(owner.stdout.readline)
            assert line, "it has ended"
            if line.startswith("pid "):
                pids.append(int(line.split()[1]))
        host = parent_of(pids[0])
        assert (parent_of(host), parent_of(pids[1])) == (owner.pid, host)
    finally:
        owner.kill()
        owner.wait()
        owner.stdout.close()
    for pid in (*pids, host):
        await gone(pid)


THREAD = "import threading\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"


@pytest.mark.parametrize("is_copy", [True, False])
async def test_suspect_of_handlers_that_import_long_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, is_copy: bool
) -> None:
    (folder / "late.py").write_text("import time\ntime.sleep(3)\n" + ("" if is_copy else THREAD))
    if not is_copy:
        # The new program imports for longer than a copy may take to begin.
        monkeypatch.setattr("acked_worker.isolate.isolated_runner.BEGINS_WITHIN_S", 0.5)
    async with open_bench() as bench:
        assert not bench.suspects.is_prepared
        bench.suspects.submit([assignment("echo")])
        assert isinstance(await bench.ending(), Succeeded)
        assert bench.suspects.is_prepared


async def test_suspect_may_use_a_pool_of_processes(folder: Path) -> None:
    """The pool ends its processes by a signal, which a suspect itself leaves to its worker."""
    async with open_bench() as bench:
        bench.suspects.submit([assignment("pools")])
        assert await bench.ending() == Succeeded(b"[1,2]")
