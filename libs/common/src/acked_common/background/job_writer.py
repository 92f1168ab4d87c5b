"""Stores new jobs, moves jobs, and publishes those that became queued: one call, so that no caller forgets the second.

A job that is queued and not published waits ten seconds and more for a sweeper to find it lost, silently. So no other
part has the verbs `insert` and `apply` of the store: the ports of the roles do not name them.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from acked_common.background.bundle_publisher import QueuedJob
from acked_common.background.job_metrics import count_ended
from acked_common.background.minute_writer import MinuteWriter
from acked_common.model.lifecycle import Move, State
from acked_common.store.ports import TransitionStore
from acked_common.store.records import Applied, Insertion, NewJob


class JobWriter:
    """Apply what moves jobs to a store; hand those that became queued to `offer`, which must not wait."""

    def __init__(
        self,
        store: TransitionStore,
        offer: Callable[[Iterable[QueuedJob]], None],
        minutes: MinuteWriter | None = None,
    ) -> None:
        """`minutes` counts what was accepted and what has ended."""
        self._store = store
        self._offer = offer
        self._minutes = minutes

    async def insert(self, jobs: Sequence[NewJob]) -> list[Insertion]:
        """Store new jobs, as the store's `insert`. Publishes behind what the caller schedules when this returns: the
        responses to those who wait for the jobs go first."""
        outcome = await self._store.insert(jobs)
        asyncio.get_running_loop().call_soon(self._offer_stored, jobs, outcome)
        return outcome

    async def apply(self, moves: Sequence[Move], kinds: Sequence[str]) -> list[Applied]:
        """Apply moves, as the store's `apply`. `kinds` are those of the jobs. Raises `StoreError`."""
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
