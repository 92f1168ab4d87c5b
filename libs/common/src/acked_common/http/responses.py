"""What the HTTP services share: answers, health, metrics, problems, and how a server is run."""

import asyncio
import gc
import socket
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import setproctitle
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send

from acked_common.api.elsewhere import Elsewhere
from acked_common.api.operations import GET_HEALTH, GET_METRICS, GET_PROBLEM, GET_READINESS, Alive, Ready
from acked_common.api.representations import encode
from acked_common.api.routes import ApiRoute
from acked_common.http import problems
from acked_common.http.cors import Cors
from acked_common.http.limits import UNCOUNTED_BYTES, HeldBytes
from acked_common.http.probes import STRANGER
from acked_common.http.problems import Problem, ProblemError, problem
from acked_common.http.server.graceful_stop import CANCELLED_WITHIN_S, GracefulServer
from acked_common.http.server.protocol import limited_protocol
from acked_common.http.server.websocket_protocol import limited_websocket
from acked_common.runtime.lifetime import raise_file_limit
from acked_common.runtime.logs import get_log
from acked_common.runtime.run_file import told_in
from acked_common.runtime.settings import HeldLimits, HttpLimits, usual_held
from acked_common.store import StoreError

log = get_log(__name__)

T = TypeVar("T")

BACKLOG = 2048
PEER_TAKES_WITHIN_S = 8.0
WS_PING_EVERY_S = 4.0
WS_PONG_WITHIN_S = 6.0
WS_MAX_BYTES = 256 * 1024
PART_BYTES = 64 * 1024
"""Of a response that is sent in parts."""
COLLECTOR_THRESHOLDS = (10_000, 20, 20)
"""Requests under way are some thousand objects, and almost all go by themselves: Python's own 700 would let the
collector look at each of them many times over."""

Health = Callable[[], "Readiness"]


class JsonResponse(Response):
    """JSON from a mapping; parts that are JSON texts already stay as they are."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return content if isinstance(content, bytes) else encode(content)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it; a large one in parts, as the client takes them, and counted among the bytes that it holds."""
        body = bytes(self.body)
        if len(body) <= PART_BYTES:
            await super().__call__(scope, receive, send)
            return
        held = HeldBytes(scope)
        try:
            held.grow_to(len(body), reserved=True)
        except ProblemError as error:
            await ProblemResponse(error.problem)(scope, receive, send)
            return
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            for start in range(0, len(body), PART_BYTES):
                part = body[start : start + PART_BYTES]
                more_body = start + PART_BYTES < len(body)
                await send({"type": "http.response.body", "body": part, "more_body": more_body})
        finally:
            held.release()


class ProblemResponse(Response):
    """A problem document."""

    media_type = problems.MEDIA_TYPE

    def __init__(self, found: Problem) -> None:
        super().__init__(found.to_bytes(), found.status, dict(found.headers))


class Readiness:
    """Whether a service can do its work: `blocking` parts make it not ready, `degraded` ones do not."""

    def __init__(self, blocking: Mapping[str, str | None], degraded: Mapping[str, str | None] | None = None) -> None:
        self._blocking = blocking
        self._degraded = degraded or {}

    def but(self, name: str, wrong: str) -> "Readiness":
        """The same, with one more part that blocks."""
        return Readiness({**self._blocking, name: wrong}, self._degraded)

    @property
    def is_ready(self) -> bool:
        """Whether nothing blocks."""
        return not any(self._blocking.values())

    def response(self, *, to_stranger: bool = False) -> JsonResponse:
        """200 when ready, else 503; each part with `ok` or what is wrong, but for strangers."""
        parts = {name: wrong or "ok" for name, wrong in {**self._blocking, **self._degraded}.items()}
        if to_stranger:
            parts = {}
        answer: Ready = {"status": "ready", "parts": parts}
        if not self.is_ready:
            answer["status"] = "not-ready"
        elif any(self._degraded.values()):
            answer["status"] = "degraded"
        return JsonResponse(answer, status_code=200 if self.is_ready else 503)


async def read_bounded(request: Request, max_bytes: int, held: HeldBytes | None = None) -> bytes:
    """The body of a request; a 413 problem when it is larger. `held` counts a large one; the caller releases it."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise ProblemError(
                problem("body-too-large", f"a body may have {max_bytes:,} bytes here, this one has more")
            )
        if held is not None and len(body) > UNCOUNTED_BYTES:
            held.grow_to(len(body))
    return bytes(body)


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of the work. Raises `ClientDisconnect` when the client leaves first, which ends the work."""
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_when_gone(request.receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        for each in (task, gone):
            if not each.done():
                each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _when_gone(receive: Receive) -> None:
    # What comes of a body goes: kept, it would be there as long as the work.
    while (await receive())["type"] != "http.disconnect":
        pass


def operations_routes(readiness: Health) -> list[ApiRoute]:
    """`/healthz`, `/readyz`, `/metrics` and `/problems/<name>`."""

    async def healthz(_: Request) -> Response:
        alive: Alive = {"status": "alive"}
        return JsonResponse(alive)

    async def readyz(request: Request) -> Response:
        return readiness().response(to_stranger=request.scope.get(STRANGER, False))

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    async def problem_page(request: Request) -> Response:
        page = problems.render_catalogue_page(request.path_params["name"])
        if page is None:
            raise ProblemError(problem("not-found", "no problem has this name"))
        return HTMLResponse(page)

    return [
        ApiRoute(healthz, GET_HEALTH),
        ApiRoute(readyz, GET_READINESS),
        ApiRoute(metrics, GET_METRICS),
        ApiRoute(problem_page, GET_PROBLEM),
    ]


def _on_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)  # noqa: S101 - registered for this class alone
    return ProblemResponse(error.problem)


