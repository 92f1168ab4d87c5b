"""A TCP proxy in front of a server that loses responses, cuts, holds, delays or half closes connections on demand."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Proxy:
    """Forward bytes. `lose` cuts connections instead of forwarding a response; `silence` withholds responses.

    The effects of `refuse`, `hold` and `delay` last until `heal`.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._half_closed: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._is_refusing = False
        self._delay_s = 0.0
        self._markers: list[bytes] = []
        self._left = 0
        self._is_silent = False
        self._is_closed = False
        self.lost = 0
        """Number of responses that were lost."""
        self.port = 0
        self.loses: Callable[[bytes], bool] | None = None
        """Decides by a chunk of a request whether its response is lost, with its connection."""
        self.cuts_at: int | None = None
        """Byte of all requests together behind which its connection is cut, once; None cuts none."""
        self.rewriter: Callable[[], Callable[[bytes], bytes]] | None = None
        """Creates a filter of requests for each new connection; None forwards them unchanged."""

    async def start(self) -> None:
        """Listen on a free port of loopback."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Close all connections."""
        self._is_closed = True
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        # Closes connections that the kernel accepted before the listener was closed.
        await asyncio.sleep(0)

    def lose(self, *commands: str, times: int) -> None:
        """Lose the responses to the next `times` commands of these names, with their connections."""
        # A command's name is the first key of its document; its value, the collection's name, is a string.
        self._markers = [b"\x02" + command.encode() + b"\x00" for command in commands]
        self._left = times

    def silence(self) -> None:
        """Withhold all responses from now on; connections stay open."""
        self._is_silent = True

    def cut(self) -> None:
        """Close the current connections."""
        for connection in self._connections:
            connection.cancel()

    def refuse(self) -> None:
        """Close current and new connections."""
        self._is_refusing = True
        self.cut()

    def hold(self) -> None:
        """Forward nothing from now on, as a black hole does; `heal` delivers what was sent."""
        self._flows.clear()

    def delay(self, seconds: float) -> None:
        """Delay each chunk from now on, in both directions."""
        self._delay_s = seconds

    def half_close(self) -> None:
        """Half-close towards the connected clients; what they send is still forwarded."""
        for client in self._clients - self._half_closed:
            if not client.transport.is_closing():
                client.write_eof()
                self._half_closed.add(client)

    def heal(self) -> None:
        """Forward normally again."""
        self._is_refusing = False
        self._delay_s = 0.0
        self._flows.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_closed:
            writer.transport.abort()
            return
        connection = asyncio.get_running_loop().create_task(self._carry(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_refusing:
            writer.transport.abort()
            return
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection(*self._target)
        except OSError:
            # The server is unreachable: the client sees the same as without the proxy.
            writer.transport.abort()
            return
        doomed = asyncio.Event()
        self._clients.add(writer)
        pair = [
            asyncio.create_task(self._requests(reader, upstream_writer, doomed)),
            asyncio.create_task(self._answers(upstream_reader, writer, doomed)),
        ]
        try:
            await asyncio.wait(pair, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._clients.discard(writer)
            self._half_closed.discard(writer)
            for task in pair:
                task.cancel()
            for end in (writer, upstream_writer):
                end.transport.abort()
            await asyncio.gather(*pair, return_exceptions=True)
            for end in (writer, upstream_writer):
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event
    ) -> None:
        rewrite = self.rewriter() if self.rewriter is not None else None
        while chunk := await reader.read(1 << 16):
            if self._left and any(marker in chunk for marker in self._markers):
                self._left -= 1
                doomed.set()
            if self.loses is not None and self.loses(chunk):
                doomed.set()
            await self._travel()
            if self.cuts_at is not None:
                if len(chunk) >= self.cuts_at:
                    writer.write(chunk[: self.cuts_at])
                    self.cuts_at = None
                    await writer.drain()
                    return
                self.cuts_at -= len(chunk)
            writer.write(chunk if rewrite is None else rewrite(chunk))
            await writer.drain()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event) -> None:
        while chunk := await reader.read(1 << 16):
            if doomed.is_set():
                # The server has responded, so the write is done.
                self.lost += 1
                return
            if self._is_silent or writer in self._half_closed:
                continue
            await self._travel()
            writer.write(chunk)
            await writer.drain()

    async def _travel(self) -> None:
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        await self._flows.wait()


@asynccontextmanager
async def proxy_to(host: str, port: int) -> AsyncIterator[Proxy]:
    """Yield a running proxy."""
    proxy = Proxy(host, port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
