"""Stop an HTTP server without refusing a request or truncating a response, while other processes share its port.

uvicorn closes its listener while the kernel still has connections queued there, and closes every idle connection at
once, even if a request is just arriving. In both cases the client gets a reset. The docstring of the package lists the
overridden methods.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import signal
import socket
import struct
import termios
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from acked_common.runtime.lifetime import outlive_idle_signals
from acked_common.runtime.logs import get_log

log = get_log(__name__)

LAME_DUCK_S = 1.5
"""How long idle connections stay open; each response meanwhile carries `Connection: close`."""
RUNNING_WITHIN_S = 6.0
"""The time limit of running requests; afterwards they are cancelled."""
CANCELLED_WITHIN_S = 1
_TICK_S = 0.02
_SO_ATTACH_FILTER = 26
_PASS, _DROP = 0xFFFFFFFF, 0


class GracefulServer(uvicorn.Server):
    """A uvicorn server over bound sockets that may share their ports with other processes.

    `on_stop` is called first: it ends long polls and makes the process not ready. `own` is a socket of this process
    alone; it responds until the end, so that readiness and metrics can be read during the stop.
    """

    def __init__(
        self, config: uvicorn.Config, *, on_stop: Callable[[], object] | None = None, own: socket.socket | None = None
    ) -> None:
        super().__init__(config)
        self._on_stop = on_stop
        self._own = own

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGQUIT like SIGTERM, and ignore the signals of log rotation; uvicorn handles only SIGTERM and
        SIGINT."""
        with super().capture_signals():
            if threading.current_thread() is threading.main_thread():
                loop = asyncio.get_running_loop()
                loop.add_signal_handler(signal.SIGQUIT, self.handle_exit, signal.SIGTERM, None)
                outlive_idle_signals(loop)
            yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop, without uvicorn's second raise of the signal, which would cause a traceback or a failure exit code."""
        super().handle_exit(sig, frame)
        self._captured_signals.clear()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Leave the shared ports and serve the requests that have arrived, then shut down as uvicorn does."""
        if self._on_stop is not None:
            self._on_stop()
        self._make_answers_the_last()
        await self._leave([sock for sock in sockets or [] if sock is not self._own])
        await self._serve_to_the_end()
        await super().shutdown(sockets)

    def _make_answers_the_last(self) -> None:
        self.config.loaded_app = _last_answers(self.config.loaded_app)
        for connection in self.server_state.connections:
            if isinstance(connection, HttpToolsProtocol):
                connection.app = self.config.loaded_app
                if connection.cycle is not None and not connection.cycle.response_started:
                    connection.cycle.keep_alive = False

    async def _leave(self, shared: list[socket.socket]) -> None:
        queued: list[socket.socket] = []
        for sock, server in zip(self._listeners, self.servers, strict=False):
            if sock in shared:
                # No await in between: a connection made after the last accept would be reset.
                queued += _take_queued(sock)
                server.close()
                sock.close()
        if queued:
            log.info("connections taken over from the queue of the port", connections=len(queued))
        loop = asyncio.get_running_loop()
        made = (loop.connect_accepted_socket(self._protocol, each) for each in queued)
        # A connection whose client has already disconnected may fail.
        await asyncio.gather(*made, return_exceptions=True)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen once the application has started."""
        await super().startup(sockets)
        self._listeners = list(sockets or [])

    def _protocol(self) -> asyncio.Protocol:
        protocol_class: Any = self.config.http_protocol_class
        made: asyncio.Protocol = protocol_class(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made

    async def _serve_to_the_end(self) -> None:
        loop = asyncio.get_running_loop()
        idle_until, running_until = loop.time() + LAME_DUCK_S, loop.time() + RUNNING_WITHIN_S
        told: set[object] = set()
        while self.server_state.connections and loop.time() < running_until and not self.force_exit:
            connections: list[Any] = list(self.server_state.connections)
            for connection in connections:
                if isinstance(connection, HttpToolsProtocol):
                    if loop.time() >= idle_until and _is_idle(connection):
                        connection.transport.close()
                elif connection not in told and connection.handshake_complete:
                    told.add(connection)
                    connection.shutdown()
            await asyncio.sleep(_TICK_S)


def _last_answers(app: Any) -> Any:
    """Wrap the application: each response gets `Connection: close`, so clients connect to another process."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        async def send_last(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        await app(scope, receive, send_last if scope["type"] == "http" else send)

    return answer


def _is_idle(connection: HttpToolsProtocol) -> bool:
    """Return whether no request on the connection runs, is partly read, or waits in the kernel."""
    # Both are None before the first request, despite their annotations.
    cycle: RequestResponseCycle | None = connection.cycle
    scope: Any = connection.scope
    between_requests = scope is None if cycle is None else cycle.response_complete and cycle.scope is scope
    return between_requests and not _has_arrived(connection.transport)


def _has_arrived(transport: asyncio.Transport) -> bool:
    if transport.is_closing():
        return False
    try:
        answer = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.FIONREAD, struct.pack("i", 0))
    except OSError:
        return False
    return bool(struct.unpack("i", answer)[0])


def _take_queued(listener: socket.socket) -> list[socket.socket]:
    """Accept all connections that the kernel has queued on a listener, and stop it from making more."""
    _drop_new(listener)
    listener.setblocking(False)
    taken: list[socket.socket] = []
    while True:
        try:
            connection, _ = listener.accept()
        except ConnectionAbortedError:
            continue
        except OSError:
            return taken
        connection.setblocking(False)
        taken.append(connection)


def _drop_new(listener: socket.socket) -> None:
    """Make a listener drop connection requests from now on.

    Their clients retry after a second and reach another process on the port. Without this, a connection that is made
    between the last accept and the close would be reset.
    """
    # Load the byte of TCP flags; drop a SYN without an ACK, pass all others.
    program = b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (0x30, 0, 0, 13),
            (0x54, 0, 0, 0x12),
            (0x15, 0, 1, 0x02),
            (0x06, 0, 0, _DROP),
            (0x06, 0, 0, _PASS),
        )
    )
    kept = ctypes.create_string_buffer(program, len(program))
    try:
        listener.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(program) // 8, ctypes.addressof(kept))
        )
    except OSError:
        # Some kernels have no such filter; a window of a few microseconds then stays open.
        pass