def _on_store_error(_: Request, error: Exception) -> Response:
    return ProblemResponse(problem("store-unreachable", str(error)))


def _on_http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 405:
        allowed = (error.headers or {}).get("Allow", "") if isinstance(error, HTTPException) else ""
        return ProblemResponse(
            problem(
                "method-not-allowed", f"{request.method} is not served here; use {allowed}", headers={"Allow": allowed}
            )
        )
    elsewhere = getattr(request.app.state, "elsewhere", None) or Elsewhere((), {})
    return ProblemResponse(elsewhere.not_found(request.url.path))


def _on_client_left(_: Request, error: Exception) -> Response:
    # Nobody reads it: the client went, or was refused, before its body or its answer was here.
    return Response(status_code=499)


def fault_response(request: Request, error: Exception) -> Response:
    """The answer to a fault of the server, which goes to its log."""
    log.error("request failed", path=request.url.path, exc_info=error)
    return ProblemResponse(problem("internal", "the request met a fault of the server; its log has the details"))


EXCEPTION_HANDLERS: Mapping[Any, Callable[[Request, Exception], Response]] = {
    ProblemError: _on_problem,
    StoreError: _on_store_error,
    HTTPException: _on_http_error,
    ClientDisconnect: _on_client_left,
    Exception: fault_response,
}


def bind_port(host: str, port: int, *, peer_takes_within_s: float = PEER_TAKES_WITHIN_S) -> socket.socket:
    """A socket on a port that several processes of one service may share; it listens when the server has started."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    # Inherited by what it accepts: a peer that takes nothing more for so long is gone, and its buffers with it.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(peer_takes_within_s * 1000))
    sock.bind((host, port))
    return sock


def server_config(
    app: Any,
    limits: HttpLimits | None = None,
    *,
    websocket_bytes: Mapping[str, int] | None = None,
    cors: Cors | None = None,
) -> uvicorn.Config:
    """How every HTTP server of Acked runs; each server needs a configuration of its own.

    `websocket_bytes`: how large a message may be, by path; for all others `WS_MAX_BYTES`. `cors`: which pages
    may read what the protocol itself answers.
    """
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=limited_protocol(limits or HttpLimits(), _socket_paths(app), cors),
        ws=limited_websocket(websocket_bytes or {}),
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        # Nothing here asks for the address or the scheme of a client.
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=CANCELLED_WITHIN_S,
        ws_ping_interval=WS_PING_EVERY_S,
        ws_ping_timeout=WS_PONG_WITHIN_S,
        ws_max_size=WS_MAX_BYTES,
        ws_per_message_deflate=False,
    )


def _socket_paths(app: Any) -> frozenset[str]:
    """The paths at which an application of Starlette serves WebSockets."""
    return frozenset(route.path for route in app.routes if isinstance(route, WebSocketRoute))


def within_files(limits: HttpLimits, files: int) -> HttpLimits:
    """The limits where a process may have so many files open: at most half of them are connections of HTTP."""
    if limits.connections <= files // 2:
        return limits
    log.warning("fewer connections than asked for: raise the limit of open files", connections=files // 2, files=files)
    return replace(limits, connections=files // 2)


def held_within_files(held: HeldLimits, http: HttpLimits) -> HeldLimits:
    """What clients may hold where the process can open fewer connections than asked for: as many requests and long
    polls as it has by default then."""
    connections = within_files(http, raise_file_limit()).connections
    return held if connections == http.connections else replace(usual_held(connections), bytes=held.bytes)


def serve(
    app: Any,
    *,
    title: str,
    host: str,
    port: int,
    run_file: Path | None,
    limits: HttpLimits,
    websocket_bytes: Mapping[str, int] | None = None,
    on_stop: Callable[[], object] | None = None,
    cors: Cors | None = None,
) -> None:
    """Runs an application until it is told to stop, which begins with `on_stop`.

    With a `run_file` the process also listens on a loopback port that it shares with nobody, and tells it there.
    """
    setproctitle.setproctitle(title)
    limits = within_files(limits, raise_file_limit())
    shared = bind_port(host, port)
    own = bind_port("127.0.0.1", 0) if run_file is not None else None
    # What was imported lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)
    server = GracefulServer(
        server_config(app, limits, websocket_bytes=websocket_bytes, cors=cors), on_stop=on_stop, own=own
    )
    if run_file is None or own is None:
        server.run(sockets=[shared])
        return
    with told_in(run_file, health_port=own.getsockname()[1]):
        server.run(sockets=[shared, own])
