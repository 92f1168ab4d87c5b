"""The shared time: every process writes MongoDB's time, which it reads periodically and extrapolates."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

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


class SharedClock:
    """MongoDB's time, extrapolated by this machine's monotonic clock: a jump of its wall clock has no effect."""

    def __init__(
        self, *, machine: Callable[[], datetime] = _utc_now, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Take both clocks of this machine.

        `machine` returns aware UTC and is used until MongoDB's time is known; `monotonic` returns seconds that never
        fall.
        """
        self._monotonic = monotonic
        self._at = machine()
        self._at_monotonic = monotonic()
        self._newest = (0, whole_ms(self._at))
        """Milliseconds since the one in which `_at` lies, and the instant that they make: under load many are asked for
        within one, and share it."""

    def now(self) -> datetime:
        newest = self._newest
        passed_us = round((self._monotonic() - self._at_monotonic) * 1e6)
        ms = (self._at.microsecond % 1000 + passed_us) // 1000
        if ms != newest[0]:
            newest = self._newest = (ms, whole_ms(self._at) + timedelta(milliseconds=ms))
        return newest[1]

    def monotonic(self) -> float:
        return self._monotonic()

    def adjust(self, *, server_at: datetime, asked: float, round_trip_s: float) -> None:
        """Adopt the time of one response of the server.

        It counts as made half-way through the round trip that began at `asked` on the monotonic clock.
        """
        self._at = server_at
        self._at_monotonic = asked + round_trip_s / 2
        self._newest = (0, whole_ms(server_at))

    def is_off(self, *, server_at: datetime, asked: float, round_trip_s: float, by_s: float) -> bool:
        """Return whether a response of the server differs by more than `by_s` beyond what its round trip explains."""
        expected = self._at + timedelta(seconds=asked + round_trip_s / 2 - self._at_monotonic)
        return abs((server_at - expected).total_seconds()) > by_s + round_trip_s / 2
