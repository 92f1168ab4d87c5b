"""The watch over the store: whether it answers, and how far its clock is from ours."""

import asyncio
from datetime import timedelta

import pytest

from acked_common.background.store_monitor import StoreMonitor
from acked_common.runtime.clock import SharedClock
from support.factories import ManualClock
from support.parts import BOUND_S, ShakyStore, settle

HOUR = timedelta(hours=1)


@pytest.fixture
def server() -> ManualClock:
    """The server's clock."""
    return ManualClock()


@pytest.fixture
async def store(server: ManualClock) -> ShakyStore:
    store = ShakyStore(server)
    await store.ensure_schema()
    return store


async def test_it_sets_the_clock_and_says_what_is_wrong(store: ShakyStore, server: ManualClock) -> None:
    clock = SharedClock()
    monitor = StoreMonitor(store, clock)
    assert monitor.problem == "not checked yet"
    await monitor.look()
    assert monitor.problem is None
    assert timedelta() <= clock.now() - server.now() < timedelta(seconds=1)
    store.is_away = True
    await monitor.look()
    assert monitor.problem is not None and "does not respond" in monitor.problem


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
async def test_a_clock_that_was_set_is_followed_at_the_next_look(
    store: ShakyStore, server: ManualClock, jump_s: float
) -> None:
    clock = SharedClock()
    monitor = StoreMonitor(store, clock)
    await monitor.look()
    server.advance(jump_s)
    await monitor.look()
    assert timedelta() <= clock.now() - server.now() < timedelta(seconds=1)


async def test_a_clock_that_goes_its_way_is_asked_for_the_time_once_a_look(store: ShakyStore) -> None:
    monitor = StoreMonitor(store, SharedClock())
    await monitor.look()
    asked = store.calls.count("server_time")
    await monitor.look()
    assert store.calls.count("server_time") == asked + 1


async def test_the_time_is_not_known_before_the_store_has_told_it() -> None:
    time = ManualClock()
    store = ShakyStore(time)
    await store.ensure_schema()
    store.is_away = True
    clock = SharedClock(machine=lambda: time.now() - timedelta(hours=1), monotonic=time.monotonic)
    monitor = StoreMonitor(store, clock)
    waiting = asyncio.create_task(monitor.wait_measured())
    await monitor.look()
    await settle()
    assert not waiting.done()
    assert monitor.problem is not None

    store.is_away = False
    await monitor.look()

    async with asyncio.timeout(BOUND_S):
        await waiting
    assert monitor.problem is None
    assert clock.now() == time.now()
