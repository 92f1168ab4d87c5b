"""The shared time: every process writes MongoDB's time, which it reads periodically and extrapolates."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

from acked_common.model.instants import whole_ms


class Clock(Protocol):
    """The source of instants and durations."""

    def now(self) -> datetime:
        """Return the shared time, aware UTC, in whole milliseconds."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never fall, for durations inside this process."""
        ...


def _utc_now() -> datetime:
    return datetime.now(UTC)


_READINGS = 5
_AT_ONCE_S = 0.0005


class _Base(NamedTuple):
    """One reading of MongoDB's clock, the monotonic instant to which it belongs, and its whole millisecond."""

    at: datetime
    at_monotonic: float
    first: datetime


def _both(machine: Callable[[], datetime], monotonic: Callable[[], float]) -> tuple[datetime, float]:
    """Read both clocks at once. A thread that loses its core between the two readings reads again, some times: else
    the time would lag by as long as it was away."""
    tries = []
    for _ in range(_READINGS):
        before, at, after = monotonic(), machine(), monotonic()
        tries.append((after - before, at, after))
        if after - before <= _AT_ONCE_S:
            break
    _, at, after = min(tries, key=lambda one: one[0])
    return at, after


class SharedClock:
    """MongoDB's time, extrapolated by this machine's monotonic clock: a jump of its wall clock has no effect.

    Any thread may read it; one thread adjusts it.
    """

    def __init__(
        self, *, machine: Callable[[], datetime] = _utc_now, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Take both clocks of this machine.

        `machine` returns aware UTC and is used until MongoDB's time is known; `monotonic` returns seconds that never
        fall.
        """
        self._monotonic = monotonic
        at, at_monotonic = _both(machine, monotonic)
        self._base = _Base(at, at_monotonic, whole_ms(at))
        """Replaced as a whole: other threads read the clock too."""
        self._newest = (self._base, 0, self._base.first)
        """The cached millisecond since the base, and its instant: under load, many callers share one millisecond."""

    def now(self) -> datetime:
        base, newest = self._base, self._newest
        passed_us = round((self._monotonic() - base.at_monotonic) * 1e6)
        ms = (base.at.microsecond % 1000 + passed_us) // 1000
        if ms != newest[1] or base is not newest[0]:
            newest = self._newest = (base, ms, base.first + timedelta(milliseconds=ms))
        return newest[2]

    def monotonic(self) -> float:
        return self._monotonic()

    def adjust(self, *, server_at: datetime, asked: float, round_trip_s: float) -> None:
        """Adopt the time of one response of the server.

        It counts as taken half-way through the round trip, which began at `asked` on the monotonic clock.
        """
        self._base = _Base(server_at, asked + round_trip_s / 2, whole_ms(server_at))

    def is_off(self, *, server_at: datetime, asked: float, round_trip_s: float, by_s: float) -> bool:
        """Return whether a response of the server differs by more than `by_s` beyond what its round trip explains."""
        base = self._base
        expected = base.at + timedelta(seconds=asked + round_trip_s / 2 - base.at_monotonic)
        return abs((server_at - expected).total_seconds()) > by_s + round_trip_s / 2
