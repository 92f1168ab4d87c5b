"""Parse what clients send in a thread, one text at a time, round-robin over clients.

Parsing holds the interpreter lock, so a second thread would only delay the loop further. With one thread and one queue,
a client that sends many doubtful texts would delay the next client by all of them. So each client has its own queue.
The clients' limit of bytes bounds the queues (`limits`).
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from acked_common.http.fair_lines import FairLines
from acked_common.http.limits import Client
from acked_common.model.strict_json import SCANNED_ON_LOOP_BYTES, NeedsScan

T = TypeVar("T")

ON_LOOP_BYTES = 32 * 1024
"""The largest text that is parsed on the event loop."""


class FairThread:
    """One thread with a queue per client, used by one event loop at a time."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, name)
        self._lines: FairLines[Client, tuple[asyncio.Future[Any], Callable[[], Any]]] = FairLines()
        self._is_busy = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self, client: Client, work: Callable[[], T]) -> T:
        """Run `work` in the thread at the client's turn and return its result. A cancelled caller gives up its turn."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # Work queued by an earlier loop can't complete.
            self._loop, self._is_busy = loop, False
            self._lines.clear()
        result: asyncio.Future[T] = loop.create_future()
        self._lines.join(client, (result, work))
        if not self._is_busy:
            self._next()
        return await result

    def _next(self) -> None:
        while self._lines:
            result, work = self._lines.next()
            if result.done():
                continue
            self._is_busy = True
            done = asyncio.get_running_loop().run_in_executor(self._thread, work)
            done.add_done_callback(partial(self._end, result))
            return
        self._is_busy = False

    def _end(self, result: asyncio.Future[Any], done: asyncio.Future[Any]) -> None:
        error = None if done.cancelled() else done.exception()
        if result.done():
            pass
        elif done.cancelled():
            result.cancel()
        elif error is not None:
            result.set_exception(error)
        else:
            result.set_result(done.result())
        self._next()


quick = FairThread("acked-json")
"""For texts that the C decoder handles: milliseconds."""
slow = FairThread("acked-json-slow")
"""For doubtful texts, which take up to 1 µs per byte: other texts must not queue behind them."""


def utf8_size(text: str) -> int:
    """Return the size in UTF-8 bytes; without a copy for ASCII."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


async def read(client: Client, size: int, parse: Callable[[bool], T]) -> T:
    """Return `parse(may_scan)` of a text of `size` bytes: on the loop if it is small, else in a thread.

    `parse` raises `NeedsScan` if it needs a scan that it may not do; the slow thread then calls it again. A small text
    costs no task switch.
    """
    may_scan = size <= SCANNED_ON_LOOP_BYTES
    try:
        if size <= ON_LOOP_BYTES:
            return parse(may_scan)
        return await quick.run(client, lambda: parse(False))
    except NeedsScan:
        return await slow.run(client, lambda: parse(True))
