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
    """The state of a topic, encoded once for all subscriptions that requested it at the same time."""

    __slots__ = ("revs", "text")

    def __init__(self, text: str, revs: Mapping[UUID, int] | None) -> None:
        self.text = text
        self.revs = revs
        """The rev of each job in it; None if it holds counts."""


def jobs_snapshot(updates: Sequence[JobUpdate]) -> Snapshot:
    """Make a snapshot of each job of a topic."""
    return Snapshot(jobs_snapshot_text(updates), {job.id: job.event.rev for job in updates if job.event is not None})


def counts_snapshot(counts: Mapping[State, int], at_most: int | None) -> Snapshot:
    """Make a snapshot of the jobs by state, each state counted over at most `at_most` jobs."""
    return Snapshot(counts_snapshot_text(counts, at_most), None)


class Subscription:
    """A subscription of one client to a topic, under a name of the client's choice."""

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
        "waits_for_counts",
    )

    def __init__(self, client: Client, sub: Sub, ring: Ring) -> None:
        self.client = client
        self.sub = sub
        self.ring = ring
        self.position = ring.end
        self.is_live = False
        """Whether it has a snapshot on which its events build."""
        self.is_behind = False
        self.has_counts = False
        self.waits_for_counts = False
        """Whether its topic is too large for a snapshot of each job, and was not counted yet."""
        self._seq = 0
        self._snapshot: str | None = None
        self._filter: Mapping[UUID, int] | None = None

    @property
    def is_due(self) -> bool:
        """Whether something can be sent."""
        return self._snapshot is not None or (self.is_live and self.is_behind)

    def mark_due(self) -> None:
        """Wake the client if something can be sent."""
        if self.is_due:
            self.client.mark_due(self)

    def accept(self, snapshot: Snapshot) -> bool:
        """Send a snapshot that was read after this subscription's position; return False if events were lost meanwhile
        and a new snapshot is needed. Later counts replace earlier ones."""
        if not self.is_live:
            if self.position < self.ring.base:
                self._skip_to_end()
                return False
            self.is_live = True
            self._filter = snapshot.revs
            if snapshot.revs is None:
                # Events during the first counts may be in none: refresh the counts once more.
                self.ring.was_published = True
        self.has_counts = snapshot.revs is None
        self._snapshot = snapshot.text
        self.mark_due()
        return True

    def settle(self) -> None:
        """Stop filtering: all events from before the snapshot have been published."""
        self._filter = None

    def invalidate(self) -> None:
        """Note that events were missed: the client gets `resync` and needs a new snapshot."""
        self.position = -1
        self.ring.fell_behind(self)

    def _skip_to_end(self) -> None:
        self.position = self.ring.end
        self.ring.caught_up(self)

    def next_frame(self) -> str | None:
        """Return the next frame of this subscription; None if all its events are in the snapshot."""
        if self._snapshot is not None:
            text, self._snapshot = self._snapshot, None
            return snapshot_frame(self.sub, text)
        ring = self.ring
        if self.position < ring.base:
            self.is_live = self.has_counts = False
            self._skip_to_end()
            self.client.without_snapshot.append(self)
            return resync_frame(self.sub)
        texts: list[str] = []
        size = 0
        for entry in ring.since(self.position):
            text = entry.text if self._filter is None else ",".join(_unseen(entry, self._filter))
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


def _unseen(entry: Entry, seen: Mapping[UUID, int]) -> Iterable[str]:
    """Return the texts of events that are later than the revs in `seen`."""
    return (text for job_id, order, text in entry.events if order > seen.get(job_id, 0))
