"""Limit what a WebSocket may send: the size of messages by path, the number of fragments, and the handshake.

uvicorn has one size for all paths and collects any number of fragments, even empty ones. It never closes a connection
whose handshake the WebSocket library can't parse: a method other than GET, a body, or a line above 8 KiB. The docstring
of the package lists the overridden methods.

uvicorn also parses all frames of a read at once, and responds to each ping even if the peer does not read the pongs.
256 KiB of empty pings are 43,000 frames: they block the loop for half a second, and for a peer that reads nothing the
pongs accumulate without a limit. So input is parsed in slices, and bytes after a message wait until the application has
received that message. Control frames are rate-limited. For a peer that does not read, only the newest pong is buffered,
as RFC 6455, 5.5.3 allows.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from prometheus_client import Counter
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame
from websockets.http11 import Request

from acked_common.http.problems import problem
from acked_common.http.server.error_response import answer_bytes
from acked_common.model.token_bucket import TokenBucket

MAX_PIECES = 256
SLICE_BYTES = 4096
CONTROLS_A_SECOND = 10.0
CONTROLS_AT_ONCE = 100.0
"""Pings and pongs of one connection. Clients ping every few seconds, and respond to our ping each 4 s."""

_closed = Counter("acked_ws_closed_total", "WebSockets that the server ended for their frames, by why.", ["why"])


class LimitedWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's protocol with limits. `limited_websocket` makes the class of one server."""

    sizes: Mapping[str, int]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unparsed = b""
        """Bytes after a message that the application has not received; the transport is paused meanwhile."""
        self._owed = b""
        self._controls = TokenBucket(CONTROLS_A_SECOND, CONTROLS_AT_ONCE)

    def data_received(self, data: bytes) -> None:
        """Parse the handshake, which must arrive as a whole, then frames."""
        if self.handshake_initiated:
            self._parse(self._unparsed + data)
            return
        super().data_received(data)
        if not self.handshake_initiated and not self.transport.is_closing():
            found = problem("bad-http", "the handshake of the WebSocket can't be read; a line of it may have 8 KiB")
            self.transport.write(answer_bytes(found, self.default_headers))
            self.transport.close()

    def _parse(self, data: bytes) -> None:
        self._unparsed = b""
        for start in range(0, len(data), SLICE_BYTES):
            if self.close_sent and self.transport.is_closing():
                return
            if self.read_paused:
                self._unparsed = data[start:]
                return
            super().data_received(data[start : start + SLICE_BYTES])

    async def receive(self) -> Any:
        """Return the next message as uvicorn does; continue to parse after it."""
        message = await self.queue.get()
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            if self._unparsed:
                # Yield: otherwise an application that always finds a message would never release the loop.
                await asyncio.sleep(0)
                self._parse(self._unparsed)
            if not self.read_paused and not self.transport.is_closing():
                self.transport.resume_reading()
        return message

    async def send(self, message: Any) -> None:
        """Send as uvicorn does; after a close frame, continue to parse until the peer's close frame."""
        await super().send(message)
        if self.close_sent and self._unparsed:
            self._parse(self._unparsed)

    def connection_lost(self, exc: Exception | None) -> None:
        """Parse the rest of the input first."""
        self.read_paused = False
        while self._unparsed and not self.close_sent:
            self._parse(self._unparsed)
            self.read_paused = False
        super().connection_lost(exc)

    def handle_ping(self) -> None:
        """Respond to a ping as soon as the peer reads."""
        output = b"".join(self.conn.data_to_send())
        if not self._has_pace():
            return
        if self.writable.is_set():
            self.transport.write(output)
        elif output:
            self._owed = output

    def handle_pong(self, event: Frame) -> None:
        """Handle a pong, solicited or not."""
        if self._has_pace():
            super().handle_pong(event)

    def resume_writing(self) -> None:
        """Send the buffered pong: the peer reads again."""
        super().resume_writing()
        if self._owed and not self.transport.is_closing():
            owed, self._owed = self._owed, b""
            self.transport.write(owed)

    def _has_pace(self) -> bool:
        """Return whether the rate allows one more control frame; otherwise close the connection."""
        if self.close_sent or self.transport.is_closing():
            return False
        if self._controls.take(1, self.loop.time()):
            _closed.labels("control-frames").inc()
            self.conn.fail(CloseCode.POLICY_VIOLATION, "too many control frames")
            self.handle_parser_exception()
            # Do not wait for a peer that does not read.
            if not self.writable.is_set():
                self.transport.abort()
            return False
        return True

    def handle_connect(self, event: Request) -> None:
        """Set the maximum message size of the path, which the handshake contains."""
        size = self.sizes.get(event.path.partition("?")[0])
        if size is not None:
            self.conn.max_message_size = size
        super().handle_connect(event)

    def handle_cont(self, event: Frame) -> None:
        """Handle one more fragment of a message."""
        if self.close_sent:
            return
        if len(self.frames) >= MAX_PIECES:
            self.frames = []
            self.conn.fail(CloseCode.MESSAGE_TOO_BIG, f"more than {MAX_PIECES} pieces")
            self.handle_parser_exception()
            return
        super().handle_cont(event)


def limited_websocket(sizes: Mapping[str, int]) -> type[LimitedWebSocket]:
    """Make the protocol class of one server. `sizes` has the maximum bytes of a message by path, else the default."""
    return type("LimitedWebSocket", (LimitedWebSocket,), {"sizes": sizes})
