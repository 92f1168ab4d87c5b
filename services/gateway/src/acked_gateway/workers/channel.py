"""`WS /ws/worker`: the lines of all workers that are connected to this gateway process.

One reader and one writer for each. The reader never stops for long: a server that does not read sees no pong, and takes
a healthy worker for dead. Whatever a worker sends is checked; what breaks the protocol ends its own line and no other.
"""

import asyncio
import hmac
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from prometheus_client import Counter, Gauge
from starlette.routing import BaseRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from acked_common.api.authenticator import CLOSE_CODE, Authenticator
from acked_common.api.routes import SocketRoute
from acked_common.channel.frames import (
    PATH,
    CloseCode,
    Events,
    Hello,
    JobAttempt,
    ProtocolFault,
    close_reason,
    parse_from_worker,
)
from acked_common.channel.gateway_end import GatewayEnd, Streams, cancel_frames, drain_frame, listen_frame
from acked_common.http import fair_thread
from acked_common.http.problems import ProblemError, problem
from acked_common.http.responses import ProblemResponse
from acked_common.model.events import JobEvent, ProgressEvent
from acked_common.model.principal import Permission
from acked_common.model.token_bucket import TokenBucket
from acked_common.model.tokens import TokenRecord, is_in_query, is_token_like
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.logs import get_log

log = get_log(__name__)

HELLO_WITHIN_S = 5.0
WRITE_WITHIN_S = 5.0
CLOSE_WITHIN_S = 1.0
MAX_LINES = 2000
MAX_WAITING_FRAMES = 1000
NOT_TEXT = 1003
TOKENS_EVERY_S = 1.0
FRAMES_A_SECOND = 200.0
FRAMES_AT_ONCE = 50.0
EVENTS_A_SECOND = 20_000.0
EVENTS_AT_ONCE = 20_000.0
# Longer, and the pongs of the peer would be read too late.
MOST_PAUSE_S = 1.0

_SECRET_HOLDERS = ("", "workers")
"""Whose turn it is in the threads that parse, where a worker shows the secret; no tenant has an empty name."""
_OTHER_CODES = {NOT_TEXT: "not-text", CLOSE_CODE: "token"}

_connected = Gauge("acked_channel_workers", "Workers that are connected to this gateway.")
_refused = Counter("acked_channel_refused_total", "Lines of workers that were refused or closed.", ["why"])
_frames = Counter("acked_channel_frames_total", "Frames that workers sent.")
_events = Counter("acked_channel_events_total", "Transitions that workers reported.")
_progress = Counter("acked_channel_progress_total", "Progress that workers reported.")

End = tuple[int, str]
"""The code and the reason of a close."""


class WorkerReports(Protocol):
    """Who wants to know what workers report. A report proves nothing: the receiver believes what the store confirms,
    and progress that carries the nonce of its claim."""

    def report(self, boot: str, events: Sequence[JobEvent]) -> None:
        """Transitions, in order."""
        ...

    def progress(self, boot: str, reports: Sequence[ProgressEvent]) -> None:
        """Progress of running attempts."""
        ...


