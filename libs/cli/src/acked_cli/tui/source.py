"""The requests of the live screen to the services, on its event loop."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TypeVar

from acked_cli.tui.board import Board, BoardResponses, board_of
from acked_client import AccessDenied, AsyncAcked, Backlog

T = TypeVar("T")
WINDOW = "5m"
"""Over which rates and failures are counted."""
MOST_GROUPS = 20


class BoardSource:
    """Reads the screen and acts on kinds. All methods raise `AckedError`."""

    def __init__(self, acked: AsyncAcked) -> None:
        self._acked = acked

    async def board(self) -> Board:
        """Return what the services show now: five requests at once."""
        kinds, workers, groups, totals, backlog = await asyncio.gather(
            self._acked.kinds(),
            self._acked.workers(),
            _first(self._acked.attention(), MOST_GROUPS),
            self._acked.totals(WINDOW),
            self._backlog(),
        )
        return board_of(BoardResponses(kinds, workers, groups, totals, backlog), datetime.now(UTC))

    async def _backlog(self) -> Backlog | None:
        try:
            return await self._acked.backlog()
        except AccessDenied:
            # Of another tenant than `default`.
            return None

    async def pause(self, kind: str) -> None:
        """Stop the jobs of a kind from starting."""
        await self._acked.pause(kind, reason="acked top")

    async def resume(self, kind: str) -> None:
        """Let the jobs of a kind start again."""
        await self._acked.resume(kind)

    async def close(self) -> None:
        """Close the connections."""
        await self._acked.close()


async def _first(items: AsyncIterator[T], count: int) -> list[T]:
    found: list[T] = []
    async for item in items:
        found.append(item)
        if len(found) == count:
            break
    return found
