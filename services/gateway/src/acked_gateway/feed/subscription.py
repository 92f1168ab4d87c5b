"""One subscription of a client: its snapshot, then the events of its topic from its cursor on. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from acked_common.model.events import JobUpdate
from acked_common.model.lifecycle import State
from acked_gateway.feed.client import Client
from acked_gateway.feed.frames import (
    Sub,
    counts_snapshot_text,
    events_frame,
    jobs_snapshot_text,
    resync_frame,
    snapshot_frame,
)
from acked_gateway.feed.ring import Entry, Ring

FRAME_CHARS = 16 * 1024


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

    def __init__(self, client: Client, sub: Sub, ring: Ring) -> None:
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

    def _news_in(self, entry: Entry, seen: Mapping[UUID, int]) -> Iterable[str]:
        return (text for job_id, order, text in entry.events if order > seen.get(job_id, 0))
