"""Sleeps, signals, races, and values that are kept: what began is not begun again."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from acked import BlockingContext, Context, KindOptions, WaitTimedOut
from acked.testing import LongWork, SignalRefused
from acked.testing.clock import START


async def test_a_sleep_parks_and_ends_on_time() -> None:
    async def work(ctx: Context, payload: object) -> str:
        await ctx.sleep("year", days=365)
        return "done"

    async with LongWork(work) as job:
        await job.until_parked()
        assert job.waits is not None
        assert (job.state, job.waits.until_at) == ("waiting", START + timedelta(days=365))
        await job.advance(days=364, hours=23)
        assert (job.state, job.attempts) == ("waiting", 1)
        await job.advance(hours=1)
        assert (job.result, job.attempts) == ("done", 2)


async def test_t20_a_parked_attempt_does_not_time_out() -> None:
    async def work(ctx: Context, payload: object) -> None:
        await ctx.sleep("minute", 60)

    async with LongWork(work, options=KindOptions(timeout_s=5)) as job:
        await job.until_parked()
        await job.advance(seconds=60)
        assert (job.state, job.failures, job.attempts) == ("succeeded", 0, 2)


async def test_a_wait_behind_the_deadline_parks_however_short() -> None:
    async def work(ctx: Context, payload: object) -> None:
        await ctx.sleep("short", 7)

    async with LongWork(work, options=KindOptions(timeout_s=5)) as job:
        await job.until_parked()
        assert job.state == "waiting"
    async with LongWork(work, options=KindOptions(timeout_s=50)) as job:
        await job.until_parked()
        assert (job.state, job.attempts, job.now) == ("succeeded", 1, START + timedelta(seconds=7))


async def test_t18_a_sleep_does_not_begin_anew() -> None:
    async def work(ctx: Context, payload: object) -> None:
        await ctx.sleep("minute", 60)

    async with LongWork(work) as job:
        await job.until_parked()
        await job.advance(seconds=20)
        async with LongWork(work, kills=[4]) as other:
            await other.until_parked()
            assert other.waits is not None
            assert other.waits.until_at == START + timedelta(seconds=60)
        await job.advance(seconds=40)
        assert job.state == "succeeded"


async def test_sleep_until_an_instant() -> None:
    at = START + timedelta(days=2)

    async def work(ctx: Context, payload: object) -> None:
        await ctx.sleep("then", until=at)
        await ctx.sleep("past", until=datetime(2020, 1, 1, tzinfo=UTC))

    async with LongWork(work) as job:
        await job.advance(days=2)
        assert job.state == "succeeded"


@pytest.mark.parametrize("end", [{}, {"seconds": 1, "days": 1}, {"until": datetime(2026, 1, 1)}, {"days": 400},
                                 {"seconds": "1"}, {"seconds": float("nan")}, {"seconds": True}])  # fmt: skip
async def test_a_sleep_without_one_possible_end_is_refused(end: dict[str, Any]) -> None:
    async def work(ctx: Context, payload: object) -> None:
        await ctx.sleep("odd", **end)

    async with LongWork(work) as job:
        await job.until_parked()
        assert job.error is not None
        assert job.error["type"] == "InvalidStep"


async def test_t8_kept_timeouts_are_not_waited_for_again() -> None:
    async def work(ctx: Context, payload: object) -> int:
        missed = 0
        for n in range(3):
            try:
                await ctx.wait_for("go", 3600, key=n)
            except WaitTimedOut:
                missed += 1
        return missed

    for kill in (0, 5, 9, 13, 17):
        async with LongWork(work, kills=[kill]) as job:
            await job.until_parked()
            await job.advance(hours=3)
            assert job.result == 3


@pytest.mark.parametrize("when", ["queued", "running", "parked", "scheduled"])
async def test_t10_t11_a_signal_at_any_time_is_taken(when: str) -> None:
    failed: list[int] = []

    async def work(ctx: Context, payload: object) -> Any:
        if when == "scheduled" and not failed:
            failed.append(1)
            job.send("paid", 7)
            raise OSError("down")
        await ctx.step("earlier", lambda: None)
        return (await ctx.wait_for("paid")).value

    async with LongWork(work) as job:
        if when == "queued":
            job.send("paid", 7)
        if when == "running":
            job.when_recorded("earlier", "paid", 7)
        await job.until_parked()
        if when == "parked":
            assert job.state == "waiting"
            await job.signal("paid", 7)
        assert (job.result, job.attempts) == (7, 2 if when in ("parked", "scheduled") else 1)


async def test_t12_signals_in_a_loop_are_taken_in_order() -> None:
    async def work(ctx: Context, payload: int) -> list[int]:
        return [(await ctx.wait_for("go", key=n)).value for n in range(payload)]

    async with LongWork(work, 200) as job:
        for n in range(50):
            await job.signal("go", n)
        await job.until_parked()
        for n in range(50, 200):
            await job.signal("go", n)
        assert job.result == list(range(200))


async def test_a_signal_of_a_known_id_changes_nothing() -> None:
    async def work(ctx: Context, payload: object) -> list[Any]:
        return [(await ctx.wait_for("go", key=n)).value for n in range(2)]

    async with LongWork(work) as job:
        await job.until_parked()
        await job.signal("go", 1, id="a")
        await job.signal("go", 2, id="a")
        assert job.state == "waiting"
        await job.signal("go", 3, id="b")
        assert job.result == [1, 3]
        with pytest.raises(SignalRefused, match="succeeded"):
            await job.signal("go", 4)


async def test_another_name_does_not_wake_the_job() -> None:
    async def work(ctx: Context, payload: object) -> Any:
        return (await ctx.wait_for("paid", 3600)).by

    async with LongWork(work) as job:
        await job.until_parked()
        await job.signal("payed")
        assert (job.state, job.attempts) == ("waiting", 1)
        await job.signal("paid")
        assert (job.result, job.attempts) == (None, 2)


async def test_a_signal_and_its_deadline_at_once_have_one_outcome() -> None:
    async def work(ctx: Context, payload: object) -> list[Any]:
        found: list[Any] = []
        for n in range(2):
            try:
                found.append((await ctx.wait_for("go", 3600, key=n)).value)
            except WaitTimedOut:
                found.append(None)
        return found

    async with LongWork(work) as job:
        await job.until_parked()
        await job.advance(hours=1)
        assert job.state == "waiting"
        await job.signal("go", 5)
        assert job.result == [None, 5]


@pytest.mark.parametrize("blocking", [False, True])
async def test_t40_a_timeout_takes_no_real_time(blocking: bool) -> None:
    async def work(ctx: Context, payload: object) -> None:
        await ctx.wait_for("never", within_s=3600)

    def in_thread(ctx: BlockingContext, payload: object) -> None:
        ctx.wait_for("never", within_s=3600)

    began_s = time.perf_counter()
    async with LongWork(in_thread if blocking else work) as job:
        await job.until_parked()
        await job.advance(hours=1)
        assert job.error is not None
        assert (job.error["type"], job.attempts) == ("WaitTimedOut", 2)
        assert "'never'" in job.error["message"]
    # Without a virtual clock it would take an hour.
    assert time.perf_counter() - began_s < 5


async def test_a_short_wait_in_memory_is_virtual_too() -> None:
    async def work(ctx: Context, payload: object) -> int:
        for n in range(1000):
            await ctx.sleep("tick", 5, key=n)
        return 1000

    async with LongWork(work, options=KindOptions(timeout_s=10_000)) as job:
        await job.until_parked()
        assert (job.result, job.attempts, job.now) == (1000, 1, START + timedelta(seconds=5000))


async def test_a_wait_in_memory_ends_with_a_signal() -> None:
    async def send() -> None:
        job.send("go", 4)

    async def work(ctx: Context, payload: object) -> Any:
        _, got = await asyncio.gather(ctx.step("send", send), ctx.wait_for("go", 5))
        return got.value

    async with LongWork(work) as job:
        await job.until_parked()
        assert (job.result, job.attempts) == (4, 1)


async def test_t2_the_winner_of_a_race_is_kept() -> None:
    async def work(ctx: Context, payload: object) -> list[Any]:
        won, signal = await ctx.first("payment", paid=ctx.signal("paid"), late=ctx.timer(days=14))
        await ctx.step(won, lambda: None)
        await ctx.sleep("pause", days=1)
        return [won, signal and signal.value]

    for kill in range(1, 26):
        async with LongWork(work, kills=[kill]) as job:
            await job.until_parked()
            await job.signal("paid", 3)
            await job.advance(days=20)
            assert job.result == ["paid", 3]
        async with LongWork(work, kills=[kill]) as job:
            await job.until_parked()
            await job.advance(days=14)
            await job.signal("paid", 3)
            await job.advance(days=1)
            assert job.result == ["late", None]
            assert job.steps == ["late"]


async def test_a_race_of_signals_takes_the_oldest_and_leaves_the_other() -> None:
    async def work(ctx: Context, payload: object) -> list[str]:
        won, _ = await ctx.first("race", a=ctx.signal("a"), b=ctx.signal("b"))
        return [won, (await ctx.wait_for("a")).name]

    async with LongWork(work) as job:
        await job.signal("b")
        await job.signal("a")
        await job.until_parked()
        assert job.result == ["b", "a"]


async def test_a_race_ends_by_the_first_recorded_instant() -> None:
    days = iter([14, 1, 1])

    async def work(ctx: Context, payload: object) -> str:
        won, _ = await ctx.first("race", paid=ctx.signal("paid"), late=ctx.timer(days=next(days)))
        return won

    async with LongWork(work, kills=[5]) as job:
        await job.until_parked()
        assert job.waits is not None
        assert job.waits.until_at == START + timedelta(days=14)


@pytest.mark.parametrize("branches", [0, 1, 2])
async def test_a_race_without_proper_branches_is_refused(branches: int) -> None:
    async def work(ctx: Context, payload: object) -> None:
        given: list[dict[str, Any]] = [{}, {"a": ctx.signal("a"), "b": ctx.signal("a")}, {"a": "a"}]
        await ctx.first("race", **given[branches])

    async with LongWork(work) as job:
        await job.until_parked()
        assert job.error is not None
        assert job.error["type"] == "InvalidStep"


async def test_now_and_note_keep_their_first_value() -> None:
    seen: list[Any] = []
    values = iter([("a", 1), ("b", 2)])

    async def work(ctx: Context, payload: object) -> Any:
        seen.append((await ctx.now("began"), await ctx.note("choice", next(values))))
        await ctx.sleep("pause", days=1)
        return await ctx.began_with()

    async with LongWork(work, options=KindOptions(version="7")) as job:
        await job.until_parked()
        await job.advance(days=1)
        assert job.result == "7"
    assert seen == [(START, ("a", 1))] * 2


async def test_a_cancelled_wait_stays_cancelled() -> None:
    async def work(ctx: Context, payload: object) -> str:
        task = asyncio.create_task(ctx.wait_for("go", 5))
        await ctx.step("before", lambda: None)
        task.cancel()
        await asyncio.wait({task})
        won = "cancelled" if task.cancelled() else "received"
        await ctx.step(won, lambda: None)
        await ctx.sleep("pause", days=1)
        return won

    for kill in range(25):
        async with LongWork(work, kills=[kill]) as job:
            await job.until_parked()
            job.send("go", 1)
            await job.advance(days=1)
            assert job.result == "cancelled"
            assert job.steps == ["before", "cancelled"]


@pytest.mark.parametrize("call", ["step", "sleep", "first"])
async def test_a_timeout_inside_the_handler_is_kept(call: str) -> None:
    async def hang() -> None:
        await asyncio.get_running_loop().create_future()

    async def work(ctx: Context, payload: object) -> str:
        blocker = asyncio.create_task(ctx.step("blocker", asyncio.sleep, 0.03))
        try:
            async with asyncio.timeout(0.01):
                match call:
                    case "step":
                        await ctx.step("slow", hang)
                    case "sleep":
                        await ctx.sleep("slow", 5)
                    case "first":
                        await ctx.first("slow", late=ctx.timer(seconds=5))
        except TimeoutError:
            await blocker
            await ctx.sleep("pause", days=1)
            return "in time"
        return "never"

    async with LongWork(work) as job:
        await job.until_parked()
        assert job.waits is not None
        assert job.waits.name == "pause"
        await job.advance(days=1)
        assert job.result == "in time"
