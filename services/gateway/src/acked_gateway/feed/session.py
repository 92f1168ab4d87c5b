"""OWNER of the sessions of the feed: the subscriptions, the frames and the token of each client.

A transport carries a session: a WebSocket (`websocket`) or an event stream (`event_stream`). It says how a client
subscribes and how one frame is sent; everything else is here, so both keep the same promises. The hub queues frames,
and one writer a session sends them. A writer that waits for a slow client delays no other session.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client import Counter, Gauge

from acked_common.model.instants import rfc3339
from acked_common.runtime.clock import Clock
from acked_common.runtime.lifetime import Tasks
from acked_gateway.feed.client import Client
from acked_gateway.feed.entry import FeedEntry, Guest
from acked_gateway.feed.frames import hello_frame, ping_frame
from acked_gateway.feed.held_subscriptions import FeedLimits, FeedParts, HeldSubscriptions

FEED_PATH = "/ws/feed"
"""Of both transports."""
PING_EVERY_S = 15.0
TOKENS_EVERY_S = 1.0
"""Interval at which the tokens of connected clients are checked."""

_clients = Gauge("acked_feed_clients", "Connected clients of the feed.")
_frames = Counter("acked_feed_frames_total", "Frames sent to clients of the feed.")
_refused = Counter("acked_feed_refused_total", "Clients of the feed that were refused or closed.", ["why"])

Send = Callable[[str], Awaitable[bool]]
"""Send one frame as soon as the client takes it; return False if the client has left."""


def count_refusal(why: str) -> None:
    """Count a client that was refused or closed."""
    _refused.labels(why).inc()


class Feed:
    """All sessions of the feed in one gateway process."""

    def __init__(self, parts: FeedParts, clock: Clock, entry: FeedEntry, *, boot: str) -> None:
        """`boot` identifies this gateway process."""
        self._parts = parts
        self._clock = clock
        self.entry = entry
        self.boot = boot
        self._sessions: set[Session] = set()

    @property
    def limits(self) -> FeedLimits:
        """The limits of what clients hold; a transport takes `feeds`, sessions take the others."""
        return self._parts.limits

    def start(self, tasks: Tasks) -> None:
        """Start heartbeats and token checks."""
        tasks.repeat("feed pings", self._ping, every_s=1.0)
        tasks.repeat("feed tokens", self._check_tokens, every_s=TOKENS_EVERY_S)

    @contextmanager
    def session(self, guest: Guest) -> Iterator["Session"]:
        """Open a session, whose first frame is `hello`. At its end, release what it holds."""
        session = Session(guest, self.entry, self._parts)
        self._sessions.add(session)
        _clients.inc()
        try:
            session.client.send_control(hello_frame(self.boot))
            yield session
        finally:
            _clients.dec()
            self._sessions.discard(session)
            session.subscriptions.release()

    async def _check_tokens(self) -> None:
        if self.entry.asks:
            for session in self._sessions:
                session.check_token()

    async def _ping(self) -> None:
        now = time.monotonic()
        frame: str | None = None
        for session in self._sessions:
            if now - session.pinged_at >= PING_EVERY_S:
                frame = frame or ping_frame(rfc3339(self._clock.now()))
                session.ping(frame, now)


class Session:
    """One client of the feed."""

    def __init__(self, guest: Guest, entry: FeedEntry, parts: FeedParts) -> None:
        self.guest = guest
        self._entry = entry
        self._is_dismissed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._has_frames = asyncio.Event()
        self._is_writing = False
        self.client = Client(self._has_frames.set)
        self.subscriptions = HeldSubscriptions(self.client, guest.client, parts)
        self.pinged_at = time.monotonic()

    @property
    def is_dismissed(self) -> bool:
        """Whether the session ends because its token is no longer valid."""
        return self._is_dismissed.done()

    async def run(self, send: Send, *ends: Coroutine[Any, Any, Any]) -> None:
        """Send frames until the client has left, the session is dismissed or one of `ends` has ended. Cancel the
        others then; raise what one of them raised."""
        tasks = [asyncio.create_task(self._write(send), name="feed writer")]
        tasks += [asyncio.create_task(end, name="feed session") for end in ends]
        try:
            waited: set[asyncio.Future[Any]] = {*tasks, self._is_dismissed}
            done, _ = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def check_token(self) -> bool:
        """Check the token; if it is no longer valid, dismiss the session and return False."""
        may_stay = self._entry.may_stay(self.guest)
        if not may_stay and not self._is_dismissed.done():
            self._is_dismissed.set_result(None)
        return may_stay

    def ping(self, frame: str, now: float) -> None:
        """Send a heartbeat, unless an older frame is still being sent."""
        self.pinged_at = now
        if not self._is_writing:
            self.client.send_control(frame)

    async def _write(self, send: Send) -> None:
        while True:
            await self._has_frames.wait()
            self._has_frames.clear()
            self._is_writing = True
            while (frame := self.client.next_frame()) is not None:
                if not await send(frame):
                    return
                _frames.inc()
                self.subscriptions.request_snapshots()
                # A send that does not wait never yields: a client that catches up must not delay the others.
                await asyncio.sleep(0)
            self._is_writing = False
