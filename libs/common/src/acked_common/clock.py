"""Time: every process writes MongoDB's time, which it keeps as an offset to its own clock."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Where instants and durations come from."""

    def now(self) -> datetime:
        """The shared time, aware UTC, whole milliseconds."""
        ...

    def monotonic(self) -> float:
        """Seconds that only rise; for durations inside this process."""
        ...


def whole_ms(instant: datetime) -> datetime:
    """The instant as MongoDB keeps it, cut to milliseconds."""
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


class SharedClock:
    """The machine's clock moved by the offset to MongoDB's; the offset is measured again every half minute."""

    def __init__(self) -> None:
        self._offset = timedelta()

    @property
    def offset_s(self) -> float:
        """Seconds that MongoDB's clock is ahead of this machine's."""
        return self._offset.total_seconds()

    def now(self) -> datetime:
        return whole_ms(datetime.now(UTC) + self._offset)

    def monotonic(self) -> float:
        return time.monotonic()

    def adjust(self, *, server_at: datetime, asked_at: datetime, round_trip_s: float) -> None:
        """Takes the offset from one answer of the server, assumed to be made half-way through the round trip."""
        self._offset = server_at - (asked_at + timedelta(seconds=round_trip_s / 2))


def rfc3339(instant: datetime) -> str:
    """`2026-01-02T03:04:05.678Z`: UTC with milliseconds, as every answer writes it."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{instant.microsecond // 1000:03d}Z"
