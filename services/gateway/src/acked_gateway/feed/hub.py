"""OWNER of the slow-client policy: who is told what, and how far each has come. Pure: no clock, no I/O.

Each topic that somebody follows has a ring of events, and each subscription is a cursor in it. A client that is too
slow falls out of the ring: it gets `resync`, and then a new snapshot.
"""

from collections.abc import Iterable, Iterator, Sequence
from uuid import UUID

from acked_common.model.events import JobUpdate
from acked_common.model.topics import Topic, topics_of
from acked_gateway.feed.client import Client
from acked_gateway.feed.frames import FeedError, Sub, event_text
from acked_gateway.feed.ring import Ring
from acked_gateway.feed.subscription import Subscription

EVENTS_AN_ENTRY = 100
STEPS_AT_ONCE = 1000
"""Of publishing: some milliseconds."""
STEPS_AN_EVENT = 8
"""So many events in an entry take as long as one more subscription."""
MAX_SUBSCRIPTIONS = 64
MAX_IDS_A_CLIENT = 10_000


class Hub:
    """All scopes that somebody follows."""

    def __init__(self) -> None:
        # A topic holds its tenant, so updates of other tenants reach no ring.
        self._rings: dict[Topic, Ring] = {}
        self._by_id: dict[UUID, list[Ring]] = {}
        """The rings of `IDS` topics: a job may be in many of them."""

    @property
    def rings(self) -> Sequence[Ring]:
        """The scopes that are followed."""
        return list(self._rings.values())

    def subscribe(self, client: Client, sub: Sub, topic: Topic) -> Subscription:
        """Follows a scope from now on; the subscription wants a snapshot. Raises `FeedError`."""
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
        client.wanting.append(subscription)
        return subscription

    def unsubscribe(self, client: Client, sub: Sub) -> int:
        """Follows it no longer; tells how many ids its scope has. Raises `FeedError`."""
        subscription = client.subscriptions.get(sub)
        if subscription is None:
            raise FeedError(f"no subscription is called {sub!r}", sub)
        self._end(subscription)
        return len(subscription.ring.topic.ids)

    def leave(self, client: Client) -> None:
        """The connection is gone."""
        for subscription in list(client.subscriptions.values()):
            self._end(subscription)

    def publish(self, news: Iterable[JobUpdate]) -> None:
        """Tells what happened, in order. News with progress tell that alone, beside how the job stands."""
        for _ in self.publishing(news):
            pass

    def publishing(self, news: Iterable[JobUpdate]) -> Iterator[None]:
        """As `publish`, in steps of some milliseconds: the same few jobs may be in thousands of scopes. What is
        published next must wait until the iterator has ended."""
        steps = 0
        parts: dict[Ring, list[tuple[UUID, int, str]]] = {}
        for one in news:
            if one.event is None:
                continue
            told: tuple[UUID, int, str] | None = None
            # As a list: who comes or leaves between two steps changes what is followed.
            for ring in list(self._rings_of(one)):
                if told is None:
                    # Progress comes behind the rev that it carries.
                    order = one.event.rev + (one.progress is not None)
                    told = (one.id, order, event_text(one.event, one.progress))
                parts.setdefault(ring, []).append(told)
                steps += 1
                if steps % STEPS_AT_ONCE == 0:
                    yield
        for ring, events in parts.items():
            for start in range(0, len(events), EVENTS_AN_ENTRY):
                ring.append(events[start : start + EVENTS_AN_ENTRY])
            steps += 1 + len(events) // STEPS_AN_EVENT + len(ring.subscriptions)
            if steps >= STEPS_AT_ONCE:
                steps = 0
                yield

    def lose(self) -> None:
        """Events may be missing: everybody is told `resync`."""
        for ring in self._rings.values():
            for subscription in ring.subscriptions:
                subscription.lose()

    def _rings_of(self, news: JobUpdate) -> Iterator[Ring]:
        for topic in topics_of(news.origin):
            if (ring := self._rings.get(topic)) is not None:
                yield ring
        for ring in self._by_id.get(news.id, ()):
            if ring.topic.tenant == news.origin.tenant:
                yield ring

    def _end(self, subscription: Subscription) -> None:
        client, ring = subscription.client, subscription.ring
        del client.subscriptions[subscription.sub]
        client.forget(subscription)
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
