"""Hints of signals reach the process of an isolated attempt, however late it reads."""

import asyncio
import signal

from acked_worker.isolate.frames import (
    Beat,
    SignalCame,
    ToProcess,
)
from support.isolated import Bench, fill
from support.parts import BOUND_S, settle


async def test_hint_of_a_signal_waits_for_a_process_that_reads_late(bench: Bench) -> None:
    (asked,) = bench.submit()
    process = await bench.begun()
    line = fill(bench)
    full = line.unread_bytes
    for _ in range(3):
        bench.suspects.signal_came(asked.id, 1)
    await settle()
    assert line.unread_bytes == full, "hints that wait take no memory"
    heard: list[ToProcess] = []
    while SignalCame() not in heard:
        heard.append(await process.hear())
    assert all(isinstance(frame, Beat) for frame in heard[:-1])
    bench.suspects.signal_came(asked.id, 1)
    while (frame := await process.hear()) != SignalCame():
        assert isinstance(frame, Beat)
    bench.suspects.signal_came(asked.id, 1)
    assert await process.hear() == SignalCame()


async def test_hint_for_a_process_that_dies_ends_with_it(bench: Bench) -> None:
    (asked,) = bench.submit()
    process = await bench.begun()
    fill(bench)
    bench.suspects.signal_came(asked.id, 1)
    await settle()
    assert len(bench.suspects._hinting) == 1
    await process.die(-signal.SIGSEGV)
    await bench.endings()
    async with asyncio.timeout(BOUND_S):
        while bench.suspects._hinting:  # noqa: ASYNC110 - turns of the loop, no time
            await asyncio.sleep(0)
