"""Reads the change stream while clients or waiters follow it, and publishes the updates to the hub and the waiters.

The stream is the only source of transitions: it is complete, and only the store can write it. A transition that a
worker reports over the worker channel is a hint that MongoDB takes writes: it ends the pause before a broken stream is
resumed. Only progress is published ahead of the stream, and only if the report carries the nonce of the claim.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from prometheus_client import Counter

from acked_common.api.long_poll import LongPolls
from acked_common.model.backoff import Backoff
from acked_common.model.events import JobEvent, JobUpdate, ProgressEvent
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.logs import get_log
from acked_common.store.errors import HistoryLost, StoreError
from acked_common.store.ports import JobChanges
from acked_common.store.records import Changes
from acked_gateway.feed.hub import Hub
from acked_gateway.feed.seen_transitions import SeenTransitions
from acked_gateway.feed.subscription import Subscription

log = get_log(__name__)

KEPT_OPEN_S = 10.0
"""How long the stream stays open after the last follower has left: clients that reconnect find it open."""
RETRY = Backoff(base_s=0.1, cap_s=2.0)
LEAST_PAUSE_S = 0.1
SETTLED_AFTER_S = 2.0
OPEN_WITHIN_S = 1.0

_breaks = Counter("acked_feed_stream_breaks_total", "Breaks of the change stream, after each of which it was resumed.")


@dataclass(frozen=True, slots=True)
class _Unsettled:
    """A snapshot that was sent while the stream may still show changes from before it."""

    subscriptions: Sequence[Subscription]
    updates: Sequence[JobUpdate]
    reads: int
    at: float
    forgotten: int


class ChangeFollower:
    """The one reader of the change stream in a gateway process."""

    def __init__(self, changes: JobChanges, hub: Hub, waits: LongPolls) -> None:
        self._changes = changes
        self._hub = hub
        self._waits = waits
        self._seen = SeenTransitions()
        self._followers = 0
        self._left_at = 0.0
        self._is_open = asyncio.Event()
        self._hinted = asyncio.Event()
        self._reads = 0
        """Reads of the stream that returned all changes up to their beginning."""
        self._unsettled: deque[_Unsettled] = deque()
        self._unpublished: deque[tuple[Sequence[JobUpdate], Iterator[None]]] = deque()
        """The first of it is being published."""
        self._all_published = asyncio.Event()
        self._all_published.set()
        self._tasks = Tasks()
        self._task: asyncio.Task[None] | None = None
        self._on_followed: Callable[[bool], None] = lambda followed: None

    def on_followed(self, callback: Callable[[bool], None]) -> None:
        """Call `callback` with whether the stream has followers, now and at each change."""
        self._on_followed = callback
        callback(self._task is not None)

    @property
    def is_open(self) -> bool:
        """Whether changes are published from now on."""
        return self._is_open.is_set()

    async def stop(self) -> None:
        """End the stream."""
        await self._tasks.cancel_all()
        await self._changes.close()

    def follow(self) -> None:
        """Add a follower; the first one opens the stream."""
        self._followers += 1
        if self._task is None:
            self._task = self._tasks.spawn(self._read_while_followed(), "change stream")
            self._on_followed(True)

    def unfollow(self) -> None:
        """Remove a follower."""
        self._followers -= 1
        self._left_at = time.monotonic()

    async def opened(self) -> None:
        """Return when the stream is open: later changes will be published."""
        await self._is_open.wait()

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow within the context. Wait a moment for the stream, which is open then or will be."""
        self.follow()
        try:
            try:
                async with asyncio.timeout(OPEN_WITHIN_S):
                    await self.opened()
            except TimeoutError:
                pass
            yield
        finally:
            self.unfollow()

    def report(self, boot: str, events: Sequence[JobEvent]) -> None:
        """Take transitions that a worker reports as a hint that the stream has changes."""
        self._hinted.set()

    def progress(self, boot: str, reports: Sequence[ProgressEvent]) -> None:
        """Publish progress that a worker reports."""
        self._publish(update for report in reports if (update := self._seen.report_progress(report)) is not None)

    def snapshot_sent(self, subscriptions: Sequence[Subscription], updates: Sequence[JobUpdate]) -> None:
        """Note a snapshot, to end its filter when the stream has shown all changes from before it."""
        unsettled = _Unsettled(subscriptions, updates, self._reads, time.monotonic(), self._seen.forgotten)
        self._unsettled.append(unsettled)

    async def _read_while_followed(self) -> None:
        failures = 0
        try:
            while self._followers or time.monotonic() - self._left_at < KEPT_OPEN_S:
                try:
                    if not self.is_open:
                        await self._changes.open()
                        self._is_open.set()
                    await self._process(await self._changes.read())
                    failures = 0
                except Exception as error:
                    self._is_open.clear()
                    if isinstance(error, HistoryLost):
                        self._start_over()
                    failures += 1
                    _breaks.inc()
                    if not isinstance(error, StoreError):
                        # If the follower ended here, no client would get events, and no log entry would say so.
                        log.exception("change stream failed; it is resumed where it was")
                    elif failures == 1:
                        log.warning("change stream broke; it is resumed where it was", error=str(error))
                    await self._pause(RETRY.equal_jitter_s(failures))
        finally:
            self._is_open.clear()
            self._task = None
            self._on_followed(False)
        self._start_over()
        await self._changes.close()

    async def _pause(self, most_s: float) -> None:
        """Wait before the stream is resumed: `most_s`, or until a worker has written something."""
        # This bounds the calls to MongoDB, however much workers report.
        await asyncio.sleep(min(most_s, LEAST_PAUSE_S))
        self._hinted.clear()
        try:
            async with asyncio.timeout(most_s - LEAST_PAUSE_S):
                await self._hinted.wait()
        except TimeoutError:
            pass

    def _start_over(self) -> None:
        self._seen.clear()
        self._unsettled.clear()
        self._hub.resync_all()

    async def _process(self, changes: Changes) -> None:
        updates: list[JobUpdate] = []
        for update in changes.updates:
            if update.event is not None:
                if self._seen.record(update):
                    updates.append(update)
            elif update.progress is not None and (progress := self._seen.record_progress(update.id, update.progress)):
                updates.append(progress)
        self._publish(updates)
        # Snapshots are settled, and the next changes read, behind all of these.
        await self._all_published.wait()
        if changes.is_current:
            self._reads += 1
        self._settle()

    def _publish(self, updates: Iterable[JobUpdate]) -> None:
        """Publish now, or after the updates in progress, in steps between which the loop runs other tasks."""
        found = list(updates)
        if not found:
            return
        self._unpublished.append((found, self._hub.publishing(found)))
        if self._all_published.is_set():
            self._all_published.clear()
            self._publish_next()

    def _publish_next(self) -> None:
        while self._unpublished:
            updates, steps = self._unpublished[0]
            try:
                for _ in steps:
                    asyncio.get_running_loop().call_soon(self._publish_next)
                    return
            except Exception:
                log.exception("updates could not be published; every client gets a new snapshot")
                self._hub.resync_all()
            self._unpublished.popleft()
            for update in updates:
                if update.event is not None and update.progress is None:
                    self._waits.note(update.id, update.event.rev, update.event.state)
        self._all_published.set()

    def _settle(self) -> None:
        """Settle the snapshots before which the stream has shown everything: a whole read began after them."""
        while self._unsettled:
            oldest = self._unsettled[0]
            if self._reads < oldest.reads + 2 or time.monotonic() - oldest.at < SETTLED_AFTER_S:
                return
            self._unsettled.popleft()
            for subscription in oldest.subscriptions:
                subscription.settle()
            if oldest.forgotten == self._seen.forgotten:
                for update in oldest.updates:
                    self._seen.seed(update)
