"""A group commit and a keyed commit over a store whose writes a test holds, spoils or breaks."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from uuid import UUID

from acked_common.background.bundle_publisher import QueuedJob
from acked_common.background.job_writer import JobWriter
from acked_common.store.errors import OutcomeUnknown
from acked_common.store.records import Insertion, KeyHolder, NewJob
from acked_intake.accept.group_commit import GroupCommit
from acked_intake.accept.keyed_commit import Kept, KeyedCommit
from acked_intake.settings import CommitLimits
from support.factories import ManualClock
from support.memory_store import MemoryStore
from support.parts import BOUND_S, settle

T = TypeVar("T")


class HeldStore(MemoryStore):
    """A store that confirms a group once `confirms` is set; at first it is.

    `spoiled` jobs are not stored and get this outcome. `spoiled_groups` are outcomes of whole groups, the next one
    first. `bug` is raised by each insert. `lookups` counts searches for a holder: the next `gone` find none, and all
    fail while `is_away`.
    """

    def __init__(self) -> None:
        super().__init__(ManualClock())
        self.groups: list[list[NewJob]] = []
        self.confirms = asyncio.Event()
        self.confirms.set()
        self.spoiled: dict[UUID, Insertion] = {}
        self.spoiled_groups: list[Insertion] = []
        self.bug: Exception | None = None
        self.lookups = 0
        self.gone = 0
        self.is_away = False

    async def insert(self, jobs: Sequence[NewJob]) -> list[Insertion]:
        self.groups.append(list(jobs))
        await self.confirms.wait()
        if self.bug is not None:
            raise self.bug
        if self.spoiled_groups:
            return [self.spoiled_groups.pop(0)] * len(jobs)
        stored = iter(await super().insert([job for job in jobs if job.id not in self.spoiled]))
        return [self.spoiled[job.id] if job.id in self.spoiled else next(stored) for job in jobs]

    async def key_holder(self, tenant: str, key: str) -> KeyHolder | None:
        self.lookups += 1
        if self.is_away:
            raise OutcomeUnknown("away")
        if self.gone:
            self.gone -= 1
            return None
        return await super().key_holder(tenant, key)

    @property
    def sizes(self) -> list[int]:
        """Return the number of jobs of each group, in order."""
        return [len(group) for group in self.groups]

    @property
    def sent(self) -> list[NewJob]:
        """Return the jobs of all groups, in order."""
        return [job for group in self.groups for job in group]


class CommitBench:
    """Both commits over one held store, and what they offer to the publisher."""

    def __init__(self, limits: CommitLimits) -> None:
        self.store = HeldStore()
        self.offered: list[QueuedJob] = []
        self.commit = GroupCommit(JobWriter(self.store, self.offered.extend), limits)
        self.keyed = KeyedCommit(self.commit, self.store, answer_within_s=limits.answer_within_s)

    @property
    def published(self) -> list[UUID]:
        """Return the ids that were offered, in order."""
        return [job_id for job_id, _, _ in self.offered]

    async def keep(self, *jobs: NewJob) -> "list[asyncio.Task[Insertion]]":
        """Send requests without a key in one turn of the loop; return when they wait or are being written."""
        return await self._in_one_turn(self.commit.keep, jobs)

    async def keep_keyed(self, *jobs: NewJob) -> "list[asyncio.Task[Kept]]":
        """Send requests with a key in one turn of the loop; return when they wait or are being written."""
        return await self._in_one_turn(self.keyed.keep, jobs)

    async def _in_one_turn(
        self, keep: Callable[[NewJob], Coroutine[Any, Any, T]], jobs: Sequence[NewJob]
    ) -> "list[asyncio.Task[T]]":
        tasks = [asyncio.create_task(keep(job)) for job in jobs]
        await settle()
        return tasks


@asynccontextmanager
async def open_commit_bench(limits: CommitLimits) -> AsyncIterator[CommitBench]:
    """Yield a bench; at the end confirm its writes, stop it, and check that it holds no request any more."""
    made = CommitBench(limits)
    yield made
    made.store.confirms.set()
    async with asyncio.timeout(BOUND_S):
        await made.keyed.stop()
        await made.commit.stop()
    assert (made.commit._held_jobs, made.commit._held_bytes) == (0, 0)


async def outcomes(tasks: "Sequence[asyncio.Task[T]]") -> list[T]:
    """Wait for the outcomes of requests."""
    async with asyncio.timeout(BOUND_S):
        return await asyncio.gather(*tasks)
