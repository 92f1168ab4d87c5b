"""Small writes go one after the other, large ones beside each other, and none waits behind one that hangs."""

import asyncio

import pytest

from acked_common.runtime.batch_window import IN_FLIGHT, LARGE_JOBS, BatchWindow
from support.parts import BOUND_S


def never() -> None:
    raise AssertionError("nobody asked for it")


async def test_what_comes_first_goes_out_at_once_and_nothing_needs_no_write() -> None:
    pace = BatchWindow(never)
    assert not pace.may_begin(0)
    assert pace.may_begin(1)
    assert pace.is_idle


async def test_beside_a_write_only_a_large_one_goes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    # However slow the machine is, the write under way does not count as slow.
    monkeypatch.setattr("acked_common.runtime.batch_window.SLOW_S", 3600.0)
    pace = BatchWindow(never)
    pace.begin()
    assert not pace.may_begin(LARGE_JOBS - 1)
    assert pace.may_begin(LARGE_JOBS)
    for _ in range(IN_FLIGHT - 1):
        pace.begin()
    assert not pace.may_begin(10 * LARGE_JOBS)
    pace.end()
    assert not pace.is_idle
    pace.stop()


async def test_behind_a_write_that_hangs_a_small_one_goes_out_and_not_a_third(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acked_common.runtime.batch_window.SLOW_S", 0.01)
    asked = asyncio.Event()
    pace = BatchWindow(asked.set)
    for others in range(1, IN_FLIGHT):
        pace.begin()
        assert not pace.may_begin(1), others
        await asyncio.wait_for(asked.wait(), BOUND_S)
        asked.clear()
        assert pace.may_begin(1)
    pace.begin()
    assert not pace.may_begin(1)
    await asyncio.wait_for(asked.wait(), BOUND_S)
    assert not pace.may_begin(1)
    pace.stop()
