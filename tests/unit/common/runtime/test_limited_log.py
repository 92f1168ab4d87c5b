"""Log lines that are alike: the first at once, then one a minute, and what was left out adds up."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from acked_common.runtime.limited_log import MIXED, SAID_EVERY_S, LimitedLog, Line, LineLimiter
from acked_common.runtime.logs import get_log
from support.factories import ManualClock, eventually


def line(n: int = 0, *, is_grave: bool = False) -> Line:
    return Line("it broke", {"n": n}, is_grave)


def counts_of(lines: list[Line]) -> list[tuple[int, int]]:
    return [(one.fields["n"], one.left_out) for one in lines]


def test_first_line_of_each_group_is_told_at_once() -> None:
    limiter = LineLimiter()
    for key in ("a", "b"):
        assert limiter.offer(key, line(), 0.0) == line()
        assert limiter.offer(key, line(), 0.0) is None


def test_what_is_left_out_is_told_when_the_minute_is_over() -> None:
    limiter = LineLimiter()
    limiter.offer("a", line(0), 0.0)
    for n in range(1, 8):
        assert limiter.offer("a", line(n), n * 1.0) is None
    assert limiter.due_at == limiter.due_at_of("a") == SAID_EVERY_S
    assert limiter.due(59.9) == []
    assert counts_of(limiter.due(60.0)) == [(7, 6)]
    assert limiter.due(200.0) == []
    # The next minute begins with that line.
    assert limiter.offer("a", line(8), 119.0) is None
    assert limiter.due(119.9) == []
    assert counts_of(limiter.due(120.0)) == [(8, 0)]


@given(st.floats(0, 1e9))
def test_what_is_due_at_an_instant_is_due_at_that_very_one(said_at: float) -> None:
    """Else its timer would find nothing, and come again at once, and again."""
    limiter = LineLimiter()
    limiter.offer("a", line(0), said_at)
    limiter.offer("a", line(1), said_at)
    assert counts_of(limiter.due(limiter.due_at)) == [(1, 0)]


def test_line_behind_its_minute_tells_what_waited() -> None:
    limiter = LineLimiter()
    for n in range(4):
        limiter.offer("a", line(n), 0.0)
    found = limiter.offer("a", line(4), 61.0)
    assert found is not None and counts_of([found]) == [(4, 3)]
    assert limiter.rest(61.0) == []


def test_newest_grave_line_stands_for_the_others() -> None:
    limiter = LineLimiter()
    for n, is_grave in enumerate((False, False, True, True, False)):
        limiter.offer("a", line(n, is_grave=is_grave), 0.0)
    assert counts_of(limiter.rest(0.0)) == [(3, 3)]


def test_lines_and_what_they_leave_out_add_up() -> None:
    limiter = LineLimiter(most=3)
    found: list[Line] = []
    offered = 0
    for second in range(400):
        for n in range(second % 7):
            offered += 1
            said = limiter.offer((second * n) % 11, line(n), float(second))
            found += [said] if said is not None else []
        found += limiter.due(float(second))
    found += limiter.rest(400.0)
    assert sum(1 + one.left_out for one in found) == offered
    # Three groups and the place of all others, one line a minute each.
    assert len(found) <= 4 * 400 / SAID_EVERY_S + 8


def test_ten_thousand_groups_share_one_place() -> None:
    limiter = LineLimiter(most=100)
    found = [said for n in range(10_000) if (said := limiter.offer(n, line(n), 1.0)) is not None]
    assert len(found) == 101
    assert [MIXED.items() <= one.fields.items() for one in found] == [False] * 100 + [True]
    (rest,) = limiter.due(61.0)
    assert rest.left_out == 10_000 - 101 - 1
    assert len(limiter._groups) == 100


def test_group_that_is_silent_longest_is_forgotten_first() -> None:
    limiter = LineLimiter(most=2)
    limiter.offer("a", line(), 0.0)
    limiter.offer("b", line(), 1.0)
    limiter.offer("a", line(), 60.0)
    assert limiter.offer("c", line(), 61.0) == line(), "in the place of b"
    assert list(limiter._groups) == ["a", "c"]


def test_group_with_a_waiting_line_is_not_forgotten() -> None:
    limiter = LineLimiter(most=1)
    for n in range(2):
        limiter.offer("a", line(n), 0.0)
    said = limiter.offer("b", line(), 61.0)
    assert said is not None and said.fields.items() >= MIXED.items()
    assert counts_of(limiter.rest(61.0)) == [(1, 0)]


async def test_log_tells_what_it_left_out_without_a_further_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LineLimiter.__init__, "__kwdefaults__", {"every_s": 0.2, "most": 10})
    limited = LimitedLog(get_log(__name__), asyncio.get_running_loop().time)
    with capture_logs() as logs:
        for n in range(500):
            limited.say(n % 2, line(n, is_grave=n % 2 == 1))

        async def all_told() -> bool:
            return sum(1 + one["left_out"] for one in logs) == 500

        await eventually(all_told)
    assert Counter(one["log_level"] for one in logs) == {"info": 2, "warning": 2}
    assert logs[0] == {"event": "it broke", "n": 0, "left_out": 0, "log_level": "info"}
    assert limited._timer is None


async def test_log_tells_what_it_left_out_when_it_stops() -> None:
    clock = ManualClock()
    limited = LimitedLog(get_log(__name__), clock.monotonic)
    with capture_logs() as logs:
        for n in range(3):
            limited.say("a", line(n))
        limited.stop()
        limited.stop()
    assert [(one["n"], one["left_out"]) for one in logs] == [(0, 0), (2, 1)]
    assert limited._timer is None


async def test_timer_follows_the_group_that_is_due_first() -> None:
    clock = ManualClock()
    limited = LimitedLog(get_log(__name__), clock.monotonic)
    with capture_logs():
        limited.say("a", line())
        clock.advance(50)
        limited.say("b", line())
        limited.say("b", line())
        assert limited._timer_at == clock.monotonic() + SAID_EVERY_S
        limited.say("a", line())
        assert limited._timer_at == clock.monotonic() + SAID_EVERY_S - 50
        limited.stop()
