"""Time: every process writes MongoDB's time, which it asks for now and then and carries on by itself."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from acked_common.model.instants import whole_ms


class Clock(Protocol):
    """Where instants and durations come from."""

    def now(self) -> datetime:
        """The shared time, aware UTC, whole milliseconds."""
        ...

    def monotonic(self) -> float:
        """Seconds that only rise; for durations inside this process."""
        ...


def _utc_now() -> datetime:
    return datetime.now(UTC)


class SharedClock:
    """MongoDB's time, carried on by this machine's monotonic clock: a jump of its wall clock moves nothing."""

    def __init__(
        self, *, machine: Callable[[], datetime] = _utc_now, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`machine` is this machine's own clock, aware UTC, which counts until MongoDB's is known; `monotonic` gives
        seconds that only rise."""
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
        """Takes the time from one answer of the server, assumed to be made half-way through the round trip that began
        at `asked` on the monotonic clock."""
        self._at = server_at
        self._at_monotonic = asked + round_trip_s / 2
        self._newest = (0, whole_ms(server_at))

    def is_off(self, *, server_at: datetime, asked: float, round_trip_s: float, by_s: float) -> bool:
        """Whether an answer of the server can't be explained by its round trip: it is off by more than `by_s`."""
        expected = self._at + timedelta(seconds=asked + round_trip_s / 2 - self._at_monotonic)
        return abs((server_at - expected).total_seconds()) > by_s + round_trip_s / 2
