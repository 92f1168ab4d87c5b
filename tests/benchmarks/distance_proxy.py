"""Distance to a server: passes bytes on, each piece so many milliseconds after it came, either way.

A process of its own, so that it delays nothing else of the benchmark: `python -m benchmarks.distance_proxy CONTROL
PORT:TARGET …`. A line with a number on the port `CONTROL` sets the milliseconds, and is answered when that holds.
Pieces travel beside each other, as on a long line: the delay costs time, and no bandwidth.
"""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Sequence

import uvloop

_PIECE_BYTES = 1 << 16
_MOST_PIECES = 256
"""On their way, of one connection and direction; beyond that nothing is read."""


class Distance:
    """The proxies of one process."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, port: int, target: int) -> None:
        """Listens until it is cancelled."""

        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
            except OSError:
                writer.close()
                return
            await asyncio.gather(self._pipe(reader, far_writer), self._pipe(far_reader, writer))

        server = await asyncio.start_server(carry, "127.0.0.1", port)
        await server.serve_forever()

    async def control(self, port: int) -> None:
        """Takes a new distance, until it is cancelled."""

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.delay_s = float(await reader.readline()) / 1e3
            writer.write(b"ok\n")
            writer.close()

        server = await asyncio.start_server(take, "127.0.0.1", port)
        await server.serve_forever()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_MOST_PIECES)

        async def arrive() -> None:
            with contextlib.suppress(OSError):
                while True:
                    at, piece = await pieces.get()
                    if at > loop.time():
                        await asyncio.sleep(at - loop.time())
                    if not piece:
                        break
                    writer.write(piece)
                    await writer.drain()
            writer.close()

        arrivals = asyncio.create_task(arrive())
        self._tasks.add(arrivals)
        arrivals.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError):
            while not arrivals.done() and (piece := await reader.read(_PIECE_BYTES)):
                await pieces.put((loop.time() + self.delay_s, piece))
        if not arrivals.done():
            await pieces.put((loop.time() + self.delay_s, b""))
        await arrivals


def tell(control: int, delay_ms: float, *, within_s: float = 5.0) -> None:
    """Sets the distance of a running process. Raises `OSError` where none responds."""
    with socket.create_connection(("127.0.0.1", control), within_s) as line:
        line.sendall(b"%g\n" % delay_ms)
        if line.recv(16) != b"ok\n":
            raise OSError("the proxy does not take the distance")


async def _main(control: int, pairs: Sequence[str]) -> None:
    distance = Distance()
    ports = [tuple(map(int, pair.split(":"))) for pair in pairs]
    await asyncio.gather(distance.control(control), *(distance.serve(port, target) for port, target in ports))


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1]), sys.argv[2:]))
