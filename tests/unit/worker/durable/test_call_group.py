"""Durable calls of many attempts go out in groups, each with its own reply, until their outcome is known."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from acked_common.store.errors import OutcomeUnknown, StoreError, StoreUnavailable
from acked_worker.durable import call_group
from acked_worker.durable.call_group import BATCH, CallGroup
from support.parts import BOUND_S, settle


class Store:
    """Replies to each number with its double when it is let; refuses negative ones."""

    def __init__(self) -> None:
        self.replies = asyncio.Event()
        self.sent: list[Sequence[int]] = []
        self.failures: list[Exception] = []

    async def send(self, items: Sequence[int]) -> Sequence[int]:
        self.sent.append(items)
        await self.replies.wait()
        if self.failures:
            raise self.failures.pop(0)
        if min(items) < 0:
            raise StoreError("a document that no server takes")
        return [2 * item for item in items]


class Bench:
    def __init__(self) -> None:
        self.store = Store()
        self.group = CallGroup("test", self.store.send, weigh=abs)

    def call(self, *items: int) -> "list[asyncio.Task[int]]":
        return [asyncio.create_task(self.group.call(item)) for item in items]


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    # However slow the machine is, no write counts as slow.
    monkeypatch.setattr("acked_common.runtime.batch_window.SLOW_S", 3600.0)
    monkeypatch.setattr(call_group, "RETRY_S", 0.0)
    made = Bench()
    yield made
    await made.group.stop()


async def test_calls_that_wait_share_one_command(bench: Bench) -> None:
    first = bench.call(1)
    await settle()
    others = bench.call(*range(2, 102))
    await settle()
    assert bench.store.sent == [[1]]

    bench.store.replies.set()

    async with asyncio.timeout(BOUND_S):
        assert await asyncio.gather(*first, *others) == [2 * n for n in range(1, 102)]
    assert bench.store.sent == [[1], list(range(2, 102))]


async def test_group_is_bounded_in_calls(bench: Bench) -> None:
    bench.store.replies.set()
    async with asyncio.timeout(BOUND_S):
        await asyncio.gather(*bench.call(*[1] * (2 * BATCH + 1)))
    assert max(map(len, bench.store.sent)) == BATCH


async def test_group_is_bounded_in_bytes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_group, "BATCH_BYTES", 100)
    bench.store.replies.set()
    async with asyncio.timeout(BOUND_S):
        await asyncio.gather(*bench.call(*[40] * 10, 300))
    assert all(sum(items) <= 100 or items == [300] for items in bench.store.sent)
    assert sum(map(len, bench.store.sent)) == 11


@pytest.mark.parametrize("error", [StoreUnavailable("away"), OutcomeUnknown("broken")])
async def test_unknown_outcome_is_repeated_until_known(bench: Bench, error: Exception) -> None:
    bench.store.failures = [error] * 7
    bench.store.replies.set()
    async with asyncio.timeout(BOUND_S):
        assert await asyncio.gather(*bench.call(1, 2)) == [2, 4]
    assert bench.store.sent == [[1, 2]] * 8, "the same calls each time"


async def test_refused_call_spares_its_neighbours(bench: Bench) -> None:
    bench.store.replies.set()
    calls = bench.call(1, -2, 3)
    async with asyncio.timeout(BOUND_S):
        replies = await asyncio.gather(*calls, return_exceptions=True)
    assert replies[0] == 2 and replies[2] == 6
    assert isinstance(replies[1], StoreError)


async def test_cancelled_call_is_dropped_before_it_is_sent(bench: Bench) -> None:
    bench.call(1)
    await settle()
    dropped, sent = bench.call(2, 3)
    await settle()
    dropped.cancel()
    await settle()
    bench.store.replies.set()
    async with asyncio.timeout(BOUND_S):
        assert await sent == 6
    assert bench.store.sent == [[1], [3]]


async def test_stop_ends_all_calls(bench: Bench) -> None:
    calls = bench.call(1)
    await settle()
    calls += bench.call(2)
    await settle()
    await bench.group.stop()
    calls += bench.call(3)
    async with asyncio.timeout(BOUND_S):
        found = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in found)
