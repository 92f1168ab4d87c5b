"""Kinds in memory: looked up without I/O, and looked at once more before one is called unknown."""

import asyncio

import pytest

from acked_common.background.kind_cache import KindCache
from acked_common.model.bundling import MAX_BUNDLE
from acked_common.store.errors import StoreError
from support.factories import ManualClock, kind_record
from support.parts import BOUND_S, ShakyStore, running_tasks, settle


@pytest.fixture
def store() -> ShakyStore:
    return ShakyStore(ManualClock())


@pytest.fixture
def table(store: ShakyStore) -> KindCache:
    return KindCache(store)


async def test_nothing_is_known_before_the_first_look(table: KindCache) -> None:
    assert (table.was_read, table.names, table.all(), table.get("a")) == (False, [], [], None)
    assert (table.lane("a"), table.bundle("a")) == ("a", MAX_BUNDLE)


async def test_a_lane_is_not_known_before_the_first_look_but_of_a_processs_own_kinds(store: ShakyStore) -> None:
    table = KindCache(store, known={"own": kind_record("own", "shared")})
    assert (table.knows_lane("own"), table.lane("own"), table.knows_lane("a")) == (True, "shared", False)
    waiting = asyncio.create_task(table.wait_read())
    await settle()
    assert not waiting.done()
    await table.refresh()
    async with asyncio.timeout(BOUND_S):
        await waiting
    assert table.knows_lane("a")


async def test_kinds_are_known_after_a_look(store: ShakyStore, table: KindCache) -> None:
    await store.register_kinds([kind_record("b", "fast", bundle=4), kind_record("a", "a")])
    await table.refresh()
    assert table.was_read
    assert table.names == ["a", "b"]
    assert [kind.name for kind in table.all()] == ["a", "b"]
    assert (table.lane("b"), table.bundle("b")) == ("fast", 4)


async def test_lookups_ask_nobody(store: ShakyStore, table: KindCache) -> None:
    await store.register_kinds([kind_record("a", "a")])
    await table.refresh()
    store.calls.clear()
    assert table.get("a") is not None
    assert table.lane("a") == "a"
    assert store.calls == []


async def test_a_new_kind_is_found_by_a_second_look(
    store: ShakyStore, table: KindCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("acked_common.background.kind_cache._SECOND_LOOK_EVERY_S", 0.0)
    await table.refresh()
    await store.register_kinds([kind_record("new", "new")])
    found = await table.look_again("new")
    assert found is not None and found.name == "new"
    assert await table.look_again("missing") is None


async def test_a_crowd_shares_one_look(store: ShakyStore, table: KindCache) -> None:
    found = await asyncio.gather(*(table.look_again("missing") for _ in range(100)))
    assert found == [None] * 100
    assert store.calls == ["kinds"]


async def test_what_was_known_stays_known_while_the_store_is_away(store: ShakyStore, table: KindCache) -> None:
    await store.register_kinds([kind_record("a", "lane")])
    await table.refresh()
    store.is_away = True
    with pytest.raises(StoreError):
        await table.refresh()
    assert table.lane("a") == "lane"


async def test_the_loop_reads_again(store: ShakyStore, table: KindCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acked_common.background.kind_cache.REFRESH_S", 0.001)
    async with running_tasks() as tasks:
        table.start(tasks)
        async with asyncio.timeout(BOUND_S):
            await store.until_called("kinds", 3)
