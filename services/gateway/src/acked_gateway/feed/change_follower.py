"""Follows what happens to jobs: reads the change stream while somebody wants to know, tells the hub and the waiters.

The stream is the only source of transitions: it is complete, and nobody but the store can write it. What workers report
of transitions over the worker channel is a hint that MongoDB takes writes: it ends the pause before a broken stream is
taken up again. Only progress is told ahead of the stream, and only where the report carries the nonce of the claim.
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
"""How long the stream stays open when nobody follows any more: clients that reconnect find it open."""
RETRY = Backoff(base_s=0.1, cap_s=2.0)
LEAST_PAUSE_S = 0.1
SETTLED_AFTER_S = 2.0
OPEN_WITHIN_S = 1.0

_breaks = Counter("acked_feed_stream_breaks_total", "Breaks of the change stream; it was taken up again.")


@dataclass(frozen=True, slots=True)
class _Unsettled:
    """A snapshot that was given out while the stream may still show what happened before it."""

    subscriptions: Sequence[Subscription]
    news: Sequence[JobUpdate]
    answers: int
    at: float
    forgotten: int


class ChangeFollower:
    """The one reader of the change stream in a gateway process."""

    def __init__(self, changes: JobChanges, hub: Hub, waits: LongPolls) -> None:
        self._changes = changes
        self._hub = hub
        self._waits = waits
        self._table = SeenTransitions()
        self._followers = 0
        self._left_at = 0.0
        self._is_open = asyncio.Event()
        self._hinted = asyncio.Event()
        self._answers = 0
        self._unsettled: deque[_Unsettled] = deque()
        self._untold: deque[tuple[Sequence[JobUpdate], Iterator[None]]] = deque()
        """The first of it is being told."""
        self._all_told = asyncio.Event()
        self._all_told.set()
        self._tasks = Tasks()
        self._task: asyncio.Task[None] | None = None
        self._on_followed: Callable[[bool], None] = lambda followed: None

    def tell_followed(self, on_followed: Callable[[bool], None]) -> None:
        """`on_followed` is told whether anybody follows, now and whenever that changes."""
        self._on_followed = on_followed
        on_followed(self._task is not None)

    @property
    def is_open(self) -> bool:
        """Whether what happens now is told."""
        return self._is_open.is_set()

    async def stop(self) -> None:
        """Ends the stream."""
        await self._tasks.cancel_all()
        await self._changes.close()

    def follow(self) -> None:
        """Somebody wants to know from now on."""
        self._followers += 1
        if self._task is None:
            self._task = self._tasks.spawn(self._read_while_followed(), "change stream")
            self._on_followed(True)

    def unfollow(self) -> None:
        """It no longer does."""
        self._followers -= 1
        self._left_at = time.monotonic()

    async def opened(self) -> None:
        """Returns when the stream is open: what happens from now on will be told."""
        await self._is_open.wait()

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follows for a while; waits a moment for the stream, which is open then or will be."""
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
        """Transitions that a worker reports, whatever they say: the stream may have something to tell."""
        self._hinted.set()

    def progress(self, boot: str, reports: Sequence[ProgressEvent]) -> None:
        """Progress that a worker reports."""
        self._tell(news for report in reports if (news := self._table.report_progress(report)) is not None)

    def gave(self, subscriptions: Sequence[Subscription], news: Sequence[JobUpdate]) -> None:
        """A snapshot was given out; what the stream shows of it later is no news to these subscriptions."""
        self._unsettled.append(_Unsettled(subscriptions, news, self._answers, time.monotonic(), self._table.forgotten))

    async def _read_while_followed(self) -> None:
        failures = 0
        try:
            while self._followers or time.monotonic() - self._left_at < KEPT_OPEN_S:
                try:
                    if not self.is_open:
                        await self._changes.open()
                        self._is_open.set()
                    await self._take(await self._changes.read())
                    failures = 0
                except StoreError as error:
                    self._is_open.clear()
                    if isinstance(error, HistoryLost):
                        self._begin_anew()
                    failures += 1
                    _breaks.inc()
                    if failures == 1:
                        log.warning("change stream broke; it is taken up where it was", error=str(error))
                    await self._pause(RETRY.equal_jitter_s(failures))
        finally:
            self._is_open.clear()
            self._task = None
            self._on_followed(False)
        self._begin_anew()
        await self._changes.close()

    async def _pause(self, most_s: float) -> None:
        """Waits before the stream is taken up again: so long, or until a worker has written something."""
        # However much is reported, MongoDB is not asked more often than so.
        await asyncio.sleep(min(most_s, LEAST_PAUSE_S))
        self._hinted.clear()
        try:
            async with asyncio.timeout(most_s - LEAST_PAUSE_S):
                await self._hinted.wait()
        except TimeoutError:
            pass

    def _begin_anew(self) -> None:
        self._table.clear()
        self._unsettled.clear()
        self._hub.lose()

    async def _take(self, changes: Changes) -> None:
        told: list[JobUpdate] = []
        for news in changes.updates:
            if news.event is not None:
                if self._table.take(news):
                    told.append(news)
            elif news.progress is not None and (progress := self._table.take_progress(news.id, news.progress)):
                told.append(progress)
        self._tell(told)
        # What is settled, and what is read next, comes behind all of it.
        await self._all_told.wait()
        if changes.is_current:
            self._answers += 1
        self._settle()

    def _tell(self, news: Iterable[JobUpdate]) -> None:
        """Tells it now, or behind what is being told, in steps: the loop goes on in between."""
        told = list(news)
        if not told:
            return
        self._untold.append((told, self._hub.publishing(told)))
        if self._all_told.is_set():
            self._all_told.clear()
            self._tell_on()

    def _tell_on(self) -> None:
        while self._untold:
            told, steps = self._untold[0]
            try:
                for _ in steps:
                    asyncio.get_running_loop().call_soon(self._tell_on)
                    return
            except Exception:
                log.exception("news could not be told; everybody gets a new snapshot")
                self._hub.lose()
            self._untold.popleft()
            for one in told:
                if one.event is not None and one.progress is None:
                    self._waits.note(one.id, one.event.rev, one.event.state)
        self._all_told.set()

    def _settle(self) -> None:
        """A question that was asked after a snapshot is answered: all from before the snapshot has been told."""
        while self._unsettled:
            oldest = self._unsettled[0]
            if self._answers < oldest.answers + 2 or time.monotonic() - oldest.at < SETTLED_AFTER_S:
                return
            self._unsettled.popleft()
            for subscription in oldest.subscriptions:
                subscription.settle()
            if oldest.forgotten == self._table.forgotten:
                for news in oldest.news:
                    self._table.seed(news)
