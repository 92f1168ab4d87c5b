"""The runner of suspects on a loop: its timers, lines and calls to the host. The rules are in test_attempts."""

import asyncio
import signal

import msgspec
import pytest

from acked_common.outcomes.outcome import Crashed, Interrupted, InterruptReason, TimedOut
from acked_worker.execute.executor import GRACE_S
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
)
from acked_worker.isolate.process_line import MAX_UNREAD_BYTES
from support.isolated import DONE, NOT_STARTED, PATIENCE_S, Bench, fill
from support.parts import BOUND_S, settle


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
    beat = await process.hear()
    assert isinstance(beat, Beat) and beat.proved_at == proved_at
    assert abs((beat.at - bench.shared.now()).total_seconds()) < BOUND_S


async def test_process_that_reads_nothing_is_sent_no_more(bench: Bench) -> None:
    bench.submit()
    await bench.begun()
    line = fill(bench)
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
