"""A clock that stands still until it is moved, with the waits that it ends."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 1, tzinfo=UTC)


class VirtualClock:
    """The clock of one job under test. Waits of its attempts end when it is moved to their end."""

    def __init__(self, at: datetime = START) -> None:
        self._at = at
        self._waits: dict[asyncio.Future[None], tuple[datetime | None, bool]] = {}
        """The end of each wait, and whether a signal ends it."""

    def now(self) -> datetime:
        """Return the instant."""
        return self._at

    @property
    def earliest(self) -> datetime | None:
        """The earliest end of a wait in memory."""
        return min((until_at for until_at, _ in self._waits.values() if until_at is not None), default=None)

    def move_to(self, at: datetime) -> None:
        """Move forward, and end the waits whose time has come. An earlier instant changes nothing."""
        self._at = max(self._at, at)
        self._end(lambda until_at, _: until_at is not None and until_at <= self._at)

    def signal_arrived(self) -> None:
        """End all waits in memory for signals: the inbox may have one for them."""
        self._end(lambda _, for_signals: for_signals)

    async def wait(self, until_at: datetime | None, *, for_signals: bool = True) -> None:
        """Wait until the clock is there; with `for_signals` at most until a signal arrives."""
        if until_at is not None and until_at <= self._at:
            return
        ended = asyncio.get_running_loop().create_future()
        self._waits[ended] = until_at, for_signals
        try:
            await ended
        finally:
            del self._waits[ended]

    def _end(self, is_over: Callable[[datetime | None, bool], bool]) -> None:
        for ended, (until_at, for_signals) in self._waits.items():
            if is_over(until_at, for_signals) and not ended.done():
                ended.set_result(None)


def duration(*, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> timedelta:
    """Return a duration that is not negative. Raise `ValueError` otherwise."""
    found = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    if found < timedelta(0):
        raise ValueError("the clock can't be moved back")
    return found
