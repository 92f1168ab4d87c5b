"""A durable call that has not begun: what `ctx.step` and the others return."""

import warnings
from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from acked.durable.identity import Identity
from acked.durable.port import Call

if TYPE_CHECKING:
    from acked.durable.engine import Engine
    from acked.durable.turns import Turn

T = TypeVar("T", covariant=True)

Body = Callable[["Turn"], Coroutine[Any, Any, T]]


class DurableCall(Coroutine[Any, Any, T], Generic[T]):
    """A call that does nothing until it is awaited, or given to `ctx.gather` or to a task. Await it once.

    It is a coroutine for asyncio: `asyncio.gather`, `asyncio.create_task` and `TaskGroup.create_task` take it.
    """

    def __init__(
        self, engine: "Engine", label: str, body: Body[T], identity: Identity | None = None, kind: Call | None = None
    ) -> None:
        self._engine = engine
        self._body = body
        self._running: Coroutine[Any, Any, T] | None = None
        self._is_begun = False
        self.is_owned = False
        """Whether a `gather` has it, which may end before the call begins."""
        self.label = label
        """The call for messages, such as "step 'quote'"."""
        self.identity = identity
        """None for a call that keeps nothing of its own, such as `gather`. So is `kind`."""
        self.kind = kind

    def begin(self, turn: "Turn | None" = None) -> Coroutine[Any, Any, T]:
        """Return the coroutine of the call, to be awaited at once. Raise `RuntimeError` the second time."""
        if self._is_begun:
            raise RuntimeError(f"{self.label} is awaited twice; make a call for each await")
        self._is_begun = True
        return self._engine.drive(self, self._body, turn)

    def _coroutine(self) -> Coroutine[Any, Any, T]:
        if self._running is None:
            self._running = self.begin()
        return self._running

    def __await__(self) -> Generator[Any, Any, T]:
        return self.begin().__await__()

    def send(self, value: Any, /) -> Any:
        """Go on, as asyncio does with coroutines."""
        return self._coroutine().send(value)

    def throw(self, typ: Any, val: Any = None, tb: TracebackType | None = None, /) -> Any:
        """Raise an error inside, as asyncio does with coroutines."""
        error: BaseException = typ if isinstance(typ, BaseException) else typ() if val is None else val
        if self._running is None:
            # Cancelled before its first step.
            self._is_begun = True
            raise error
        return self._running.throw(error)

    def close(self) -> None:
        """End the call without an outcome, as asyncio does with coroutines."""
        self._is_begun = True
        if self._running is not None:
            self._running.close()

    def __del__(self) -> None:
        if not (getattr(self, "_is_begun", True) or self.is_owned):
            warnings.warn(
                f"{self.label} was never awaited: write `await`, or pass it to ctx.gather", RuntimeWarning, stacklevel=2
            )

    def __repr__(self) -> str:
        return f"<{self.label}, {'begun' if self._is_begun else 'not begun'}>"
