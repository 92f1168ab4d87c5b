"""How long each connection may wait for what, and which one goes when there is no room. Pure: it is told the time.

Connections that wait for the same thing have the same time for it, so each list is in the order of its ends: whoever
looks, looks at its front only. To join and to leave costs a few operations on dicts, and no timer.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Generic, TypeVar

T = TypeVar("T")

# A connection that was answered a moment ago: its client's next request may be on the way.
_JUST_ANSWERED_S = 1.0


class Deadline(IntEnum):
    """What a connection waits for."""

    FIRST_BYTE = 0
    HEAD = 1
    BODY = 2
    NEXT_REQUEST = 3
    GOODBYE = 4
    """It was refused; its client may still read the answer."""

    @property
    def label(self) -> str:
        """The name for people."""
        return self.name.lower().replace("_", "-")


class ConnectionDeadlines(Generic[T]):
    """Who waits for what, since when. `within_s` has the time for each `Wait`; instants are monotonic seconds."""

    def __init__(self, within_s: Mapping[Deadline, float]) -> None:
        # By number: to hash a name costs more than all the rest.
        self._within_s = [within_s[wait] for wait in Deadline]
        self._lists: list[dict[T, float]] = [{} for _ in Deadline]

    def __bool__(self) -> bool:
        return any(self._lists)

    def join(self, member: T, wait: Deadline, now: float) -> None:
        """Begins a wait; the member must be in no list."""
        self._lists[wait][member] = now + self._within_s[wait]

    def leave(self, member: T, wait: Deadline) -> None:
        """Ends a wait, if there is one."""
        self._lists[wait].pop(member, None)

    def overdue(self, now: float, at_most: int) -> list[tuple[T, Deadline]]:
        """Takes out those whose time is over; no more than `at_most` of each list."""
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
        """Takes out who is missed least: who has waited longest for a next request, else who has begun one or none and
        has waited longest. None where nobody waits."""
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
        """The member that has waited longest for this, and since when."""
        for member, until in self._lists[wait].items():
            return member, until - self._within_s[wait]
        return None

    def _take(self, member: T, wait: Deadline) -> tuple[T, Deadline]:
        del self._lists[wait][member]
        return member, wait
