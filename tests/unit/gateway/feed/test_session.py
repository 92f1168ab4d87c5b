"""Connections of the feed: how many each client has, how much it may ask, when it is sent away, what it leaves."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.websockets import WebSocket

from acked_common.api.authenticator import CLOSE_CODE
from acked_common.model.principal import SCOPE_KEY, Principal
from acked_gateway.feed import session as session_module
from acked_gateway.feed import websocket as websocket_module
from acked_gateway.feed.entry import TRY_AGAIN_LATER
from acked_gateway.feed.session import PING_EVERY_S
from acked_gateway.feed.websocket import FRAMES_A_SECOND, FRAMES_AT_ONCE, MAX_ERRORS, NOT_TEXT, POLICY, FeedSockets
from support.feed_bench import ADA, BOB, FeedBench
from support.parts import BOUND_S, settle

SUBSCRIBE = {"type": "subscribe", "sub": "s", "scope": {"all": True}}
UNSUBSCRIBE = {"type": "unsubscribe", "sub": "s"}


class Line:
    """A client's end of a WebSocket."""

    def __init__(self, sockets: FeedSockets, principal: Principal | None) -> None:
        self.sent: list[dict[str, Any]] = []
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._messages.put_nowait({"type": "websocket.connect"})
        self.reads = asyncio.Event()
        self.reads.set()
        scope: dict[str, Any] = {
            "type": "websocket",
            "path": "/ws/feed",
            "headers": [],
            "client": ("127.0.0.1", 1),
            "extensions": {"websocket.http.response": {}},
        }
        if principal is not None:
            scope[SCOPE_KEY] = principal
        self.serving = asyncio.create_task(sockets.serve(WebSocket(scope, self._messages.get, self._send)))

    async def _send(self, message: dict[str, Any]) -> None:
        if "text" in message:
            await self.reads.wait()
        self.sent.append(message)

    async def ask(self, *frames: object) -> None:
        for frame in frames:
            text = frame if isinstance(frame, str) else json.dumps(frame)
            self._messages.put_nowait({"type": "websocket.receive", "text": text})
        await settle(20 + 5 * len(frames))

    async def put(self, message: dict[str, Any]) -> None:
        self._messages.put_nowait(message)
        await settle()

    async def leave(self) -> None:
        self._messages.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await asyncio.wait_for(self.serving, BOUND_S)

    @property
    def frames(self) -> list[dict[str, Any]]:
        return [json.loads(message["text"]) for message in self.sent if "text" in message]

    @property
    def closed(self) -> int | None:
        """The code with which it was sent away."""
        return next((message["code"] for message in self.sent if message["type"] == "websocket.close"), None)

    @property
    def status(self) -> int | None:
        """Of the response that declines the upgrade."""
        return next((message["status"] for message in self.sent if "status" in message), None)


class Bench(FeedBench):
    def __init__(self) -> None:
        super().__init__()
        self.sockets = FeedSockets(self.feed)

    @asynccontextmanager
    async def connected(self, *, shown: Principal | None = None) -> AsyncIterator[Line]:
        """A connection; `shown` is whose token came with the handshake."""
        line = Line(self.sockets, shown)
        await settle()
        try:
            yield line
        finally:
            await line.leave()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench()
    for module in (session_module, websocket_module):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: made.time))
    return made


@pytest.mark.parametrize("is_shown_early", [True, False])
async def test_client_with_its_connections_gets_no_more(bench: Bench, is_shown_early: bool) -> None:
    bench.door.of(ADA)
    shown = ADA if is_shown_early else None
    async with bench.connected(shown=shown), bench.connected(shown=shown) as second:
        assert second.frames[0]["type"] == "hello"
        async with bench.connected(shown=shown) as third:
            if is_shown_early:
                assert third.status == 429
            else:
                assert third.closed == TRY_AGAIN_LATER
                assert "too-many-feeds" in json.dumps(third.frames)
        bench.door.of(BOB)
        async with bench.connected(shown=BOB if is_shown_early else None) as other:
            assert other.closed is other.status is None


async def test_connection_that_left_makes_room(bench: Bench) -> None:
    bench.door.of(ADA)
    for _ in range(3):
        async with bench.connected(shown=ADA), bench.connected() as second:
            assert second.closed is None
    assert bench.feeds.ledger.held == 0


async def test_connection_that_is_refused_gives_back_what_it_took(bench: Bench) -> None:
    bench.door.of(ADA)
    async with bench.connected(), bench.connected():
        for _ in range(3):
            async with bench.connected() as refused:
                assert refused.closed == TRY_AGAIN_LATER
        assert bench.feeds.ledger.held == 2


