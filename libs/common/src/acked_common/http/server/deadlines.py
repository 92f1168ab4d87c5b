"""Deadlines of connections, and the choice of a connection to evict. Pure: the time is an argument.

All connections in one kind of wait have the same time limit. So each list is in the order of its deadlines, and only
its front must be checked. Joining and leaving cost a few dict operations and no timer.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Generic, TypeVar

T = TypeVar("T")

# After a response, the client's next request may already be on the way.
_JUST_ANSWERED_S = 1.0


class Deadline(IntEnum):
    """The event that a connection waits for."""

    FIRST_BYTE = 0
    HEAD = 1
    BODY = 2
    NEXT_REQUEST = 3
    GOODBYE = 4
    """The connection was refused; its client may still read the response."""

    @property
    def label(self) -> str:
        """The name in metrics and messages."""
        return self.name.lower().replace("_", "-")


class ConnectionDeadlines(Generic[T]):
    """The waiting members by deadline. `within_s` has the time limit of each; instants are monotonic seconds."""

    def __init__(self, within_s: Mapping[Deadline, float]) -> None:
        # Indexed by number, because hashing a name would dominate the cost.
        self._within_s = [within_s[wait] for wait in Deadline]
        self._lists: list[dict[T, float]] = [{} for _ in Deadline]

    def __bool__(self) -> bool:
        return any(self._lists)

    def join(self, member: T, wait: Deadline, now: float) -> None:
        """Begin a wait; the member must be in no list."""
        self._lists[wait][member] = now + self._within_s[wait]

    def leave(self, member: T, wait: Deadline) -> None:
        """End a wait, if there is one."""
        self._lists[wait].pop(member, None)

    def overdue(self, now: float, at_most: int) -> list[tuple[T, Deadline]]:
        """Remove and return the overdue members, at most `at_most` of each list."""
        found: list[tuple[T, Deadline]] = []
        for wait, members in zip(Deadline, self._lists, strict=True):
            late: list[T] = []
            for member, until in members.items():
                if until > now or len(late) >= at_most:
                    break
                late.append(member)
            for member in late:
                del members[member]
                found.append((member, wait))
        return found

    def evict(self, now: float) -> tuple[T, Deadline] | None:
        """Remove and return the least useful member: the one that has waited longest for a next request, else the one
        that has waited longest otherwise. None if no member waits."""
        if (idle := self._front(Deadline.NEXT_REQUEST)) is not None and idle[1] + _JUST_ANSWERED_S <= now:
            return self._take(idle[0], Deadline.NEXT_REQUEST)
        slow = [
            (front[1], front[0], wait)
            for wait in (Deadline.GOODBYE, Deadline.FIRST_BYTE, Deadline.HEAD, Deadline.BODY)
            if (front := self._front(wait)) is not None
        ]
        if slow:
            _, member, wait = min(slow, key=lambda each: each[0])
            return self._take(member, wait)
        return self._take(idle[0], Deadline.NEXT_REQUEST) if idle is not None else None

    def _front(self, wait: Deadline) -> tuple[T, float] | None:
        """Return the member that has waited longest, and since when."""
        for member, until in self._lists[wait].items():
            return member, until - self._within_s[wait]
        return None

    def _take(self, member: T, wait: Deadline) -> tuple[T, Deadline]:
        del self._lists[wait][member]
        return member, wait
