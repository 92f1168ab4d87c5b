"""Parts start in order and stop in reverse; loops survive their failures; nothing dies unseen."""

import asyncio
import os
import resource
import signal
from collections.abc import AsyncIterator

import pytest

from acked_common.runtime.lifetime import IDLE_SIGNALS, Lifetime, Tasks, outlive_idle_signals, raise_file_limit
from support.parts import BOUND_S, settle


class Steps:
    """Writes down what was called."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def add(self, lifetime: Lifetime, name: str, *, fails: str = "", hangs: bool = False) -> None:
        async def start() -> None:
            self.log.append(f"+{name}")
            if fails == "start":
                raise RuntimeError(name)

        async def stop() -> None:
            self.log.append(f"-{name}")
            if fails == "stop":
                raise RuntimeError(name)
            if hangs:
                await asyncio.Event().wait()

        lifetime.add(name, start=start, stop=stop, stop_within_s=0.01)


async def test_parts_start_in_order_and_stop_in_reverse_once() -> None:
    lifetime, steps = Lifetime(), Steps()
    for name in "abc":
        steps.add(lifetime, name)
    await lifetime.start()
    await lifetime.stop()
    await lifetime.stop()
    assert steps.log == ["+a", "+b", "+c", "-c", "-b", "-a"]


async def test_a_failing_start_stops_what_was_started() -> None:
    lifetime, steps = Lifetime(), Steps()
    steps.add(lifetime, "a")
    steps.add(lifetime, "b", fails="start")
    steps.add(lifetime, "c")
    with pytest.raises(RuntimeError, match="b"):
        await lifetime.start()
    assert steps.log == ["+a", "+b", "-a"]


async def test_a_part_that_fails_or_hangs_at_its_stop_does_not_keep_the_others() -> None:
    lifetime, steps = Lifetime(), Steps()
    steps.add(lifetime, "a")
    steps.add(lifetime, "b", fails="stop")
    steps.add(lifetime, "c", hangs=True)
    await lifetime.start()
    async with asyncio.timeout(BOUND_S):
        await lifetime.stop()
    assert steps.log[3:] == ["-c", "-b", "-a"]


async def test_a_part_needs_neither_step() -> None:
    lifetime = Lifetime()
    lifetime.add("nothing")
    await lifetime.start()
    await lifetime.stop()


async def test_a_loop_goes_on_after_a_failure_until_it_is_cancelled() -> None:
    tasks, calls, enough = Tasks(), 0, asyncio.Event()

    async def step() -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            enough.set()
        if calls in (1, 2):
            raise ValueError("not yet")

    task = tasks.repeat("step", step, every_s=0.001)
    async with asyncio.timeout(BOUND_S):
        await enough.wait()
    await tasks.cancel_all()
    assert task.cancelled()


async def test_a_task_that_fails_takes_nothing_along_and_is_forgotten() -> None:
    tasks = Tasks()

    async def fails() -> None:
        raise ValueError("broken")

    async def works() -> str:
        await settle()
        return "done"

    failing, working = tasks.spawn(fails(), "fails"), tasks.spawn(works(), "works")
    assert await working == "done"
    assert isinstance(failing.exception(), ValueError)
    await tasks.cancel_all()


async def test_cancelling_is_bounded() -> None:
    tasks, let_go = Tasks(), asyncio.Event()

    async def stubborn() -> None:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    task = tasks.spawn(stubborn(), "stubborn")
    await settle()
    async with asyncio.timeout(BOUND_S):
        await tasks.cancel_all(within_s=0.01)
    let_go.set()
    await task


@pytest.fixture
async def outlived() -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    outlive_idle_signals(loop)
    yield
    for each in IDLE_SIGNALS:
        loop.remove_signal_handler(each)


@pytest.mark.usefixtures("outlived")
@pytest.mark.parametrize("number", IDLE_SIGNALS, ids=lambda number: number.name)
async def test_signal_of_log_rotation_is_logged(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    os.kill(os.getpid(), number)
    await settle()
    assert number.name in capsys.readouterr().out


def test_caught_signals_are_not_ignored_by_children() -> None:
    async def ignored_by_child() -> int:
        outlive_idle_signals(asyncio.get_running_loop())
        child = await asyncio.create_subprocess_exec(
            "grep", "SigIgn", "/proc/self/status", stdout=asyncio.subprocess.PIPE
        )
        written, _ = await child.communicate()
        return int(written.split()[1], 16)

    ignored = asyncio.run(ignored_by_child())
    assert not [number for number in IDLE_SIGNALS if ignored >> (number - 1) & 1]


def test_the_limit_of_open_files_is_raised_to_the_hard_one() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, soft), hard))
        raise_file_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
