"""The door of the feed: how many may stand there without a token, in all and of one address."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.websockets import WebSocket

from acked_common.api.authenticator import Authenticator
from acked_common.background.token_cache import TokenCache
from acked_common.store.tokens import MemoryTokens
from acked_gateway.feed import entry
from acked_gateway.feed.entry import FeedEntry
from support.factories import ManualClock
from support.parts import settle


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "MAX_AT_THE_DOOR", 8)


class Line:
    """A WebSocket without a token, as a server hands it on."""

    def __init__(self, address: str) -> None:
        self.sent: list[Any] = []
        self._messages: asyncio.Queue[Any] = asyncio.Queue()
        self._messages.put_nowait({"type": "websocket.connect"})
        scope = {
            "type": "websocket",
            "path": "/ws/feed",
            "query_string": b"",
            "headers": [],
            "client": (address, 1),
            "extensions": {"websocket.http.response": {}},
        }
        self.websocket = WebSocket(scope, self._messages.get, self._send)

    async def _send(self, message: Any) -> None:
        self.sent.append(message)

    def leave(self) -> None:
        self._messages.put_nowait({"type": "websocket.disconnect", "code": 1000})

    @property
    def is_refused(self) -> bool:
        return any(message.get("status") == 503 for message in self.sent)


@asynccontextmanager
async def standing(entry: FeedEntry, *addresses: str) -> AsyncIterator[list[Line]]:
    lines = [Line(address) for address in addresses]
    tasks = [asyncio.create_task(entry.admit(line.websocket)) for line in lines]
    await settle()
    yield lines
    for line in lines:
        line.leave()
    assert await asyncio.gather(*tasks) == [None] * len(lines)


async def test_one_address_leaves_room_at_the_door() -> None:
    entry = FeedEntry(Authenticator(TokenCache(MemoryTokens(), ManualClock())))
    for _ in range(2):
        async with standing(entry, *["10.0.0.1"] * 6, *["10.0.0.2"] * 2, "10.0.0.3", "10.0.0.3") as lines:
            refused = [line.is_refused for line in lines]
            assert refused[:6] == [False] * 4 + [True] * 2, "half of the door for one address"
            assert refused[6:9] == [False] * 3
            assert lines[0].sent[0]["type"] == "websocket.accept"
