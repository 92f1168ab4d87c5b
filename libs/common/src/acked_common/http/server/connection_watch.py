"""The limits of one process on the number of HTTP connections and on the time of each stage."""

import asyncio
from typing import Protocol

from prometheus_client import Counter, Gauge

from acked_common.http.server.deadlines import ConnectionDeadlines, Deadline
from acked_common.http.settings import HttpLimits
from acked_common.runtime.logs import get_log

log = get_log(__name__)

RESERVED_CONNECTIONS = 32
"""Connections beyond the limit, for health checks."""
GOODBYE_S = 2.0
"""How long a refused client may read its response; closing at once would reset it while it sends."""
TICK_S = 0.25
_PER_TICK = 32
_HURRIED_TICK_S = 0.01

_open = Gauge("acked_http_connections", "Open HTTP connections, without WebSockets.")
connections_closed = Counter("acked_http_closed_total", "HTTP connections that the server ended, by why.", ["why"])


class WatchedConnection(Protocol):
    """A connection that waits for its client."""

    loop: asyncio.AbstractEventLoop

    def end(self, why: str, wait: Deadline) -> None:
        """End the connection, because it is `late` or `evicted` for a new one."""
        ...


class ConnectionWatch:
    """Watch all HTTP connections of one process, with one timer for all of them."""

    def __init__(self, limits: HttpLimits) -> None:
        self.limits = limits
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: ConnectionDeadlines[WatchedConnection] = ConnectionDeadlines(
            {
                Deadline.FIRST_BYTE: limits.first_byte_s,
                Deadline.HEAD: limits.head_s,
                Deadline.BODY: limits.body_s,
                Deadline.NEXT_REQUEST: limits.idle_s,
                Deadline.GOODBYE: GOODBYE_S,
            }
        )

    def admit(self, loop: asyncio.AbstractEventLoop) -> bool | None:
        """Count one more connection. True: serve it. False: it is beyond the limit, and may only request health. None:
        close it."""
        self._count += 1
        _open.inc()
        if self._count <= self.limits.connections:
            return True
        if (evicted := self._waiting.evict(loop.time())) is not None:
            evicted[0].end("evicted", evicted[1])
            return True
        return False if self._count <= self.limits.connections + RESERVED_CONNECTIONS else None

    def left(self) -> None:
        """Count one connection less."""
        self._count -= 1
        _open.dec()

    def join(self, connection: WatchedConnection, wait: Deadline) -> None:
        """Begin a wait of the connection."""
        loop = connection.loop
        self._waiting.join(connection, wait, loop.time())
        if self._timer is None:
            self._timer = loop.call_later(TICK_S, self._tick, loop)

    def leave(self, connection: WatchedConnection, wait: Deadline) -> None:
        """End a wait of the connection."""
        self._waiting.leave(connection, wait)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        late = self._waiting.overdue(loop.time(), _PER_TICK)
        for connection, wait in late:
            try:
                connection.end("late", wait)
            except Exception:
                # One broken connection must not end the watch of all others.
                log.exception("a late connection could not be ended")
        # If a thousand are late at once, end them in steps, so that other connections are served in between.
        pause_s = _HURRIED_TICK_S if len(late) >= _PER_TICK else TICK_S
        self._timer = loop.call_later(pause_s, self._tick, loop) if self._waiting else None
