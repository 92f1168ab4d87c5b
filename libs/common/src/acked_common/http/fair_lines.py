"""A line for each client, and the clients in turn. Pure.

In one line for all, a client that brings much makes the next one wait for all of it.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

C = TypeVar("C", bound=Hashable)
T = TypeVar("T")


class FairLines(Generic[C, T]):
    """What waits, by client. Empty lines are not remembered."""

    def __init__(self) -> None:
        self._lines: OrderedDict[C, deque[T]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._lines)

    def join(self, client: C, one: T) -> None:
        """Puts it at the end of the client's line; a new line is the last to have its turn."""
        self._lines.setdefault(client, deque()).append(one)

    def next(self) -> T:
        """Takes out the first of the line whose turn it is; that line is the last then. KeyError where none waits."""
        client, line = self._lines.popitem(last=False)
        one = line.popleft()
        if line:
            self._lines[client] = line
        return one

    def clear(self) -> None:
        """Nothing waits any more."""
        self._lines.clear()
