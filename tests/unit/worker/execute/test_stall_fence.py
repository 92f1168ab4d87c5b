"""The fence: closed exactly while a suspended process can't know what it owns, and how handlers wait at it."""

import asyncio
import threading
from typing import Any

import pytest

from acked import Context
from acked_common.outcomes.outcome import Interrupted, InterruptReason, Succeeded, TimedOut
from acked_worker.execute.stall_fence import StallFence
from support.executor import Bench, assignment, kind

LEASE_S = 30.0
RENEWAL_S = 8.0


class Seconds:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


class WatchedGate(StallFence):
    """A fence that signals when a thread waits at it."""

    def __init__(self, clock: Seconds) -> None:
        super().__init__(lease_s=LEASE_S, renewal_s=RENEWAL_S, clock=clock)
        self.is_waited_for = threading.Event()

    def wait(self) -> None:
        if not self.is_open:
            self.is_waited_for.set()
        super().wait()


@pytest.fixture
def fence(clock: Seconds) -> WatchedGate:
    return WatchedGate(clock)


def test_a_gate_without_durations_is_always_open(clock: Seconds) -> None:
    fence = StallFence(clock=clock)
    clock.now += 1e9
    assert not fence.beat()
    assert fence.is_open


def test_a_database_that_is_away_does_not_close_it(fence: StallFence, clock: Seconds) -> None:
    for _ in range(1000):
        clock.now += RENEWAL_S / 2
        assert not fence.beat()
        assert fence.is_open


@pytest.mark.parametrize("plumbing_is_first", [True, False])
def test_a_pause_longer_than_the_lease_closes_it_for_whoever_looks_first(
    fence: StallFence, clock: Seconds, plumbing_is_first: bool
) -> None:
    clock.now += 2 * LEASE_S
    if plumbing_is_first:
        assert fence.beat()
    assert not fence.is_open
    assert fence.beat() is not plumbing_is_first
    clock.now += 0.1
    fence.beat()
    assert not fence.is_open


def test_a_pause_within_the_lease_does_not_close_it(fence: StallFence, clock: Seconds) -> None:
    clock.now += LEASE_S - RENEWAL_S
    assert not fence.beat()
    assert fence.is_open


def test_a_pause_counts_from_when_the_newest_renewal_was_sent(fence: StallFence, clock: Seconds) -> None:
    for _ in range(4):
        clock.now += RENEWAL_S / 2
        fence.beat()
    # 16 s without a renewal, then 10 s of a pause.
    clock.now += 10.0
    assert fence.beat()
    assert not fence.is_open


def test_a_renewal_that_was_sent_before_the_pause_does_not_open_it(fence: StallFence, clock: Seconds) -> None:
    sent_at = clock.now
    clock.now += 2 * LEASE_S
    fence.prove(sent_at)
    assert not fence.is_open
    fence.beat()
    fence.prove(sent_at)
    assert not fence.is_open


def test_a_renewal_that_was_sent_after_the_pause_opens_it(fence: StallFence, clock: Seconds) -> None:
    clock.now += 2 * LEASE_S
    assert fence.beat()
    clock.now += 0.1
    sent_at = clock.now
    # The answer takes its time; the database was away.
    for _ in range(100):
        clock.now += RENEWAL_S / 2
        assert not fence.beat() or not fence.is_open
    fence.prove(sent_at)
    assert fence.is_open
    clock.now += RENEWAL_S / 2
    fence.beat()
    assert fence.is_open, "it goes on as before the pause"


def test_a_thread_waits_until_it_opens(fence: StallFence, clock: Seconds) -> None:
    clock.now += 2 * LEASE_S
    fence.beat()
    passed = threading.Event()
    threading.Thread(target=lambda: (fence.wait(), passed.set()), daemon=True).start()
    assert not passed.wait(0.1)
    fence.prove(clock.now)
    assert passed.wait(10)


class Handlers:
    """Handlers that take a step each time that they are told to, and what they did."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.go: dict[str, asyncio.Event] = {}
        self.waiting = 0
        self.loop: asyncio.AbstractEventLoop

    def begin(self, *names: str) -> None:
        """Schedule the next step on the handlers' loop; it runs once the fence is open."""
        for name in names:
            self.loop.call_soon_threadsafe(self.go[name].set)

    async def _step(self, name: str) -> None:
        event = self.go[name] = asyncio.Event()
        self.waiting += 1
        await event.wait()
        self.steps.append(name)

    async def run(self, *names: str) -> str:
        """Waits for the steps, each in a task of its own where there are several."""
        self.loop = asyncio.get_running_loop()
        if len(names) == 1:
            await self._step(names[0])
        else:
            await asyncio.gather(*(self._step(name) for name in names))
        return "done"


