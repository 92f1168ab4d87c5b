"""A fair semaphore: waiting clients are served round-robin, so a busy client delays itself and not the others."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from acked_common.http.fair_lines import FairLines

C = TypeVar("C", bound=Hashable)


class FairTurns(Generic[C]):
    """Limit concurrency on one event loop. The caller bounds the number of waiters."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._lines: FairLines[C, asyncio.Future[None]] = FairLines()

    @asynccontextmanager
    async def of(self, client: C) -> AsyncIterator[None]:
        """Hold a slot inside this context, after waiting for the client's turn."""
        if self._free:
            self._free -= 1
        else:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._lines.join(client, turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    # The slot was assigned before the cancellation.
                    self._pass_on()
                raise
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        while self._lines:
            turn = self._lines.next()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
