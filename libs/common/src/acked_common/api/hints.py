"""Gather the facts that explain the state of a live job: workers, kind, queue. All are cached for a second or two."""

from collections.abc import Sequence

from acked_common.api.waiting_reasons import Facts, Outlook, limit_told, outlook, pause_told
from acked_common.background.kind_cache import KindCache
from acked_common.background.limit_looks import LimitLooks
from acked_common.background.pause_cache import PauseCache
from acked_common.background.queue_looks import QueueLooks
from acked_common.background.worker_cache import WorkerCache
from acked_common.model.lifecycle import State
from acked_common.model.principal import DEFAULT_TENANT, Principal
from acked_common.runtime.clock import Clock
from acked_common.store.ledgers import LedgerReader
from acked_common.store.records import Job


class Hints:
    """Explain live jobs to their readers."""

    def __init__(
        self,
        workers: WorkerCache,
        kinds: KindCache,
        looks: QueueLooks,
        clock: Clock,
        pauses: PauseCache,
        ledgers: LedgerReader | None = None,
        limits: LimitLooks | None = None,
    ) -> None:
        """`ledgers` shows the unread signals of a job that waits for others; `limits`, how many jobs of its kind run
        while it waits for a place."""
        self._workers = workers
        self._kinds = kinds
        self._looks = looks
        self._clock = clock
        self._pauses = pauses
        self._ledgers = ledgers
        self._limits = limits

    async def of(self, job: Job, reader: Principal) -> Outlook | None:
        """Return the outlook of a job for a reader; None once it has ended. Raise `StoreError`."""
        if job.state.is_terminal:
            return None
        kind = self._kinds.get(job.kind)
        max_attempts = None if kind is None else kind.attempts_of(job.options.max_attempts)
        if job.state is State.SCHEDULED:
            return outlook(job, Facts(now=self._clock.now(), max_attempts=max_attempts))
        if job.state is State.WAITING:
            return outlook(job, Facts(now=self._clock.now(), unread=await self._unread(job)))
        workers = await self._workers.workers()
        is_served = any(job.kind in worker.kinds for worker in workers)
        pause = self._pauses.of(job.kind).current if job.state is State.QUEUED else None
        place = None
        limit = await self._limit(job, reader) if job.is_held else None
        if job.state is State.QUEUED and job.queued_at is not None and is_served and pause is None and limit is None:
            place = await self._looks.place(job.kind, job.queued_at)
        owner = job.owner
        facts = Facts(
            now=self._clock.now(),
            is_served=is_served,
            has_live_owner=owner is None or any(worker.boot == owner.boot for worker in workers),
            pause=None if pause is None else pause_told(job.kind, pause),
            limit=limit,
            max_attempts=max_attempts,
            place=place,
            may_see_all=reader.tenant == DEFAULT_TENANT,
        )
        return outlook(job, facts)

    async def _limit(self, job: Job, reader: Principal) -> str | None:
        limit = self._pauses.of(job.kind).limit
        if limit is None or not limit.is_set:
            return None
        use = None if self._limits is None else await self._limits.use(job.kind)
        return limit_told(job, limit, use, may_see_all=reader.tenant == DEFAULT_TENANT)

    async def _unread(self, job: Job) -> Sequence[str]:
        if self._ledgers is None or job.waits is None or not job.waits.signals:
            return ()
        summary = await self._ledgers.read_summary(job.id, tenant=job.tenant)
        return () if summary is None else summary.unread_names
