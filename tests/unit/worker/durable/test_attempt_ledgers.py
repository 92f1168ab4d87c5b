"""The ledger work of attempts: what is kept is kept once, and an attempt whose job moved on keeps nothing."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

import pytest
from msgspec.structs import replace

from acked.durable.errors import DurableError, LeaseLost, TooManySteps
from acked.durable.port import Call, Kept, Write
from acked_common.model import ledger_rules
from acked_common.model.ledger import LedgerWrite
from acked_common.store.errors import OutcomeUnknown, StoreError
from acked_common.store.ledgers import Written
from acked_common.store.records import ClaimedJob
from acked_worker.consume.in_flight import InFlight, InFlightAttempts
from acked_worker.durable import attempt_ledgers, call_group
from acked_worker.durable.attempt_ledgers import AttemptLedgers
from support.factories import ManualClock
from support.fields import filled
from support.memory_ledgers import MemoryLedgers
from support.parts import BOUND_S, settle

JOB = replace(filled(ClaimedJob), attempt=1, nonce="first", run=1, failures=0)


class ShakyLedgers(MemoryLedgers):
    """Keeps what it is sent, but may lose the replies, refuse, or wait."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__({}, clock)
        self.lost: list[Exception] = []
        self.writes: list[Sequence[LedgerWrite]] = []
        self.replies = asyncio.Event()
        self.replies.set()

    async def write_entries(self, writes: Sequence[LedgerWrite]) -> list[Written]:
        self.writes.append(writes)
        await self.replies.wait()
        if any(write.entry.name == "refused" for write in writes):
            raise StoreError("no server takes it")
        found = await super().write_entries(writes)
        if self.lost:
            raise self.lost.pop(0)
        return found


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = ShakyLedgers(self.clock)
        self.running = InFlightAttempts()
        self.lost: list[InFlight] = []
        self.ledgers = AttemptLedgers(self.store, self.running, lambda kind: "7", self.lost.append, self.clock)

    def hold(self, **fields: Any) -> InFlight:
        held = InFlight(replace(JOB, **fields), "lane", 0.0)
        self.running.add([held])
        return held

    async def write(self, held: InFlight, name: str, **fields: Any) -> Kept:
        return await self.ledgers.write(key_of(held), write_of(name, self.clock.now(), **fields))


def key_of(held: InFlight) -> tuple[str, int]:
    return held.id, held.job.attempt


def write_of(name: str, at: datetime, *, takes: str | None = None, **fields: Any) -> Write:
    kept = Kept(Call.STEP, name, None, at, **{"value": b"1", **fields})
    return Write(name.encode().hex().rjust(32, "0"), kept, takes)


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(call_group, "RETRY_S", 0.0)
    made = Bench()
    yield made
    await made.ledgers.stop()


async def test_what_is_kept_is_there_for_the_next_attempt(bench: Bench) -> None:
    first = bench.hold()
    opened = await bench.ledgers.open(key_of(first))
    assert (opened.kept, opened.began_with) == ({}, "7")
    kept = await bench.write(first, "a", value=b'{"x":1}', attempt=1)
    assert kept.value == b'{"x":1}'

    second = bench.hold(attempt=2, nonce="second")

    assert list((await bench.ledgers.open(key_of(second))).kept.values()) == [kept]


async def test_later_attempt_fences_the_earlier_one(bench: Bench) -> None:
    first, second = bench.hold(), bench.hold(attempt=2, nonce="second")
    await bench.ledgers.open(key_of(first))
    await bench.ledgers.open(key_of(second))

    with pytest.raises(LeaseLost):
        await bench.write(first, "a")

    assert bench.lost == [first]
    assert (await bench.write(second, "a")).name == "a"
    third = bench.hold(attempt=3, nonce="third")
    assert len((await bench.ledgers.open(key_of(third))).kept) == 1
    with pytest.raises(LeaseLost):
        await bench.ledgers.open(key_of(second))


@pytest.mark.parametrize("losses", [1, 5])
async def test_write_whose_reply_is_lost_is_kept_once(bench: Bench, losses: int) -> None:
    held = bench.hold()
    await bench.ledgers.open(key_of(held))
    bench.store.lost = [OutcomeUnknown("the connection broke")] * losses
    kept = await bench.write(held, "a", value=b"7")
    assert kept.value == b"7" and len(bench.store.writes) == losses + 1
    ledger = await bench.store.read_ledger(held.job.id, tenant=held.job.tenant)
    assert ledger is not None and len(ledger.entries) == 1 and ledger.seq == 1


async def test_refused_write_fails_its_call_alone(bench: Bench) -> None:
    held = bench.hold()
    await bench.ledgers.open(key_of(held))
    names = ("a", "refused", "b")
    found = await asyncio.gather(*(bench.write(held, name) for name in names), return_exceptions=True)
    assert [type(one) for one in found] == [Kept, DurableError, Kept]


