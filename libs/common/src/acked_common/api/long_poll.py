"""Long polls: all waiters of a process share one query every 100 ms, or the updates of a change feed."""

import asyncio
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from acked_common.model.lifecycle import State
from acked_common.model.principal import DEFAULT_TENANT
from acked_common.runtime.lifetime import Tasks
from acked_common.store.ports import JobReader
from acked_common.store.records import Job, Revision

LOOK_EVERY_S = 0.1
_IDS_A_LOOK = 2000


@dataclass(slots=True, eq=False)
class _Waiter:
    after_rev: int | None
    changed: asyncio.Future[None]

    def is_served_by(self, revision: Revision) -> bool:
        return revision.state.is_terminal or (self.after_rev is not None and revision.rev > self.after_rev)


class UpdateSource(Protocol):
    """A feed of job moves that calls `LongPolls.note` while a waiter follows it."""

    @property
    def is_open(self) -> bool:
        """Whether moves are delivered now."""
        ...

    def following(self) -> AbstractAsyncContextManager[None]:
        """Follow the feed inside this context."""
        ...


class LongPolls:
    """Wait for jobs to end or to move."""

    def __init__(self, store: JobReader) -> None:
        self._store = store
        self._waiters: dict[UUID, set[_Waiter]] = {}
        self._somebody_waits = asyncio.Event()
        self._news: UpdateSource | None = None
        self._has_ended = False
        self._reads: dict[tuple[UUID, str], asyncio.Task[Job | None]] = {}
        """Reads that are scheduled and have not started."""

    def follow(self, news: UpdateSource) -> None:
        """Use a feed of updates; while it is open the store is not polled."""
        self._news = news

    def note(self, job_id: UUID, rev: int, state: State) -> None:
        """Wake the waiters of a job that has moved."""
        waiters = self._waiters.get(job_id)
        if waiters:
            _serve(waiters, Revision(rev, state))

    def end(self) -> None:
        """Wake all waiters, which return the current status; later calls of `wait` return at once."""
        self._has_ended = True
        for waiters in self._waiters.values():
            for waiter in waiters:
                if not waiter.changed.done():
                    waiter.changed.set_result(None)

    def start(self, tasks: Tasks) -> None:
        """Start the polling task. Without waiters it queries nothing."""
        tasks.repeat("status waits", self._look, every_s=LOOK_EVERY_S)

    async def wait(
        self, job_id: UUID, *, after_rev: int | None, wait_s: float, tenant: str = DEFAULT_TENANT
    ) -> Job | None:
        """Return the tenant's job once it is terminal or its rev exceeds `after_rev`, at the latest after `wait_s`.

        `end` returns it early. None if the tenant has no such job. Raise `StoreError`.
        """
        waiter = _Waiter(after_rev, asyncio.get_running_loop().create_future())
        # Register before reading: a move in between is seen by the waiter or by the read.
        self._waiters.setdefault(job_id, set()).add(waiter)
        self._somebody_waits.set()
        try:
            job = await self._read(job_id, tenant)
            if job is None or waiter.is_served_by(Revision(job.rev, job.state)) or self._has_ended:
                return job
            until = asyncio.get_running_loop().time() + wait_s
            async with self._news.following() if self._news is not None else nullcontext():
                # Read again: moves from before the feed was open are not delivered.
                if self._news is not None:
                    job = await self._read(job_id, tenant)
                    if job is None or waiter.is_served_by(Revision(job.rev, job.state)):
                        return job
                try:
                    async with asyncio.timeout_at(until):
                        await waiter.changed
                except TimeoutError:
                    pass
            return await self._read(job_id, tenant)
        finally:
            waiters = self._waiters.get(job_id)
            if waiters is not None:
                waiters.discard(waiter)
                if not waiters:
                    del self._waiters[job_id]
            if not self._waiters:
                self._somebody_waits.clear()

    async def _read(self, job_id: UUID, tenant: str) -> Job | None:
        """Read the job, with one query for all callers of the same loop turn: a thousand may wait for one job.

        The read starts after the call. Raise `StoreError`.
        """
        which = job_id, tenant
        if which not in self._reads:
            self._reads[which] = asyncio.create_task(self._begin_read(job_id, tenant), name="read for waiters")
        # A waiter that is cancelled must not cancel the read of the others.
        return await asyncio.shield(self._reads[which])

    async def _begin_read(self, job_id: UUID, tenant: str) -> Job | None:
        # Later callers need a read that starts later: this one may miss their move.
        del self._reads[job_id, tenant]
        return await self._store.get(job_id, tenant=tenant)

    async def _look(self) -> None:
        await self._somebody_waits.wait()
        if self._news is not None and self._news.is_open:
            return
        ids = list(self._waiters)
        for start in range(0, len(ids), _IDS_A_LOOK):
            found = await self._store.revisions(ids[start : start + _IDS_A_LOOK])
            for job_id, revision in found.items():
                _serve(self._waiters.get(job_id, ()), revision)


def _serve(waiters: Iterable[_Waiter], revision: Revision) -> None:
    for waiter in waiters:
        if waiter.is_served_by(revision) and not waiter.changed.done():
            waiter.changed.set_result(None)
