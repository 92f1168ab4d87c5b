"""`WS /ws/feed`: one reader and one writer for each client; what is sent is the hub's business.

The reader never stops: a server that does not read sees no pong, and takes a healthy client for dead. A writer that
waits for a client that has stopped reading holds nothing but its own cursor.
"""

import asyncio
import time
from dataclasses import dataclass

from prometheus_client import Counter, Gauge
from starlette.routing import BaseRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from acked_common.api.authenticator import CLOSE_CODE
from acked_common.api.routes import SocketRoute
from acked_common.http import fair_thread
from acked_common.http.limits import Client as Holder
from acked_common.http.limits import Limit, client_of
from acked_common.http.problems import ProblemError
from acked_common.http.responses import ProblemResponse
from acked_common.model.instants import rfc3339
from acked_common.model.token_bucket import TokenBucket
from acked_common.runtime.clock import Clock
from acked_common.runtime.lifetime import Tasks
from acked_gateway.feed.change_follower import ChangeFollower
from acked_gateway.feed.client import Client
from acked_gateway.feed.entry import CLOSE_WITHIN_S, PERMISSION, FeedEntry, Guest, refuse
from acked_gateway.feed.frames import (
    Authenticate,
    FeedError,
    Sub,
    Subscribe,
    Unsubscribe,
    error_frame,
    hello_frame,
    parse_frame,
    ping_frame,
)
from acked_gateway.feed.hub import Hub
from acked_gateway.feed.snapshots import Snapshots

FEED_PATH = "/ws/feed"
PING_EVERY_S = 15.0
TOKENS_EVERY_S = 1.0
"""Between looks whether the tokens of connected clients still hold."""
MAX_ERRORS = 20
FRAMES_A_SECOND = 20.0
FRAMES_AT_ONCE = 200

_NOBODY: Holder = ("", "")
"""Who holds nothing."""

NOT_TEXT = 1003
POLICY = 1008

_clients = Gauge("acked_feed_clients", "Connected clients of the feed.")
_refused = Counter("acked_feed_refused_total", "Clients of the feed that were refused or closed.", ["why"])
_frames = Counter("acked_feed_frames_total", "Frames sent to clients of the feed.")


@dataclass(frozen=True, slots=True)
class FeedLimits:
    """What the clients of the feed hold."""

    feeds: Limit
    subscriptions: Limit
    ids: Limit
    """In the scopes of these subscriptions."""


class Feed:
    """All clients of the feed in one gateway process."""

    def __init__(
        self,
        hub: Hub,
        live: ChangeFollower,
        snapshots: Snapshots,
        clock: Clock,
        entry: FeedEntry,
        *,
        boot: str,
        limits: FeedLimits,
    ) -> None:
        self._hub = hub
        self._live = live
        self._snapshots = snapshots
        self._clock = clock
        self._entry = entry
        self._boot = boot
        self._limits = limits
        self._connections: set[_Connection] = set()

    def routes(self) -> list[BaseRoute]:
        """The WebSocket route."""
        return [SocketRoute(FEED_PATH, self.serve, permission=PERMISSION)]

    def start(self, tasks: Tasks) -> None:
        """Starts the signs of life."""
        tasks.repeat("feed pings", self._ping, every_s=1.0)
        tasks.repeat("feed tokens", self._check_tokens, every_s=TOKENS_EVERY_S)

    async def serve(self, websocket: WebSocket) -> None:
        """One client, from its handshake to its end."""
        feeds, who = self._limits.feeds, client_of(websocket.scope)
        if who is None and self._entry.asks:
            # Whoever has shown no token yet is counted at the door.
            who = _NOBODY
        else:
            try:
                feeds.take(who)
            except ProblemError as error:
                _refused.labels(error.problem.name).inc()
                await websocket.send_denial_response(ProblemResponse(error.problem))
                return
        try:
            guest = await self._entry.admit(websocket)
            if guest is None:
                _refused.labels("no token").inc()
                return
            if guest.client != who:
                # The token came with the first message, or was new here.
                try:
                    feeds.take(guest.client)
                except ProblemError as error:
                    _refused.labels(error.problem.name).inc()
                    await refuse(websocket, error.problem)
                    return
                who = guest.client
            await self._follow(websocket, guest)
        finally:
            if who != _NOBODY:
                feeds.give_back(who)

    async def _follow(self, websocket: WebSocket, guest: Guest) -> None:
        connection = _Connection(websocket, self._hub, self._live, self._snapshots, self._entry, guest, self._limits)
        self._connections.add(connection)
        _clients.inc()
        try:
            connection.client.tell(hello_frame(self._boot))
            await connection.run()
        finally:
            _clients.dec()
            self._connections.discard(connection)
            connection.leave()

    async def _check_tokens(self) -> None:
        if self._entry.asks:
            for connection in self._connections:
                connection.check_token()

    async def _ping(self) -> None:
        now = time.monotonic()
        frame: str | None = None
        for connection in self._connections:
            if now - connection.pinged_at >= PING_EVERY_S:
                frame = frame or ping_frame(rfc3339(self._clock.now()))
                connection.ping(frame, now)


