"""A worker's suspects in real processes, for tests: handlers that misbehave, and a bench that collects endings."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from msgspec.structs import replace

from acked_common.outcomes.outcome import Ending, InterruptReason, Succeeded
from acked_common.runtime.clock import SharedClock
from acked_common.store.records import ClaimedJob
from acked_worker.consume.in_flight import InFlight, InFlightAttempts
from acked_worker.durable.attempt_ledgers import AttemptLedgers
from acked_worker.durable.bridge import LedgerAccess
from acked_worker.execute.attempt import Assignment
from acked_worker.execute.stall_fence import StallFence
from acked_worker.isolate.isolated_runner import IsolatedRunner
from support.executor import BOUND_S
from support.fields import filled
from support.memory_ledgers import MemoryLedgers

HANDLERS = """
import asyncio, ctypes, multiprocessing, os, signal, sys, threading, time
from acked import handler
from acked.durable import Step

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

@handler("keeps")
async def keeps(ctx, payload):
    async def step():
        return os.getpid()
    pid = await ctx.step("pid", step)
    large = await ctx.gather(*[ctx.step(Step("large", key=n), big) for n in range(payload["large"])])
    if payload["sleep_s"]:
        await ctx.sleep("rest", payload["sleep_s"])
    return {"pid": pid, "bytes": sum(map(len, large)), "began_with": await ctx.began_with()}

async def big():
    return "x" * 1_000_000

@handler("awaits")
async def awaits(ctx, payload):
    ctx.progress(os.getpid())
    return (await ctx.wait_for("go", within_s=9)).value

@handler("keeps-thread")
def keeps_thread(ctx, payload):
    pid = ctx.step("pid", os.getpid)
    ctx.sleep("rest", payload["sleep_s"])
    return {"pid": pid}

@handler("meets")
async def meets(ctx, payload):
    with open(payload, "a") as file:
        file.write("+")
    await asyncio.sleep(0.05)
    with open(payload, "a") as file:
        file.write("-")
"""


class SuspectBench:
    """The suspects of a worker, and what came out of them."""

    def __init__(self, most: int, lease_s: float) -> None:
        self.endings: dict[str, Ending] = {}
        self.progress: dict[str, Any] = {}
        self.fence = StallFence()
        self._changed = asyncio.Event()
        self.clock = SharedClock()
        self.store = MemoryLedgers({}, self.clock)
        self.running = InFlightAttempts()
        self.desk = AttemptLedgers(self.store, self.running, lambda kind: "7", self._on_lost, self.clock)
        self.suspects = IsolatedRunner(
            most=most,
            lease_s=lease_s,
            renewal_s=lease_s / 4,
            fence=self.fence,
            on_ended=self._on_ended,
            on_progress=self._on_progress,
            ledgers=LedgerAccess(self.desk, self.clock),
        )

    def hold(self, id_: str, attempt: int = 1) -> None:
        """Hold a job whose attempt makes durable calls."""
        self.running.add([InFlight(self.job_of(id_, attempt), "lane", 0.0)])

    def job_of(self, id_: str, attempt: int = 1) -> ClaimedJob:
        """The job of an attempt that is held."""
        return replace(filled(ClaimedJob), id=UUID(id_), attempt=attempt, nonce=f"claim-{attempt}", run=1, failures=0)

    def _on_lost(self, held: InFlight) -> None:
        self.suspects.interrupt(held.id, held.job.attempt, InterruptReason.LEASE_LOST)

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


def handlers_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the handlers' folder; hosts and their processes read the environment as a worker does."""
    for name in [name for name in os.environ if name.startswith("ACKED_")]:
        monkeypatch.delenv(name)
    (tmp_path / "suspect_kinds.py").write_text(HANDLERS)
    monkeypatch.setenv("ACKED_HANDLERS_DIR", str(tmp_path))
    monkeypatch.setenv("ACKED_HANDLER_MODULES", "acked.kinds.noop")
    return tmp_path


@asynccontextmanager
async def open_bench(most: int = 4, lease_s: float = 30.0) -> AsyncIterator[SuspectBench]:
    bench = SuspectBench(most, lease_s)
    bench.suspects.start()
    try:
        yield bench
    finally:
        await bench.suspects.close(0.0)
