"""The latest events of one topic, encoded once for all subscriptions to it. Pure.

A subscription is a cursor in the ring of its topic. A ring is bounded: a subscription that is too slow falls out of it.
So a slow or dead client costs a bounded amount of memory, and no other client waits for it.
"""

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING
from uuid import UUID

from acked_common.model.topics import Topic

if TYPE_CHECKING:
    from acked_gateway.feed.subscription import Subscription

RING_CHARS = 2**20

RingEvent = tuple[UUID, int, str]
"""The id of the job, the order within the job, and the encoded event. All rings share one text."""


class Entry:
    """Events that were published together. Their texts are joined at the first read, so an unread ring costs little."""

    __slots__ = ("_text", "events", "size")

    def __init__(self, events: list[RingEvent]) -> None:
        self.events = events
        self.size = sum([len(text) + 1 for _, _, text in events])
        self._text: str | None = None

    @property
    def text(self) -> str:
        """All events, joined for a frame."""
        if self._text is None:
            self._text = ",".join([text for _, _, text in self.events])
        return self._text


class Ring:
    """The latest events of one topic, and the subscriptions to it."""

    __slots__ = ("_entries", "_size", "base", "behind", "counted", "subscriptions", "topic", "was_published")

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.base = 0
        """The position of the oldest entry."""
        self.subscriptions: set[Subscription] = set()
        self.behind = 0
        """The number of subscriptions with unread entries."""
        self.was_published = False
        """Whether events were published since the last counts."""
        self.counted: int | None = None
        """Keys that the last counts read; None before the first."""
        self._entries: deque[Entry] = deque()
        self._size = 0

    @property
    def end(self) -> int:
        """The position after the newest entry."""
        return self.base + len(self._entries)

    def append(self, events: list[RingEvent]) -> None:
        """Publish events to all subscriptions; drop the oldest entries beyond `RING_CHARS`."""
        entry = Entry(events)
        self._entries.append(entry)
        self._size += entry.size
        self.was_published = True
        while self._size > RING_CHARS and len(self._entries) > 1:
            self._size -= self._entries.popleft().size
            self.base += 1
        for subscription in self.subscriptions:
            self.fell_behind(subscription)

    def fell_behind(self, subscription: "Subscription") -> None:
        """Note that a subscription has something unread."""
        if not subscription.is_behind:
            subscription.is_behind = True
            self.behind += 1
            subscription.mark_due()

    def since(self, position: int) -> Iterator[Entry]:
        """Iterate over the entries from a position on."""
        for index in range(position - self.base, len(self._entries)):
            yield self._entries[index]

    def caught_up(self, subscription: "Subscription") -> None:
        """Note that a subscription has read everything; drop the entries when all subscriptions have."""
        if subscription.is_behind:
            subscription.is_behind = False
            self.behind -= 1
        if self.behind == 0:
            self.base += len(self._entries)
            self._entries.clear()
            self._size = 0
            for one in self.subscriptions:
                one.position = self.base
