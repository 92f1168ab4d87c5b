"""The reply to ledger work that goes on without its caller."""

import asyncio
from collections.abc import Generator
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


class Reply(Generic[T]):
    """An outcome that can be awaited again after a cancelled await. On one loop, by one task at a time.

    A future would be cancelled together with its caller, and a shielded task costs a step of the loop more.
    """

    __slots__ = ("_error", "_is_settled", "_loop", "_value", "_waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiter: asyncio.Future[None] | None = None
        self._is_settled = False
        self._value: T | None = None
        self._error: BaseException | None = None

    @classmethod
    def of(cls, task: "asyncio.Task[T]") -> "Reply[T]":
        """Return the reply that a task of its loop gives; the task goes on when an await of the reply is cancelled."""
        made: Reply[T] = cls(task.get_loop())
        task.add_done_callback(made.settle_as)
        return made

    @property
    def is_cancelled(self) -> bool:
        """Whether the outcome itself is a cancellation, so that another await can't return."""
        return isinstance(self._error, asyncio.CancelledError)

    def settle(self, value: T) -> None:
        """Return this from all awaits. Only the first outcome counts."""
        if not self._is_settled:
            self._value = value
            self._wake()

    def fail(self, error: BaseException) -> None:
        """Raise this from all awaits. Only the first outcome counts."""
        if not self._is_settled:
            self._error = error
            self._wake()

    def settle_as(self, done: "asyncio.Future[T]") -> None:
        """Take over the outcome of a future."""
        if done.cancelled():
            self.fail(asyncio.CancelledError())
        elif (error := done.exception()) is not None:
            self.fail(error)
        else:
            self.settle(done.result())

    def __await__(self) -> Generator[Any, Any, T]:
        while not self._is_settled:
            self._waiter = self._loop.create_future()
            yield from self._waiter
        if self._error is not None:
            raise self._error
        return cast(T, self._value)

    def _wake(self) -> None:
        self._is_settled = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
