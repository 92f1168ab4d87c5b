"""OWNER of the slow-client policy: fans updates out to subscriptions. Pure: no clock, no I/O.

Each topic with subscriptions has a ring of events, and each subscription is a cursor in it. A client that is too slow
falls out of the ring: it gets `resync`, and then a new snapshot.
"""

from collections.abc import Iterable, Iterator, Sequence
from uuid import UUID

from acked_common.model.events import JobUpdate
from acked_common.model.topics import Topic, topics_of
from acked_gateway.feed.client import Client
from acked_gateway.feed.frames import FeedError, Sub, event_text
from acked_gateway.feed.ring import Ring, RingEvent
from acked_gateway.feed.subscription import Subscription

EVENTS_AN_ENTRY = 100
STEPS_AT_ONCE = 1000
"""Steps of publishing between two turns of the loop; they take some milliseconds."""
EVENTS_A_STEP = 8
"""Events of an entry that cost as much as one more subscription."""
MAX_SUBSCRIPTIONS = 64
MAX_IDS_A_CLIENT = 10_000


class Hub:
    """The rings of all topics with subscriptions."""

    def __init__(self) -> None:
        # A topic holds its tenant, so updates of other tenants reach no ring.
        self._rings: dict[Topic, Ring] = {}
        self._by_id: dict[UUID, list[Ring]] = {}
        """The rings of `IDS` topics: a job may be in many of them."""

    @property
    def rings(self) -> Sequence[Ring]:
        """The rings of all topics with subscriptions."""
        return list(self._rings.values())

    def subscribe(self, client: Client, sub: Sub, topic: Topic) -> Subscription:
        """Subscribe a client to a topic from now on; the subscription needs a snapshot. Raises `FeedError`."""
        if sub in client.subscriptions:
            raise FeedError(f"sub {sub!r} is in use; unsubscribe it first", sub)
        ids = len(topic.ids)
        if len(client.subscriptions) >= MAX_SUBSCRIPTIONS or client.ids + ids > MAX_IDS_A_CLIENT:
            raise FeedError(
                f"a connection carries {MAX_SUBSCRIPTIONS} subscriptions and {MAX_IDS_A_CLIENT:,} ids at most",
                sub,
                "too-many-subscriptions",
            )
        ring = self._rings.get(topic)
        if ring is None:
            ring = self._rings[topic] = Ring(topic)
            for job_id in topic.ids:
                self._by_id.setdefault(job_id, []).append(ring)
        subscription = Subscription(client, sub, ring)
        ring.subscriptions.add(subscription)
        client.subscriptions[sub] = subscription
        client.ids += ids
        client.without_snapshot.append(subscription)
        return subscription

    def unsubscribe(self, client: Client, sub: Sub) -> int:
        """End a subscription; return how many ids its topic has. Raises `FeedError`."""
        subscription = client.subscriptions.get(sub)
        if subscription is None:
            raise FeedError(f"unknown subscription {sub!r}", sub)
        self._end(subscription)
        return len(subscription.ring.topic.ids)

    def leave(self, client: Client) -> None:
        """End all subscriptions of a connection that has closed."""
        for subscription in list(client.subscriptions.values()):
            self._end(subscription)

    def publish(self, updates: Iterable[JobUpdate]) -> None:
        """Publish updates in order. An update with progress is an event of the current rev with that progress."""
        for _ in self.publishing(updates):
            pass

    def publishing(self, updates: Iterable[JobUpdate]) -> Iterator[None]:
        """Publish in steps of some milliseconds, since a few jobs may be in thousands of topics. Later updates must
        wait until the iterator has ended."""
        steps = 0
        parts: dict[Ring, list[RingEvent]] = {}
        for update in updates:
            if update.event is None:
                continue
            encoded: RingEvent | None = None
            # As a list: subscriptions begin and end between two steps.
            for ring in list(self._rings_of(update)):
                if encoded is None:
                    # Progress comes behind the rev that it carries.
                    order = update.event.rev + (update.progress is not None)
                    encoded = (update.id, order, event_text(update.event, update.progress, update.waits))
                parts.setdefault(ring, []).append(encoded)
                steps += 1
                if steps % STEPS_AT_ONCE == 0:
                    yield
        for ring, events in parts.items():
            for start in range(0, len(events), EVENTS_AN_ENTRY):
                ring.append(events[start : start + EVENTS_AN_ENTRY])
            steps += 1 + len(events) // EVENTS_A_STEP + len(ring.subscriptions)
            if steps >= STEPS_AT_ONCE:
                steps = 0
                yield

    def resync_all(self) -> None:
        """Send every subscription `resync`: events may be missing."""
        for ring in self._rings.values():
            for subscription in ring.subscriptions:
                subscription.invalidate()

    def _rings_of(self, update: JobUpdate) -> Iterator[Ring]:
        for topic in topics_of(update.origin):
            if (ring := self._rings.get(topic)) is not None:
                yield ring
        for ring in self._by_id.get(update.id, ()):
            if ring.topic.tenant == update.origin.tenant:
                yield ring

    def _end(self, subscription: Subscription) -> None:
        client, ring = subscription.client, subscription.ring
        del client.subscriptions[subscription.sub]
        client.remove(subscription)
        client.ids -= len(ring.topic.ids)
        ring.subscriptions.discard(subscription)
        ring.caught_up(subscription)
        if ring.subscriptions:
            return
        del self._rings[ring.topic]
        for job_id in ring.topic.ids:
            rings = self._by_id[job_id]
            rings.remove(ring)
            if not rings:
                del self._by_id[job_id]
