"""So many at once, and the clients in turn for a place: one that asks for much waits for itself, not the others."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from acked_common.http.fair_lines import FairLines

C = TypeVar("C", bound=Hashable)


class FairTurns(Generic[C]):
    """Places for what may go on at once; for one event loop. How many may wait is the business of the caller."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._lines: FairLines[C, asyncio.Future[None]] = FairLines()

    @asynccontextmanager
    async def of(self, client: C) -> AsyncIterator[None]:
        """A place, when it is the client's turn."""
        if self._free:
            self._free -= 1
        else:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._lines.join(client, turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    # It had been given the place already.
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
