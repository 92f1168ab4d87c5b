"""`WS /ws/feed`: sessions of the feed over WebSockets.

A connection has one reader beside the writer of its session. The reader subscribes and unsubscribes. It never waits
for the writer: a server that does not read sees no pong and takes a healthy client for dead.
"""

import asyncio
import time

from starlette.routing import BaseRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from acked_common.api.authenticator import CLOSE_CODE
from acked_common.api.routes import SocketRoute
from acked_common.http import fair_thread
from acked_common.http.limits import Client as Holder
from acked_common.http.limits import client_of
from acked_common.http.problems import ProblemError
from acked_common.http.responses import ProblemResponse
from acked_common.model.token_bucket import TokenBucket
from acked_gateway.feed.entry import CLOSE_WITHIN_S, PERMISSION, Guest, refuse
from acked_gateway.feed.frames import Authenticate, FeedError, Subscribe, Unsubscribe, error_frame, parse_frame
from acked_gateway.feed.session import FEED_PATH, Feed, Session, count_refusal

MAX_ERRORS = 20
FRAMES_A_SECOND = 20.0
FRAMES_AT_ONCE = 200

_NO_HOLDER: Holder = ("", "")
"""The holder of nothing."""

NOT_TEXT = 1003
POLICY = 1008


class FeedSockets:
    """All WebSockets of the feed in one gateway process."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def routes(self) -> list[BaseRoute]:
        """Return the WebSocket route."""
        return [SocketRoute(FEED_PATH, self.serve, permission=PERMISSION)]

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one connection from its handshake to its end."""
        entry, feeds, holder = self._feed.entry, self._feed.limits.feeds, client_of(websocket.scope)
        if holder is None and entry.asks:
            # An unauthenticated connection counts towards the entry's own limit.
            holder = _NO_HOLDER
        else:
            try:
                feeds.take(holder)
            except ProblemError as error:
                count_refusal(error.problem.name)
                await websocket.send_denial_response(ProblemResponse(error.problem))
                return
        try:
            guest = await entry.admit(websocket)
            if guest is None:
                count_refusal("no token")
                return
            if guest.client != holder:
                # The token came with the first message, or this process did not know it.
                try:
                    feeds.take(guest.client)
                except ProblemError as error:
                    count_refusal(error.problem.name)
                    await refuse(websocket, error.problem)
                    return
                holder = guest.client
            await self._follow(websocket, guest)
        finally:
            if holder != _NO_HOLDER:
                feeds.give_back(holder)

    async def _follow(self, websocket: WebSocket, guest: Guest) -> None:
        with self._feed.session(guest) as session:
            await _Connection(websocket, session, asks=self._feed.entry.asks).run()


class _Connection:
    def __init__(self, websocket: WebSocket, session: Session, *, asks: bool) -> None:
        self._websocket = websocket
        self._session = session
        self._asks = asks
        self._errors = 0
        self._frames = TokenBucket(FRAMES_A_SECOND, FRAMES_AT_ONCE)

    async def run(self) -> None:
        """Read and write until the client leaves or the gateway closes the connection."""
        await self._session.run(self._send, self._read())
        if self._session.is_dismissed:
            await self._send_away(CLOSE_CODE, "the token is no longer valid", why_counted="token")

    async def _send(self, frame: str) -> bool:
        try:
            await self._websocket.send({"type": "websocket.send", "text": frame})
        except (WebSocketDisconnect, RuntimeError):
            return False
        return True

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
                self._session.client.send_control(error_frame(error.problem, error.sub))

    async def _serve(self, text: str) -> None:
        """Apply one frame of the client. Raises `FeedError`."""
        frame = await self._parse(text)
        if isinstance(frame, Authenticate):
            if self._asks:
                raise FeedError("this connection is already authenticated; open a new one to use another token")
        elif isinstance(frame, Unsubscribe):
            self._session.subscriptions.unsubscribe(frame.sub)
        elif self._session.check_token():
            self._session.subscriptions.subscribe(frame)

    async def _parse(self, text: str) -> Subscribe | Unsubscribe | Authenticate:
        """Parse a frame, a large or doubtful one in a thread. Raises `FeedError`."""
        guest = self._session.guest
        return await fair_thread.read(
            guest.client,
            fair_thread.utf8_size(text),
            lambda may_scan: parse_frame(text, tenant=guest.principal.tenant, may_scan=may_scan),
        )

    async def _send_away(self, code: int, why: str, *, why_counted: str = "protocol") -> None:
        count_refusal(why_counted)
        try:
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await self._websocket.close(code, why)
        except (WebSocketDisconnect, RuntimeError, TimeoutError):
            pass
