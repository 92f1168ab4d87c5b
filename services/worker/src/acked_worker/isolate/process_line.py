"""Carry frames between a worker and the process of one isolated attempt, over a separate socket."""

import asyncio
import socket
from collections.abc import Iterable

from acked_worker.isolate.frames import LENGTH_BYTES, ToProcess, ToWorker, decode_to_worker, framed, length_of

MAX_UNREAD_BYTES = 64 * 1024


def open_line() -> "tuple[ProcessLine, socket.socket]":
    """Make a line: the worker's end, and the socket that its process gets."""
    ours, theirs = socket.socketpair()
    return ProcessLine(ours), theirs


class ProcessLine:
    """The worker's end of a line. On the plumbing loop."""

    def __init__(self, ours: socket.socket) -> None:
        self._socket = ours
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None

    @property
    def unread_bytes(self) -> int:
        """The number of sent bytes that wait in this process, besides those in the kernel."""
        return 0 if self._writer is None else self._writer.transport.get_write_buffer_size()

    async def open(self) -> None:
        """Return when frames can be sent; earlier ones are dropped."""
        self._reader, self._writer = await asyncio.open_unix_connection(sock=self._socket)
        # So `drain` waits exactly while `send` would drop.
        self._writer.transport.set_write_buffer_limits(high=MAX_UNREAD_BYTES - 1)

    def send(self, frame: ToProcess) -> bool:
        """Send a frame, if the process is there and reads. Return False if it is dropped."""
        if self._writer is None or self.unread_bytes >= MAX_UNREAD_BYTES:
            return False
        self._writer.write(framed(frame))
        return True

    async def send_later(self, frame: ToProcess) -> None:
        """Send a frame as soon as the process has read most of the earlier ones.

        Raise `OSError` if the line is closed.
        """
        if self._writer is None:
            raise ConnectionError("the line is not open")
        while not self.send(frame):
            await self._writer.drain()

    async def deliver(self, frames: Iterable[ToProcess]) -> None:
        """Send frames that must not be lost, each when the process has read most of the earlier ones.

        Raise `OSError` if the line is closed.
        """
        if self._writer is None:
            raise ConnectionError("the line is not open")
        for frame in frames:
            self._writer.write(framed(frame))
            await self._writer.drain()

    async def read(self) -> ToWorker:
        """Return the next frame.

        Raise `EOFError` or `OSError` when the line is closed, `BadFrame` or `MsgspecError` for an invalid frame.
        """
        head = await self._reader.readexactly(LENGTH_BYTES)
        frame: ToWorker = decode_to_worker(await self._reader.readexactly(length_of(head)))
        return frame

    def close(self) -> None:
        """Hang up; a read that waits ends with `EOFError`."""
        if self._writer is not None:
            self._writer.close()
            self._reader.feed_eof()
        self._socket.close()
