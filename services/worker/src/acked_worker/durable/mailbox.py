"""Callbacks from one loop to another, many with one wake-up.

A wake-up of another thread's loop costs a system call and a turn of that loop. Under load many steps cross together:
the replies of one command, and what the handlers that it woke do next.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context as Variables


class Mailbox:
    """Runs callbacks on its loop, in order. Post from any one thread at a time."""

    __slots__ = ("_callbacks", "_is_due", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._callbacks: deque[Callable[[], None]] = deque()
        self._is_due = False

    def post(self, callback: Callable[[], None]) -> None:
        """Run a callback soon, without the caller's context variables. Raise `RuntimeError` if the loop is closed."""
        if self._loop.is_closed():
            raise RuntimeError("the loop is closed")
        self._callbacks.append(callback)
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon_threadsafe(self._run, context=Variables())

    def _run(self) -> None:
        # Ahead of the first one: what is posted from here on may need a run of its own.
        self._is_due = False
        try:
            for _ in range(len(self._callbacks)):
                self._callbacks.popleft()()
        finally:
            if self._callbacks and not self._is_due:
                # One has raised: the rest must not wait for the next post.
                self._is_due = True
                self._loop.call_soon(self._run, context=Variables())
