"""When the lanes of a worker pull held jobs of limited kinds: once a second, and after recorded ends, once ready."""

import asyncio
from typing import Any

from acked_worker.consume.lanes import Lanes
from support.limited_bench import Bench
from support.parts import settle


class Consumer:
    """The consumer of a lane, which consumes until the test ends."""

    def __init__(self) -> None:
        self.is_consuming = True

    async def run(self) -> None:
        await asyncio.Event().wait()

    def pause(self, reason: str) -> None:
        """Stop consuming."""

    def resume(self, reason: str) -> None:
        """Consume again."""

    async def close(self) -> None:
        """End."""


async def lanes_of(bench: Bench, ready: asyncio.Event) -> Lanes:
    lanes = Lanes()
    consumer: Any = Consumer()
    lanes.add(bench.flow, consumer)

    async def wait_ready() -> None:
        await ready.wait()

    lanes.start(wait_ready)
    await settle()
    return lanes


async def test_lanes_pull_once_they_are_ready_and_not_stopped() -> None:
    bench, ready = Bench(), asyncio.Event()
    await bench.limit(1)
    jobs = await bench.jobs(3)
    await bench.store.hold_jobs([job.id for job in jobs])
    lanes = await lanes_of(bench, ready)
    lanes.pull()
    await settle()
    assert bench.runs() == [], "no lease before the clock is measured"
    ready.set()
    await settle()
    lanes.pause("outcomes wait")
    lanes.pull()
    await settle()
    assert bench.runs() == []
    lanes.resume("outcomes wait")
    lanes.pull()
    await settle()
    assert bench.runs() == [jobs[0].id]
    await lanes.stop()


async def test_a_recorded_end_of_a_limited_kind_is_a_reason_to_pull_and_no_other() -> None:
    bench, ready = Bench(), asyncio.Event()
    ready.set()
    await bench.limit(1)
    jobs = await bench.jobs(3)
    await bench.store.hold_jobs([job.id for job in jobs])
    lanes = await lanes_of(bench, ready)
    lanes.pull()
    await settle()
    bench.store.commands.clear()
    lanes.pull([jobs[1].id])
    await settle()
    assert not bench.store.commands, "another lane's job has ended"
    (held,) = bench.running.all()
    lanes.note_ended(held)
    lanes.pull([])
    await settle()
    assert not bench.store.commands, "its end is not recorded yet"
    await bench.free(held)
    lanes.pull([held.job.id])
    await settle()
    assert bench.runs() == [jobs[1].id]
    await lanes.stop()
