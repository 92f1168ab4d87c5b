"""Takes the snapshots that subscriptions want: one look for all who want the same scope at the same time."""

import asyncio

from acked_common.http.fair_turns import FairTurns
from acked_common.model.topics import COUNTED_EXACTLY, Topic
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.logs import get_log
from acked_common.store.errors import StoreError
from acked_common.store.ports import SnapshotStore
from acked_gateway.feed.change_follower import ChangeFollower
from acked_gateway.feed.frames import MAX_IDS
from acked_gateway.feed.hub import Hub
from acked_gateway.feed.subscription import Snapshot, Subscription, counts_snapshot, jobs_snapshot

log = get_log(__name__)

JOBS_AT_MOST = MAX_IDS
"""A larger scope is shown by its counts."""
COUNTED_AT_MOST = 10_000
COUNTS_EVERY_S = 1.0
AT_ONCE = 8
RETRY_S = 0.5


class Snapshots:
    """Reads what subscriptions begin with, and renews counts while something happens."""

    def __init__(self, store: SnapshotStore, hub: Hub, live: ChangeFollower) -> None:
        self._store = store
        self._hub = hub
        self._live = live
        self._wanted: dict[Topic, list[Subscription]] = {}
        self._turns: FairTurns[str] = FairTurns(AT_ONCE)
        """By tenant: however many looks one of them wants, the others have their turns."""
        self._tasks = Tasks()

    def start(self, tasks: Tasks) -> None:
        """Starts to renew counts."""
        tasks.repeat("feed counts", self._renew_counts, every_s=COUNTS_EVERY_S)

    async def stop(self) -> None:
        """Takes no more."""
        await self._tasks.cancel_all()

    def want(self, subscription: Subscription) -> None:
        """Takes a snapshot for a subscription soon; never fails."""
        topic = subscription.ring.topic
        waiting = self._wanted.get(topic)
        if waiting is not None:
            waiting.append(subscription)
            return
        self._wanted[topic] = [subscription]
        self._tasks.spawn(self._take(topic), "snapshot")

    async def _take(self, topic: Topic) -> None:
        # The place in the queue first: who comes meanwhile is served by the same look.
        async with self._turns.of(topic.tenant):
            await self._live.opened()
            subscriptions = self._wanted.pop(topic)
            try:
                await self._give(topic, subscriptions)
            except StoreError as error:
                log.warning("snapshot not taken yet", error=str(error))
                await asyncio.sleep(RETRY_S)
                for subscription in subscriptions:
                    self.want(subscription)

    async def _give(self, topic: Topic, subscriptions: list[Subscription]) -> None:
        renews = all(subscription.has_counts for subscription in subscriptions)
        news = None if renews else await self._store.look(topic, limit=JOBS_AT_MOST)
        snapshot: Snapshot
        if news is not None:
            snapshot = jobs_snapshot(news)
        else:
            is_bounded = topic.name not in COUNTED_EXACTLY
            counts = await self._store.count(topic, at_most=COUNTED_AT_MOST)
            snapshot = counts_snapshot(counts, COUNTED_AT_MOST if is_bounded else None)
        given = []
        for subscription in subscriptions:
            if subscription not in subscription.ring.subscriptions:
                continue
            if subscription.give(snapshot):
                given.append(subscription)
            else:
                self.want(subscription)
        if news is not None and given:
            self._live.gave(given, news)

    async def _renew_counts(self) -> None:
        for ring in self._hub.rings:
            if ring.was_published:
                counted = [subscription for subscription in ring.subscriptions if subscription.has_counts]
                ring.was_published = False
                for subscription in counted:
                    self.want(subscription)
