"""`WS /ws/worker`: admits workers, and finds the connection of a worker process for its commands."""

import hmac
from collections.abc import Sequence
from typing import Protocol

from prometheus_client import Counter, Gauge
from starlette.routing import BaseRoute
from starlette.websockets import WebSocket

from acked_common.api.authenticator import Authenticator
from acked_common.api.routes import SocketRoute
from acked_common.channel.frames import (
    PATH,
    SIGNALLED,
    JobAttempt,
)
from acked_common.channel.gateway_end import (
    GatewayEnd,
    Streams,
    cancel_frames,
    drain_frame,
    listen_frame,
    signalled_frames,
)
from acked_common.http.problems import ProblemError, problem
from acked_common.http.responses import ProblemResponse
from acked_common.model.events import JobEvent, ProgressEvent
from acked_common.model.principal import Permission
from acked_common.model.tokens import TokenRecord, is_in_query, is_token_like
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.logs import get_log
from acked_gateway.workers.connection import WorkerConnection, count_refused

log = get_log(__name__)

MAX_CONNECTIONS = 2000
TOKENS_EVERY_S = 1.0
"""Interval at which the tokens of connected workers are checked."""

_connected = Gauge("acked_channel_workers", "Workers that are connected to this gateway.")
_events = Counter("acked_channel_events_total", "Transitions that workers reported.")
_progress = Counter("acked_channel_progress_total", "Progress that workers reported.")


class WorkerReports(Protocol):
    """Receives the reports of workers. A report proves nothing: the receiver trusts the store, and only progress that
    carries the nonce of its claim."""

    def report(self, boot: str, events: Sequence[JobEvent]) -> None:
        """Receive transitions, in order."""
        ...

    def progress(self, boot: str, reports: Sequence[ProgressEvent]) -> None:
        """Receive progress of running attempts."""
        ...


class WorkerChannel:
    """The connections of one gateway process to workers, by the boot of the worker process."""

    def __init__(
        self, reports: WorkerReports, *, boot: str, secret: str | None, authenticator: Authenticator | None = None
    ) -> None:
        """`boot` is this process's own. A worker presents the secret or a token with the permission `worker`. Without
        either setting, no worker can connect."""
        self._reports = reports
        self._boot = boot
        self._secret = secret.encode() if secret is not None else None
        self._authenticator = authenticator or Authenticator(None)
        self._streams = Streams()
        self._connections: dict[str, WorkerConnection] = {}
        """Connections that have sent hello."""
        self._open = 0
        self.listens = True
        """Whether workers send reports."""
        if secret is None and not self._authenticator.asks:
            log.warning("no worker can connect: set ACKED_WORKER_SECRET_FILE, the same for gateways and workers")

    @property
    def connected(self) -> frozenset[str]:
        """The boots of the worker processes that are connected here."""
        return frozenset(self._connections)

    def routes(self) -> list[BaseRoute]:
        """Return the WebSocket route."""
        return [SocketRoute(PATH, self.serve, permission=Permission.WORKER)]

    def start(self, tasks: Tasks) -> None:
        """Start to check the tokens of connected workers."""
        tasks.repeat("worker tokens", self._check_tokens, every_s=TOKENS_EVERY_S)

    def cancel(self, boot: str, jobs: Sequence[JobAttempt]) -> bool:
        """Send a cancel to the worker process; return False if it is not connected here."""
        connection = self._connections.get(boot)
        if connection is not None:
            for text in cancel_frames(jobs):
                connection.send(text)
        return connection is not None

    def signalled(self, boot: str, jobs: Sequence[JobAttempt]) -> bool:
        """Tell the worker process that signals came; return False if it is not connected here.

        Workers of earlier versions get no frame. Their waits end with their next renewal.
        """
        connection = self._connections.get(boot)
        if connection is not None and connection.accepts(SIGNALLED):
            for text in signalled_frames(jobs):
                connection.send(text)
        return connection is not None

    def drain(self, boot: str) -> bool:
        """Make the worker process drain; return False if it is not connected here."""
        connection = self._connections.get(boot)
        if connection is not None:
            connection.send(drain_frame())
        return connection is not None

    def listen(self, on: bool) -> None:
        """Start or stop the reports of all workers, here and of later connections."""
        if on is not self.listens:
            self.listens = on
            for connection in self._connections.values():
                connection.send(listen_frame(on=on))

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one connection from its handshake to its end."""
        try:
            record = await self._enter(websocket)
        except ProblemError as error:
            count_refused(error.problem.name)
            await websocket.send_denial_response(ProblemResponse(error.problem))
            return
        await websocket.accept()
        credential = "" if record is None else record.id
        connection = WorkerConnection(websocket, GatewayEnd(self._boot, self._streams, credential), self, record)
        self._open += 1
        try:
            await connection.run()
        finally:
            self._open -= 1
            if connection.boot is not None and self._connections.get(connection.boot) is connection:
                del self._connections[connection.boot]
                _connected.set(len(self._connections))

    async def _enter(self, websocket: WebSocket) -> TokenRecord | None:
        """Return the worker's token; None if it presented the worker secret. Raises `ProblemError`."""
        if self._open >= MAX_CONNECTIONS:
            raise ProblemError(
                problem("busy", f"this gateway has {MAX_CONNECTIONS:,} connections to workers, which is its limit")
            )
        scheme, _, given = websocket.headers.get("authorization", "").partition(" ")
        given = given.strip()
        if self._authenticator.asks and (is_token_like(given) or is_in_query(websocket.scope["query_string"])):
            return await self._authenticator.enter(websocket.scope, Permission.WORKER)
        if self._secret is None:
            raise ProblemError(
                problem("no-worker-secret", "this gateway was started without a worker secret; its log says more")
            )
        # The secret is compared whatever the scheme is, so that timing reveals nothing.
        is_right = hmac.compare_digest(given.encode("utf-8", "replace"), self._secret)
        if not is_right or scheme.lower() != "bearer":
            raise ProblemError(
                problem("wrong-worker-secret", "the Authorization header does not carry the worker secret")
            )
        return None

    async def _check_tokens(self) -> None:
        for connection in list(self._connections.values()):
            if not self._authenticator.may_stay(connection.record):
                connection.dismiss()

    def register(self, connection: WorkerConnection, boot: str, worker: str) -> bool:
        """Make a connection the one of its worker process; return False if another token has registered the process."""
        older = self._connections.get(boot)
        if older is not None and older.credential != connection.credential:
            return False
        self._connections[boot] = connection
        _connected.set(len(self._connections))
        if older is not None:
            older.replace()
        log.info("worker connected", worker=worker, boot=boot, replaces=older is not None)
        return True

    def forward_reports(self, boot: str, events: Sequence[JobEvent], progress: Sequence[ProgressEvent]) -> None:
        """Count new reports of a worker process and pass them to the receiver."""
        _events.inc(len(events))
        _progress.inc(len(progress))
        if events:
            self._reports.report(boot, events)
        if progress:
            self._reports.progress(boot, progress)
