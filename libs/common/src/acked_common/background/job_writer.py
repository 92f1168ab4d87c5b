"""Store and move jobs, and publish those that become queued, in one call, so that no caller can omit the publication.

A queued job that is not published waits ten seconds or more until a sweeper detects it as lost. So no other part has
the verbs `insert` and `apply` of the store: the ports of the other roles do not contain them.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from uuid import UUID

from acked_common.background.bundle_publisher import QueuedJob
from acked_common.background.job_metrics import count_ended
from acked_common.background.minute_writer import MinuteWriter
from acked_common.model.ledger import PendingSignals
from acked_common.model.lifecycle import Move, Reason, State
from acked_common.store.ledgers import LedgerKeeper
from acked_common.store.parked import Announced, ResumedJob, ResumeOrder
from acked_common.store.ports import TransitionStore
from acked_common.store.records import Applied, Insertion, NewJob


class JobWriter:
    """Applies moves to a store and passes jobs that became queued to `offer`, which must not wait."""

    def __init__(
        self,
        store: TransitionStore,
        offer: Callable[[Iterable[QueuedJob]], None],
        minutes: MinuteWriter | None = None,
        ledgers: LedgerKeeper | None = None,
    ) -> None:
        """`minutes` counts accepted and ended jobs; `ledgers` keeps those of retried jobs. A worker retries none."""
        self._store = store
        self._ledgers = ledgers
        self._offer = offer
        self._minutes = minutes

    async def insert(self, jobs: Sequence[NewJob]) -> list[Insertion]:
        """Store new jobs as the store's `insert` does. They are published after tasks that the caller schedules on
        return, so that responses leave first."""
        outcome = await self._store.insert(jobs)
        asyncio.get_running_loop().call_soon(self._offer_stored, jobs, outcome)
        return outcome

    async def apply(self, moves: Sequence[Move], kinds: Sequence[str]) -> list[Applied]:
        """Apply moves as the store's `apply` does. `kinds` are those of the jobs. Raises `StoreError`."""
        retried = [move.seen.id for move in moves if move.transition.reason is Reason.RETRIED]
        if retried and self._ledgers is not None:
            # Ahead of the move: else a ledger could reach its end under a job that lives again.
            await self._ledgers.keep_ledgers(retried, at=max(move.transition.at for move in moves))
        outcome = await self._store.apply(moves)
        if self._minutes is not None:
            self._minutes.note_moves(moves, kinds, outcome)
        count_ended(moves, kinds, outcome)
        queued = [
            (move.seen.id, kind, move.transition.sets["queued_at"])
            for move, kind, applied in zip(moves, kinds, outcome, strict=True)
            if move.transition.to is State.QUEUED and applied is Applied.APPLIED
        ]
        if queued:
            self._offer(queued)
        return outcome

    async def resume(self, ids: Sequence[UUID], order: ResumeOrder) -> list[ResumedJob]:
        """Queue parked jobs as the store's `resume` does. Raises `StoreError`."""
        resumed = await self._store.resume(ids, order)
        if resumed:
            self._offer([(job.id, job.kind, job.queued_at) for job in resumed])
        return resumed

    async def announce(self, pending: PendingSignals, order: ResumeOrder) -> Announced | None:
        """Announce signals to a job as the store's `announce` does. Raises `StoreError`."""
        announced = await self._store.announce(pending, order)
        if announced is not None and announced.woken_at is not None:
            self._offer([(announced.id, announced.kind, announced.woken_at)])
        return announced

    def _offer_stored(self, jobs: Sequence[NewJob], outcome: Sequence[Insertion]) -> None:
        if self._minutes is not None:
            self._minutes.note_accepted(jobs, outcome)
        queued = [
            (job.id, job.kind, job.lifecycle["queued_at"])
            for job, found in zip(jobs, outcome, strict=True)
            if found is Insertion.STORED and job.lifecycle["state"] is State.QUEUED
        ]
        if queued:
            self._offer(queued)
