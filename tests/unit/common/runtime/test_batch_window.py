"""Small writes go one after the other, large ones beside each other, and none waits behind one that hangs."""

import asyncio

import pytest

from acked_common.runtime.batch_window import IN_FLIGHT, LARGE_JOBS, SLOW_S, BatchRule, BatchWindow
from support.parts import BOUND_S


@pytest.mark.parametrize(
    ("waiting", "writes", "jobs", "age_s", "may_begin"),
    [
        (0, 0, 0, 0.0, False),
        (1, 0, 0, 0.0, True),
        (0, 1, 1, 60.0, False),
        (31, 1, 1, 0.0, False),
        (32, 1, 1, 0.0, True),
        (32, 1, 32, 0.0, True),
        (32, 1, 33, 0.0, False),
        (39, 2, 79, 0.0, False),
        (40, 2, 79, 0.0, True),
        (1000, 3, 3, 60.0, False),
        (1, 2, 2000, SLOW_S, True),
        (1, 2, 2000, SLOW_S / 2, False),
    ],
)
def test_batch_rule_weighs_what_waits_and_what_is_under_way(
    waiting: int, writes: int, jobs: int, age_s: float, may_begin: bool
) -> None:
    rule = BatchRule(in_flight=3, large_jobs=32)
    assert rule.may_begin(waiting, writes=writes, jobs=jobs, newest_age_s=age_s) is may_begin


def never() -> None:
    raise AssertionError("nobody asked for it")


async def test_what_comes_first_goes_out_at_once_and_nothing_needs_no_write() -> None:
    window = BatchWindow(never)
    assert not window.may_begin(0)
    assert window.may_begin(1)
    assert window.is_idle


async def test_beside_a_write_only_a_large_one_goes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    # However slow the machine is, the write under way does not count as slow.
    monkeypatch.setattr("acked_common.runtime.batch_window.SLOW_S", 3600.0)
    window = BatchWindow(never)
    window.begin(1)
    assert not window.may_begin(LARGE_JOBS - 1)
    assert window.may_begin(LARGE_JOBS)
    for _ in range(IN_FLIGHT - 1):
        window.begin(1)
    assert not window.may_begin(10 * LARGE_JOBS)
    window.end(1)
    assert not window.is_idle
    window.stop()


async def test_beside_a_large_write_another_goes_out_with_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acked_common.runtime.batch_window.SLOW_S", 3600.0)
    window = BatchWindow(never)
    window.begin(LARGE_JOBS + 10)
    assert not window.may_begin(LARGE_JOBS + 9)
    assert window.may_begin(LARGE_JOBS + 10)
    window.begin(1)
    window.end(LARGE_JOBS + 10)
    assert window.may_begin(LARGE_JOBS)
    window.stop()


async def test_behind_a_write_that_hangs_a_small_one_goes_out_and_not_a_third(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acked_common.runtime.batch_window.SLOW_S", 0.01)
    asked = asyncio.Event()
    window = BatchWindow(asked.set)
    for others in range(1, IN_FLIGHT):
        window.begin(1)
        assert not window.may_begin(1), others
        await asyncio.wait_for(asked.wait(), BOUND_S)
        asked.clear()
        assert window.may_begin(1)
    window.begin(1)
    assert not window.may_begin(1)
    window.end(1)
    # The owner flushes when a write has ended; then the timer counts from the newest.
    assert window.may_begin(1) or await asyncio.wait_for(asked.wait(), BOUND_S)
    window.stop()


async def test_flush_soon_flushes_once_behind_what_is_read_already() -> None:
    asked: list[str] = []
    window = BatchWindow(lambda: asked.append("flush"))
    window.flush_soon(0)
    window.flush_soon(1)
    window.flush_soon(2)
    asyncio.get_running_loop().call_soon(asked.append, "next")
    async with asyncio.timeout(BOUND_S):
        while len(asked) < 2:  # noqa: ASYNC110 - a callback sets no event
            await asyncio.sleep(0)
    assert asked == ["flush", "next"]
    window.flush_soon(1)
    window.begin(1)
    window.flush_soon(1)
    await asyncio.sleep(0)
    assert asked == ["flush", "next", "flush"]
    window.stop()
