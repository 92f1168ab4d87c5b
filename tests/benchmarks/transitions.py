"""Transitions at a steady rate, made through the product's store, with the instant of each acknowledgement."""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import uvloop

from acked_common.model import interventions, lifecycle
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import Move, Seen, State
from acked_common.model.options import JobOptions
from acked_common.store.mongo.store import MongoStore
from acked_common.store.records import Insertion, NewJob
from benchmarks.ours import DATABASE, TENANT
from benchmarks.processes import ChildError

KIND = "followed"
_DELAY_S = 86_400.0
"""Jobs wait so long for their time to come: no worker and no sweeper has to do with them."""
_STORE_WITHIN_S = 10.0
_TICKS_PER_S = 100


@dataclass(slots=True)
class Made:
    """What was made: the instant in nanoseconds at which each transition was acknowledged, by job and rev."""

    acknowledged: dict[tuple[str, int], int] = field(default_factory=dict)


def make(mongo_url: str, *, per_s: int, seconds: float, batch_of: Callable[[int], str | None]) -> Made:
    """Half of the transitions accept a job, half cancel one; `batch_of` names the batch of each job by its number."""
    return uvloop.run(_make(mongo_url, per_s, seconds, batch_of))


async def _make(mongo_url: str, per_s: int, seconds: float, batch_of: Callable[[int], str | None]) -> Made:
    store = MongoStore(mongo_url, DATABASE, app_name="bench", timeout_s=_STORE_WITHIN_S)
    made, ready, numbers = Made(), deque[UUID](), itertools.count()
    each = max(1, per_s // _TICKS_PER_S // 2)
    # Slow rates tick less often.
    tick_s = 2 * each / per_s
    await store.server_time()
    try:
        async with asyncio.timeout(seconds + _STORE_WITHIN_S), asyncio.TaskGroup() as tasks:
            started = time.monotonic()
            for tick in range(int(seconds / tick_s)):
                await asyncio.sleep(max(0.0, started + tick * tick_s - time.monotonic()))
                jobs = [_job(batch_of(next(numbers))) for _ in range(each)]
                tasks.create_task(_accept(store, jobs, made, ready))
                ended = [ready.popleft() for _ in range(min(each, len(ready)))]
                tasks.create_task(_cancel(store, ended, made))
    finally:
        await store.close()
    return made


def _job(batch: str | None) -> NewJob:
    at = datetime.now(UTC)
    fields = lifecycle.accept_fields(at=at, delay_s=_DELAY_S, grace_s=10, expires_in_s=_DELAY_S)
    return NewJob(
        id=new_id(),
        kind=KIND,
        payload=b"{}",
        accepted_at=at,
        lifecycle=fields,
        options=JobOptions(batch=batch),
        tenant=TENANT,
    )


async def _accept(store: MongoStore, jobs: list[NewJob], made: Made, ready: deque[UUID]) -> None:
    found = await store.insert(jobs)
    at = time.monotonic_ns()
    if set(found) != {Insertion.STORED}:
        raise ChildError(f"MongoDB did not keep the jobs that are to be followed: {set(found)}")
    for job in jobs:
        made.acknowledged[str(job.id), 1] = at
        ready.append(job.id)


async def _cancel(store: MongoStore, ids: list[UUID], made: Made) -> None:
    at = datetime.now(UTC)
    cancel = interventions.cancel(at=at, retention_s=_DELAY_S)
    await store.apply([Move(Seen(job_id, State.SCHEDULED, rev=1, attempt=0), cancel) for job_id in ids])
    acknowledged = time.monotonic_ns()
    for job_id in ids:
        made.acknowledged[str(job_id), 2] = acknowledged
