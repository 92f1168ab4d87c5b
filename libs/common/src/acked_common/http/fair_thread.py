"""Reads what clients send in a thread, one text after the other, and the clients in turn.

Reading a large text holds the interpreter's lock, so a second thread would only make the loop wait longer. With one
thread and one line, a client that sends many doubtful texts would make the next client wait for all of them; so each
client has a line of its own, and the first of each line is read in turn. What may stand in the lines is bounded by the
bytes that their clients may hold (`limits`).
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
"""The most that a loop which serves clients reads by itself."""


class FairThread:
    """One thread and a line for each client; one event loop at a time uses it."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, name)
        self._lines: FairLines[Client, tuple[asyncio.Future[Any], Callable[[], Any]]] = FairLines()
        self._is_busy = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self, client: Client, work: Callable[[], T]) -> T:
        """The result of the work, done in the thread when it is the client's turn. Who is cancelled before gives its
        turn up."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # What an earlier loop left behind comes to no end.
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
"""For what a C decoder reads: milliseconds."""
slow = FairThread("acked-json-slow")
"""For doubtful texts, which take up to a microsecond a byte: others must not stand behind them."""


def utf8_size(text: str) -> int:
    """How many bytes a text has in UTF-8; costs no copy where it is ASCII."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


async def read(client: Client, size: int, parse: Callable[[bool], T]) -> T:
    """Return `parse(may_scan)` of a text with `size` bytes: on the loop where it is small, else in a thread.

    `parse` raises `NeedsScan` where it may not scan and has to; then the slow thread calls it again. A small text costs
    no switch to another task.
    """
    may_scan = size <= SCANNED_ON_LOOP_BYTES
    try:
        if size <= ON_LOOP_BYTES:
            return parse(may_scan)
        return await quick.run(client, lambda: parse(False))
    except NeedsScan:
        return await slow.run(client, lambda: parse(True))
