"""Fair queueing: a FIFO queue per client, served round-robin. Pure.

In a single queue, a client with many items delays the next client by all of them.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

C = TypeVar("C", bound=Hashable)
T = TypeVar("T")


class FairLines(Generic[C, T]):
    """Waiting items by client. Empty queues are removed."""

    def __init__(self) -> None:
        self._lines: OrderedDict[C, deque[T]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._lines)

    def join(self, client: C, one: T) -> None:
        """Append an item to the client's queue; a new queue is last in the rotation."""
        self._lines.setdefault(client, deque()).append(one)

    def next(self) -> T:
        """Pop the head of the next queue and move that queue to the end. Raise KeyError when nothing waits."""
        client, line = self._lines.popitem(last=False)
        one = line.popleft()
        if line:
            self._lines[client] = line
        return one

    def clear(self) -> None:
        """Drop all waiting items."""
        self._lines.clear()