class WorkerChannel:
    """The workers of one gateway process, by their boot."""

    def __init__(
        self, reports: WorkerReports, *, boot: str, secret: str | None, authenticator: Authenticator | None = None
    ) -> None:
        """`boot` is this process's own. A worker shows the secret, or a token that the gate lets in; without both no
        worker may connect."""
        self._reports = reports
        self._boot = boot
        self._secret = secret.encode() if secret is not None else None
        self._authenticator = authenticator or Authenticator(None)
        self._streams = Streams()
        self._lines: dict[str, _WorkerConnection] = {}
        self._count = 0
        self._listens = True
        if secret is None and not self._authenticator.asks:
            log.warning("no worker can connect: set ACKED_WORKER_SECRET_FILE, the same for gateways and workers")

    @property
    def connected(self) -> frozenset[str]:
        """The worker processes that have a line here."""
        return frozenset(self._lines)

    def routes(self) -> list[BaseRoute]:
        """The WebSocket route."""
        return [SocketRoute(PATH, self.serve, permission=Permission.WORKER)]

    def start(self, tasks: Tasks) -> None:
        """Starts to look whether the tokens of connected workers still hold."""
        tasks.repeat("worker tokens", self._check_tokens, every_s=TOKENS_EVERY_S)

    def cancel(self, boot: str, jobs: Sequence[JobAttempt]) -> bool:
        """Sends a cancel to the worker process; False where it has no line here."""
        line = self._lines.get(boot)
        if line is not None:
            for text in cancel_frames(jobs):
                line.send(text)
        return line is not None

    def drain(self, boot: str) -> bool:
        """Makes the worker process drain; False where it has no line here."""
        line = self._lines.get(boot)
        if line is not None:
            line.send(drain_frame())
        return line is not None

    def listen(self, on: bool) -> None:
        """Whether anybody wants to know what workers report from now on: they are told."""
        if on is not self._listens:
            self._listens = on
            for line in self._lines.values():
                line.send(listen_frame(on=on))

    async def serve(self, websocket: WebSocket) -> None:
        """One line, from its handshake to its end."""
        try:
            record = await self._enter(websocket)
        except ProblemError as error:
            _refused.labels(error.problem.name).inc()
            await websocket.send_denial_response(ProblemResponse(error.problem))
            return
        await websocket.accept()
        credential = "" if record is None else record.id
        line = _WorkerConnection(websocket, GatewayEnd(self._boot, self._streams, credential), self, record)
        self._count += 1
        try:
            await line.run()
        finally:
            self._count -= 1
            if line.boot is not None and self._lines.get(line.boot) is line:
                del self._lines[line.boot]
                _connected.set(len(self._lines))

    async def _enter(self, websocket: WebSocket) -> TokenRecord | None:
        """Whose token was shown; None for the worker secret. Raises `ProblemError`."""
        if self._count >= MAX_LINES:
            raise ProblemError(problem("busy", f"this gateway has {MAX_LINES:,} lines to workers, which is its limit"))
        scheme, _, given = websocket.headers.get("authorization", "").partition(" ")
        given = given.strip()
        if self._authenticator.asks and (is_token_like(given) or is_in_query(websocket.scope["query_string"])):
            return await self._authenticator.enter(websocket.scope, Permission.WORKER)
        if self._secret is None:
            raise ProblemError(
                problem("no-worker-secret", "this gateway was started without a worker secret; its log says more")
            )
        # Both are compared whatever the scheme is, so that the time tells nothing.
        is_right = hmac.compare_digest(given.encode("utf-8", "replace"), self._secret)
        if not is_right or scheme.lower() != "bearer":
            raise ProblemError(
                problem("wrong-worker-secret", "the Authorization header does not carry the worker secret")
            )
        return None

    async def _check_tokens(self) -> None:
        for line in list(self._lines.values()):
            if not self._authenticator.may_stay(line.record):
                line.dismiss()

    def _took_hello(self, line: "_WorkerConnection", boot: str, worker: str) -> bool:
        """Whether the line is the worker process's own: what one token has named, no other may speak for."""
        older = self._lines.get(boot)
        if older is not None and older.credential != line.credential:
            return False
        self._lines[boot] = line
        _connected.set(len(self._lines))
        if older is not None:
            older.replace()
        log.info("worker connected", worker=worker, boot=boot, replaces=older is not None)
        return True

    def _took_reports(self, boot: str, events: Sequence[JobEvent], progress: Sequence[ProgressEvent]) -> None:
        _events.inc(len(events))
        _progress.inc(len(progress))
        if events:
            self._reports.report(boot, events)
        if progress:
            self._reports.progress(boot, progress)