class _Connection:
    def __init__(
        self,
        websocket: WebSocket,
        hub: Hub,
        live: ChangeFollower,
        snapshots: Snapshots,
        entry: FeedEntry,
        guest: Guest,
        limits: FeedLimits,
    ) -> None:
        self._websocket = websocket
        self._entry = entry
        self._guest = guest
        self._is_dismissed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._hub = hub
        self._live = live
        self._snapshots = snapshots
        self._limits = limits
        self._has_news = asyncio.Event()
        self._follows = False
        self._errors = 0
        self._frames = TokenBucket(FRAMES_A_SECOND, FRAMES_AT_ONCE)
        self._is_writing = False
        self.client = Client(self._has_news.set)
        self.pinged_at = time.monotonic()

    async def run(self) -> None:
        """Until the client leaves, or is sent away."""
        writer = asyncio.create_task(self._write(), name="feed writer")
        reader = asyncio.create_task(self._read(), name="feed reader")
        try:
            waited: set[asyncio.Future[None]] = {writer, reader, self._is_dismissed}
            done, _ = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (writer, reader):
                task.cancel()
            await asyncio.gather(writer, reader, return_exceptions=True)
        if self._is_dismissed.done():
            await self._send_away(CLOSE_CODE, "the token holds no longer", why_counted="token")

    def check_token(self) -> bool:
        """Whether the client may stay; else its connection ends."""
        may_stay = self._entry.may_stay(self._guest)
        if not may_stay and not self._is_dismissed.done():
            self._is_dismissed.set_result(None)
        return may_stay

    def leave(self) -> None:
        """Nothing is followed for this client any more."""
        for subscription in list(self.client.subscriptions.values()):
            self._unsubscribe(subscription.sub)
        self._set_follows(False)

    def ping(self, frame: str, now: float) -> None:
        """A sign of life, unless an older frame still waits to be sent."""
        self.pinged_at = now
        if not self._is_writing:
            self.client.tell(frame)

    async def _write(self) -> None:
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            self._is_writing = True
            while (frame := self.client.next_frame()) is not None:
                try:
                    await self._websocket.send({"type": "websocket.send", "text": frame})
                except (WebSocketDisconnect, RuntimeError):
                    return
                _frames.inc()
                self._want_snapshots()
                # A send that need not wait does not let go: one that has much to catch up must not hold up the others.
                await asyncio.sleep(0)
            self._is_writing = False

    async def _read(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is None:
                await self._send_away(NOT_TEXT, "send JSON texts")
                return
            if not self._frames.try_take(1.0, time.monotonic()):
                await self._send_away(POLICY, f"more than {FRAMES_A_SECOND:g} frames a second")
                return
            try:
                await self._serve(text)
            except FeedError as error:
                self._errors += 1
                if self._errors > MAX_ERRORS:
                    await self._send_away(POLICY, "too many bad frames")
                    return
                self.client.tell(error_frame(error.problem, error.sub))

    async def _serve(self, text: str) -> None:
        asked = await self._parse(text)
        if isinstance(asked, Authenticate):
            if self._entry.asks:
                raise FeedError("this connection has shown a token already; connect anew to use another")
        elif isinstance(asked, Subscribe):
            if not self.check_token():
                return
            self._subscribe(asked)
            self._set_follows(True)
            self._want_snapshots()
        else:
            self._unsubscribe(asked.sub)
            self._set_follows(bool(self.client.subscriptions))

    def _subscribe(self, asked: Subscribe) -> None:
        """Follows a scope where this client may hold one more. Raises `FeedError`."""
        who, ids = self._guest.client, len(asked.topic.ids)
        try:
            self._limits.subscriptions.take(who)
            try:
                if ids:
                    self._limits.ids.take(who, ids)
                try:
                    self._hub.subscribe(self.client, asked.sub, asked.topic)
                except BaseException:
                    if ids:
                        self._limits.ids.give_back(who, ids)
                    raise
            except BaseException:
                self._limits.subscriptions.give_back(who)
                raise
        except ProblemError as error:
            raise FeedError.of(error.problem, asked.sub) from None

    def _unsubscribe(self, sub: Sub) -> None:
        """Follows it no longer. Raises `FeedError`."""
        ids = self._hub.unsubscribe(self.client, sub)
        self._limits.subscriptions.give_back(self._guest.client)
        if ids:
            self._limits.ids.give_back(self._guest.client, ids)

    async def _parse(self, text: str) -> Subscribe | Unsubscribe | Authenticate:
        """What the client asks for; a large or doubtful frame is read in a thread. Raises `FeedError`."""
        tenant = self._guest.principal.tenant
        return await fair_thread.read(
            self._guest.client,
            fair_thread.utf8_size(text),
            lambda may_scan: parse_frame(text, tenant=tenant, may_scan=may_scan),
        )

    def _want_snapshots(self) -> None:
        while self.client.wanting:
            self._snapshots.want(self.client.wanting.pop())

    def _set_follows(self, follows: bool) -> None:
        if follows != self._follows:
            self._follows = follows
            if follows:
                self._live.follow()
            else:
                self._live.unfollow()

    async def _send_away(self, code: int, why: str, *, why_counted: str = "protocol") -> None:
        _refused.labels(why_counted).inc()
        try:
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await self._websocket.close(code, why)
        except (WebSocketDisconnect, RuntimeError, TimeoutError):
            pass
