"""`WS /ws/feed`: the connections of all clients.

A connection has one reader, one writer and one state, its held subscriptions. The reader subscribes and unsubscribes,
the hub queues frames, the writer sends them. The reader never waits for the writer: a server that does not read sees no
pong and takes a healthy client for dead. A writer that waits for a slow client delays no other connection.
"""

import asyncio
import time

from prometheus_client import Counter, Gauge
from starlette.routing import BaseRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from acked_common.api.authenticator import CLOSE_CODE
from acked_common.api.routes import SocketRoute
from acked_common.http import fair_thread
from acked_common.http.limits import Client as Holder
from acked_common.http.limits import client_of
from acked_common.http.problems import ProblemError
from acked_common.http.responses import ProblemResponse
from acked_common.model.instants import rfc3339
from acked_common.model.token_bucket import TokenBucket
from acked_common.runtime.clock import Clock
from acked_common.runtime.lifetime import Tasks
from acked_gateway.feed.client import Client
from acked_gateway.feed.entry import CLOSE_WITHIN_S, PERMISSION, FeedEntry, Guest, refuse
from acked_gateway.feed.frames import (
    Authenticate,
    FeedError,
    Subscribe,
    Unsubscribe,
    error_frame,
    hello_frame,
    parse_frame,
    ping_frame,
)
from acked_gateway.feed.held_subscriptions import FeedParts, HeldSubscriptions

FEED_PATH = "/ws/feed"
PING_EVERY_S = 15.0
TOKENS_EVERY_S = 1.0
"""Interval at which the tokens of connected clients are checked."""
MAX_ERRORS = 20
FRAMES_A_SECOND = 20.0
FRAMES_AT_ONCE = 200

_NO_HOLDER: Holder = ("", "")
"""The holder of nothing."""

NOT_TEXT = 1003
POLICY = 1008

_clients = Gauge("acked_feed_clients", "Connected clients of the feed.")
_refused = Counter("acked_feed_refused_total", "Clients of the feed that were refused or closed.", ["why"])
_frames = Counter("acked_feed_frames_total", "Frames sent to clients of the feed.")


class Feed:
    """All clients of the feed in one gateway process."""

    def __init__(self, parts: FeedParts, clock: Clock, entry: FeedEntry, *, boot: str) -> None:
        """`boot` identifies this gateway process."""
        self._parts = parts
        self._clock = clock
        self._entry = entry
        self._boot = boot
        self._connections: set[_Connection] = set()

    def routes(self) -> list[BaseRoute]:
        """Return the WebSocket route."""
        return [SocketRoute(FEED_PATH, self.serve, permission=PERMISSION)]

    def start(self, tasks: Tasks) -> None:
        """Start heartbeats and token checks."""
        tasks.repeat("feed pings", self._ping, every_s=1.0)
        tasks.repeat("feed tokens", self._check_tokens, every_s=TOKENS_EVERY_S)

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one connection from its handshake to its end."""
        feeds, holder = self._parts.limits.feeds, client_of(websocket.scope)
        if holder is None and self._entry.asks:
            # An unauthenticated connection counts towards the entry's own limit.
            holder = _NO_HOLDER
        else:
            try:
                feeds.take(holder)
            except ProblemError as error:
                _refused.labels(error.problem.name).inc()
                await websocket.send_denial_response(ProblemResponse(error.problem))
                return
        try:
            guest = await self._entry.admit(websocket)
            if guest is None:
                _refused.labels("no token").inc()
                return
            if guest.client != holder:
                # The token came with the first message, or this process did not know it.
                try:
                    feeds.take(guest.client)
                except ProblemError as error:
                    _refused.labels(error.problem.name).inc()
                    await refuse(websocket, error.problem)
                    return
                holder = guest.client
            await self._follow(websocket, guest)
        finally:
            if holder != _NO_HOLDER:
                feeds.give_back(holder)

    async def _follow(self, websocket: WebSocket, guest: Guest) -> None:
        connection = _Connection(websocket, self._entry, guest, self._parts)
        self._connections.add(connection)
        _clients.inc()
        try:
            connection.client.send_control(hello_frame(self._boot))
            await connection.run()
        finally:
            _clients.dec()
            self._connections.discard(connection)
            connection.subscriptions.release()

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
    def __init__(self, websocket: WebSocket, entry: FeedEntry, guest: Guest, parts: FeedParts) -> None:
        self._websocket = websocket
        self._entry = entry
        self._guest = guest
        self._is_dismissed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._has_frames = asyncio.Event()
        self._errors = 0
        self._frames = TokenBucket(FRAMES_A_SECOND, FRAMES_AT_ONCE)
        self._is_writing = False
        self.client = Client(self._has_frames.set)
        self.subscriptions = HeldSubscriptions(self.client, guest.client, parts)
        self.pinged_at = time.monotonic()

    async def run(self) -> None:
        """Read and write until the client leaves or the gateway closes the connection."""
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
            await self._send_away(CLOSE_CODE, "the token is no longer valid", why_counted="token")

    def check_token(self) -> bool:
        """Check the token; if it is no longer valid, close the connection and return False."""
        may_stay = self._entry.may_stay(self._guest)
        if not may_stay and not self._is_dismissed.done():
            self._is_dismissed.set_result(None)
        return may_stay

    def ping(self, frame: str, now: float) -> None:
        """Send a heartbeat, unless an older frame is still being sent."""
        self.pinged_at = now
        if not self._is_writing:
            self.client.send_control(frame)

    async def _write(self) -> None:
        while True:
            await self._has_frames.wait()
            self._has_frames.clear()
            self._is_writing = True
            while (frame := self.client.next_frame()) is not None:
                try:
                    await self._websocket.send({"type": "websocket.send", "text": frame})
                except (WebSocketDisconnect, RuntimeError):
                    return
                _frames.inc()
                self.subscriptions.request_snapshots()
                # A send that does not wait never yields: a client that catches up must not delay the others.
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
                self.client.send_control(error_frame(error.problem, error.sub))

    async def _serve(self, text: str) -> None:
        """Apply one frame of the client. Raises `FeedError`."""
        frame = await self._parse(text)
        if isinstance(frame, Authenticate):
            if self._entry.asks:
                raise FeedError("this connection is already authenticated; open a new one to use another token")
        elif isinstance(frame, Unsubscribe):
            self.subscriptions.unsubscribe(frame.sub)
        elif self.check_token():
            self.subscriptions.subscribe(frame)

    async def _parse(self, text: str) -> Subscribe | Unsubscribe | Authenticate:
        """Parse a frame, a large or doubtful one in a thread. Raises `FeedError`."""
        tenant = self._guest.principal.tenant
        return await fair_thread.read(
            self._guest.client,
            fair_thread.utf8_size(text),
            lambda may_scan: parse_frame(text, tenant=tenant, may_scan=may_scan),
        )

    async def _send_away(self, code: int, why: str, *, why_counted: str = "protocol") -> None:
        _refused.labels(why_counted).inc()
        try:
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await self._websocket.close(code, why)
        except (WebSocketDisconnect, RuntimeError, TimeoutError):
            pass
