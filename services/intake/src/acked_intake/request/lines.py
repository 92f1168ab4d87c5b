"""Split a body of newline-delimited JSON into its lines as it arrives. Pure.

A line ends with LF or CRLF; the last one may lack its end, but only if the body is complete: the rest of a body that
was cut is no line. Blank lines count as lines and are skipped.
"""

from collections.abc import Iterator
from typing import NamedTuple

MAX_LINES = 10_000
MAX_BYTES = 16 * 2**20
"""Of all lines of one request."""

_BLANK = b" \t\r"


class BodyLine(NamedTuple):
    """One line that is not blank; `number` begins at 1."""

    number: int
    text: bytes
    is_too_long: bool = False
    """The line exceeds the limit of a body; its text was dropped."""


class Overflow(Exception):
    """The request has more lines or more bytes than one may have; `number` is the first line that was not read."""

    def __init__(self, number: int, detail: str) -> None:
        super().__init__(detail)
        self.number = number
        self.detail = detail


class LineSplitter:
    """Collects chunks; holds at most one unfinished line of `max_line_bytes`."""

    def __init__(self, max_line_bytes: int) -> None:
        self._max_line_bytes = max_line_bytes
        self._rest = bytearray()
        self._drops = False
        """The unfinished line is too long."""
        self.number = 1
        """The number of the line that arrives next, or has begun."""
        self.received = 0
        """Bytes in all."""

    def feed(self, chunk: bytes) -> Iterator[BodyLine]:
        """Yield the lines that end in this chunk. Raises `Overflow` after the last line that fits."""
        room = MAX_BYTES - self.received
        self.received += len(chunk)
        *ended, rest = chunk[:room].split(b"\n")
        for part in ended:
            self._add(part)
            yield from self._ended_line()
        self._add(rest)
        if len(chunk) > room:
            raise Overflow(self.number, f"one request may have {MAX_BYTES:,} bytes, and this one has more")

    def end(self) -> Iterator[BodyLine]:
        """Yield the last line if it has no end. Call it when the body is complete. Raises `Overflow`."""
        if self._rest or self._drops:
            yield from self._ended_line()

    def _add(self, part: bytes) -> None:
        if self._drops:
            return
        self._rest += part
        # One more for the CR of a line of the full length.
        if len(self._rest) > self._max_line_bytes + 1:
            self._drops = True
            self._rest.clear()

    def _ended_line(self) -> Iterator[BodyLine]:
        if self.number > MAX_LINES:
            raise Overflow(self.number, f"one request may have {MAX_LINES:,} lines, and this one has more")
        text = bytes(self._rest).strip(_BLANK)
        is_too_long = self._drops or len(text) > self._max_line_bytes
        number, self.number = self.number, self.number + 1
        self._rest.clear()
        self._drops = False
        if text or is_too_long:
            yield BodyLine(number, b"" if is_too_long else text, is_too_long)
