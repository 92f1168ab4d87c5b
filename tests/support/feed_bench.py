"""A feed without servers: everybody may enter, the stream and the snapshots only note who asks."""

import asyncio
from typing import Any

from starlette.websockets import WebSocket

from acked_common.http.holdings import Ledger
from acked_common.http.limits import Limit
from acked_common.model.principal import LOCAL, Permission, Principal
from acked_common.model.tokens import TokenRecord
from acked_gateway.feed.entry import Guest
from acked_gateway.feed.held_subscriptions import FeedLimits, FeedParts
from acked_gateway.feed.hub import Hub
from acked_gateway.feed.session import Feed
from acked_gateway.feed.subscription import Subscription
from support.factories import ManualClock

IN_ALL, OF_ONE = 4, 2
ADA = Principal("acme", "ada", frozenset({Permission.READ}))
BOB = Principal("acme", "bob", frozenset({Permission.READ}))


class Door:
    """Lets everybody in, as whom the test says."""

    def __init__(self) -> None:
        self.asks = False
        self.guest = Guest(LOCAL, None)
        self.holds = True
        self.opens = asyncio.Event()
        self.opens.set()

    def of(self, principal: Principal) -> None:
        """Tokens are asked for, and this one is shown."""
        self.asks = True
        self.guest = Guest(principal, TokenRecord("id", b"digest", principal, ManualClock().now()))

    def may_stay(self, guest: Guest) -> bool:
        return self.holds

    async def admit(self, websocket: WebSocket) -> Guest | None:
        guest = self.guest
        await self.opens.wait()
        await websocket.accept()
        return guest


class Followed:
    """The stream: who follows it."""

    def __init__(self) -> None:
        self.followers = 0

    def follow(self) -> None:
        self.followers += 1

    def unfollow(self) -> None:
        self.followers -= 1


class Wanted:
    """Snapshots that somebody wants."""

    def __init__(self) -> None:
        self.wanted: list[Subscription] = []

    def request(self, subscription: Subscription) -> None:
        self.wanted.append(subscription)


class FeedBench:
    """The feed of a gateway with small limits, and what stands around it."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.hub, self.stream, self.snapshots, self.door = Hub(), Followed(), Wanted(), Door()
        self.feeds = self.limit("feeds", IN_ALL, OF_ONE)
        limits = FeedLimits(self.feeds, self.limit("feed-subscriptions", 8, 4), self.limit("feed-ids", 40, 20))
        stream: Any = self.stream
        snapshots: Any = self.snapshots
        door: Any = self.door
        self.limits = limits
        self.feed = Feed(FeedParts(self.hub, stream, snapshots, limits), ManualClock(), door, boot="boot-1")

    @staticmethod
    def limit(name: str, in_all: int, of_client: int) -> Limit:
        """A limit whose own problem is `too-many-feeds`."""
        return Limit(name, Ledger(in_all, of_client), own="too-many-feeds", what="feeds")
