"""Reads the snapshots of subscriptions: one read serves all requests of a topic that wait at the same time.

A look at the jobs of a topic is small. Only if a topic has more jobs than a look reads, these are counted, first for a
new subscription and again after events, when the `CountQueue` allows it.
"""

import asyncio
import time

from acked_common.http.fair_turns import FairTurns
from acked_common.model.topics import Topic
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.logs import get_log
from acked_common.store.errors import StoreError
from acked_common.store.ports import SnapshotStore
from acked_gateway.feed.change_follower import ChangeFollower
from acked_gateway.feed.count_queue import CountQueue, StartedCount
from acked_gateway.feed.frames import MAX_IDS
from acked_gateway.feed.hub import Hub
from acked_gateway.feed.ring import Ring
from acked_gateway.feed.subscription import Subscription, counts_snapshot, jobs_snapshot

log = get_log(__name__)

JOBS_AT_MOST = MAX_IDS
"""The snapshot of a larger topic holds counts."""
COUNTED_AT_MOST = 10_000
COUNTS_EVERY_S = 1.0
"""The most frequent refresh of the counts of a topic; they are less frequent where counts read many keys."""
AT_ONCE = 8
RETRY_S = 0.5


class Snapshots:
    """Reads snapshots for subscriptions, and refreshes counts after new events."""

    def __init__(self, store: SnapshotStore, hub: Hub, follower: ChangeFollower) -> None:
        self._store = store
        self._hub = hub
        self._follower = follower
        self._requested: dict[Topic, list[Subscription]] = {}
        self._queue = CountQueue()
        self._uncounted: dict[Topic, Ring] = {}
        """The topics that wait for a count, by the ring whose subscriptions get it."""
        self._counting: set[Topic] = set()
        """Their counts are being read: another one would begin later and could end earlier."""
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
        updates = await self._store.look(topic, limit=JOBS_AT_MOST)
        if updates is None:
            for subscription in subscriptions:
                subscription.waits_for_counts = True
                self._let_wait(subscription.ring, is_first=True)
            self._start_counts()
            return
        snapshot = jobs_snapshot(updates)
        served = []
        for subscription in subscriptions:
            if subscription not in subscription.ring.subscriptions:
                continue
            if subscription.accept(snapshot):
                served.append(subscription)
            else:
                self.request(subscription)
        if served:
            self._follower.snapshot_sent(served, updates)

    async def _refresh_counts(self) -> None:
        for ring in self._hub.rings:
            if ring.was_published:
                ring.was_published = False
                if any(subscription.has_counts for subscription in ring.subscriptions):
                    self._let_wait(ring, is_first=False)
        for topic, ring in list(self._uncounted.items()):
            if not ring.subscriptions:
                del self._uncounted[topic]
                self._queue.leave(topic)
        self._start_counts()

    def _let_wait(self, ring: Ring, *, is_first: bool) -> None:
        if not ring.subscriptions:
            return
        self._uncounted[ring.topic] = ring
        if ring.topic not in self._counting:
            self._queue.join(ring.topic, ring.counted, is_first=is_first)

    def _start_counts(self) -> None:
        """Start the counts that may start now; the others do when one has ended, or with the next refresh."""
        while (started := self._queue.next(time.monotonic())) is not None:
            self._counting.add(started.topic)
            self._tasks.spawn(self._count(started), "counts")

    async def _count(self, started: StartedCount) -> None:
        topic = started.topic
        try:
            # First wait for a turn: subscriptions that arrive meanwhile share the read.
            async with self._turns.of(topic.tenant):
                await self._follower.opened()
                ring = self._uncounted.pop(topic, None)
                read = 0 if ring is None else await self._send_counts(topic, ring)
            self._queue.settle(started, read, time.monotonic())
        except StoreError as error:
            # What it had read is not known: it stays charged.
            log.warning("topic not counted yet", error=str(error))
            await asyncio.sleep(RETRY_S)
        finally:
            self._counting.discard(topic)
        if (ring := self._uncounted.get(topic)) is not None:
            # It has waited since this count began, or failed.
            is_first = any(subscription.waits_for_counts for subscription in ring.subscriptions)
            self._let_wait(ring, is_first=is_first)
        self._start_counts()

    async def _send_counts(self, topic: Topic, ring: Ring) -> int:
        """Count a topic for its subscriptions, and return how many keys that read. Raises `StoreError`."""
        served = [one for one in ring.subscriptions if one.has_counts or one.waits_for_counts]
        if not served:
            return 0
        try:
            found = await self._store.count(topic, at_most=COUNTED_AT_MOST)
        except StoreError:
            self._uncounted.setdefault(topic, ring)
            raise
        ring.counted = found.looked_at
        snapshot = counts_snapshot(found.states, found.at_most)
        for subscription in served:
            if subscription not in ring.subscriptions:
                continue
            subscription.waits_for_counts = False
            if not subscription.accept(snapshot):
                self.request(subscription)
        return found.looked_at
