"""Publish queued jobs as bundles after the response, and again until the broker confirms them.

Bundles that it drops (beyond a bound; counted and logged) or loses (in a crash) are only copies: the jobs are in
MongoDB, and the sweeper publishes them.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from prometheus_client import Counter

from acked_common.background.kind_cache import KindCache
from acked_common.broker import BrokerError, Publisher
from acked_common.model.bundle import Bundle, bundles_of
from acked_common.runtime import failpoints
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.logs import get_log

log = get_log(__name__)

KEPT_BUNDLES = 20_000
AT_ONCE = 64
RETRY_S = 0.5

QueuedJob = tuple[UUID, str, datetime]
"""Id, kind, queued_at."""

_published = Counter("acked_bundles_published_total", "Bundles that the broker has confirmed.")
_published_jobs = Counter("acked_jobs_published_total", "Jobs in confirmed bundles, republications included.")
_dropped = Counter(
    "acked_bundles_dropped_total", "Bundles that the full publisher left to the sweeper while the broker accepted none."
)
_unconfirmed = Counter("acked_bundles_unconfirmed_total", "Publications that the broker did not confirm.")


class BundlePublisher:
    """Publishes bundles, and buffers those without a confirm."""

    def __init__(self, publisher: Publisher, kinds: KindCache) -> None:
        self._publisher = publisher
        self._kinds = kinds
        self._kept: deque[Bundle] = deque()
        self._trying = 0
        """The number of buffered bundles that are being sent again."""
        self._dropped = 0
        self._tasks = Tasks()
        self._sending: set[asyncio.Task[bool]] = set()

    def start(self) -> None:
        """Start to republish buffered bundles."""
        self._tasks.repeat("bundle publisher", self._send_kept, every_s=RETRY_S)

    async def stop(self) -> None:
        """Wait for publications in flight; buffered bundles are left to the sweeper."""
        if self._sending:
            await asyncio.wait(self._sending)
        await self._tasks.cancel_all()

    @property
    def waiting(self) -> int:
        """The number of bundles that wait for the broker."""
        return len(self._kept) + self._trying

    def offer(self, jobs: Iterable[QueuedJob]) -> None:
        """Publish in the background. Returns at once."""
        bundles = self._bundles(jobs)
        if not bundles:
            return
        if self.waiting:
            # The broker is down: only the loop retries, not every request.
            self._keep(bundles)
            return
        task = asyncio.create_task(self._send_all(bundles))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def publish(self, jobs: Iterable[QueuedJob]) -> set[UUID]:
        """Publish now. Return the jobs whose bundles were confirmed."""
        bundles = self._bundles(jobs)
        results = await asyncio.gather(*(self._send(bundle) for bundle in bundles), return_exceptions=True)
        confirmed: set[UUID] = set()
        for bundle, result in zip(bundles, results, strict=True):
            if result is None:
                confirmed.update(bundle.ids)
            elif not isinstance(result, BrokerError):
                raise result
        return confirmed

    def _bundles(self, jobs: Iterable[QueuedJob]) -> list[Bundle]:
        # One kind per bundle, because kinds that share a lane may have different bundle sizes.
        by_kind: dict[str, list[tuple[UUID, datetime]]] = {}
        for job_id, kind, queued_at in jobs:
            by_kind.setdefault(kind, []).append((job_id, queued_at))
        return [
            bundle
            for kind, pairs in by_kind.items()
            # On a wrong lane no worker would consume them. The sweeper publishes them later.
            if self._kinds.knows_lane(kind)
            for bundle in bundles_of(self._kinds.lane(kind), self._kinds.bundle(kind), pairs)
        ]

    async def _send(self, bundle: Bundle) -> None:
        failpoints.reach("outbox.publishing")
        try:
            await self._publisher.publish(bundle)
        except BrokerError:
            _unconfirmed.inc()
            raise
        failpoints.reach("outbox.published")
        _published.inc()
        _published_jobs.inc(len(bundle.ids))

    async def _send_all(self, bundles: list[Bundle]) -> bool:
        """Send bundles and buffer those without a confirm. Return whether none was confirmed."""
        results = await asyncio.gather(*(self._send(bundle) for bundle in bundles), return_exceptions=True)
        for bundle, result in zip(bundles, results, strict=True):
            if isinstance(result, BrokerError):
                self._keep([bundle])
            elif isinstance(result, BaseException):
                log.error("publication failed", exc_info=result)
        return not any(isinstance(result, BrokerError) for result in results)

    def _keep(self, bundles: Iterable[Bundle]) -> None:
        self._kept.extend(bundles)
        over = len(self._kept) - KEPT_BUNDLES
        if over <= 0:
            return
        # Drop the oldest: later watermarks of their lanes show the sweeper that they are lost.
        for _ in range(over):
            self._kept.popleft()
        _dropped.inc(over)
        if not self._dropped:
            log.warning("bundle publisher is full; the sweeper will publish the dropped bundles", kept=KEPT_BUNDLES)
        self._dropped += over

    async def _send_kept(self) -> None:
        while self._kept:
            part = [self._kept.popleft() for _ in range(min(AT_ONCE, len(self._kept)))]
            self._trying = len(part)
            try:
                all_taken = await self._send_all(part)
            finally:
                self._trying = 0
            if not all_taken:
                return
        if self._dropped:
            log.info("bundle publisher has room again", dropped=self._dropped)
            self._dropped = 0
