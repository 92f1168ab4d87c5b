"""Our own clients: as many requests as some connections can, where there is no wrk; and so many a second."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import uvloop

from benchmarks.rounds import percentile
from benchmarks.wrk import Load

_END = b"\r\n\r\n"
_ANSWERED_WITHIN_S = 10.0


def request_bytes(port: int, path: str, body: bytes, headers: dict[str, str], *, method: str = "POST") -> bytes:
    """One request, as it goes over the line."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if method == "POST":
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + _END + body


class Connection(asyncio.Protocol):
    """One connection that is kept alive; `on_answer` gets the status of each answer."""

    def __init__(self, on_answer: "Callable[[Connection, int], None]") -> None:
        self._on_answer = on_answer
        self._buffer = b""
        self.transport: asyncio.Transport | None = None
        self.sent_at = 0.0
        self.is_broken = False
        self.body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are none of asyncio's classes.
        self.transport = cast(asyncio.Transport, transport)

    def send(self, data: bytes) -> None:
        """Sends a request; there is none under way."""
        self.sent_at = time.perf_counter()
        assert self.transport is not None
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(_END)) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            whole = end + len(_END) + length
            if len(self._buffer) < whole:
                return
            self.body = self._buffer[end + len(_END) : whole]
            self._buffer = self._buffer[whole:]
            self._on_answer(self, int(head[9:12]))

    def connection_lost(self, _: Exception | None) -> None:
        self.is_broken = True


@dataclass(slots=True)
class Answers:
    """What came back."""

    latencies_s: list[float] = field(default_factory=list)
    refused: int = 0
    broken: int = 0
    late: int = 0
    """Calls that had to wait for a free connection, since none answered."""

    def took(self, seconds: float) -> Load:
        """As wrk would say it."""
        latencies = self.latencies_s or [0.0]
        return Load(
            answered=len(self.latencies_s),
            took_s=seconds,
            refused=self.refused,
            broken=self.broken,
            p50_ms=percentile(latencies, 0.5) * 1e3,
            p99_ms=percentile(latencies, 0.99) * 1e3,
        )


def flood(port: int, make: Callable[[], bytes], *, connections: int, seconds: float) -> Load:
    """Each connection sends its next request when the last one is answered; `make` gives each."""
    return uvloop.run(_flood(port, make, connections, seconds))


async def _flood(port: int, make: Callable[[], bytes], connections: int, seconds: float) -> Load:
    answers = Answers()
    end = time.perf_counter() + seconds

    def on_answer(connection: Connection, status: int) -> None:
        now = time.perf_counter()
        answers.latencies_s.append(now - connection.sent_at)
        answers.refused += status >= 300
        if now < end:
            connection.send(make())

    opened = await _connect(port, connections, on_answer)
    started = time.perf_counter()
    for connection in opened:
        connection.send(make())
    await asyncio.sleep(seconds)
    took_s = time.perf_counter() - started
    found = answers.took(took_s)
    await _close(opened)
    return found


def paced(
    port: int,
    make: Callable[[int], bytes],
    *,
    per_s: float,
    seconds: float,
    connections: int = 64,
    sent: Callable[[int, int], None] = lambda number, at_ns: None,
) -> Answers:
    """Sends so many a second, whatever becomes of the earlier ones: `make` gives the request of each number, `sent` is
    told when it was due to be sent (`time.monotonic_ns`)."""
    return uvloop.run(_paced(port, make, per_s, seconds, connections, sent))


async def _paced(
    port: int,
    make: Callable[[int], bytes],
    per_s: float,
    seconds: float,
    connections: int,
    sent: Callable[[int, int], None],
) -> Answers:
    answers = Answers()
    free: list[Connection] = []
    due: list[int] = []
    due_at: dict[Connection, float] = {}
    total = int(per_s * seconds)
    all_answered = asyncio.Event()

    def give(connection: Connection, number: int) -> None:
        due_at[connection] = started + number / per_s
        sent(number, started_ns + int(number / per_s * 1e9))
        connection.send(make(number))

    def on_answer(connection: Connection, status: int) -> None:
        answers.latencies_s.append(time.perf_counter() - due_at[connection])
        answers.refused += status >= 300
        if len(answers.latencies_s) == total:
            all_answered.set()
        if due:
            give(connection, due.pop(0))
        else:
            free.append(connection)

    opened = await _connect(port, connections, on_answer)
    free.extend(opened)
    started, started_ns = time.perf_counter(), time.monotonic_ns()
    number = 0
    while number < total:
        now = time.perf_counter()
        while number < total and started + number / per_s <= now:
            if free:
                give(free.pop(), number)
            else:
                answers.late += 1
                due.append(number)
            number += 1
        await asyncio.sleep(max(0.0, started + number / per_s - time.perf_counter()))
    try:
        async with asyncio.timeout(_ANSWERED_WITHIN_S):
            await all_answered.wait()
    except TimeoutError:
        pass
    answers.broken = total - len(answers.latencies_s)
    await _close(opened)
    return answers


async def _connect(port: int, number: int, on_answer: Callable[[Connection, int], None]) -> list[Connection]:
    loop = asyncio.get_running_loop()
    made = []
    for _ in range(number):
        _, connection = await loop.create_connection(lambda: Connection(on_answer), "127.0.0.1", port)
        made.append(connection)
    return made


async def _close(opened: list[Connection]) -> None:
    for connection in opened:
        if connection.transport is not None:
            connection.transport.abort()
    await asyncio.sleep(0)
