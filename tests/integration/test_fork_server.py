"""The host of suspects: what it costs, when it dies, when it can not start, and what dies with it."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from acked_common.outcomes.outcome import Crashed, Interrupted, InterruptReason, Succeeded
from support.executor import assignment
from support.suspects import gone, handlers_folder, open_bench, parent_of, result


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return handlers_folder(tmp_path, monkeypatch)


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


OWNER = """
import asyncio, sys
from acked_common.runtime.clock import SharedClock
from acked_worker.durable.bridge import LedgerAccess
from acked_worker.execute.attempt import Assignment
from acked_worker.execute.stall_fence import StallFence
from acked_worker.isolate.isolated_runner import IsolatedRunner

async def main():
    suspects = IsolatedRunner(
        most=2, lease_s=30.0, renewal_s=8.0, fence=StallFence(), on_ended=print,
        ledgers=LedgerAccess(None, SharedClock()),
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
