"""The subscriptions of a connection, within the limits of its holder; the stream is followed while there are any."""

from dataclasses import dataclass

from acked_common.http.limits import Client as Holder
from acked_common.http.limits import Limit
from acked_common.http.problems import ProblemError
from acked_gateway.feed.change_follower import ChangeFollower
from acked_gateway.feed.client import Client
from acked_gateway.feed.frames import FeedError, Sub, Subscribe
from acked_gateway.feed.hub import Hub
from acked_gateway.feed.snapshots import Snapshots


@dataclass(frozen=True, slots=True)
class FeedLimits:
    """The limits of what clients of the feed hold."""

    feeds: Limit
    subscriptions: Limit
    ids: Limit
    """Ids in the topics of all subscriptions."""


@dataclass(frozen=True, slots=True)
class FeedParts:
    """The parts of the feed that all connections share."""

    hub: Hub
    follower: ChangeFollower
    snapshots: Snapshots
    limits: FeedLimits


class HeldSubscriptions:
    """What one connection holds; `release` it at the end."""

    def __init__(self, client: Client, holder: Holder, parts: FeedParts) -> None:
        self._client = client
        self._holder = holder
        self._hub = parts.hub
        self._follower = parts.follower
        self._snapshots = parts.snapshots
        self._limits = parts.limits
        self._follows = False

    def subscribe(self, frame: Subscribe) -> None:
        """Subscribe to a topic if the holder's limits allow one more. Raises `FeedError`."""
        ids = len(frame.topic.ids)
        try:
            self._limits.subscriptions.take(self._holder)
            try:
                if ids:
                    self._limits.ids.take(self._holder, ids)
                try:
                    self._hub.subscribe(self._client, frame.sub, frame.topic)
                except BaseException:
                    if ids:
                        self._limits.ids.give_back(self._holder, ids)
                    raise
            except BaseException:
                self._limits.subscriptions.give_back(self._holder)
                raise
        except ProblemError as error:
            raise FeedError.of(error.problem, frame.sub) from None
        self._set_follows(True)
        self.request_snapshots()

    def unsubscribe(self, sub: Sub) -> None:
        """End a subscription. Raises `FeedError`."""
        self._end(sub)
        self._set_follows(bool(self._client.subscriptions))

    def release(self) -> None:
        """End all subscriptions."""
        for sub in list(self._client.subscriptions):
            self._end(sub)
        self._set_follows(False)

    def request_snapshots(self) -> None:
        """Request a snapshot for each subscription that needs one."""
        while self._client.without_snapshot:
            self._snapshots.request(self._client.without_snapshot.pop())

    def _end(self, sub: Sub) -> None:
        ids = self._hub.unsubscribe(self._client, sub)
        self._limits.subscriptions.give_back(self._holder)
        if ids:
            self._limits.ids.give_back(self._holder, ids)

    def _set_follows(self, follows: bool) -> None:
        if follows != self._follows:
            self._follows = follows
            if follows:
                self._follower.follow()
            else:
                self._follower.unfollow()
