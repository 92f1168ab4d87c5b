"""Read a request's body within a bound, and detect the disconnect of its client."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from acked_common.http.limits import UNCOUNTED_BYTES, HeldBytes
from acked_common.http.problems import ProblemError, problem

T = TypeVar("T")


async def read_bounded(request: Request, max_bytes: int, held: HeldBytes | None = None) -> bytes:
    """Return the body of a request. Raises the problem 413 beyond the bound. `held` counts a large body; the caller
    releases it."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise ProblemError(
                problem("body-too-large", f"a body may have {max_bytes:,} bytes here, this one has more")
            )
        if held is not None and len(body) > UNCOUNTED_BYTES:
            held.grow_to(len(body))
    return bytes(body)


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of the work. If the client disconnects first, cancel the work and raise `ClientDisconnect`."""
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_when_gone(request.receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        for each in (task, gone):
            if not each.done():
                each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _when_gone(receive: Receive) -> None:
    # Discard the body, or its memory would be held as long as the work lasts.
    while (await receive())["type"] != "http.disconnect":
        pass
