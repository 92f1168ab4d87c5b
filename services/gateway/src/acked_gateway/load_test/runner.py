"""The load test: many real HTTP calls to intake at once, with their latencies and failures.

Each call is a task from the start of its test, and its latency counts from there, so it includes the wait for a
connection. A call builds its request only when it has a connection, which bounds memory.
"""

import asyncio
import secrets
from array import array
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter

import aiohttp
import msgspec
from yarl import URL

from acked_gateway.jobs.intake_client import open_session, process_url

MAX_CALLS = 100_000
MAX_CONNECTIONS = 250

_QUANTILES = (("p50", 0.50), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
_LAUNCHED_AT_ONCE = 500
"""Calls started between two turns of the loop, so that a large test does not delay the gateway's other work."""
BARS = 24
_REASONS_KEPT = 16
GOES_ON_S = 3.0
"""How long a test continues in a stopping process."""
_ID_START = b'{"id":"'
_ID_FROM, _ID_TO = len(_ID_START), len(_ID_START) + 36
_ACCEPTED = 202
_TOO_MANY = 429
_MOST_PAUSE_S = 60
_UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Spread:
    """How the latencies are spread: `BARS` bars of equal width from 0 to the slowest call, or none without calls."""

    bounds_ms: tuple[float, ...]
    """The upper end of each bar."""
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LoadTestResult:
    """The figures of one load test; durations are milliseconds.

    `persisted` counts the 202 responses with an id that no other call got. All other calls are `failed`, as are those
    with an unknown outcome. `latency_ms` has `p50`, `p95`, `p99` and `max` of the persisted calls, or None if there are
    none. `failures` has a count for each reason, such as "503 busy" or "timeout".
    """

    batch: str
    requested: int
    persisted: int
    failed: int
    duration_ms: float
    latency_ms: dict[str, float | None]
    spread: Spread
    failures: dict[str, int]


class LoadTester:
    """Calls `POST /process` of the intake at `intake_url`; reuses its connections for the next test.

    Measured: 100 to 250 connections are equally fast against a group-committing intake, and 64 or fewer can take twice
    as long. Connecting 128 costs the first test 15 ms, 250 cost 35 ms. `request_timeout_s` bounds one call from the
    moment it has a connection to the last byte of its response.
    """

    def __init__(self, intake_url: str, *, max_connections: int = 128, request_timeout_s: float = 30.0) -> None:
        if not 1 <= max_connections <= MAX_CONNECTIONS:
            raise ValueError(f"max_connections must be 1 to {MAX_CONNECTIONS}")
        self._url = process_url(intake_url)
        self._max_connections = max_connections
        self._request_timeout_s = request_timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the HTTP session; the first test opens connections."""
        self._session = open_session(max_connections=self._max_connections, request_timeout_s=self._request_timeout_s)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def run(
        self,
        count: int,
        kind: str = "demo",
        payload: object | None = None,
        batch: str | None = None,
        stopping: asyncio.Event | None = None,
        authorization: str | None = None,
    ) -> LoadTestResult:
        """Make `count` calls (1 to 100,000) and return when all have ended.

        Without a `batch`, a new name is used. Cancellation ends all calls. Calls that have not begun 3 s after
        `stopping` fail. `authorization` is the header that each call sends to intake.
        """
        if not 1 <= count <= MAX_CALLS:
            raise ValueError(f"count must be 1 to {MAX_CALLS:,}")
        if self._session is None:
            raise RuntimeError("the load tester has not been started")
        body: dict[str, object] = {"kind": kind, "batch": batch or new_batch_name()}
        if payload is not None:
            body["payload"] = payload
        calls = _Calls(self._session, self._url, msgspec.json.encode(body), self._max_connections, authorization)
        ending = asyncio.create_task(calls.end_after(stopping)) if stopping is not None else None
        started = perf_counter()
        try:
            async with asyncio.TaskGroup() as tasks:
                for first in range(0, count, _LAUNCHED_AT_ONCE):
                    launched = perf_counter()
                    for _ in range(min(_LAUNCHED_AT_ONCE, count - first)):
                        tasks.create_task(calls.make_one(launched))
                    await asyncio.sleep(0)
        finally:
            if ending is not None:
                ending.cancel()
        duration_s = perf_counter() - started
        persisted = len(calls.ids)
        return LoadTestResult(
            batch=str(body["batch"]),
            requested=count,
            persisted=persisted,
            failed=count - persisted,
            duration_ms=_to_ms(duration_s),
            latency_ms=_quantiles_ms(calls.latencies_s),
            spread=_spread_ms(calls.latencies_s),
            failures=_largest(calls.failures),
        )


class _Calls:
    """The calls of one test and their results."""

    def __init__(
        self, session: aiohttp.ClientSession, url: URL, body: bytes, at_once: int, authorization: str | None
    ) -> None:
        self.ids: set[bytes] = set()
        self.latencies_s = array("d")
        self.failures: Counter[str] = Counter()
        self._session = session
        self._url = url
        self._body = body
        self._headers = {} if authorization is None else {"Authorization": authorization}
        self._free = at_once
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._loop = asyncio.get_running_loop()
        self._has_ended = False

    async def end_after(self, stopping: asyncio.Event) -> None:
        """Start no further calls once the process has been stopping for `GOES_ON_S`."""
        await stopping.wait()
        await asyncio.sleep(GOES_ON_S)
        self._has_ended = True

    async def make_one(self, started: float) -> None:
        if self._free:
            self._free -= 1
        else:
            turn = self._loop.create_future()
            self._waiting.append(turn)
            await turn
        if self._has_ended:
            self.failures["not made: the gateway stops"] += 1
            self._pass_turn_on()
            return
        try:
            status, text = await self._call()
        except (aiohttp.ClientError, OSError) as error:
            self.failures[_name_of(error)] += 1
            return
        finally:
            self._pass_turn_on()
        if status != _ACCEPTED:
            self.failures[_refusal(status, text)] += 1
            return
        job_id = _id_in(text)
        if job_id is None:
            self.failures["202 without an id"] += 1
        elif job_id in self.ids:
            self.failures["202 with an id given before"] += 1
        else:
            self.ids.add(job_id)
            self.latencies_s.append(perf_counter() - started)

    async def _call(self) -> tuple[int, bytes]:
        """Return status and body of one call's response. A call beyond the client's rate waits for `Retry-After` and is
        retried; the wait counts towards its latency."""
        while True:
            async with self._session.post(
                self._url, data=self._body, headers=self._headers, allow_redirects=False
            ) as response:
                text = await response.read()
            if response.status != _TOO_MANY or self._has_ended:
                return response.status, text
            retry_after = response.headers.get("Retry-After", "")
            await asyncio.sleep(min(int(retry_after), _MOST_PAUSE_S) if retry_after.isdecimal() else 1)

    def _pass_turn_on(self) -> None:
        # A cancelled waiter stays queued until here: removing each one at once would take quadratic time.
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class _Problem(msgspec.Struct):
    type: str = ""


class _Accepted(msgspec.Struct):
    id: str


def new_batch_name(now: datetime | None = None, *, random_bytes: int = 4) -> str:
    """Make a unique name of a batch: `load-20260131T235959Z-1a2b3c4d`."""
    return f"load-{(now or datetime.now(UTC)).strftime('%Y%m%dT%H%M%SZ')}-{secrets.token_hex(random_bytes)}"


def _id_in(text: bytes) -> bytes | None:
    # Intake's own response starts so; the response of anything else is parsed in full.
    if text.startswith(_ID_START) and text[_ID_TO : _ID_TO + 1] == b'"':
        return text[_ID_FROM:_ID_TO]
    try:
        return msgspec.json.decode(text, type=_Accepted).id.encode() or None
    except _UNREADABLE:
        return None


def _refusal(status: int, text: bytes) -> str:
    try:
        name = msgspec.json.decode(text, type=_Problem).type.rpartition("/")[2]
    except _UNREADABLE:
        name = ""
    return f"{status} {name}"[:80].rstrip()


def _name_of(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "no connection"
    if isinstance(error, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError | OSError):
        return "connection lost"
    return type(error).__name__


def _to_ms(duration_s: float) -> float:
    return round(duration_s * 1000, 3)


def _quantiles_ms(latencies_s: Sequence[float]) -> dict[str, float | None]:
    """Compute quantiles by nearest rank: each figure is the latency of a call."""
    if not latencies_s:
        return dict.fromkeys((name for name, _ in _QUANTILES), None)
    ordered = sorted(latencies_s)
    return {name: _to_ms(ordered[max(-int(-share * len(ordered) // 1) - 1, 0)]) for name, share in _QUANTILES}


def _spread_ms(latencies_s: Sequence[float]) -> Spread:
    slowest = max(latencies_s, default=0.0)
    if slowest <= 0.0:
        return Spread((), ())
    counts = Counter(min(int(BARS * latency / slowest), BARS - 1) for latency in latencies_s)
    bounds = tuple(_to_ms(slowest * (bar + 1) / BARS) for bar in range(BARS))
    return Spread(bounds, tuple(counts[bar] for bar in range(BARS)))


def _largest(failures: Counter[str]) -> dict[str, int]:
    kept = dict(failures.most_common(_REASONS_KEPT))
    others = failures.total() - sum(kept.values())
    return kept | {"other": others} if others else kept