class _WorkerConnection:
    def __init__(
        self, websocket: WebSocket, end: GatewayEnd, channel: WorkerChannel, record: TokenRecord | None
    ) -> None:
        self.record = record
        """The token that the worker has shown; None for the worker secret."""
        self._websocket = websocket
        self._end = end
        self._channel = channel
        self._waiting: deque[str] = deque()
        self._has_news = asyncio.Event()
        self._ended: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self._frame_pace = TokenBucket(FRAMES_A_SECOND, FRAMES_AT_ONCE)
        self._event_pace = TokenBucket(EVENTS_A_SECOND, EVENTS_AT_ONCE)
        self.boot: str | None = None

    def send(self, text: str) -> None:
        """Sends a frame soon; a worker that takes none for long loses its line."""
        if len(self._waiting) >= MAX_WAITING_FRAMES:
            self._end_with(CloseCode.TOO_SLOW, "frames are not read")
            return
        self._waiting.append(text)
        self._has_news.set()

    @property
    def credential(self) -> str | None:
        """Tells one worker's token from another's."""
        return None if self.record is None else self.record.id

    def dismiss(self) -> None:
        """The token holds no longer."""
        self._end.close()
        self._end_with(CLOSE_CODE, "the token holds no longer")

    def replace(self) -> None:
        """A newer line of the same worker process has taken over."""
        self._end.close()
        self._end_with(CloseCode.REPLACED, "a newer connection has taken over")

    async def run(self) -> None:
        """Until the worker leaves, or is sent away."""
        writer = asyncio.create_task(self._write(), name="worker line writer")
        reader = asyncio.create_task(self._read(), name="worker line reader")
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
                is_open = await self._take()
        except TimeoutError:
            self._end_with(CloseCode.HELLO_TIMEOUT, f"no hello within {HELLO_WITHIN_S:g} s")
            return
        while is_open:
            is_open = await self._take()

    async def _take(self) -> bool:
        """Takes one frame; whether the line goes on."""
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            return False
        text = message.get("text")
        if text is None:
            self._end_with(NOT_TEXT, "frames are JSON texts")
            return False
        _frames.inc()
        try:
            found, reply = self._end.received(await self._parse(text))
        except ProtocolFault as fault:
            self._end_with(fault.code, fault.reason)
            return False
        now, events, is_new = time.monotonic(), 0, False
        if found is not None and self.boot is not None:
            events = len(found.events) + len(found.progress)
            self._channel._took_reports(self.boot, found.events, found.progress)
        elif self.boot is None and self._end.hello is not None:
            hello = self._end.hello
            if not self._channel._took_hello(self, hello.boot, hello.worker):
                self._end_with(CLOSE_CODE, "another token speaks for this boot")
                return False
            self.boot = hello.boot
            is_new = True
        # The worker sends the next frame when it has the reply: a busy one puts more into each.
        pause_s = max(self._frame_pace.take(1, now), self._event_pace.take(events, now))
        if pause_s:
            await asyncio.sleep(min(pause_s, MOST_PAUSE_S))
        self.send(reply)
        if is_new and not self._channel._listens:
            self.send(listen_frame(on=False))
        return True

    async def _parse(self, text: str) -> Hello | Events:
        """Parse a frame, a large or doubtful one in a thread. The next frame is read behind it, so they keep their
        order. Raises `ProtocolFault`."""
        client = (
            _SECRET_HOLDERS if self.record is None else (self.record.principal.tenant, self.record.principal.client)
        )
        return await fair_thread.read(
            client, fair_thread.utf8_size(text), lambda may_scan: parse_from_worker(text, may_scan=may_scan)
        )

    async def _write(self) -> None:
        while True:
            await self._has_news.wait()
            self._has_news.clear()
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
        _refused.labels(name).inc()
        log.warning("line of a worker closed", boot=self.boot, code=code, reason=reason)
        try:
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await self._websocket.close(code, close_reason(reason))
        except (WebSocketDisconnect, RuntimeError, TimeoutError):
            # A peer that reads nothing: the server gives the socket up by itself.
            pass
