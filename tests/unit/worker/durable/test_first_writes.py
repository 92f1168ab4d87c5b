"""First attempts: their first write makes the ledger, and one that is there all the same is read before all else."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from acked import Context, Step
from acked.durable.errors import LeaseLost
from acked.durable.port import LedgerFound
from acked_common.model.ledger import JobLedger, Opening, Signal, SignalPush
from acked_common.model.lifecycle import State
from acked_common.outcomes.outcome import Ending, Parked, Succeeded
from acked_common.store.errors import OutcomeUnknown
from support.durable import JOB as LONG_JOB
from support.durable import DurableBench, open_durable_bench
from support.parts import BOUND_S, settle
from unit.worker.durable.test_attempt_ledgers import Bench, bench, key_of

__all__ = ["bench"]

HOUR_S = 3600.0


def opens_of(bench: Bench) -> list[bool]:
    """Whether each write that was sent also opens its ledger."""
    return [write.opens is not None for writes in bench.store.writes for write in writes]


async def test_first_write_of_a_first_attempt_opens_the_ledger(bench: Bench) -> None:
    held = bench.hold(failures=2)
    assert (await bench.write(held, "a")).name == "a"
    await bench.write(held, "b")
    assert opens_of(bench) == [True, False]
    ledger = await bench.store.read_ledger(held.job.id, tenant=held.job.tenant)
    assert ledger is not None and (ledger.by, ledger.began_with, ledger.seq) == ("first", "7", 2)
    assert held.progressed_at_failures == 2


async def test_first_writes_at_once_wait_for_the_one_that_opens(bench: Bench) -> None:
    held = bench.hold()
    bench.store.replies.clear()
    calls = [asyncio.create_task(bench.write(held, name)) for name in ("a", "b", "c")]
    await settle()
    assert opens_of(bench) == [True]
    bench.store.replies.set()
    async with asyncio.timeout(BOUND_S):
        assert [kept.name for kept in await asyncio.gather(*calls)] == ["a", "b", "c"]
    assert opens_of(bench) == [True, False, False]


async def test_later_attempt_writes_nothing_before_its_open(bench: Bench) -> None:
    with pytest.raises(LeaseLost):
        await bench.write(bench.hold(attempt=2, nonce="second"), "a")
    assert bench.store.writes == []


async def test_first_write_behind_a_later_attempt_is_fenced(bench: Bench) -> None:
    first, second = bench.hold(), bench.hold(attempt=2, nonce="second")
    await bench.ledgers.open(key_of(second))
    with pytest.raises(LeaseLost):
        await bench.write(first, "a")
    assert bench.lost == [first]


async def test_first_write_whose_reply_is_lost_is_kept_once(bench: Bench) -> None:
    held = bench.hold()
    bench.store.lost = [OutcomeUnknown("the connection broke")] * 2
    assert (await bench.write(held, "a", value=b"7")).value == b"7"
    ledger = await bench.store.read_ledger(held.job.id, tenant=held.job.tenant)
    assert ledger is not None and len(ledger.entries) == 1


async def test_first_write_behind_a_signal_returns_its_ledger(bench: Bench) -> None:
    held = bench.hold()
    signal = Signal("s1", "go", b"1", bench.clock.now())
    await bench.store.push_signal(SignalPush(held.job.id, held.job.tenant, signal), at=bench.clock.now())
    with pytest.raises(LedgerFound) as found:
        await bench.write(held, "a")
    assert [one.id for one in found.value.opened.inbox] == ["s1"]
    assert (await bench.write(held, "a")).name == "a"
    assert opens_of(bench) == [True, False]


async def test_open_beside_a_first_write_keeps_both(bench: Bench) -> None:
    held = bench.hold()
    bench.store.replies.clear()
    first = asyncio.create_task(bench.write(held, "a"))
    await settle()
    assert (await bench.ledgers.open(key_of(held))).kept == {}
    second = asyncio.create_task(bench.write(held, "b"))
    bench.store.replies.set()
    async with asyncio.timeout(BOUND_S):
        assert (await second).name == "b"
        with pytest.raises(LedgerFound):
            # The open came first in the store.
            await first
    assert (await bench.write(held, "a")).name == "a"
    ledger = await bench.store.read_ledger(held.job.id, tenant=held.job.tenant)
    numbers = [] if ledger is None else [entry.seq for entry in ledger.entries.values()]
    assert len(numbers) == len(set(numbers)) == 2


# With the engine.


@pytest.fixture
async def durable() -> AsyncIterator[DurableBench]:
    async with open_durable_bench() as made:
        yield made


def spy_on_opens(bench: DurableBench, monkeypatch: pytest.MonkeyPatch) -> list[Opening]:
    opens: list[Opening] = []
    open_all = bench.store.open_ledgers

    async def counted(openings: Any, **fields: Any) -> Any:
        opens.extend(openings)
        return await open_all(openings, **fields)

    monkeypatch.setattr(bench.store, "open_ledgers", counted)
    return opens


async def test_steps_of_a_first_attempt_need_no_open(durable: DurableBench, monkeypatch: pytest.MonkeyPatch) -> None:
    opens = spy_on_opens(durable, monkeypatch)

    async def run(ctx: Context, payload: Any) -> list[int]:
        return [await ctx.step(Step("a", key=number), lambda one: one, number) for number in range(3)]

    assert isinstance(await durable.ending_of(durable.begin(run)), Succeeded)
    assert opens == [] and (await durable.ledger()).seq == 3


async def test_version_and_signals_are_read_first(durable: DurableBench, monkeypatch: pytest.MonkeyPatch) -> None:
    opens = spy_on_opens(durable, monkeypatch)

    async def run(ctx: Context, payload: Any) -> str:
        await ctx.step("a", lambda: 1)
        assert await ctx.began_with() == "7"
        await ctx.wait_for("go", HOUR_S)
        return "not a result"

    ending = await durable.ending_of(durable.begin(run))
    assert isinstance(ending, Parked) and ending.waits.signals == ("go",)
    assert len(opens) == 1 and await durable.kept() == {"a", "go"}


async def test_signal_ahead_of_a_first_sleep_does_not_refuse_its_park(durable: DurableBench) -> None:
    signal = Signal("s1", "go", b"1", durable.clock.now())
    push = SignalPush(UUID(str(LONG_JOB.id)), LONG_JOB.tenant, signal)
    await durable.store.push_signal(push, at=durable.clock.now())

    async def run(ctx: Context, payload: Any) -> None:
        await ctx.sleep("nap", HOUR_S)

    ending = await durable.ending_of(durable.begin(run))
    assert isinstance(ending, Parked) and ending.in_seq == 1


async def test_ledger_ahead_of_its_job_is_used_behind_the_first_step(durable: DurableBench) -> None:
    ran: list[str] = []

    async def one(name: str) -> str:
        ran.append(name)
        return f"{name} of {len(ran)}"

    async def run(ctx: Context, payload: Any) -> list[str]:
        return [await ctx.step(name, one, name) for name in ("a", "b")]

    first = await durable.ending_of(durable.begin(run))
    again = await ending_behind(await durable.ledger(), run)
    assert isinstance(first, Succeeded) and isinstance(again, Succeeded)
    assert again.result_json == first.result_json
    assert ran == ["a", "b", "a"]


async def test_once_is_read_before_it_runs(durable: DurableBench) -> None:
    ran: list[int] = []

    async def run(ctx: Context, payload: Any) -> Any:
        return await ctx.step(Step("charge", once=True), lambda: ran.append(1))

    await durable.ending_of(durable.begin(run))
    assert isinstance(await ending_behind(await durable.ledger(), run), Succeeded)
    assert ran == [1]


async def ending_behind(ledger: JobLedger, run: Any) -> Ending:
    """Run the first attempt of a job whose ledger a later one has opened, as after a restored backup."""
    async with open_durable_bench() as restored:
        restored.store._ledgers[ledger.id] = replace(ledger, attempt=3, by="lost")
        owned = {"state": State.RUNNING.value, "attempt": 1, "owner": {"nonce": "claim-1"}}
        restored.store._jobs = {ledger.id: owned}
        return await restored.ending_of(restored.begin(run))
