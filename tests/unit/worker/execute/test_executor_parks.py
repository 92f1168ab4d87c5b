"""Durable calls in the executor: an attempt that waits for long ends parked, whatever its handler does."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from acked import BlockingContext, Context
from acked.durable import turns
from acked.durable.port import LedgerPort
from acked.durable.rules import Waiting
from acked_common.model.ledger import Signal, SignalPush
from acked_common.outcomes.outcome import Failed, Interrupted, InterruptReason, Parked, Succeeded, TimedOut
from support.durable import DurableBench, open_durable_bench

HOUR_S = 3600.0


@pytest.fixture
async def bench() -> AsyncIterator[DurableBench]:
    async with open_durable_bench() as opened:
        yield opened


async def one() -> int:
    return 1


async def test_steps_are_kept_and_the_result_is_the_handlers(bench: DurableBench) -> None:
    async def run(ctx: Context, payload: Any) -> int:
        return await ctx.step("a", one) + sum(await ctx.gather(ctx.step("b", one), ctx.step("c", one)))

    held = bench.begin(run)
    assert await bench.ending_of(held) == Succeeded(b"3")
    assert await bench.kept() == {"a", "b", "c"}


async def test_long_sleep_parks_and_the_next_attempt_goes_on(bench: DurableBench) -> None:
    ran: list[str] = []

    async def run(ctx: Context, payload: Any) -> str:
        async def step() -> None:
            ran.append("step")

        await ctx.step("a", step)
        await ctx.sleep("rest", HOUR_S)
        return "done"

    first = bench.begin(run)
    ending = await bench.ending_of(first)
    assert isinstance(ending, Parked)
    assert (ending.waits.call, ending.waits.name, ending.in_seq) == ("sleep", "rest", 0)
    until_at = ending.waits.until_at
    assert until_at is not None and HOUR_S - 20 < (until_at - bench.clock.now()).total_seconds() <= HOUR_S

    bench.clock.adjust(server_at=until_at, asked=bench.clock.monotonic(), round_trip_s=0.0)

    assert await bench.ending_of(bench.begin(run, attempt=2)) == Succeeded(b'"done"')
    assert ran == ["step"]


async def test_a_signal_that_one_wait_has_read_ends_another(bench: DurableBench) -> None:
    async def run(ctx: Context, payload: Any) -> str:
        async def send() -> None:
            push = SignalPush(UUID(ctx.id), "t", Signal("s1", "a", b"1", bench.clock.now()))
            await bench.store.push_signal(push, at=bench.clock.now())

        await ctx.began_with()
        # The first wait has found nothing when the signal comes; the last one reads the inbox behind that.
        await ctx.gather(ctx.wait_for("a"), ctx.step("send", send), ctx.wait_for("b", HOUR_S))
        return "not a result"

    ending = await bench.ending_of(bench.begin(run))
    assert isinstance(ending, Parked)
    assert (ending.in_seq, ending.waits.signals) == (1, ("b",))
    assert (await bench.ledger()).inbox == ()


async def test_sleep_behind_a_signal_is_one_wait(bench: DurableBench, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[str] = []
    until = turns._until

    async def counted(port: LedgerPort, waiting: Waiting) -> None:
        waits.append(waiting.name)
        await until(port, waiting)

    monkeypatch.setattr(turns, "_until", counted)

    async def run(ctx: Context, payload: Any) -> str:
        await ctx.note("opened", True)
        # Nothing reads the inbox behind it.
        ctx._attempt.calls.signal_came()  # type: ignore[attr-defined]
        await ctx.sleep("nap", 0.2)
        return "slept"

    assert await bench.ending_of(bench.begin(run)) == Succeeded(b'"slept"')
    assert waits == ["nap"]


@pytest.mark.parametrize("how", ["except", "suppress", "finally-raises", "return-exceptions", "taskgroup", "shield"])
async def test_attempt_that_catches_its_park_ends_parked(bench: DurableBench, how: str) -> None:
    after: list[str] = []

    async def run(ctx: Context, payload: Any) -> str:
        match how:
            case "except":
                try:
                    await ctx.sleep("rest", HOUR_S)
                except:  # noqa: E722 - as users write
                    await ctx.step("undo", one)
            case "suppress":
                with contextlib.suppress(BaseException):
                    await ctx.sleep("rest", HOUR_S)
            case "finally-raises":
                try:
                    await ctx.sleep("rest", HOUR_S)
                finally:
                    raise ValueError("it broke while it was unwound")
            case "return-exceptions":
                await asyncio.gather(ctx.sleep("rest", HOUR_S), asyncio.sleep(HOUR_S), return_exceptions=True)
            case "taskgroup":
                async with asyncio.TaskGroup() as group:
                    group.create_task(ctx.sleep("rest", HOUR_S))
                    group.create_task(asyncio.sleep(HOUR_S))
            case "shield":
                await asyncio.shield(asyncio.ensure_future(ctx.sleep("rest", HOUR_S)))
        after.append("went on")
        return "not a result"

    ending = await bench.ending_of(bench.begin(run))
    assert isinstance(ending, Parked), ending
    assert "undo" not in await bench.kept()


async def test_tasks_of_a_parked_attempt_are_cancelled(bench: DurableBench) -> None:
    cancelled = threading.Event()

    async def beat() -> None:
        try:
            await asyncio.sleep(HOUR_S)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def run(ctx: Context, payload: Any) -> None:
        task = asyncio.create_task(beat())
        await asyncio.sleep(0)
        await ctx.sleep("rest", HOUR_S)
        await task

    assert isinstance(await bench.ending_of(bench.begin(run)), Parked)
    await bench.until(cancelled.is_set)


@pytest.mark.parametrize("reason", [InterruptReason.CANCELLED, InterruptReason.LEASE_LOST, InterruptReason.DRAINED])
@pytest.mark.parametrize("is_async", [True, False])
async def test_short_wait_ends_with_an_interrupt(bench: DurableBench, reason: InterruptReason, is_async: bool) -> None:
    began = threading.Event()

    async def run(ctx: Context, payload: Any) -> None:
        await ctx.step("a", one)
        began.set()
        await ctx.sleep("rest", 9.0)

    def run_in_thread(ctx: BlockingContext, payload: Any) -> None:
        ctx.step("a", int)
        began.set()
        ctx.sleep("rest", 0.9)
        ctx.sleep("more", 0.9)
        ctx.sleep("yet-more", 0.9)

    held = bench.begin(run if is_async else run_in_thread)
    await bench.until(began.is_set)
    bench.executor.interrupt(held.id, 1, reason)
    assert await bench.ending_of(held) == Interrupted(reason)
    assert "yet-more" not in await bench.kept()


async def test_plain_handler_that_was_stopped_before_begins_no_call(bench: DurableBench) -> None:
    began, go_on = threading.Event(), threading.Event()

    def run(ctx: BlockingContext, payload: Any) -> None:
        began.set()
        go_on.wait(20)
        ctx.step("a", int)

    held = bench.begin(run)
    await bench.until(began.is_set)
    bench.executor.interrupt(held.id, 1, InterruptReason.CANCELLED)
    go_on.set()
    assert await bench.ending_of(held) == Interrupted(InterruptReason.CANCELLED)
    assert bench.store._ledgers == {}


async def test_timed_out_attempt_whose_calls_parked_is_parked(bench: DurableBench) -> None:
    unwinding = threading.Event()

    async def run(ctx: Context, payload: Any) -> None:
        try:
            await ctx.sleep("rest", HOUR_S)
        finally:
            unwinding.set()
            await asyncio.sleep(HOUR_S)

    held = bench.begin(run)
    await bench.until(unwinding.is_set)
    bench.run_out_of_time(held.id)
    assert isinstance(await bench.ending_of(held), Parked)


async def test_attempt_in_a_step_times_out(bench: DurableBench) -> None:
    began = threading.Event()

    async def run(ctx: Context, payload: Any) -> None:
        async def step() -> None:
            began.set()
            await asyncio.sleep(HOUR_S)

        await ctx.step("a", step)

    held = bench.begin(run)
    await bench.until(began.is_set)
    bench.run_out_of_time(held.id)
    assert isinstance(await bench.ending_of(held), TimedOut)
    assert await bench.kept() == set()


async def test_fenced_write_interrupts_the_attempt(bench: DurableBench) -> None:
    gate = threading.Event()

    async def run(ctx: Context, payload: Any) -> str:
        if ctx.attempt == 2:
            await ctx.step("b", one)
            return "second"
        try:
            while True:
                await ctx.step("a", one) if not gate.is_set() else await ctx.step("late", one)
                while not gate.is_set():  # noqa: ASYNC110 - set by another thread
                    await asyncio.sleep(0.001)
        except BaseException:
            return "a result that nobody wants"

    first = bench.begin(run)
    async with asyncio.timeout(20):
        while not bench.store._ledgers or "a" not in await bench.kept():  # noqa: ASYNC110 - written by another loop
            await asyncio.sleep(0.001)
    assert await bench.ending_of(bench.begin(run, attempt=2)) == Succeeded(b'"second"')
    gate.set()
    assert await bench.ending_of(first) == Interrupted(InterruptReason.LEASE_LOST)
    assert await bench.kept() == {"a", "b"}


async def test_plain_handler_parks_and_its_thread_is_free(bench: DurableBench) -> None:
    def run(ctx: BlockingContext, payload: Any) -> str:
        thread = threading.get_ident()
        assert ctx.step("a", threading.get_ident) in (thread, *known)
        known.append(thread)
        ctx.sleep("rest", 5.0)
        return "done"

    known: list[int] = []
    ending = await bench.ending_of(bench.begin(run))
    assert isinstance(ending, Parked) and ending.waits.until_at is not None
    bench.clock.adjust(server_at=ending.waits.until_at, asked=bench.clock.monotonic(), round_trip_s=0.0)
    assert await bench.ending_of(bench.begin(run, attempt=2)) == Succeeded(b'"done"')
    assert bench.executor.lost_threads == 0


async def test_handler_that_raises_behind_a_step_fails(bench: DurableBench) -> None:
    async def run(ctx: Context, payload: Any) -> None:
        await ctx.step("a", one)
        raise ValueError("it broke")

    held = bench.begin(run)
    ending = await bench.ending_of(held)
    assert isinstance(ending, Failed) and ending.error.type == "ValueError"
    assert await bench.kept() == {"a"}


async def test_signal_ends_a_short_wait(bench: DurableBench) -> None:
    waiting = threading.Event()

    async def run(ctx: Context, payload: Any) -> str:
        task = asyncio.ensure_future(ctx.wait_for("go", within_s=9.0))
        await ctx.step("a", one)
        waiting.set()
        return str((await task).value)

    held = bench.begin(run)
    await bench.until(waiting.is_set)
    signal = Signal("s1", "go", b'"now"', bench.clock.now())
    await bench.store.push_signal(SignalPush(held.job.id, held.job.tenant, signal), at=bench.clock.now())
    bench.executor.signal_came(held.id, 1)
    assert await bench.ending_of(held) == Succeeded(b'"now"')
    assert (await bench.ledger()).inbox == ()


async def test_end_of_the_handler_cancels_no_sleep_for_good(bench: DurableBench) -> None:
    left: list[object] = []

    async def run(ctx: Context, payload: Any) -> str:
        if ctx.attempt == 1:
            left.append(asyncio.ensure_future(ctx.sleep("rest", 9.0)))
            await ctx.step("a", one)
            await asyncio.sleep(0.05)
            raise ValueError("it broke beside a task that sleeps")
        await ctx.sleep("rest", 9.0)
        return "done"

    first = bench.begin(run)
    assert isinstance(await bench.ending_of(first), Failed)
    assert await bench.kept() == {"a", "rest"}
    assert not any(entry.cancelled for entry in (await bench.ledger()).entries.values())
    bench.clock.adjust(
        server_at=bench.clock.now() + timedelta(seconds=9), asked=bench.clock.monotonic(), round_trip_s=0.0
    )
    assert await bench.ending_of(bench.begin(run, attempt=2)) == Succeeded(b'"done"')
