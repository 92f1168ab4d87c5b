"""The connection of one worker: one reader, one writer, and the pure `GatewayEnd` that checks the protocol.

The reader never pauses for long: a server that does not read sees no pong and takes a healthy worker for dead. A frame
that breaks the protocol closes its own connection and no other.
"""

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from prometheus_client import Counter
from starlette.websockets import WebSocket, WebSocketDisconnect

from acked_common.api.authenticator import CLOSE_CODE
from acked_common.channel.frames import (
    CloseCode,
    Events,
    Hello,
    ProtocolFault,
    close_reason,
    parse_from_worker,
)
from acked_common.channel.gateway_end import GatewayEnd, listen_frame
from acked_common.http import fair_thread
from acked_common.model.token_bucket import TokenBucket
from acked_common.model.tokens import TokenRecord
from acked_common.runtime.logs import get_log

if TYPE_CHECKING:
    from acked_gateway.workers.channel import WorkerChannel

log = get_log(__name__)

HELLO_WITHIN_S = 5.0
WRITE_WITHIN_S = 5.0
CLOSE_WITHIN_S = 1.0
MAX_WAITING_FRAMES = 1000
FRAMES_PER_S = 200.0
FRAME_BURST = 50.0
EVENTS_PER_S = 20_000.0
EVENT_BURST = 20_000.0
MOST_PAUSE_S = 1.0
"""A longer pause would delay the pongs of the peer."""
NOT_TEXT = 1003

_SECRET_HOLDERS = ("", "workers")
"""The holder whose turns a worker with the secret takes in the parsing threads; no tenant has an empty name."""
_OTHER_CODES = {NOT_TEXT: "not-text", CLOSE_CODE: "token"}

_refused = Counter("acked_channel_refused_total", "Lines of workers that were refused or closed.", ["why"])
_frames = Counter("acked_channel_frames_total", "Frames that workers sent.")

End = tuple[int, str]
"""The code and the reason of a close."""


def count_refused(why: str) -> None:
    """Count a connection that was refused or closed."""
    _refused.labels(why).inc()


class WorkerConnection:
    """Reads reports and sends commands; `GatewayEnd` checks the order of frames."""

    def __init__(
        self, websocket: WebSocket, end: GatewayEnd, channel: "WorkerChannel", record: TokenRecord | None
    ) -> None:
        self.record = record
        """The worker's token; None if it presented the worker secret."""
        self._websocket = websocket
        self._end = end
        self._channel = channel
        self._waiting: deque[str] = deque()
        self._has_frames = asyncio.Event()
        self._ended: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self._frame_rate = TokenBucket(FRAMES_PER_S, FRAME_BURST)
        self._event_rate = TokenBucket(EVENTS_PER_S, EVENT_BURST)
        self.boot: str | None = None

    def send(self, text: str) -> None:
        """Queue a frame; close the connection of a worker that reads none for long."""
        if len(self._waiting) >= MAX_WAITING_FRAMES:
            self._end_with(CloseCode.TOO_SLOW, "frames are not read")
            return
        self._waiting.append(text)
        self._has_frames.set()

    def accepts(self, word: str) -> bool:
        """Return whether the worker takes a type of frames, by its hello."""
        return self._end.accepts(word)

    @property
    def credential(self) -> str | None:
        """The id of the worker's token; None if it presented the worker secret."""
        return None if self.record is None else self.record.id

    def dismiss(self) -> None:
        """Close the connection, because its token is no longer valid."""
        self._end.close()
        self._end_with(CLOSE_CODE, "the token is no longer valid")

    def replace(self) -> None:
        """Close the connection, because a newer one of the same worker process has taken over."""
        self._end.close()
        self._end_with(CloseCode.REPLACED, "a newer connection has taken over")

    async def run(self) -> None:
        """Read and write until the worker leaves or the gateway closes the connection."""
        writer = asyncio.create_task(self._write(), name="worker connection writer")
        reader = asyncio.create_task(self._read(), name="worker connection reader")
        try:
            waited: set[asyncio.Future[Any]] = {writer, reader, self._ended}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            for task in (writer, reader):
                if task.done():
                    task.result()
        finally:
            for task in (writer, reader):
                task.cancel()
            await asyncio.gather(writer, reader, return_exceptions=True)
            self._waiting.clear()
        if self._ended.done():
            await self._close(*self._ended.result())

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(HELLO_WITHIN_S):
                is_open = await self._serve_frame()
        except TimeoutError:
            self._end_with(CloseCode.HELLO_TIMEOUT, f"no hello within {HELLO_WITHIN_S:g} s")
            return
        while is_open:
            is_open = await self._serve_frame()

    async def _serve_frame(self) -> bool:
        """Read one frame and queue its reply; return whether the connection stays open."""
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            return False
        text = message.get("text")
        if text is None:
            self._end_with(NOT_TEXT, "frames are JSON texts")
            return False
        _frames.inc()
        try:
            reports, reply = self._end.received(await self._parse(text))
        except ProtocolFault as fault:
            self._end_with(fault.code, fault.reason)
            return False
        now, events, is_new = time.monotonic(), 0, False
        if reports is not None and self.boot is not None:
            events = len(reports.events) + len(reports.progress)
            self._channel.forward_reports(self.boot, reports.events, reports.progress)
        elif self.boot is None and self._end.hello is not None:
            hello = self._end.hello
            if not self._channel.register(self, hello.boot, hello.worker):
                self._end_with(CLOSE_CODE, "another token speaks for this boot")
                return False
            self.boot = hello.boot
            is_new = True
        # The worker sends its next frame after the reply, so a busy worker puts more into each.
        pause_s = max(self._frame_rate.take(1, now), self._event_rate.take(events, now))
        if pause_s:
            await asyncio.sleep(min(pause_s, MOST_PAUSE_S))
        self.send(reply)
        if is_new and not self._channel.listens:
            self.send(listen_frame(on=False))
        return True

    async def _parse(self, text: str) -> Hello | Events:
        """Parse a frame, a large or doubtful one in a thread. The next frame is read afterwards, so frames keep their
        order. Raises `ProtocolFault`."""
        client = (
            _SECRET_HOLDERS if self.record is None else (self.record.principal.tenant, self.record.principal.client)
        )
        return await fair_thread.read(
            client, fair_thread.utf8_size(text), lambda may_scan: parse_from_worker(text, may_scan=may_scan)
        )

    async def _write(self) -> None:
        while True:
            await self._has_frames.wait()
            self._has_frames.clear()
            while self._waiting:
                try:
                    async with asyncio.timeout(WRITE_WITHIN_S):
                        await self._websocket.send({"type": "websocket.send", "text": self._waiting.popleft()})
                except TimeoutError:
                    self._end_with(CloseCode.TOO_SLOW, "frames are not read")
                    return
                except (WebSocketDisconnect, RuntimeError):
                    return

    def _end_with(self, code: int, reason: str) -> None:
        if not self._ended.done():
            self._ended.set_result((code, reason))

    async def _close(self, code: int, reason: str) -> None:
        name = _OTHER_CODES.get(code) or CloseCode(code).name.lower().replace("_", "-")
        count_refused(name)
        log.warning("line of a worker closed", boot=self.boot, code=code, reason=reason)
        try:
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await self._websocket.close(code, close_reason(reason))
        except (WebSocketDisconnect, RuntimeError, TimeoutError):
            # The peer reads nothing: the server closes the socket by itself.
            pass
