"""Long polls: all waiters of a process share one query each tenth of a second, or somebody who tells the news."""

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
    """Somebody who tells what happens to jobs, with `StatusWaits.note`, while it is followed."""

    @property
    def is_open(self) -> bool:
        """Whether what happens now is told."""
        ...

    def following(self) -> AbstractAsyncContextManager[None]:
        """Follows as long as the context lasts."""
        ...


class LongPolls:
    """Waits for jobs to end or to move."""

    def __init__(self, store: JobReader) -> None:
        self._store = store
        self._waiters: dict[UUID, set[_Waiter]] = {}
        self._somebody_waits = asyncio.Event()
        self._news: UpdateSource | None = None
        self._has_ended = False
        self._reads: dict[tuple[UUID, str], asyncio.Task[Job | None]] = {}
        """Those that have not begun."""

    def follow(self, news: UpdateSource) -> None:
        """Nothing is asked any more while this tells it."""
        self._news = news

    def note(self, job_id: UUID, rev: int, state: State) -> None:
        """A job has moved."""
        waiters = self._waiters.get(job_id)
        if waiters:
            _serve(waiters, Revision(rev, state))

    def end(self) -> None:
        """Answers all who wait with what is there now; from here on nobody waits."""
        self._has_ended = True
        for waiters in self._waiters.values():
            for waiter in waiters:
                if not waiter.changed.done():
                    waiter.changed.set_result(None)

    def start(self, tasks: Tasks) -> None:
        """Starts looking; without waiters nothing is asked."""
        tasks.repeat("status waits", self._look, every_s=LOOK_EVERY_S)

    async def wait(
        self, job_id: UUID, *, after_rev: int | None, wait_s: float, tenant: str = DEFAULT_TENANT
    ) -> Job | None:
        """The tenant's job as soon as it is terminal or its rev is above `after_rev`, or as it is after `wait_s` or at
        the `end` of all waits; None where there is no such job. Raises `StoreError`."""
        waiter = _Waiter(after_rev, asyncio.get_running_loop().create_future())
        # First the waiter, then the look: a move in between is seen by one of the two.
        self._waiters.setdefault(job_id, set()).add(waiter)
        self._somebody_waits.set()
        try:
            job = await self._read(job_id, tenant)
            if job is None or waiter.is_served_by(Revision(job.rev, job.state)) or self._has_ended:
                return job
            until = asyncio.get_running_loop().time() + wait_s
            async with self._news.following() if self._news is not None else nullcontext():
                # Once more: what happened before it was followed is told by nobody.
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
        """The job as it is from now on: one read for all who ask in the same turn of the loop, since a thousand may
        wait for one job. Raises `StoreError`."""
        which = job_id, tenant
        if which not in self._reads:
            self._reads[which] = asyncio.create_task(self._begin_read(job_id, tenant), name="read for waiters")
        # Whoever leaves meanwhile must not end the read of the others.
        return await asyncio.shield(self._reads[which])

    async def _begin_read(self, job_id: UUID, tenant: str) -> Job | None:
        # Who asks later may ask for what this read does not see.
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
