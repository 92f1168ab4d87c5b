"""The pauses that a process knows: the newest result, or the last one while there is none."""

import asyncio
from datetime import timedelta

import pytest

from acked_common.background.pause_cache import READ_EVERY_S, PauseCache
from acked_common.model.pauses import NO_PAUSES, KindPauses, PastPause, Pause
from acked_common.store.errors import StoreUnavailable
from support.factories import ManualClock, kind_record
from support.loop_clock import LoopClock
from support.parts import BOUND_S, ShakyStore, running_tasks, settle

AT = ManualClock().now()
PAUSE = Pause("ann", None, "why", AT)


@pytest.fixture
async def store() -> ShakyStore:
    made = ShakyStore(ManualClock())
    await made.register_kinds([kind_record("a", "a"), kind_record("b", "b")])
    return made


async def test_nothing_is_known_before_the_first_look(store: ShakyStore) -> None:
    cache = PauseCache(store)
    await store.pause_kind("a", PAUSE)
    waiting = asyncio.create_task(cache.wait_read())
    await settle()
    assert (cache.was_read, waiting.done(), cache.of("a"), cache.paused) == (False, False, NO_PAUSES, {})
    await cache.refresh()
    async with asyncio.timeout(BOUND_S):
        await waiting
    assert (cache.was_read, cache.of("a"), cache.paused) == (True, KindPauses(PAUSE), {"a": PAUSE})
    assert cache.of("b") == NO_PAUSES


async def test_a_kind_that_was_resumed_is_paused_no_more(store: ShakyStore) -> None:
    cache = PauseCache(store)
    await store.pause_kind("a", PAUSE)
    await cache.refresh()
    await store.resume_kind("a", at=AT + timedelta(seconds=5))
    await cache.refresh()
    assert cache.paused == {}
    assert cache.of("a") == KindPauses(past=(PastPause(AT, AT + timedelta(seconds=5)),))


async def test_without_an_answer_the_last_one_holds(store: ShakyStore) -> None:
    cache = PauseCache(store)
    await store.pause_kind("a", PAUSE)
    await cache.refresh()
    store.is_away = True
    with pytest.raises(StoreUnavailable):
        await cache.refresh()
    assert (cache.was_read, cache.paused) == (True, {"a": PAUSE})


async def test_an_answer_that_comes_late_is_not_believed(store: ShakyStore) -> None:
    cache = PauseCache(store)
    found = iter([{}, {"a": KindPauses(PAUSE)}])
    gates = [asyncio.Event(), asyncio.Event()]
    turns = iter(gates)

    async def pauses() -> dict[str, KindPauses]:
        answer, gate = next(found), next(turns)
        await gate.wait()
        return answer

    store.pauses = pauses  # type: ignore[method-assign]
    first, second = asyncio.create_task(cache.refresh()), asyncio.create_task(cache.refresh())
    await settle()
    gates[1].set()
    await second
    gates[0].set()
    await first
    assert cache.paused == {"a": PAUSE}


async def test_it_looks_every_second_and_tells_each_look(store: ShakyStore) -> None:
    clock = LoopClock()
    cache = PauseCache(store)
    reads: list[bool] = []
    cache.on_read(lambda: reads.append("a" in cache.paused))
    async with running_tasks() as tasks:
        cache.start(tasks)
        await settle()
        assert reads == [False]
        await store.pause_kind("a", PAUSE)
        await clock.advance(READ_EVERY_S * 1.1)
        assert reads[-1] is True
        store.is_away = True
        await clock.advance(READ_EVERY_S * 1.1)
        seen = len(reads)
        store.is_away = False
        await clock.advance(READ_EVERY_S * 1.1)
        assert len(reads) > seen
