"""A TCP proxy in front of a server that loses answers on demand: the client can't know what happened."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Proxy:
    """Passes bytes on; `lose` makes it cut connections instead of passing an answer on, `silence` keeps them back."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._markers: list[bytes] = []
        self._left = 0
        self._is_silent = False
        self.lost = 0
        """Answers that never arrived."""
        self.port = 0

    async def start(self) -> None:
        """Listens on a free port of loopback."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Cuts everything."""
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def lose(self, *commands: str, times: int) -> None:
        """The answers to the next so many commands of these names are lost with their connections."""
        # A command's name is the first key of its document; its value, the collection's name, is a string.
        self._markers = [b"\x02" + command.encode() + b"\x00" for command in commands]
        self._left = times

    def silence(self) -> None:
        """From now on nothing is answered; connections stay open."""
        self._is_silent = True

    def cut(self) -> None:
        """Cuts what is connected now."""
        for connection in self._connections:
            connection.cancel()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.get_running_loop().create_task(self._carry(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection(*self._target)
        except OSError:
            # Nobody listens behind it: the client is told as it would be without the proxy.
            writer.transport.abort()
            return
        doomed = asyncio.Event()
        pair = [
            asyncio.create_task(self._requests(reader, upstream_writer, doomed)),
            asyncio.create_task(self._answers(upstream_reader, writer, doomed)),
        ]
        try:
            await asyncio.wait(pair, return_when=asyncio.FIRST_COMPLETED)
        finally:
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
        while chunk := await reader.read(1 << 16):
            if self._left and any(marker in chunk for marker in self._markers):
                self._left -= 1
                doomed.set()
            writer.write(chunk)
            await writer.drain()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event) -> None:
        while chunk := await reader.read(1 << 16):
            if doomed.is_set():
                # The server has answered, so the write is done.
                self.lost += 1
                return
            if self._is_silent:
                continue
            writer.write(chunk)
            await writer.drain()


@asynccontextmanager
async def proxy_to(host: str, port: int) -> AsyncIterator[Proxy]:
    """A running proxy."""
    proxy = Proxy(host, port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
