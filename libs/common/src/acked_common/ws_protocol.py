"""What a WebSocket may send: messages of a size that fits its path, in few pieces, behind a readable handshake.

uvicorn knows one size for all paths, gathers any number of pieces, also empty ones, and never ends a connection whose
handshake the WebSocket library does not read: another method than GET, a body, a line of more than 8 KiB.
`http_protocol` lists all that is overridden.
"""

from collections.abc import Mapping

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame
from websockets.http11 import Request

from acked_common.last_answer import answer_bytes
from acked_common.problems import problem

MAX_PIECES = 256


class LimitedWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's protocol with limits. `limited_websocket` makes the class of one server."""

    sizes: Mapping[str, int]

    def data_received(self, data: bytes) -> None:
        """The first bytes are a whole handshake."""
        super().data_received(data)
        if not self.handshake_initiated and not self.transport.is_closing():
            found = problem("bad-http", "the handshake of the WebSocket can't be read; a line of it may have 8 KiB")
            self.transport.write(answer_bytes(found, self.default_headers))
            self.transport.close()

    def handle_connect(self, event: Request) -> None:
        """The handshake is here: from now on the path is known."""
        size = self.sizes.get(event.path.partition("?")[0])
        if size is not None:
            self.conn.max_message_size = size
        super().handle_connect(event)

    def handle_cont(self, event: Frame) -> None:
        """One more piece of a message."""
        if self.close_sent:
            return
        if len(self.frames) >= MAX_PIECES:
            self.frames = []
            self.conn.fail(CloseCode.MESSAGE_TOO_BIG, f"more than {MAX_PIECES} pieces")
            self.handle_parser_exception()
            return
        super().handle_cont(event)


def limited_websocket(sizes: Mapping[str, int]) -> type[LimitedWebSocket]:
    """The protocol of one server. `sizes` has the bytes of a message by path; elsewhere the usual limit holds."""
    return type("LimitedWebSocket", (LimitedWebSocket,), {"sizes": sizes})
