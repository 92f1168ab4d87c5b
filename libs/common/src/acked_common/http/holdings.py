"""OWNER of the rule by which clients share what a process can hold: so much each, so much in all. Pure: no clock, no
I/O, no event loop.

A rate bounds how often a client begins something; it says nothing of what takes long. A long poll, a half-sent body or
a load test is *held* from its beginning to its end, and one client that begins slowly can hold everything in time. So
each thing that can be held has a ledger: whoever begins takes from it, and gives back when it ends.

The rule, in this order:

1. All clients together hold at most `in_all`.
2. A client holds at most `of_client`.
3. Beyond three quarters of the whole, a client gets more only up to an equal share among those that hold something and
   one more. So clients at their own bounds leave room for those who hold little. A client that may hold the whole is
   alone, and shares with nobody.

`reserve` is for what must go on although a client is at its bound (see `take`). A refusal changes nothing.
"""

from collections.abc import Hashable
from enum import Enum
from typing import Generic, TypeVar

C = TypeVar("C", bound=Hashable)

CROWDED_FROM = 0.75
"""The part of the whole beyond which equal shares count."""


class Full(Enum):
    """Which bound refused something."""

    CLIENT = "client"
    """The client's own: others are served."""
    ALL = "all"
    """That of all clients together."""


class Ledger(Generic[C]):
    """What each client holds of one thing. To take and to give back are a few operations on one dict."""

    __slots__ = ("_by_client", "_crowded_from", "held", "in_all", "of_client", "reserve")

    def __init__(self, in_all: int, of_client: int, *, reserve: int = 0) -> None:
        """Raises ValueError for bounds that contradict each other."""
        if not (of_client >= 1 and reserve >= 0 and of_client + reserve <= in_all):
            raise ValueError(f"a client may hold 1 to {in_all} less a reserve of {reserve}, not {of_client}")
        self.in_all = in_all
        self.of_client = of_client
        self.reserve = reserve
        self.held = 0
        """By all clients together."""
        self._by_client: dict[C, int] = {}
        is_shared = of_client + reserve < in_all
        self._crowded_from = int(in_all * CROWDED_FROM) if is_shared else in_all

    def take(self, client: C, amount: int = 1, *, reserved: bool = False) -> Full | None:
        """Adds to what the client holds; None where it may, else the bound that refuses it.

        `amount` is 1 at least. `reserved`: the client may go beyond its own bound by the reserve.
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
        """Ends what was taken. Raises ValueError for more than the client holds."""
        left = self._by_client.get(client, 0) - amount
        if left > 0:
            self._by_client[client] = left
        elif left == 0:
            del self._by_client[client]
        else:
            raise ValueError(f"more is given back than is held: {-left}")
        self.held -= amount

    def held_by(self, client: C) -> int:
        """What one client holds."""
        return self._by_client.get(client, 0)

    @property
    def clients(self) -> int:
        """How many clients hold something; no other is remembered."""
        return len(self._by_client)

    def _equal_share(self, client: C) -> int:
        sharing = len(self._by_client) + (client not in self._by_client)
        return max(1, self.in_all // (sharing + 1))
