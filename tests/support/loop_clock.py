"""A clock that tests advance: timers of the running loop fire without waiting."""

import asyncio

from support.parts import settle


class LoopClock:
    """The clock of the running loop, which `advance` moves ahead of real time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._ahead_s = 0.0
        self._loop.time = self._now  # type: ignore[method-assign]

    def _now(self) -> float:
        return self._time() + self._ahead_s

    async def advance(self, seconds: float) -> None:
        """Advance the clock; all due timers have fired on return."""
        await settle()
        self._ahead_s += seconds
        await settle()
