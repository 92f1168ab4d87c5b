"""Reads the snapshots of subscriptions: one read serves all requests of a topic that wait at the same time."""

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
"""The snapshot of a larger topic holds counts."""
COUNTED_AT_MOST = 10_000
COUNTS_EVERY_S = 1.0
AT_ONCE = 8
RETRY_S = 0.5


class Snapshots:
    """Reads snapshots for subscriptions, and refreshes counts after new events."""

    def __init__(self, store: SnapshotStore, hub: Hub, follower: ChangeFollower) -> None:
        self._store = store
        self._hub = hub
        self._follower = follower
        self._requested: dict[Topic, list[Subscription]] = {}
        self._turns: FairTurns[str] = FairTurns(AT_ONCE)
        """By tenant: many requests of one tenant do not delay those of others."""
        self._tasks = Tasks()

    def start(self, tasks: Tasks) -> None:
        """Start to refresh counts."""
        tasks.repeat("feed counts", self._refresh_counts, every_s=COUNTS_EVERY_S)

    async def stop(self) -> None:
        """Cancel all reads."""
        await self._tasks.cancel_all()

    def request(self, subscription: Subscription) -> None:
        """Read a snapshot for a subscription soon; never fails."""
        topic = subscription.ring.topic
        waiting = self._requested.get(topic)
        if waiting is not None:
            waiting.append(subscription)
            return
        self._requested[topic] = [subscription]
        self._tasks.spawn(self._serve(topic), "snapshot")

    async def _serve(self, topic: Topic) -> None:
        # First wait for a turn: requests that arrive meanwhile share the read.
        async with self._turns.of(topic.tenant):
            await self._follower.opened()
            subscriptions = self._requested.pop(topic)
            try:
                await self._send(topic, subscriptions)
            except StoreError as error:
                log.warning("snapshot not taken yet", error=str(error))
                await asyncio.sleep(RETRY_S)
                for subscription in subscriptions:
                    self.request(subscription)

    async def _send(self, topic: Topic, subscriptions: list[Subscription]) -> None:
        only_counts = all(subscription.has_counts for subscription in subscriptions)
        updates = None if only_counts else await self._store.look(topic, limit=JOBS_AT_MOST)
        snapshot: Snapshot
        if updates is not None:
            snapshot = jobs_snapshot(updates)
        else:
            is_bounded = topic.name not in COUNTED_EXACTLY
            counts = await self._store.count(topic, at_most=COUNTED_AT_MOST)
            snapshot = counts_snapshot(counts, COUNTED_AT_MOST if is_bounded else None)
        served = []
        for subscription in subscriptions:
            if subscription not in subscription.ring.subscriptions:
                continue
            if subscription.accept(snapshot):
                served.append(subscription)
            else:
                self.request(subscription)
        if updates is not None and served:
            self._follower.snapshot_sent(served, updates)

    async def _refresh_counts(self) -> None:
        for ring in self._hub.rings:
            if ring.was_published:
                counted = [subscription for subscription in ring.subscriptions if subscription.has_counts]
                ring.was_published = False
                for subscription in counted:
                    self.request(subscription)
