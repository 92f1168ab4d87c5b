"""Resources that handlers open once per event loop and share between jobs, such as a session or a connection pool.

    from acked.resources import LoopResource

    session = LoopResource(aiohttp.ClientSession, lambda open_session: open_session.close())

    @handler("fetch")
    async def fetch(ctx, payload):
        async with session.get().get(payload["url"]) as response: ...

The worker closes them when it stops.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import structlog

T = TypeVar("T")

_open: "WeakKeyDictionary[asyncio.AbstractEventLoop, dict[LoopResource[Any], Any]]" = WeakKeyDictionary()


class LoopResource(Generic[T]):
    """One `T` per event loop, opened lazily on that loop."""

    def __init__(self, opener: Callable[[], T], closer: Callable[[T], Awaitable[object]]) -> None:
        self._opener = opener
        self._closer = closer

    def get(self) -> T:
        """Return the running loop's `T`. Call it on the loop."""
        held = _open.setdefault(asyncio.get_running_loop(), {})
        if self not in held:
            held[self] = self._opener()
        resource: T = held[self]
        return resource

    async def _close(self, resource: T) -> None:
        try:
            await self._closer(resource)
        except Exception:
            structlog.get_logger("acked.resources").exception("a handler's resource could not be closed")


async def close_resources() -> None:
    """Close all resources of the running loop, newest first."""
    held = _open.pop(asyncio.get_running_loop(), {})
    for owner, resource in reversed(list(held.items())):
        await owner._close(resource)
