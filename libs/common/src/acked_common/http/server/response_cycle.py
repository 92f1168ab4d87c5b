"""Send the head of a response together with the first part of its body, in one write.

uvicorn writes the head as soon as the application sends it. That costs a second system call and a second packet per
response, and wakes the client twice. `send` repeats the body of uvicorn's method; the docstring of the package lists
the overridden methods.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, STATUS_LINE, RequestResponseCycle

TAKEN_WITHIN_S = 30.0
"""The time limit in which a client must read a part of a response, about 64 KiB, before the next one is written."""
_WITHOUT_BODY = (204, 304)
_NAMES_REMEMBERED = 256
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})
_CONTROLS = bytes(code for code in range(256) if HEADER_VALUE_RE.search(bytes([code])))
"""Characters that uvicorn refuses in values."""

_names: dict[bytes, bytes] = {}
"""Lower case of checked header names; applications use few different ones."""


class ResponseCycle(RequestResponseCycle):
    """uvicorn's cycle of one request and its response, with a different `send`. `response_started` is true from the
    application's first message on, although its second message causes the first write."""

    _start: Any = None
    _has_given_body = False

    async def receive(self) -> Any:
        """Implement the ASGI `receive`. A body that has arrived completely is returned at once."""
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
        """Implement the ASGI `send`."""
        if self.flow.write_paused and not self.disconnected:
            try:
                async with asyncio.timeout(TAKEN_WITHIN_S):
                    await self.flow.drain()
            except TimeoutError:
                # A client that reads very slowly would hold memory without a limit.
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
            raise RuntimeError(f"the response is complete, but {message['type']!r} was sent after it")
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
        """Encode the head of the response; record how the body is framed."""
        lines = [STATUS_LINE[status]]
        says_close = False
        every = (*self.default_headers, *headers)
        # Check all values at once: checking each would double the cost of this method.
        values = b"".join([value for _, value in every])
        if len(values.translate(None, _CONTROLS)) != len(values):
            raise RuntimeError("the value of a header contains a control character")
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
        """Record a header about body or connection. Return whether it ends the connection."""
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
        """Append the encoding of one part of the body."""
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
        raise RuntimeError(f"{kind!r} was expected, but {message['type']!r} was sent")


def _checked_name(name: bytes) -> bytes:
    if HEADER_RE.search(name):
        raise RuntimeError("the name of a header contains an invalid character")
    lower = name.lower()
    if len(_names) < _NAMES_REMEMBERED:
        _names[name] = lower
    return lower
