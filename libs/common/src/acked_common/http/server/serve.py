"""Configure and run the HTTP server of a process."""

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
"""Requests in progress are thousands of objects, and reference counting frees almost all of them. With Python's default
of 700, the collector would traverse each of them many times."""


def bind_port(host: str, port: int, *, peer_takes_within_s: float = PEER_TAKES_WITHIN_S) -> socket.socket:
    """Return a socket on a port that processes of one service may share; the server listens on it once started."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    # Accepted sockets inherit this: a peer that reads nothing for this time is disconnected, which frees its buffers.
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
    """Return the configuration of an HTTP server; each server needs its own.

    `websocket_bytes`: the maximum size of a message by path, else `WS_MAX_BYTES`. `cors`: which pages may read
    responses of the protocol itself.
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
        # No code uses the address or the scheme of a client.
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=CANCELLED_WITHIN_S,
        ws_ping_interval=WS_PING_EVERY_S,
        ws_ping_timeout=WS_PONG_WITHIN_S,
        ws_max_size=WS_MAX_BYTES,
        ws_per_message_deflate=False,
    )


def _socket_paths(app: Any) -> frozenset[str]:
    """Return the paths at which a Starlette application serves WebSockets."""
    return frozenset(route.path for route in app.routes if isinstance(route, WebSocketRoute))


def within_files(limits: HttpLimits, files: int) -> HttpLimits:
    """Reduce the limits to the number of open files: HTTP connections take at most half of them."""
    if limits.connections <= files // 2:
        return limits
    log.warning("fewer connections than configured: raise the limit of open files", connections=files // 2, files=files)
    return replace(limits, connections=files // 2)


def held_within_files(held: HeldLimits, http: HttpLimits) -> HeldLimits:
    """Return what clients may hold. If the process can open fewer connections than configured, use the defaults for
    that number."""
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
    """Run an application until the process gets a stop signal; the stop begins with `on_stop`.

    With a `run_file` in `listen` the process also listens on a loopback port of its own, and writes it there.
    """
    setproctitle.setproctitle(title)
    limits = within_files(limits, raise_file_limit())
    run_file = listen.run_file
    shared = bind_port(listen.host, port)
    own = bind_port("127.0.0.1", 0) if run_file is not None else None
    # Imported objects live as long as the process, so exclude them from collection.
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