@pytest.mark.parametrize("overdue", [False, True])
async def test_after_a_pause_what_was_lost_makes_no_step_and_the_rest_goes_on(
    bench: Bench, fence: WatchedGate, clock: Seconds, overdue: bool
) -> None:
    handlers = Handlers()

    async def plain(ctx: Context, payload: Any) -> str:
        return await handlers.run(ctx.id)

    async def with_tasks(ctx: Context, payload: Any) -> str:
        return await handlers.run(*(f"{ctx.id}.{n}" for n in range(3)))

    bench.start(kind("plain", plain), kind("tasks", with_tasks), fence=fence, grace_s=60.0)
    bench.submit(assignment("plain", id="mine"), assignment("plain", id="lost"))
    bench.submit(assignment("tasks", id="many"))
    await bench.until(lambda: handlers.waiting == 5)

    clock.now += 2 * LEASE_S
    # The loop has these steps ready before anybody knows what was lost.
    handlers.begin("lost", "mine", "many.0", "many.1", "many.2")
    await bench.until(fence.is_waited_for.is_set)
    if overdue:
        bench.run_out_of_time("lost")
        await bench.until(lambda: bench.executor._live["lost", 1].is_stopping)
    fence.beat()
    for lost in ("lost", "many"):
        bench.executor.interrupt(lost, 1, InterruptReason.LEASE_LOST)
    assert handlers.steps == []
    fence.prove(clock.now)

    assert await bench.ending("mine") == Succeeded(b'"done"')
    assert await bench.ending("many") == Interrupted(InterruptReason.LEASE_LOST)
    assert isinstance(await bench.ending("lost"), TimedOut if overdue else Interrupted)
    assert handlers.steps == ["mine"]


async def test_a_plain_function_finds_out_where_it_asks(bench: Bench, fence: StallFence, clock: Seconds) -> None:
    steps: list[object] = []
    paused = threading.Event()
    started = threading.Event()

    def work(ctx: Context, payload: Any) -> None:
        started.set()
        paused.wait(20)
        ctx.progress("not told by one who has lost the job")
        steps.append(ctx.cancelled)

    bench.start(kind("k", work), fence=fence)
    bench.submit(assignment("k"))
    await bench.until(started.is_set)
    clock.now += 2 * LEASE_S
    paused.set()
    bench.executor.interrupt("job", 1, InterruptReason.LEASE_LOST)
    fence.beat()
    assert steps == []
    fence.prove(clock.now)
    assert await bench.ending() == Interrupted(InterruptReason.LEASE_LOST)
    assert (steps, bench.progress) == ([True], [])


async def test_nothing_starts_behind_a_closed_gate(bench: Bench, fence: StallFence, clock: Seconds) -> None:
    ran: list[str] = []

    async def work(ctx: Context, payload: Any) -> None:
        ran.append(ctx.id)

    def work_in_thread(ctx: Context, payload: Any) -> None:
        ran.append(ctx.id)

    bench.start(kind("a", work), kind("s", work_in_thread), fence=fence)
    clock.now += 2 * LEASE_S
    bench.submit(assignment("a", id="a"), assignment("s", id="s"))
    bench.executor.interrupt("a", 1, InterruptReason.LEASE_LOST)
    fence.beat()
    fence.prove(clock.now)
    assert await bench.ending("a") == Interrupted(InterruptReason.LEASE_LOST)
    assert await bench.ending("s") == Succeeded(b"null")
    assert ran == ["s"]


async def test_a_task_shows_its_coroutine(bench: Bench, fence: StallFence) -> None:
    shown: list[str] = []

    async def inner() -> None:
        task = asyncio.current_task()
        assert task is not None
        shown.append(f"{task!r} {task.get_stack()!r}")

    async def work(ctx: Context, payload: Any) -> None:
        await asyncio.create_task(inner(), name="mine")

    bench.start(kind("k", work), fence=fence)
    bench.submit(assignment("k"))
    assert await bench.ending() == Succeeded(b"null")
    assert "name='mine'" in shown[0] and "inner" in shown[0]
