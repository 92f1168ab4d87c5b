"""Clients of the live feed, many in one process, each with little to do: a program that is told what to do by lines.

`python -m benchmarks.followers` reads its `Order` as a line of JSON from standard input and answers with a line when
all follow. `go` begins to count, `now` tells how far that is, `end` answers with what was counted and writes what
sampled clients heard; the end of the input ends it.
"""

import asyncio
import base64
import gc
import json
import os
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import uvloop

_EVENTS = b'{"type":"events"'
_SNAPSHOT = b'{"type":"snapshot"'
_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10
_AT_ONCE = 50
"""Handshakes under way together."""
_CONNECT_WITHIN_S = 120.0
_NO_MASK = b"\0\0\0\0"


@dataclass(slots=True)
class Order:
    """What to do. `scopes` are taken in turn; the first `sampled` clients keep what they hear; `sources` is how many
    addresses of loopback connections come from."""

    port: int
    clients: int
    token: str
    scopes: list[dict[str, Any]]
    sampled: int
    heard: str
    """The file for what sampled clients heard."""
    sources: int = 1


@dataclass(slots=True)
class Counted:
    """What came since `go`."""

    frames: int = 0
    events: int = 0
    bytes: int = 0
    seconds: float = 0.0
    resyncs: int = 0
    lost: int = 0
    """Connections that ended."""


@dataclass(slots=True)
class Totals:
    """Of all clients of the process."""

    counted: Counted = field(default_factory=Counted)
    counts: bool = False
    heard: list[tuple[int, bytes]] = field(default_factory=list)


class Follower(asyncio.Protocol):
    """One client: a WebSocket that follows one scope. Answers pings; reads everything at once."""

    __slots__ = ("_buffer", "_is_open", "_order", "_scope", "_totals", "_transport", "is_sampled", "ready")

    def __init__(self, order: Order, scope: dict[str, Any], totals: Totals, *, is_sampled: bool) -> None:
        self._order = order
        self._scope = scope
        self._totals = totals
        self._buffer = b""
        self._is_open = False
        self._transport: asyncio.Transport | None = None
        self.is_sampled = is_sampled
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are none of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            "GET /ws/feed HTTP/1.1",
            f"Host: 127.0.0.1:{self._order.port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            *([f"Authorization: Bearer {self._order.token}"] if self._order.token else []),
        ]
        self._transport.write(("\r\n".join(lines) + "\r\n\r\n").encode())

    def data_received(self, data: bytes) -> None:
        at = time.monotonic_ns()
        buffer = self._buffer + data if self._buffer else data
        if not self._is_open:
            head, found, rest = buffer.partition(b"\r\n\r\n")
            if not found:
                self._buffer = buffer
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self._fail(f"the handshake was answered with {head[:80]!r}")
                return
            self._is_open = True
            asked = json.dumps({"type": "subscribe", "sub": "s", "scope": self._scope}).encode()
            self._send(_TEXT, asked)
            buffer = rest
        self._buffer = self._frames(buffer, at)

    def connection_lost(self, _: Exception | None) -> None:
        self._totals.counted.lost += 1
        self._fail("the connection ended")

    def _fail(self, why: str) -> None:
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(why))

    def _frames(self, buffer: bytes, at: int) -> bytes:
        """Takes whole frames; what is left of the buffer."""
        start, size = 0, len(buffer)
        while size - start >= 2:
            opcode, length = buffer[start] & 15, buffer[start + 1]
            head = 2
            if length == 126:
                if size - start < 4:
                    break
                length, head = int.from_bytes(buffer[start + 2 : start + 4]), 4
            elif length == 127:
                if size - start < 10:
                    break
                length, head = int.from_bytes(buffer[start + 2 : start + 10]), 10
            end = start + head + length
            if end > size:
                break
            self._take(opcode, buffer[start + head : end], at)
            start = end
        return buffer[start:]

    def _take(self, opcode: int, payload: bytes, at: int) -> None:
        if opcode == _PING:
            self._send(_PONG, payload)
        elif opcode == _TEXT and payload.startswith(_EVENTS):
            if self._totals.counts:
                counted = self._totals.counted
                counted.frames += 1
                counted.events += payload.count(b'"rev":')
                counted.bytes += len(payload)
                if self.is_sampled:
                    self._totals.heard.append((at, payload))
        elif opcode == _TEXT and payload.startswith(_SNAPSHOT):
            if not self.ready.done():
                self.ready.set_result(None)
        elif opcode == _TEXT and payload.startswith(b'{"type":"resync"'):
            self._totals.counted.resyncs += 1

    def _send(self, opcode: int, payload: bytes) -> None:
        assert self._transport is not None
        size = len(payload)
        head = bytes([128 | opcode, 128 | size]) if size < 126 else struct.pack("!BBH", 128 | opcode, 128 | 126, size)
        # A mask of zeros is one: nobody stands between here and the gateway.
        self._transport.write(head + _NO_MASK + payload)


async def connect(order: Order, totals: Totals) -> list[Follower]:
    """All clients, each with its first snapshot."""
    loop = asyncio.get_running_loop()
    gate = asyncio.Semaphore(_AT_ONCE)
    made: list[Follower] = []

    async def one(number: int) -> None:
        async with gate:
            scope = order.scopes[number % len(order.scopes)]
            source = (f"127.0.0.{2 + number % order.sources}", 0) if order.sources > 1 else None
            _, follower = await loop.create_connection(
                lambda: Follower(order, scope, totals, is_sampled=number < order.sampled),
                "127.0.0.1",
                order.port,
                local_addr=source,
            )
            made.append(follower)
            await follower.ready

    async with asyncio.timeout(_CONNECT_WITHIN_S), asyncio.TaskGroup() as tasks:
        for number in range(order.clients):
            tasks.create_task(one(number))
    return made


def write_heard(heard: list[tuple[int, bytes]], file: Path) -> None:
    """A line for each event: its job, its rev, and when it came."""
    with file.open("w") as lines:
        for at, payload in heard:
            for event in json.loads(payload)["events"]:
                lines.write(f"{event['id']} {event['rev']} {at}\n")


async def follow(lines: "asyncio.Queue[str]", tell: Callable[[object], None]) -> None:
    """Until the input ends."""
    order = Order(**json.loads(await lines.get()))
    totals = Totals()
    followers = await connect(order, totals)
    gc.freeze()
    gc.disable()
    tell({"following": len(followers)})
    started = 0.0
    while line := await lines.get():
        if line == "go":
            totals.counted, totals.heard, totals.counts = Counted(), [], True
            started = time.monotonic()
        elif line == "now":
            tell(asdict(totals.counted))
        elif line == "end":
            totals.counts = False
            totals.counted.seconds = time.monotonic() - started
            write_heard(totals.heard, Path(order.heard))
            tell(asdict(totals.counted))


async def main() -> None:
    """Reads lines from standard input; an empty one stands for its end."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str] = asyncio.Queue()
    reader = asyncio.StreamReader(limit=2**20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def read() -> None:
        while line := await reader.readline():
            lines.put_nowait(line.decode().strip())
        lines.put_nowait("")

    reading = asyncio.create_task(read())
    await follow(lines, lambda found: print(json.dumps(found), flush=True))
    reading.cancel()


if __name__ == "__main__":
    uvloop.run(main())