async def test_frames_beyond_the_rate_close_the_connection(bench: Bench) -> None:
    async with bench.connected() as line:
        await line.ask(*[SUBSCRIBE, UNSUBSCRIBE] * (FRAMES_AT_ONCE // 2))
        assert line.closed is None
        await line.ask(SUBSCRIBE)
        assert line.closed == POLICY


async def test_budget_of_frames_comes_back_with_time(bench: Bench) -> None:
    async with bench.connected() as line:
        await line.ask(*[SUBSCRIBE, UNSUBSCRIBE] * (FRAMES_AT_ONCE // 2))
        bench.time += 1.0
        await line.ask(*[SUBSCRIBE, UNSUBSCRIBE] * int(FRAMES_A_SECOND / 2))
        assert line.closed is None
        await line.ask(SUBSCRIBE)
        assert line.closed == POLICY


async def test_budget_of_frames_has_a_bound(bench: Bench) -> None:
    async with bench.connected() as line:
        bench.time += 3600.0
        await line.ask(*[SUBSCRIBE, UNSUBSCRIBE] * (FRAMES_AT_ONCE // 2), SUBSCRIBE)
        assert line.closed == POLICY


@pytest.mark.parametrize("how", ["leaves", "is sent away", "unsubscribes"])
async def test_connection_follows_while_it_has_subscriptions(bench: Bench, how: str) -> None:
    async with bench.connected() as line:
        assert bench.stream.followers == 0
        await line.ask(SUBSCRIBE, {**SUBSCRIBE, "sub": "t"})
        assert bench.stream.followers == 1
        if how == "unsubscribes":
            await line.ask(UNSUBSCRIBE)
            assert bench.stream.followers == 1
            await line.ask({**UNSUBSCRIBE, "sub": "t"})
            assert bench.stream.followers == 0
        elif how == "is sent away":
            await line.put({"type": "websocket.receive", "bytes": b"x"})
            assert line.closed == NOT_TEXT
            assert bench.stream.followers == 0
    assert bench.stream.followers == 0
    assert list(bench.hub.rings) == []


async def test_connection_gives_back_its_subscriptions_and_ids(bench: Bench) -> None:
    ids = [f"0197a000-0000-7000-8000-00000000000{n}" for n in range(5)]
    limits = bench.limits
    async with bench.connected() as line:
        await line.ask({"type": "subscribe", "sub": "a", "scope": {"ids": ids}}, SUBSCRIBE)
        assert (limits.subscriptions.ledger.held, limits.ids.ledger.held) == (2, 5)
        await line.ask({"type": "unsubscribe", "sub": "a"})
        assert (limits.subscriptions.ledger.held, limits.ids.ledger.held) == (1, 0)
    assert (limits.subscriptions.ledger.held, limits.ids.ledger.held) == (0, 0)


async def test_subscription_wants_its_snapshot_at_once(bench: Bench) -> None:
    async with bench.connected() as line:
        await line.ask(SUBSCRIBE)
        assert [subscription.sub for subscription in bench.snapshots.wanted] == ["s"]


async def test_bad_frames_are_told_until_they_are_too_many(bench: Bench) -> None:
    async with bench.connected() as line:
        await line.ask(*["{"] * MAX_ERRORS)
        assert [frame["type"] for frame in line.frames] == ["hello", *["error"] * MAX_ERRORS]
        assert line.closed is None
        await line.ask("{")
        assert line.closed == POLICY


async def test_connection_whose_token_was_revoked_ends(bench: Bench) -> None:
    bench.door.of(ADA)
    async with bench.connected(shown=ADA) as line:
        await line.ask(SUBSCRIBE)
        await bench.feed._check_tokens()
        await settle()
        assert line.closed is None
        bench.door.holds = False
        await bench.feed._check_tokens()
        await settle()
        assert line.closed == CLOSE_CODE
        assert bench.stream.followers == 0


async def test_revoked_token_gets_no_further_subscription(bench: Bench) -> None:
    bench.door.of(ADA)
    async with bench.connected(shown=ADA) as line:
        bench.door.holds = False
        await line.ask(SUBSCRIBE)
        assert bench.snapshots.wanted == []
        assert line.closed == CLOSE_CODE


async def test_client_hears_a_ping_now_and_then(bench: Bench) -> None:
    async with bench.connected() as line:
        bench.time += PING_EVERY_S - 1
        await bench.feed._ping()
        await settle()
        assert [frame["type"] for frame in line.frames] == ["hello"]
        bench.time += 1
        for _ in range(3):
            await bench.feed._ping()
            await settle()
        assert [frame["type"] for frame in line.frames] == ["hello", "ping"]


async def test_client_that_reads_nothing_is_sent_no_pings(bench: Bench) -> None:
    async with bench.connected() as line:
        line.reads.clear()
        for _ in range(5):
            bench.time += PING_EVERY_S
            await bench.feed._ping()
            await settle()
        line.reads.set()
        await settle()
        assert [frame["type"] for frame in line.frames] == ["hello", "ping"]
