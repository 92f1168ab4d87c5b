"""OWNER of the rule by which clients share the capacity of a process: a limit per client and a total. Pure.

A rate bounds how often a client starts something, but not how long that lasts. A long poll, a half-sent body or a load
test is *held* from start to end, so one slow client could hold the whole capacity in time. Hence each resource has a
ledger: a request takes from it at its start and gives back at its end.

The rule, in this order:

1. All clients together hold at most `in_all`.
2. A client holds at most `of_client`.
3. Above three quarters of the total, a client may grow only up to an equal share among the clients that hold something
   plus one. So clients at their limits leave room for those that hold little. A client that may hold the total shares
   with no other client.

`reserve` is for requests that must work although the client is at its limit (see `take`). A refusal changes nothing.
"""

from collections.abc import Hashable
from enum import Enum
from typing import Generic, TypeVar

C = TypeVar("C", bound=Hashable)

CROWDED_FROM = 0.75
"""Fraction of the total above which equal shares apply."""


class Full(Enum):
    """The bound that refused a request."""

    CLIENT = "client"
    """The client's own limit: other clients are served."""
    ALL = "all"
    """The total of all clients."""


class Ledger(Generic[C]):
    """Count what each client holds of one resource. Taking and giving back cost a few dict operations."""

    __slots__ = ("_by_client", "_crowded_from", "held", "in_all", "of_client", "reserve")

    def __init__(self, in_all: int, of_client: int, *, reserve: int = 0) -> None:
        """Raise ValueError for bounds that contradict each other."""
        if not (of_client >= 1 and reserve >= 0 and of_client + reserve <= in_all):
            raise ValueError(f"a client may hold 1 to {in_all} less a reserve of {reserve}, not {of_client}")
        self.in_all = in_all
        self.of_client = of_client
        self.reserve = reserve
        self.held = 0
        """Held by all clients together."""
        self._by_client: dict[C, int] = {}
        is_shared = of_client + reserve < in_all
        self._crowded_from = int(in_all * CROWDED_FROM) if is_shared else in_all

    def take(self, client: C, amount: int = 1, *, reserved: bool = False) -> Full | None:
        """Add `amount`, at least 1, to what the client holds. Return None, or the bound that refuses it.

        With `reserved` the client may exceed its own limit by the reserve.
        """
        held = self.held + amount
        if held > self.in_all:
            return Full.ALL
        own = self._by_client.get(client, 0) + amount
        if own > self.of_client and (not reserved or own > self.of_client + self.reserve):
            return Full.CLIENT
        if held > self._crowded_from and own > self._equal_share(client):
            return Full.ALL
        self._by_client[client] = own
        self.held = held
        return None

    def give_back(self, client: C, amount: int = 1) -> None:
        """Release what was taken. Raise ValueError for more than the client holds."""
        left = self._by_client.get(client, 0) - amount
        if left > 0:
            self._by_client[client] = left
        elif left == 0:
            del self._by_client[client]
        else:
            raise ValueError(f"more is released than is held: {-left}")
        self.held -= amount

    def held_by(self, client: C) -> int:
        """Return what one client holds."""
        return self._by_client.get(client, 0)

    @property
    def clients(self) -> int:
        """Number of clients that hold something; other clients are not stored."""
        return len(self._by_client)

    def _equal_share(self, client: C) -> int:
        sharing = len(self._by_client) + (client not in self._by_client)
        return max(1, self.in_all // (sharing + 1))
