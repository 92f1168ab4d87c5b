"""The runner of suspects on a loop: its timers, lines and calls to the host. The rules are in test_attempts."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from acked_worker.execute.attempt import Assignment
from acked_worker.execute.executor import GRACE_S
from acked_worker.execute.outcome import Crashed, Ending, Interrupted, InterruptReason, Succeeded, TimedOut
from acked_worker.execute.stall_fence import StallFence
from acked_worker.isolate.attempts import BEGINS_WITHIN_S, EXIT_WITHIN_S, LATE_S
from acked_worker.isolate.fork_server_client import ForkServerGone
from acked_worker.isolate.frames import (
    LENGTH_BYTES,
    Beat,
    Began,
    EndedWell,
    ProgressMade,
    Run,
    Stop,
    ToProcess,
    ToWorker,
    decode_to_process,
    framed,
    length_of,
)
from acked_worker.isolate.isolated_runner import IsolatedRunner
from acked_worker.isolate.process_line import MAX_UNREAD_BYTES
from support.loop_clock import LoopClock
from support.parts import BOUND_S, settle

TIMEOUT_S = 900.0
PATIENCE_S = TIMEOUT_S + GRACE_S + LATE_S
NOT_STARTED = Interrupted(InterruptReason.NOT_STARTED)
DONE = Succeeded(b"7")


class Process:
    """A suspect's process, played by the test."""

    def __init__(self, number: int, line: socket.socket) -> None:
        self.number = number
        self._line = socket.socket(fileno=os.dup(line.fileno()))
        self._line.setblocking(False)
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def say(self, *frames: ToWorker) -> None:
        for frame in frames:
            self.say_bytes(framed(frame))
        await settle()

    def say_bytes(self, data: bytes) -> None:
        self._line.send(data)

    async def hear(self) -> ToProcess:
        """The next frame of the worker."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(BOUND_S):
            head = await loop.sock_recv(self._line, LENGTH_BYTES)
            return decode_to_process(await loop.sock_recv(self._line, length_of(head)))

    async def die(self, code: int = 0) -> None:
        """It exits, and the fork server reports it."""
        self._line.close()
        if not self.exited.done():
            self.exited.set_result(code)
        await settle()


class Host:
    """The fork server, simulated by the test."""

    def __init__(self, *, on_ready: Callable[[], None], on_gone: Callable[[], None], **_: object) -> None:
        self.on_ready = on_ready
        self.on_gone = on_gone
        self.is_ready = True
        self.copies = True
        self.problem = None
        self.is_gone = False
        self.processes: list[Process] = []
        self.launched = asyncio.Event()
        self.killed: list[int] = []
        self.survives_kill = False

    def start(self) -> None:
        """Is there already."""

    async def stop(self) -> None:
        """Ends."""
        for process in self.processes:
            await process.die(-signal.SIGKILL)

    def launch(self, line: socket.socket) -> "tuple[int, asyncio.Future[int]]":
        if self.is_gone:
            raise ForkServerGone
        process = Process(len(self.processes), line)
        self.processes.append(process)
        self.launched.set()
        return process.number, process.exited

    def kill(self, number: int) -> None:
        self.killed.append(number)
        process = self.processes[number]
        if not self.survives_kill and not process.exited.done():
            asyncio.get_running_loop().create_task(process.die(-signal.SIGKILL), name="dies")


class Bench:
    def __init__(self, most: int = 2) -> None:
        self.clock = LoopClock()
        self.ended: list[tuple[str, Ending]] = []
        self.progress: list[tuple[str, int, object]] = []
        self.fence = StallFence()
        self.suspects = IsolatedRunner(
            most=most,
            lease_s=30.0,
            renewal_s=10.0,
            fence=self.fence,
            on_ended=lambda found: self.ended.extend((one.id, ending) for one, ending in found),
            on_progress=self.progress.extend,
        )
        host = self.suspects._host
        assert isinstance(host, Host)
        self.host = host
        self.numbers = 0

    def submit(self, count: int = 1, *, attempt: int = 1) -> list[Assignment]:
        """So many suspects."""
        made = []
        for _ in range(count):
            self.numbers += 1
            made.append(
                Assignment(
                    id=str(self.numbers),
                    kind="demo",
                    run=1,
                    attempt=attempt,
                    failures=0,
                    payload={"n": self.numbers},
                    timeout_s=TIMEOUT_S,
                    is_suspect=True,
                )
            )
        self.suspects.submit(made)
        return made

    async def process(self, number: int = 0) -> Process:
        """The process of that number, when it has been told what to run."""
        async with asyncio.timeout(BOUND_S):
            while len(self.host.processes) <= number:
                self.host.launched.clear()
                await self.host.launched.wait()
        process = self.host.processes[number]
        assert isinstance(await process.hear(), Run)
        return process

    async def begun(self, number: int = 0) -> Process:
        process = await self.process(number)
        await process.say(Began())
        return process

    async def endings(self, count: int = 1) -> list[Ending]:
        async with asyncio.timeout(BOUND_S):
            while len(self.ended) < count:  # noqa: ASYNC110 - turns of the loop, no time
                await asyncio.sleep(0)
        return [ending for _, ending in self.ended]


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr("acked_worker.isolate.isolated_runner.ForkServerClient", Host)
    made = Bench()
    yield made
    await made.suspects.close(0.0)
    await settle()


async def test_process_is_told_what_to_run(bench: Bench) -> None:
    (asked,) = bench.submit()
    async with asyncio.timeout(BOUND_S):
        await bench.host.launched.wait()
    run = await bench.host.processes[0].hear()
    assert isinstance(run, Run)
    assert run.assignment == msgspec.structs.replace(asked, payload=None)
    assert (run.payload, run.lease_s, run.renewal_s) == (b'{"n":1}', 30.0, 10.0)


async def test_handler_may_run_for_its_whole_timeout(bench: Bench) -> None:
    bench.submit()
    process = await bench.begun()
    for _ in range(10):
        await bench.clock.advance((PATIENCE_S - 1) / 10)
    assert bench.ended == []
    await process.say(EndedWell(DONE))
    assert await bench.endings() == [DONE]
    await process.die()
    assert bench.host.killed == []


async def test_process_that_outlasts_its_patience_is_timed_out_and_killed(bench: Bench) -> None:
    bench.submit()
    await bench.begun()
    await bench.clock.advance(PATIENCE_S + 1)
    (ending,) = await bench.endings()
    assert isinstance(ending, TimedOut)
    await bench.clock.advance(EXIT_WITHIN_S + 1)
    assert bench.host.killed == [0]


async def test_process_that_does_not_begin_says_nothing_about_the_job(bench: Bench) -> None:
    bench.submit()
    await bench.process()
    await bench.clock.advance(BEGINS_WITHIN_S - 1)
    assert bench.ended == []
    await bench.clock.advance(2)
    assert await bench.endings() == [NOT_STARTED]


async def test_new_program_may_import_for_as_long_as_it_takes(bench: Bench) -> None:
    bench.host.copies = False
    bench.submit()
    process = await bench.process()
    await bench.clock.advance(100 * BEGINS_WITHIN_S)
    assert bench.ended == []
    await process.say(Began(), EndedWell(DONE))
    assert await bench.endings() == [DONE]
    await process.die()


async def test_process_that_dies_after_its_begin_is_a_crash(bench: Bench) -> None:
    bench.submit()
    process = await bench.begun()
    await process.die(-signal.SIGSEGV)
    assert await bench.endings() == [Crashed("killed by SIGSEGV")]


async def test_process_that_dies_before_its_begin_is_no_crash(bench: Bench) -> None:
    bench.submit()
    process = await bench.process()
    await process.die(-signal.SIGSEGV)
    assert await bench.endings() == [NOT_STARTED]


async def test_garbage_from_a_process_ends_its_attempt(bench: Bench) -> None:
    bench.submit()
    process = await bench.begun()
    process.say_bytes((3).to_bytes(LENGTH_BYTES) + b"abc")
    await settle()
    await process.die(1)
    (ending,) = await bench.endings()
    assert isinstance(ending, Crashed)


async def test_interrupted_handler_is_asked_first_and_killed_later(bench: Bench) -> None:
    (asked,) = bench.submit()
    process = await bench.begun()
    bench.suspects.interrupt(asked.id, 1, InterruptReason.CANCELLED)
    assert await process.hear() == Stop(InterruptReason.CANCELLED)
    await bench.clock.advance(GRACE_S + LATE_S - 1)
    assert (bench.host.killed, bench.ended) == ([], [])
    await bench.clock.advance(2)
    assert bench.host.killed == [0]
    assert await bench.endings() == [Interrupted(InterruptReason.CANCELLED)]


@pytest.mark.parametrize("before", [None, InterruptReason.DRAINED, InterruptReason.CANCELLED])
async def test_process_of_a_lost_job_is_killed_at_once(bench: Bench, before: InterruptReason | None) -> None:
    (asked,) = bench.submit()
    await bench.begun()
    if before is not None:
        bench.suspects.interrupt(asked.id, 1, before)
        assert bench.host.killed == []
    bench.suspects.interrupt(asked.id, 1, InterruptReason.LEASE_LOST)
    assert bench.host.killed == [0]
    assert await bench.endings() == [Interrupted(before or InterruptReason.LEASE_LOST)]


async def test_place_is_free_when_the_process_is_gone(bench: Bench) -> None:
    bench.submit(3)
    first, _ = await bench.begun(0), await bench.begun(1)
    await settle()
    assert len(bench.host.processes) == 2
    await first.say(EndedWell(DONE))
    assert await bench.endings() == [DONE]
    # It may still hold what the next one needs.
    assert len(bench.host.processes) == 2
    await first.die()
    await bench.begun(2)


async def test_suspects_wait_for_the_host(bench: Bench) -> None:
    bench.host.is_ready = False
    bench.submit()
    await settle()
    assert (bench.host.processes, bench.ended) == ([], [])
    bench.host.is_ready = True
    bench.host.on_ready()
    await bench.begun()


async def test_without_a_host_what_waits_is_given_back(bench: Bench) -> None:
    bench.submit(3)
    await bench.begun(0)
    await bench.begun(1)
    bench.host.on_gone()
    assert await bench.endings() == [NOT_STARTED]
    assert bench.ended[0][0] == "3"


async def test_host_that_goes_at_a_launch_says_nothing_about_the_job(bench: Bench) -> None:
    bench.host.is_gone = True
    bench.submit(3)
    # Two find out by themselves, and the line tells what still waits.
    assert await bench.endings(2) == [NOT_STARTED] * 2
    bench.host.on_gone()
    assert await bench.endings(3) == [NOT_STARTED] * 3


async def test_process_lost_with_its_host_is_no_crash(bench: Bench) -> None:
    bench.submit()
    process = await bench.begun()
    process.exited.set_exception(ForkServerGone())
    await process.die()
    assert await bench.endings() == [NOT_STARTED]


async def test_progress_is_passed_on_with_its_attempt(bench: Bench) -> None:
    (asked,) = bench.submit(attempt=3)
    process = await bench.begun()
    await process.say(ProgressMade({"done": 0.5}))
    async with asyncio.timeout(BOUND_S):
        while not bench.progress:  # noqa: ASYNC110 - turns of the loop, no time
            await asyncio.sleep(0)
    assert bench.progress == [(asked.id, 3, {"done": 0.5})]


async def test_processes_hear_when_the_newest_renewal_was_sent(bench: Bench) -> None:
    bench.submit()
    process = await bench.begun()
    bench.fence.prove(proved_at := bench.fence.proved_at + 7.0)
    bench.suspects.beat()
    assert await process.hear() == Beat(proved_at)


async def test_process_that_reads_nothing_is_sent_no_more(bench: Bench) -> None:
    bench.submit()
    await bench.begun()
    (process,) = bench.suspects._processes.values()
    line = process.line
    for _ in range(200_000):
        bench.suspects.beat()
        if line.unread_bytes >= MAX_UNREAD_BYTES:
            break
    full = line.unread_bytes
    bench.suspects.beat()
    assert MAX_UNREAD_BYTES <= full == line.unread_bytes
    assert line._writer is not None
    line._writer.transport.abort()


async def test_closing_returns_what_has_no_ending(bench: Bench) -> None:
    asked = bench.submit(3)
    await bench.begun(0)
    process = await bench.begun(1)
    await process.say(EndedWell(DONE))
    await bench.endings()
    assert await bench.suspects.close(0.0) == [asked[0], asked[2]]
    assert len(bench.ended) == 1


async def test_closing_waits_for_what_ends_in_time(bench: Bench) -> None:
    bench.submit()
    process = await bench.begun()
    closing = asyncio.create_task(bench.suspects.close(60.0))
    await settle()
    assert not closing.done()
    await process.say(EndedWell(DONE))
    async with asyncio.timeout(BOUND_S):
        assert await closing == []
    assert await bench.endings() == [DONE]
