"""An answer on its way out: its head leaves together with the first part of its body, in one write.

uvicorn by itself writes the head as soon as an application gives it. That is a second system call and a second packet
for each answer, and a client that is woken twice. `send` repeats what uvicorn's does; the docstring
of the package lists all that is overridden.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, STATUS_LINE, RequestResponseCycle

TAKEN_WITHIN_S = 30.0
"""In which a client must take a part of an answer, of some 64 KiB, before the next one is written."""
_WITHOUT_BODY = (204, 304)
_NAMES_REMEMBERED = 256
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})
_CONTROLS = bytes(code for code in range(256) if HEADER_VALUE_RE.search(bytes([code])))
"""What uvicorn lets into no value."""

_names: dict[bytes, bytes] = {}
"""Names of headers that were checked, and their lower case: applications use the same few again and again."""


class ResponseCycle(RequestResponseCycle):
    """uvicorn's cycle of one request and its answer, with its own way to send. `response_started` is true from the
    application's first message on, though nothing is written until its second."""

    _start: Any = None
    _has_given_body = False

    async def receive(self) -> Any:
        """The ASGI `receive`: a body that is here as a whole is given without more ado."""
        if (
            self.more_body
            or self._has_given_body
            or self.disconnected
            or self.response_complete
            or self.waiting_for_100_continue
            or self.flow.read_paused
        ):
            return await super().receive()
        self._has_given_body = True
        self.message_event.clear()
        body, self.body = bytes(self.body), bytearray()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Any) -> None:
        """The ASGI `send`."""
        if self.flow.write_paused and not self.disconnected:
            try:
                async with asyncio.timeout(TAKEN_WITHIN_S):
                    await self.flow.drain()
            except TimeoutError:
                # What a client takes in drops holds memory as long as it likes.
                self.transport.abort()
                self.disconnected = True
        if self.disconnected:
            return
        if not self.response_started:
            _expect("http.response.start", message)
            self.response_started = True
            self.waiting_for_100_continue = False
            self._start = message
            return
        if self.response_complete:
            raise RuntimeError(f"the answer is complete, and {message['type']!r} was sent behind it")
        _expect("http.response.body", message)
        more_body = message.get("more_body", False)
        parts = []
        if self._start is not None:
            parts.append(self._head(self._start["status"], self._start.get("headers", ())))
            self._start = None
        self._add_body(parts, message.get("body", b""), more_body)
        if parts:
            self.transport.write(b"".join(parts))
        if not more_body:
            self._complete()

    def _head(self, status: int, headers: Any) -> bytes:
        """The head of the answer; notes how the body is framed."""
        lines = [STATUS_LINE[status]]
        says_close = False
        every = (*self.default_headers, *headers)
        # All values at once: to search each by itself takes as long as all else here.
        values = b"".join([value for _, value in every])
        if len(values.translate(None, _CONTROLS)) != len(values):
            raise RuntimeError("the value of a header holds a control character")
        for name, value in every:
            name = _names.get(name) or _checked_name(name)
            if name in _FRAMING:
                says_close = self._note_framing(name, value) or says_close
            lines += (name, b": ", value, b"\r\n")
        if not self.keep_alive and not says_close:
            lines.append(b"connection: close\r\n")
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in _WITHOUT_BODY:
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)

    def _note_framing(self, name: bytes, value: bytes) -> bool:
        """Notes what a header says of the body and of the connection; whether it says that the connection ends."""
        if name == b"content-length" and self.chunked_encoding is None:
            self.expected_content_length = int(value)
            self.chunked_encoding = False
        elif name == b"transfer-encoding" and value.lower() == b"chunked":
            self.expected_content_length = 0
            self.chunked_encoding = True
        elif name == b"connection" and b"close" in [word.strip() for word in value.lower().split(b",")]:
            self.keep_alive = False
            return True
        return False

    def _add_body(self, parts: list[bytes], body: bytes, more_body: bool) -> None:
        """Adds what is written for one part of the body."""
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
        elif self.chunked_encoding:
            if body:
                parts += (b"%x\r\n" % len(body), body, b"\r\n")
            if not more_body:
                parts.append(b"0\r\n\r\n")
        else:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0:
                raise RuntimeError("the body is longer than its Content-Length")
            parts.append(body)

    def _complete(self) -> None:
        if self.expected_content_length != 0:
            raise RuntimeError("the body is shorter than its Content-Length")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


def _expect(kind: str, message: Any) -> None:
    if message["type"] != kind:
        raise RuntimeError(f"{kind!r} has to come, and {message['type']!r} was sent")


def _checked_name(name: bytes) -> bytes:
    if HEADER_RE.search(name):
        raise RuntimeError("the name of a header holds a character that no name has")
    lower = name.lower()
    if len(_names) < _NAMES_REMEMBERED:
        _names[name] = lower
    return lower
