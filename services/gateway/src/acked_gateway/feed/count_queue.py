"""OWNER of how much a gateway counts for clients of the feed, and of what it counts next. Pure: no clock, no I/O.

A count of a topic reads a key for each job, and topics with events are counted again and again. So counts draw on token
buckets of keys. A count starts on credit of an estimate while its bucket is not in debt; then the bucket is charged
what the count has read. So the work is bounded, however many topics clients follow and however large these are: more of
it makes counts less frequent.

There are three lanes, each with its bucket: topics that were not counted yet, small ones and large ones. A large count
puts its lane in debt for seconds, and delays neither the small ones nor new clients.

Within a lane, next is the tenant for whom least was read lately, by keys and not by turns. Among topics of a tenant,
new subscriptions go ahead, then the topic that waits longest.
"""

from dataclasses import dataclass

from acked_common.model.token_bucket import TokenBucket
from acked_common.model.topics import Topic

KEYS_PER_S = 25_000.0
"""Keys that the counts of one lane read per second, in the long run: at most 0.2 s of a core of MongoDB."""
KEYS_AT_ONCE = 250_000.0
KEYS_OF_A_READ = 250
"""A count costs as much as so many keys, ahead of those that it reads. So a lane makes at most 100 a second."""
SMALL = 10_000
"""Keys of the largest small count, and the estimate of the first one."""
MOST_DEBT = 1_000_000.0
"""Of the large lane: beyond it, no topic of unknown size is counted."""
KEPT_TENANTS = 100


class _Lane:
    """Topics that wait for a count, in the order in which they are counted."""

    def __init__(self) -> None:
        self.bucket = TokenBucket(KEYS_PER_S, KEYS_AT_ONCE)
        self._first: dict[str, dict[Topic, float]] = {}
        self._again: dict[str, dict[Topic, float]] = {}
        self._read: dict[str, float] = {}
        """Keys that were read for each tenant."""
        self._floor = 0.0
        """Keys that a tenant would have had, if all that wait had had equally many. One that joins begins there: it has
        no claim from the time when it did not wait."""

    def join(self, topic: Topic, estimate: float, *, is_first: bool) -> None:
        tenant = topic.tenant
        if tenant not in self._first and tenant not in self._again:
            self._forget_old()
            self._read[tenant] = max(self._read.get(tenant, 0.0), self._floor)
        if is_first:
            self._drop(self._again, topic)
            self._first.setdefault(tenant, {}).setdefault(topic, estimate)
        elif topic not in self._first.get(tenant, {}):
            self._again.setdefault(tenant, {}).setdefault(topic, estimate)

    def leave(self, topic: Topic) -> None:
        self._drop(self._first, topic)
        self._drop(self._again, topic)

    def next(self, now: float) -> tuple[Topic, float] | None:
        waiting = self._first.keys() | self._again.keys()
        if not waiting or not self.bucket.try_take(0.0, now):
            return None
        tenant = min(waiting, key=lambda one: (self._read[one], one))
        line = self._first.get(tenant) or self._again[tenant]
        topic, estimate = next(iter(line.items()))
        self.leave(topic)
        charged = estimate + KEYS_OF_A_READ
        self._floor += charged / len(waiting)
        self.charge(tenant, charged, now)
        return topic, charged

    def charge(self, tenant: str, keys: float, now: float) -> None:
        self.bucket.take(keys, now)
        self._read[tenant] = max(self._read.get(tenant, self._floor) + keys, 0.0)

    def _forget_old(self) -> None:
        waiting = self._first.keys() | self._again.keys()
        if not waiting:
            # Nothing was delayed, so no tenant has a claim.
            self._read.clear()
            self._floor = 0.0
        elif len(self._read) > KEPT_TENANTS + 2 * len(waiting):
            # The others would begin at the floor all the same.
            self._read = {one: read for one, read in self._read.items() if read > self._floor or one in waiting}

    @staticmethod
    def _drop(lines: dict[str, dict[Topic, float]], topic: Topic) -> None:
        line = lines.get(topic.tenant)
        if line is not None:
            line.pop(topic, None)
            if not line:
                del lines[topic.tenant]


@dataclass(frozen=True, slots=True)
class StartedCount:
    """A count that may be made now, and what was charged for it."""

    topic: Topic
    charged: float
    lane: _Lane


class CountQueue:
    """The topics that wait for a count, and what counts have cost."""

    def __init__(self) -> None:
        self._unknown, self._small, self._large = _Lane(), _Lane(), _Lane()

    def join(self, topic: Topic, known: int | None, *, is_first: bool) -> None:
        """Let a topic wait for a count that reads about `known` keys; a topic that waits already keeps its place."""
        self._lane_of(known).join(topic, SMALL if known is None else known, is_first=is_first)

    def leave(self, topic: Topic) -> None:
        """Remove a topic from the queue."""
        for lane in (self._unknown, self._small, self._large):
            lane.leave(topic)

    def next(self, now: float) -> StartedCount | None:
        """Return the count that starts at the instant `now`; None while none waits or too much was read."""
        may_be_large = self._large.bucket.take(0.0, now) < MOST_DEBT / KEYS_PER_S
        for lane in (self._unknown, self._small, self._large):
            if lane is self._unknown and not may_be_large:
                continue
            if (found := lane.next(now)) is not None:
                topic, charged = found
                # It may wait in another lane too, since its size has changed.
                self.leave(topic)
                return StartedCount(topic, charged, lane)
        return None

    def settle(self, started: StartedCount, read: int, now: float) -> None:
        """Charge what a count has read to the lane of its size, instead of what was charged at its start."""
        tenant = started.topic.tenant
        started.lane.charge(tenant, -started.charged, now)
        self._lane_of(read).charge(tenant, read + KEYS_OF_A_READ, now)

    def _lane_of(self, keys: int | None) -> _Lane:
        if keys is None:
            return self._unknown
        return self._small if keys <= SMALL else self._large