async def test_open_entry_is_completed_by_the_next_write(bench: Bench) -> None:
    held = bench.hold()
    await bench.ledgers.open(key_of(held))
    begun = await bench.write(held, "a", value=None, is_open=True)
    assert begun.is_open
    assert (await bench.write(held, "a", value=b"2")).value == b"2"
    assert (await bench.write(held, "a", value=b"3")).value == b"2", "what is kept stays"

    second = bench.hold(attempt=2, nonce="second")
    assert [one.value for one in (await bench.ledgers.open(key_of(second))).kept.values()] == [b"2"]


async def test_entry_that_an_earlier_attempt_began_is_completed(bench: Bench) -> None:
    first, second = bench.hold(), bench.hold(attempt=2, nonce="second")
    await bench.ledgers.open(key_of(first))
    await bench.write(first, "a", value=None, is_open=True)
    await bench.ledgers.open(key_of(second))
    assert (await bench.write(second, "a", value=b"2")).value == b"2"


async def test_writes_of_one_entry_go_out_one_after_the_other(bench: Bench) -> None:
    held = bench.hold()
    await bench.ledgers.open(key_of(held))
    bench.store.replies.clear()
    begun = asyncio.create_task(bench.write(held, "a", value=None, is_open=True))
    await settle()
    done = asyncio.create_task(bench.write(held, "a", value=b"2"))
    await settle()
    assert len(bench.store.writes) == 1
    bench.store.replies.set()
    async with asyncio.timeout(BOUND_S):
        assert ((await begun).is_open, (await done).value) == (True, b"2")


async def test_progress_counts_failures_anew(bench: Bench) -> None:
    held = bench.hold(failures=3)
    assert held.progressed_at_failures is None
    await bench.ledgers.open(key_of(held))
    assert held.progressed_at_failures == 0
    await bench.write(held, "begun", value=None, is_open=True)
    assert held.progressed_at_failures == 0
    await bench.write(held, "a")
    assert held.progressed_at_failures == 3
    later = bench.hold(attempt=2, nonce="second", failures=4)
    await bench.ledgers.open(key_of(later))
    assert later.progressed_at_failures == 3


async def test_attempt_that_has_ended_keeps_nothing(bench: Bench) -> None:
    held = bench.hold()
    await bench.ledgers.open(key_of(held))
    held.ended = True
    with pytest.raises(LeaseLost):
        await bench.write(held, "a")
    bench.ledgers.end(key_of(held))
    with pytest.raises(LeaseLost):
        await bench.ledgers.inbox(key_of(held))
    assert bench.store.writes == [] and bench.lost == []


async def test_attempt_has_a_bounded_number_of_calls(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt_ledgers, "MAX_CALLS", 5)
    held = bench.hold()
    await bench.ledgers.open(key_of(held))
    found = await asyncio.gather(*(bench.write(held, f"n{n}") for n in range(7)), return_exceptions=True)
    assert [type(one) for one in found] == [Kept] * 5 + [DurableError] * 2
    assert "smaller groups" in str(found[-1])
    assert (await bench.write(held, "later")).name == "later"


async def test_attempt_has_a_bounded_size_of_calls(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt_ledgers, "MAX_CALL_BYTES", 100)
    held = bench.hold()
    await bench.ledgers.open(key_of(held))
    values = [b"1" * 60, b"1" * 40, b"1" * 1]
    found = await asyncio.gather(
        *(bench.write(held, f"n{n}", value=value) for n, value in enumerate(values)), return_exceptions=True
    )
    assert [type(one) for one in found] == [Kept, Kept, DurableError]


async def test_one_attempt_leaves_room_for_others(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt_ledgers, "IN_FLIGHT", 3)
    held = bench.hold()
    await bench.ledgers.open(key_of(held))
    bench.store.replies.clear()
    calls = [asyncio.create_task(bench.write(held, f"n{n}")) for n in range(10)]
    await settle()
    assert sum(map(len, bench.store.writes)) <= 3
    bench.store.replies.set()
    async with asyncio.timeout(BOUND_S):
        assert len(await asyncio.gather(*calls)) == 10


async def test_full_ledger_is_refused_with_the_limit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_rules, "MAX_ENTRIES", 1)
    held = bench.hold()
    await bench.ledgers.open(key_of(held))
    await bench.write(held, "a")
    with pytest.raises(TooManySteps, match="at most 1 durable calls"):
        await bench.write(held, "b")


async def test_many_writes_share_commands(bench: Bench) -> None:
    held = bench.hold()
    await bench.ledgers.open(key_of(held))
    async with asyncio.timeout(BOUND_S):
        await asyncio.gather(*(bench.write(held, f"n{n}") for n in range(90)))
    assert len(bench.store.writes) <= 3
