"""Slots: a soft limit that lanes share, a share for each, and a wake-up for what waits."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked_common.model.bundling import MAX_BUNDLE
from acked_worker.consume.slots import Slots


@given(st.integers(1, 500), st.lists(st.integers(1, 32), max_size=200), st.randoms(use_true_random=False))
async def test_one_lane_never_has_more_than_the_excess(total: int, sizes: list[int], rng: random.Random) -> None:
    slots = Slots(total)
    for size in sizes:
        before = slots.used + slots.claiming
        if slots.fits("lane", size):
            slots.reserve("lane", size)
        elif rng.random() < 0.5:
            landed = rng.randint(0, slots.claiming)
            slots.take("lane", landed)
            slots.release("lane", landed)
            assert slots.used + slots.claiming == before
        else:
            slots.give("lane", rng.randint(0, slots.used))
        assert slots.used >= 0 <= slots.claiming
        assert slots.used + slots.claiming <= total + MAX_BUNDLE


def test_what_is_being_claimed_counts_for_every_lane() -> None:
    slots = Slots(200)
    slots.reserve("busy", 200)
    assert (slots.used, slots.claiming, slots.room("busy"), slots.room("quiet")) == (0, 200, 0, 20)
    assert slots.fits("busy", 32)
    assert not slots.fits("busy", 33)
    assert slots.fits("busy", 33, ahead=1)


def test_a_small_pool_takes_little_beyond_its_limit() -> None:
    slots = Slots(8)
    slots.reserve("lane", 8)
    assert slots.fits("lane", 2)
    assert not slots.fits("lane", 3)


def test_a_bundle_larger_than_the_pool_fits_while_a_slot_is_free() -> None:
    slots = Slots(4)
    slots.reserve("other", 3)
    assert slots.fits("lane", 32)


def test_a_lane_below_its_share_fits_into_a_full_pool() -> None:
    slots = Slots(200)
    slots.reserve("busy", 232)
    assert not slots.fits("busy", 1)
    assert slots.fits("quiet", 32)
    slots.reserve("quiet", 5)
    assert slots.fits("quiet", 15)
    assert not slots.fits("quiet", 16)
    assert slots.room("quiet") == 15


async def test_whatever_frees_a_slot_calls_back_once_and_later() -> None:
    slots = Slots(2)
    called: list[str] = []
    slots.reserve("lane", 2)
    slots.when_freed("lane", lambda: called.append("lane"))
    slots.when_freed("other", lambda: called.append("other"))
    slots.take("lane", 1)
    await asyncio.sleep(0)
    assert called == []
    slots.release("lane", 2)
    slots.give("lane")
    assert called == []
    await asyncio.sleep(0)
    assert called == ["lane", "other"]
    slots.give("lane", 0)
    await asyncio.sleep(0)
    assert called == ["lane", "other"]


@pytest.mark.parametrize("count", [1, 2])
async def test_a_waiting_lane_goes_on_when_a_slot_is_free(count: int) -> None:
    slots = Slots(10)
    slots.take("busy", 10 + count - 1)
    slots.take("lane", 1)
    waiting = asyncio.create_task(slots.wait_free("lane"))
    await asyncio.sleep(0)
    slots.give("busy", count)
    await asyncio.sleep(0)
    assert not waiting.done()
    slots.give("busy")
    await asyncio.wait_for(waiting, 5)
