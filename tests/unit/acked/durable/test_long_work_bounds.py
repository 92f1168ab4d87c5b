"""What a job may keep is bounded; reaching a bound fails this job at once, with a message that says what to do."""

from typing import Any

import pytest

from acked import Context, Step, TooManySteps
from acked.testing import LongWork, SignalRefused
from acked_common.model import ledger_rules


async def nothing() -> None:
    return None


async def test_t28_too_many_steps_are_permanent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_rules, "MAX_ENTRIES", 200)

    async def work(ctx: Context, payload: object) -> None:
        for n in range(12_000):
            await ctx.step(Step("step", key=n), nothing)

    async def small(ctx: Context, payload: object) -> int:
        return await ctx.step("one", int, 1)

    async with LongWork(work) as job, LongWork(small) as other:
        await job.until_parked()
        await other.until_parked()
        assert job.error is not None
        assert (job.error["type"], job.attempts, len(job.steps)) == ("TooManySteps", 1, 200)
        assert "split the work into several jobs" in job.error["message"]
        assert other.result == 1


async def test_it_can_be_caught_and_what_is_kept_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_rules, "MAX_ENTRIES", 3)

    async def work(ctx: Context, payload: object) -> int:
        for n in range(9):
            try:
                await ctx.step(Step("step", key=n), nothing)
            except TooManySteps:
                return n
        return 9

    async with LongWork(work) as job:
        await job.until_parked()
        assert job.result == 3


async def test_large_results_fill_a_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_rules, "MAX_BYTES", 10_000)

    async def work(ctx: Context, payload: object) -> None:
        for n in range(9):
            await ctx.step(Step("step", key=n), lambda: "x" * 3000)

    async with LongWork(work) as job:
        await job.until_parked()
        assert job.error is not None
        assert job.error["type"] == "TooManySteps"
        assert "references" in job.error["message"]


async def test_unread_signals_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_rules, "MAX_UNREAD", 3)

    async def work(ctx: Context, payload: object) -> Any:
        return [(await ctx.wait_for("go", key=n)).value for n in range(4)]

    async with LongWork(work) as job:
        for n in range(3):
            job.send("go", n)
        with pytest.raises(SignalRefused, match="at most 3 unread signals"):
            job.send("go", 3)
        await job.until_parked()
        await job.signal("go", 3)
        assert job.result == [0, 1, 2, 3]


async def test_a_checkpoint_is_bounded() -> None:
    async def work(ctx: Context, payload: object) -> None:
        await ctx.step("scan", lambda: ctx.blocking.checkpoint("x" * 70_000))

    async with LongWork(work) as job:
        await job.until_parked()
        assert job.error is not None
        assert (job.error["type"], job.attempts) == ("InvalidStep", 1)
