"""Time that a test moves: timers of the running loop fire when it says so, and nobody waits for them."""

import asyncio

from support.parts import settle


class LoopClock:
    """The clock of the running loop, carried on by `advance` beside the time that passes anyway."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._ahead_s = 0.0
        self._loop.time = self._now  # type: ignore[method-assign]

    def _now(self) -> float:
        return self._time() + self._ahead_s

    async def advance(self, seconds: float) -> None:
        """Lets time pass; what is due then has happened."""
        await settle()
        self._ahead_s += seconds
        await settle()
