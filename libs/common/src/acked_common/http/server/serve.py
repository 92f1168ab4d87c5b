"""Configures and runs the HTTP server of a process."""

import gc
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import setproctitle
import uvicorn
from starlette.routing import WebSocketRoute

from acked_common.http.cors import Cors
from acked_common.http.server.graceful_stop import CANCELLED_WITHIN_S, GracefulServer
from acked_common.http.server.protocol import limited_protocol
from acked_common.http.server.websocket_protocol import limited_websocket
from acked_common.http.settings import HeldLimits, HttpLimits, usual_held
from acked_common.runtime.lifetime import raise_file_limit
from acked_common.runtime.logs import get_log
from acked_common.runtime.run_file import told_in
from acked_common.runtime.settings import ListenAddresses

log = get_log(__name__)

BACKLOG = 2048
PEER_TAKES_WITHIN_S = 8.0
WS_PING_EVERY_S = 4.0
WS_PONG_WITHIN_S = 6.0
WS_MAX_BYTES = 256 * 1024
COLLECTOR_THRESHOLDS = (10_000, 20, 20)
"""Requests under way are some thousand objects, and almost all go by themselves: Python's own 700 would let the
collector look at each of them many times over."""


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
    listen: ListenAddresses,
    port: int,
    limits: HttpLimits,
    websocket_bytes: Mapping[str, int] | None = None,
    on_stop: Callable[[], object] | None = None,
    cors: Cors | None = None,
) -> None:
    """Run an application until the process is told to stop, which begins with `on_stop`.

    With a `run_file` in `listen` the process also listens on a loopback port of its own, and writes it there.
    """
    setproctitle.setproctitle(title)
    limits = within_files(limits, raise_file_limit())
    run_file = listen.run_file
    shared = bind_port(listen.host, port)
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
