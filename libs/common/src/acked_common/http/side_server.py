"""A small HTTP server on the loop that starts it, for the health of workers and the metrics of all processes.

If that loop hangs, the server does not respond, as intended.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

from acked_common.http.server.serve import server_config
from acked_common.http.settings import HttpLimits
from acked_common.runtime import inheritance

LIMITS = HttpLimits(connections=64)
"""Connections in addition to the reserve for health checks."""
PORTS_TRIED = 64
_BACKLOG = 64


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # The process handles signals itself.
        yield


class SideServer:
    """Serves an application on a socket until `stop`."""

    def __init__(self, app: Any) -> None:
        config = server_config(app, LIMITS)
        config.timeout_graceful_shutdown = 1
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None
        self._fd = -1

    def start(self, sock: socket.socket) -> None:
        """Listen at once; serve from the next turns of the loop on."""
        sock.listen(_BACKLOG)
        self._fd = sock.fileno()
        inheritance.close_in_children(self._fd)
        self._task = asyncio.get_running_loop().create_task(self._server.serve(sockets=[sock]))

    async def stop(self) -> None:
        """Stop listening."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
            inheritance.closed(self._fd)


def bind_first_free(host: str, port: int) -> socket.socket:
    """Return a socket on the first free port from `port` on, since processes of one service share their settings."""
    last = min(port + PORTS_TRIED, 2**16) - 1
    for tried in range(port, last + 1):
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, tried))
            # Two bound sockets may share a port, but two listening ones may not.
            sock.listen(_BACKLOG)
            return sock
        except OSError as error:
            sock.close()
            why = error
    raise OSError(
        f"the metrics find no port on {host} from {port} to {last}: {why.strerror or why}. "
        "Set ACKED_METRICS_PORT, or ACKED_METRICS_HOST to an address of this machine"
    )
