"""Group commit: one write for all requests that arrived while earlier writes were in flight.

No timer delays a single request. Groups grow with the load, by the rule of `batch_window`.

Each request has its own deadline. A request that was not sent by then is certainly not stored. A request that was sent
but not confirmed may be stored.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec import Struct
from prometheus_client import Histogram

from acked_common.background.job_writer import JobWriter
from acked_common.runtime import failpoints
from acked_common.runtime.batch_window import BatchRule, BatchWindow
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.metrics import COMMIT_BOUNDS_S, LoopCounter, LoopHistogram, kind_label
from acked_common.store.records import Insertion, NewJob
from acked_intake.settings import CommitLimits

MAX_GROUP_JOBS = 1000
LARGE_JOBS = 32
"""A smaller group waits for the write in flight."""
MAX_GROUP_BYTES = 8 * 2**20
TICK_S = 0.1
"""How late the response to an overdue request may be."""
# The approximate size of a document without its payload.
_DOCUMENT_BYTES = 512

_group_size = Histogram(
    "acked_commit_jobs", "Jobs in one group commit.", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
)
_accepted = LoopCounter("acked_jobs_accepted_total", "Jobs whose group commit was confirmed.", ("kind",))
_took = LoopHistogram(
    "acked_commit_duration_seconds", "Time from a group commit to its outcome.", bounds=COMMIT_BOUNDS_S
).of(())


class Busy(Exception):
    """Too many requests wait in this process."""


class _Request(Struct, eq=False):
    job: NewJob
    size: int
    answered: asyncio.Future[Insertion]
    overdue_at: float
    sent: bool = False


@dataclass(slots=True)
class _WaitingRequests:
    requests: deque[_Request] = field(default_factory=deque)
    size: int = 0


class GroupCommit:
    """Collect new jobs and store them in groups; `writer` publishes each group after its responses."""

    def __init__(self, writer: JobWriter, limits: CommitLimits) -> None:
        self._writer = writer
        self._limits = limits
        self._waiting = _WaitingRequests()
        self._sent: set[_Request] = set()
        self._held_jobs = 0
        self._held_bytes = 0
        self._window = BatchWindow(self._flush, BatchRule(limits.commits_in_flight, LARGE_JOBS))
        self._released = asyncio.Event()
        self._tasks = Tasks()
        self._timer: asyncio.TimerHandle | None = None

    async def keep(self, job: NewJob, *, overdue_at: float | None = None) -> Insertion:
        """Store one job. Raises `Busy` if too many wait. `overdue_at`: the deadline, on the loop's clock, if it runs
        already."""
        return await self.send(job, overdue_at=overdue_at)

    def send(self, job: NewJob, *, overdue_at: float | None = None) -> asyncio.Future[Insertion]:
        """Store one job as `keep` does, without waiting. The future completes in time and never fails. Cancelling it
        drops a job that was not sent yet."""
        loop = asyncio.get_running_loop()
        size = self.take_room(job)
        request = _Request(job, size, loop.create_future(), overdue_at or loop.time() + self._limits.answer_within_s)
        self._waiting.requests.append(request)
        self._window.flush_soon(len(self._waiting.requests))
        if self._timer is None:
            self._timer = loop.call_later(TICK_S, self._tick)
        return request.answered

    def take_room(self, job: NewJob) -> int:
        """Reserve room for a job. Return its size, for `give_room_back`. Raises `Busy`."""
        size = len(job.payload) + _DOCUMENT_BYTES
        if self._held_jobs >= self._limits.waiting_jobs or self._held_bytes + size > self._limits.waiting_bytes:
            raise Busy
        self._held_jobs += 1
        self._held_bytes += size
        return size

    def give_room_back(self, size: int, jobs: int = 1) -> None:
        """Release the room of jobs with this total size."""
        self._held_jobs -= jobs
        self._held_bytes -= size
        self._released.set()

    async def stop(self) -> None:
        """Wait for the commits in flight."""
        while self._held_jobs:
            self._released.clear()
            await self._released.wait()
        self._window.stop()
        if self._timer is not None:
            self._timer.cancel()

    def _flush(self) -> None:
        while self._window.may_begin(len(self._waiting.requests)):
            self._begin()

    def _begin(self) -> None:
        """Send a group of the waiting requests, unless all of them are overdue or cancelled."""
        group: list[_Request] = []
        size = 0
        requests = self._waiting.requests
        while requests and len(group) < MAX_GROUP_JOBS and (not group or size + requests[0].size <= MAX_GROUP_BYTES):
            request = requests.popleft()
            if request.answered.done():
                # Its deadline has passed, or its client has disconnected, before it was sent.
                self.give_room_back(request.size)
                continue
            request.sent = True
            size += request.size
            group.append(request)
        if group:
            self._window.begin(len(group))
            self._sent.update(group)
            self._tasks.spawn(self._commit(group, size), "group commit")

    async def _commit(self, group: list[_Request], size: int) -> None:
        outcome = [Insertion.UNKNOWN] * len(group)
        began = time.perf_counter()
        try:
            failpoints.reach("intake.inserting")
            outcome = await self._writer.insert([request.job for request in group])
            failpoints.reach("intake.inserted")
        finally:
            _took.observe(time.perf_counter() - began)
            for request, found in zip(group, outcome, strict=True):
                if not request.answered.done():
                    request.answered.set_result(found)
            self._sent.difference_update(group)
            self.give_room_back(size, len(group))
            self._window.end(len(group))
            self._flush()
        _group_size.observe(len(group))
        _count_accepted(group, outcome)

    def _tick(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        self._answer_overdue(loop.time())
        if self._held_jobs:
            self._timer = loop.call_later(TICK_S, self._tick)

    def _answer_overdue(self, now: float) -> None:
        for request in self._waiting.requests:
            if request.overdue_at > now:
                break
            if not request.answered.done():
                request.answered.set_result(Insertion.NOT_STORED)
        for request in self._sent:
            if request.overdue_at <= now and not request.answered.done():
                request.answered.set_result(Insertion.UNKNOWN)


def _count_accepted(group: Sequence[_Request], outcome: Sequence[Insertion]) -> None:
    by_kind: dict[str, int] = {}
    for request, found in zip(group, outcome, strict=True):
        if found is Insertion.STORED:
            kind = request.job.kind
            by_kind[kind] = by_kind.get(kind, 0) + 1
    for kind, count in by_kind.items():
        _accepted.add((kind_label(kind),), count)
