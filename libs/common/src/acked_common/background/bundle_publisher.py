"""Publishes queued jobs as bundles, off the response path, and again itself what was not confirmed.

What it can't keep (a bound: counted, logged) or loses (a crash) is in MongoDB all the same; the sweeper publishes it.
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
    """Bundles on their way to the broker."""

    def __init__(self, publisher: Publisher, kinds: KindCache) -> None:
        self._publisher = publisher
        self._kinds = kinds
        self._kept: deque[Bundle] = deque()
        self._trying = 0
        """Of what was kept, how many bundles are being sent again."""
        self._dropped = 0
        self._tasks = Tasks()
        self._sending: set[asyncio.Task[bool]] = set()

    def start(self) -> None:
        """Starts publishing again what was kept."""
        self._tasks.repeat("bundle publisher", self._send_kept, every_s=RETRY_S)

    async def stop(self) -> None:
        """Waits for publications under way; what is kept stays for the sweeper."""
        if self._sending:
            await asyncio.wait(self._sending)
        await self._tasks.cancel_all()

    @property
    def waiting(self) -> int:
        """Bundles that wait for the broker to come back."""
        return len(self._kept) + self._trying

    def offer(self, jobs: Iterable[QueuedJob]) -> None:
        """Publishes in the background; returns at once."""
        bundles = self._bundles(jobs)
        if not bundles:
            return
        if self.waiting:
            # The broker is away: the loop tries, not every request.
            self._keep(bundles)
            return
        task = asyncio.create_task(self._send_all(bundles))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def publish(self, jobs: Iterable[QueuedJob]) -> set[UUID]:
        """Publishes now; answers the jobs whose bundle was confirmed."""
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
        # One kind a bundle: kinds that share a lane may differ in their bundle size.
        by_kind: dict[str, list[tuple[UUID, datetime]]] = {}
        for job_id, kind, queued_at in jobs:
            by_kind.setdefault(kind, []).append((job_id, queued_at))
        return [
            bundle
            for kind, pairs in by_kind.items()
            # On the wrong lane nobody would take them; the sweeper publishes them.
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
        """Sends them and keeps what is not confirmed; whether nothing was."""
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
        # The oldest: what is taken from their lanes later shows the sweeper that they are lost.
        for _ in range(over):
            self._kept.popleft()
        _dropped.inc(over)
        if not self._dropped:
            log.warning("bundle publisher is full; the sweeper will publish what it drops", kept=KEPT_BUNDLES)
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
