"""The loop of the simulation: time that jumps, processes that die and freeze, orders that a real loop could have."""

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import pytest

from simulation.loop import SimProcess, Spinning, VirtualLoop

YEAR_S = 365 * 86_400.0


def never() -> bool:
    return False


class Bench:
    """A loop, processes on it, and what they did."""

    def __init__(self, seed: int = 1) -> None:
        self.loop = VirtualLoop(Random(seed))
        self.done: list[object] = []

    def process(self, name: str, work: Callable[[str], Coroutine[Any, Any, None]]) -> SimProcess:
        process = SimProcess(self.loop, name)
        process.spawn(work(name))
        return process

    def run(self, until_s: float = YEAR_S) -> None:
        self.loop.run(never, until_s)

    async def sleepy(self, name: str) -> None:
        try:
            for second in range(3):
                self.done.append((name, second))
                await asyncio.sleep(1.0)
        finally:
            self.done.append((name, "over"))

    async def busy(self, name: str) -> None:
        for step in range(5):
            self.done.append((name, step))
            await asyncio.sleep(0)


def test_time_jumps_to_the_next_timer() -> None:
    bench = Bench()

    async def waits(name: str) -> None:
        await asyncio.sleep(YEAR_S / 2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await asyncio.Event().wait()
        bench.done.append(asyncio.get_running_loop().time())

    bench.process("a", waits)
    bench.run()
    assert bench.done == [YEAR_S / 2 + 10]


def test_a_killed_process_does_nothing_more_not_even_in_finally() -> None:
    bench = Bench()
    process = bench.process("a", bench.sleepy)
    bench.loop.outside_later(1.5, process.kill)
    bench.run()
    assert bench.done == [("a", 0), ("a", 1)]
    assert process.died_at == 1.5


def test_a_process_dies_between_any_two_steps() -> None:
    bench = Bench()
    process = bench.process("a", bench.busy)
    process.after_steps(3, process.kill)
    bench.run()
    assert bench.done == [("a", 0), ("a", 1), ("a", 2)]


def test_what_was_due_while_a_process_was_frozen_comes_when_it_goes_on() -> None:
    bench = Bench()
    process = bench.process("a", bench.sleepy)
    bench.process("b", bench.sleepy)
    bench.loop.outside_later(0.5, process.pause)
    bench.run(100.0)
    assert [what for what in bench.done if what[0] == "a"] == [("a", 0)]  # type: ignore[index]
    assert ("b", "over") in bench.done
    process.resume()
    bench.run(200.0)
    assert [what for what in bench.done if what[0] == "a"] == [("a", n) for n in (0, 1, 2, "over")]  # type: ignore[index]


def test_each_strand_keeps_its_order_and_the_seed_decides_between_them() -> None:
    orders = set()
    for seed in range(30):
        bench = Bench(seed)
        for name in "ab":
            bench.process(name, bench.busy)
        bench.run()
        for name in "ab":
            assert [what for what in bench.done if what[0] == name] == [(name, n) for n in range(5)]  # type: ignore[index]
        orders.add(tuple(bench.done))
    assert len(orders) > 10


def test_what_a_callback_raises_is_kept() -> None:
    bench = Bench()
    bench.loop.call_later(1.0, lambda: 1 / 0, context=SimProcess(bench.loop, "a").main.context())
    bench.run()
    assert "ZeroDivisionError" in bench.loop.errors[0]


def test_an_error_that_nobody_looks_at_is_found_at_the_end() -> None:
    bench = Bench()

    async def fails(name: str) -> None:
        raise ValueError(name)

    bench.process("a", fails)
    bench.run()
    assert "ValueError" in bench.loop.put_away()[0]


def test_who_never_waits_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulation.loop.MOST_STEPS", 1000)
    bench = Bench()

    async def spins(name: str) -> None:
        while True:  # noqa: ASYNC110 - that is the fault
            await asyncio.sleep(0)

    bench.process("a", spins)
    with pytest.raises(Spinning):
        bench.run()
    bench.loop.put_away()


def test_at_the_end_every_task_is_ended_of_killed_processes_too() -> None:
    bench = Bench()
    killed = bench.process("a", bench.sleepy)
    bench.process("b", bench.sleepy)
    bench.loop.outside_later(0.5, killed.kill)
    bench.run(1.5)
    assert bench.loop.put_away() == []
    assert all(task.done() for task in bench.loop.tasks)
