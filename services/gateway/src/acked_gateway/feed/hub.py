"""OWNER of the slow-client policy: who is told what, and how far each has come. Pure: no clock, no I/O.

Events of a scope stand in a ring, each encoded once for all who follow it. A subscription is a cursor in its ring. A
client that is too slow falls out of the ring: it is told `resync`, and gets a new snapshot. So a slow or dead client
costs a bounded amount of memory and no other client waits for it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from uuid import UUID

from acked_common.model.events import JobUpdate
from acked_common.model.lifecycle import State
from acked_common.model.topics import Topic, topics_of
from acked_gateway.feed.frames import (
    FeedError,
    Sub,
    counts_snapshot_text,
    event_text,
    events_frame,
    jobs_snapshot_text,
    resync_frame,
    snapshot_frame,
)

RING_CHARS = 2**20
FRAME_CHARS = 16 * 1024
EVENTS_AN_ENTRY = 100
STEPS_AT_ONCE = 1000
"""Of publishing: some milliseconds."""
STEPS_AN_EVENT = 8
"""So many events in an entry take as long as one more subscription."""
MAX_SUBSCRIPTIONS = 64
MAX_IDS_A_CLIENT = 10_000


class Snapshot:
    """How the jobs of a scope stand, encoded once for all who asked at the same time."""

    __slots__ = ("revs", "text")

    def __init__(self, text: str, revs: Mapping[UUID, int] | None) -> None:
        self.text = text
        self.revs = revs
        """The rev of each job in it; None where it holds counts."""


def jobs_snapshot(news: Sequence[JobUpdate]) -> Snapshot:
    """Each job of a scope."""
    return Snapshot(jobs_snapshot_text(news), {job.id: job.event.rev for job in news if job.event is not None})


def counts_snapshot(counts: Mapping[State, int], at_most: int | None) -> Snapshot:
    """Jobs by state, each counted over at most `at_most` jobs."""
    return Snapshot(counts_snapshot_text(counts, at_most), None)


class _Entry:
    """Events that were published together. Their texts are the same objects in all rings; they are put together when
    somebody reads them, so that a ring that nobody reads costs little."""

    __slots__ = ("_text", "events", "size")

    def __init__(self, events: list[tuple[UUID, int, str]]) -> None:
        self.events = events
        self.size = sum([len(text) + 1 for _, _, text in events])
        self._text: str | None = None

    @property
    def text(self) -> str:
        """All of them, for a frame."""
        if self._text is None:
            self._text = ",".join([text for _, _, text in self.events])
        return self._text


class Ring:
    """The latest events of one scope, and who follows it."""

    __slots__ = ("_entries", "_size", "base", "behind", "subscriptions", "topic", "was_published")

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.base = 0
        """The position of the oldest entry."""
        self.subscriptions: set[Subscription] = set()
        self.behind = 0
        """Subscriptions that have not come to the end."""
        self.was_published = False
        """Whether anything happened since the last counts."""
        self._entries: deque[_Entry] = deque()
        self._size = 0

    @property
    def end(self) -> int:
        """The position behind the newest entry."""
        return self.base + len(self._entries)

    def append(self, events: list[tuple[UUID, int, str]]) -> None:
        """Publishes events to all who follow."""
        entry = _Entry(events)
        self._entries.append(entry)
        self._size += entry.size
        self.was_published = True
        while self._size > RING_CHARS and len(self._entries) > 1:
            self._size -= self._entries.popleft().size
            self.base += 1
        for subscription in self.subscriptions:
            self.fell_behind(subscription)

    def fell_behind(self, subscription: "Subscription") -> None:
        """There is something that a subscription has not read."""
        if not subscription.is_behind:
            subscription.is_behind = True
            self.behind += 1
            subscription.note_due()

    def since(self, position: int) -> Iterator[_Entry]:
        """The entries from a position on."""
        for index in range(position - self.base, len(self._entries)):
            yield self._entries[index]

    def caught_up(self, subscription: "Subscription") -> None:
        """A subscription has come to the end; what all have read is let go."""
        if subscription.is_behind:
            subscription.is_behind = False
            self.behind -= 1
        if self.behind == 0:
            self.base += len(self._entries)
            self._entries.clear()
            self._size = 0
            for one in self.subscriptions:
                one.position = self.base


class Subscription:
    """What one client follows under one name."""

    __slots__ = (
        "_filter",
        "_seq",
        "_snapshot",
        "client",
        "has_counts",
        "is_behind",
        "is_live",
        "position",
        "ring",
        "sub",
    )

    def __init__(self, client: "Client", sub: Sub, ring: Ring) -> None:
        self.client = client
        self.sub = sub
        self.ring = ring
        self.position = ring.end
        self.is_live = False
        """Whether it has a snapshot that its events follow on."""
        self.is_behind = False
        self.has_counts = False
        self._seq = 0
        self._snapshot: str | None = None
        self._filter: Mapping[UUID, int] | None = None

    @property
    def is_due(self) -> bool:
        """Whether something can be sent."""
        return self._snapshot is not None or (self.is_live and self.is_behind)

    def note_due(self) -> None:
        """Tells the client, if something can be sent."""
        if self.is_due:
            self.client.note_due(self)

    def give(self, snapshot: Snapshot) -> bool:
        """The snapshot, read after this subscription's position; False where events were lost meanwhile: read again.
        Later counts renew earlier ones."""
        if not self.is_live:
            if self.position < self.ring.base:
                self._to_the_end()
                return False
            self.is_live = True
            self._filter = snapshot.revs
            if snapshot.revs is None:
                # What happened while the first counts were taken is in none yet: they are renewed once more.
                self.ring.was_published = True
        self.has_counts = snapshot.revs is None
        self._snapshot = snapshot.text
        self.note_due()
        return True

    def settle(self) -> None:
        """All that happened before the snapshot has been published: nothing is filtered any more."""
        self._filter = None

    def lose(self) -> None:
        """Events were missed: whatever it has is void."""
        self.position = -1
        self.ring.fell_behind(self)

    def _to_the_end(self) -> None:
        self.position = self.ring.end
        self.ring.caught_up(self)

    def take(self) -> str | None:
        """The next frame of this subscription; None when there is none after all."""
        if self._snapshot is not None:
            text, self._snapshot = self._snapshot, None
            return snapshot_frame(self.sub, text)
        ring = self.ring
        if self.position < ring.base:
            self.is_live = self.has_counts = False
            self._to_the_end()
            self.client.wanting.append(self)
            return resync_frame(self.sub)
        texts: list[str] = []
        size = 0
        for entry in ring.since(self.position):
            text = entry.text if self._filter is None else ",".join(self._news_in(entry, self._filter))
            if texts and size + len(text) > FRAME_CHARS:
                break
            self.position += 1
            if text:
                texts.append(text)
                size += len(text)
        if self.position == ring.end:
            ring.caught_up(self)
        if not texts:
            return None
        self._seq += 1
        return events_frame(self.sub, self._seq, ",".join(texts))

    def _news_in(self, entry: _Entry, seen: Mapping[UUID, int]) -> Iterable[str]:
        return (text for job_id, order, text in entry.events if order > seen.get(job_id, 0))


class Client:
    """One connection: its subscriptions, and what is to be sent next. `wake` is called when there is something new."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._control: deque[str] = deque()
        self._due: dict[Subscription, None] = {}
        self.subscriptions: dict[Sub, Subscription] = {}
        self.wanting: list[Subscription] = []
        """Subscriptions that need a snapshot; whoever sends takes them after each frame."""
        self.ids = 0

    def tell(self, frame: str) -> None:
        """Sends a frame before all others."""
        self._control.append(frame)
        self._wake()

    def note_due(self, subscription: Subscription) -> None:
        """The subscription has something to send."""
        self._due[subscription] = None
        self._wake()

    def forget(self, subscription: Subscription) -> None:
        """The subscription is over."""
        self._due.pop(subscription, None)
        if subscription in self.wanting:
            self.wanting.remove(subscription)

    def next_frame(self) -> str | None:
        """What is sent next: one frame of each subscription in turn; None when nothing is left."""
        if self._control:
            return self._control.popleft()
        while self._due:
            subscription = next(iter(self._due))
            del self._due[subscription]
            frame = subscription.take()
            if subscription.is_due:
                self._due[subscription] = None
            if frame is not None:
                return frame
        return None


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
