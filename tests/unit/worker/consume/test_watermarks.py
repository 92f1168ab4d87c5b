"""The newest instant that a worker took from each lane reaches the store, whatever the store does meanwhile."""

import asyncio
from datetime import datetime, timedelta

import pytest

from acked_common.store.errors import StoreError, StoreUnavailable
from acked_worker.consume.watermarks import Watermarks
from support.factories import ManualClock
from support.parts import ShakyStore

AT = ManualClock().now()
LATER = AT + timedelta(seconds=5)


@pytest.fixture
def store() -> ShakyStore:
    return ShakyStore(ManualClock())


async def test_newest_of_each_lane_is_written_once(store: ShakyStore) -> None:
    watermarks = Watermarks(store)
    for lane, at in (("a", AT), ("a", LATER), ("b", AT), ("a", AT)):
        watermarks.note(lane, at)
    await watermarks.write()
    assert await store.watermarks() == {"a": LATER, "b": AT}
    assert store.calls.count("raise_watermark") == 2
    await watermarks.write()
    assert store.calls.count("raise_watermark") == 2


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_what_could_not_be_written_is_written_later(store: ShakyStore, times: int) -> None:
    watermarks = Watermarks(store)
    watermarks.note("a", LATER)
    watermarks.note("b", AT)
    store.failures["raise_watermark"] = [StoreUnavailable("away")] * times
    for _ in range(times):
        with pytest.raises(StoreError):
            await watermarks.write()
    await watermarks.write()
    assert await store.watermarks() == {"a": LATER, "b": AT}


@pytest.mark.parametrize(("noted", "written"), [(AT, LATER), (LATER + timedelta(seconds=1), None)])
async def test_write_that_failed_hides_no_newer_instant(store: ShakyStore, noted: object, written: object) -> None:
    watermarks = Watermarks(store)
    watermarks.note("a", LATER)
    store.failures["raise_watermark"] = [StoreUnavailable("away")]
    with pytest.raises(StoreError):
        await watermarks.write()
    watermarks.note("a", noted)  # type: ignore[arg-type]
    await watermarks.write()
    assert await store.watermarks() == {"a": written or noted}


async def test_lane_behind_the_one_that_failed_is_written_later(store: ShakyStore) -> None:
    watermarks = Watermarks(store)
    for lane in ("a", "b", "c"):
        watermarks.note(lane, AT)
    held = store.raise_watermark
    refused = ["b"]

    async def raise_watermark(lane: str, queued_at: object) -> None:
        if lane in refused:
            raise StoreUnavailable("away")
        await held(lane, queued_at)

    store.raise_watermark = raise_watermark  # type: ignore[method-assign,assignment]
    with pytest.raises(StoreError):
        await watermarks.write()
    refused.clear()
    await watermarks.write()
    assert await store.watermarks() == dict.fromkeys(("a", "b", "c"), AT)


@pytest.mark.parametrize("during", [LATER - timedelta(seconds=1), LATER + timedelta(seconds=1)])
async def test_instant_noted_during_a_write_that_fails_counts(store: ShakyStore, during: datetime) -> None:
    watermarks = Watermarks(store)
    watermarks.note("a", LATER)
    store.failures["raise_watermark"] = [StoreUnavailable("away")]
    store.holds["raise_watermark"] = asyncio.Event()
    writing = asyncio.create_task(watermarks.write())
    await store.until_called("raise_watermark")
    watermarks.note("a", during)
    store.holds["raise_watermark"].set()
    with pytest.raises(StoreError):
        await writing
    await watermarks.write()
    assert await store.watermarks() == {"a": max(LATER, during)}
