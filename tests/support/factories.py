"""Factories of test data: clocks, jobs in each state, and a bounded wait."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from acked import Context, KindOptions
from acked.definition import define
from acked_common.model import interventions, lifecycle, lifecycle_waits
from acked_common.model.ids import new_id
from acked_common.model.instants import whole_ms
from acked_common.model.lifecycle import Move, Owner, State, Transition
from acked_common.model.lifecycle_waits import Waits
from acked_common.model.options import OPTION_NAMES, JobOptions
from acked_common.model.principal import DEFAULT_TENANT
from acked_common.model.topics import ALL, Origin, Topic
from acked_common.store.records import Applied, ClaimedJob, IdempotencyKey, Insertion, Job, KindRecord, NewJob
from acked_worker.handlers.registration import kind_record as make_kind_record
from support.whole_store import JobStore

GRACE_S = 10.0
LEASE_S = 30.0
EXPIRES_IN_S = 3600.0
RETENTION_S = 86400.0
ERROR = {"type": "Boom", "message": "it broke", "retryable": True, "attempt": 1}


class ManualClock:
    """A clock that moves only when a test moves it."""

    def __init__(self, at: datetime = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)) -> None:
        self._at = at
        self._monotonic_s = 1000.0

    def now(self) -> datetime:
        return whole_ms(self._at)

    def monotonic(self) -> float:
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Advance both clocks."""
        self._at += timedelta(seconds=seconds)
        self._monotonic_s += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock; no time passes."""
        self._at += timedelta(seconds=seconds)


def now() -> datetime:
    """Return this machine's time in whole milliseconds, which is MongoDB's time if both run here."""
    return whole_ms(datetime.now(UTC))


def ago(seconds: float) -> datetime:
    """Return an instant in the past."""
    return now() - timedelta(seconds=seconds)


def owner(worker: str = "worker-1", *, boot: str = "boot-1", nonce: str | None = None) -> Owner:
    """Return one claim of a worker process."""
    return Owner(worker, boot, nonce or uuid4().hex)


def key_of(text: str, asked: str = "") -> IdempotencyKey:
    """Return an idempotency key; `asked` stands for the request's contents."""
    return IdempotencyKey(text, hashlib.sha256(asked.encode()).digest())


def new_job(
    *,
    id: UUID | None = None,  # noqa: A002 - the job's id
    kind: str = "demo",
    payload: bytes = b"{}",
    at: datetime | None = None,
    delay_s: float = 0.0,
    grace_s: float = GRACE_S,
    expires_in_s: float | None = None,
    **fields: Any,
) -> NewJob:
    """Return a job as intake persists it; `fields` are those of `NewJob` and of its options."""
    at = at or now()
    accepted = lifecycle.accept_fields(
        at=at, delay_s=delay_s, grace_s=grace_s, expires_in_s=expires_in_s or EXPIRES_IN_S
    )
    asked = {"expires_in_s": expires_in_s} | {name: fields.pop(name) for name in OPTION_NAMES if name in fields}
    return NewJob(id or new_id(), kind, payload, at, accepted, options=JobOptions(**asked), **fields)


def kind_record(name: str, lane: str, **fields: Any) -> KindRecord:
    """A kind as a worker registers an `async def` handler; `fields` are those of `KindRecord`."""
    kind = define(name, _handler, KindOptions(lane=lane))
    return replace(make_kind_record(kind, slots=1000, seen_at=now()), **{"seen_at": None, **fields})


async def _handler(ctx: Context, payload: object) -> None:
    """Does nothing."""


async def insert(store: JobStore, *jobs: NewJob) -> list[Job]:
    """Insert jobs and return them as stored, in the same order."""
    assert await store.insert(jobs) == [Insertion.STORED] * len(jobs)
    found = await store.get_many([job.id for job in jobs])
    return [found[job.id] for job in jobs]


async def moved(store: JobStore, job: Job, transition: Transition) -> Job:
    """Apply one transition, which must apply, and return the job after it."""
    assert await store.apply([Move(job.seen, transition)]) == [Applied.APPLIED]
    return await again(store, job)


async def again(store: JobStore, job: Job | ClaimedJob) -> Job:
    """Read the job again."""
    found = await store.get_many([job.id])
    return found[job.id]


async def queued(store: JobStore, **fields: Any) -> Job:
    """Insert a job that waits for a worker."""
    (job,) = await insert(store, new_job(**fields))
    return job


async def scheduled(store: JobStore, *, delay_s: float = 60.0, **fields: Any) -> Job:
    """Insert a job that is due later."""
    (job,) = await insert(store, new_job(delay_s=delay_s, **fields))
    return job


async def running(
    store: JobStore, *, by: Owner | None = None, claimed_at: datetime | None = None, **fields: Any
) -> Job:
    """Insert a job in its first attempt."""
    if claimed_at is not None:
        # A claim is never earlier than the transition that queued the job.
        fields.setdefault("at", claimed_at)
    job = await queued(store, **fields)
    return await moved(store, job, lifecycle.claim(at=claimed_at or now(), owner=by or owner(), lease_s=LEASE_S))


def claimed_job(job: Job) -> ClaimedJob:
    """Return a running job as the claim returned it to its owner."""
    assert job.state is State.RUNNING and job.owner is not None
    own = {"nonce": job.owner.nonce, "cancel_requested_at": job.history[-1].at if job.cancel_requested else None}
    return ClaimedJob(**{name: getattr(job, name) for name in ClaimedJob.__struct_fields__ if name not in own}, **own)


async def suspected(store: JobStore, **fields: Any) -> Job:
    """Insert a running job whose first worker was lost."""
    job = await running(store, **fields)
    job = await moved(store, job, lifecycle.take_back(at=now(), grace_s=GRACE_S, expires_in_s=EXPIRES_IN_S))
    return await moved(store, job, lifecycle.claim(at=now(), owner=owner(), lease_s=LEASE_S))


async def cancelling(store: JobStore, **fields: Any) -> Job:
    """Insert a running job whose cancel was requested."""
    return await moved(store, await running(store, **fields), interventions.request_cancel(at=now()))


async def succeeded(store: JobStore, *, result: bytes = b'{"ok":true}', **fields: Any) -> Job:
    """Insert a job with a result."""
    job = await running(store, **fields)
    return await moved(store, job, lifecycle.succeed(at=now(), result=result, retention_s=RETENTION_S))


async def failed(store: JobStore, **fields: Any) -> Job:
    """Insert a job that failed for good in its first attempt."""
    job = await running(store, **fields)
    return await moved(store, job, lifecycle.fail(at=now(), error=ERROR, retention_s=RETENTION_S, exhausted=False))


async def cancelled(store: JobStore, **fields: Any) -> Job:
    """Insert a job that was cancelled while queued."""
    return await moved(store, await queued(store, **fields), interventions.cancel(at=now(), retention_s=RETENTION_S))


async def waiting(store: JobStore, **fields: Any) -> Job:
    """Insert a job that is parked for an hour."""
    job = await running(store, **fields)
    at = job.started_at or now()
    waits = Waits("sleep", "nap", at + timedelta(hours=1))
    return await moved(store, job, lifecycle_waits.park(at=at, waits=waits))


MAKERS: dict[State, Callable[..., Awaitable[Job]]] = {
    State.QUEUED: queued,
    State.RUNNING: running,
    State.SCHEDULED: scheduled,
    State.WAITING: waiting,
    State.SUCCEEDED: succeeded,
    State.FAILED: failed,
    State.CANCELLED: cancelled,
}
"""Factory of a job by state."""


async def eventually(check: Callable[[], Awaitable[bool]], *, within_s: float = 10.0) -> None:
    """Return once the check is true; fail if it is not in time."""
    async with asyncio.timeout(within_s):
        while not await check():  # noqa: ASYNC110 - servers set no event of ours
            await asyncio.sleep(0.01)


async def until_readable(store: JobStore) -> None:
    """Return once local reads see every earlier write: a majority has confirmed a newer one. Leaves a queued job."""
    await insert(store, new_job(kind="readable"))


def topic(name: str = ALL, value: str | frozenset[UUID] | None = None, *, tenant: str = DEFAULT_TENANT) -> Topic:
    """Make a topic of the default tenant; all its jobs unless a name is given."""
    return Topic(tenant, name, value)


def origin(kind: str = "k", batch: str | None = None, *, tenant: str = DEFAULT_TENANT) -> Origin:
    """Make an origin of the default tenant."""
    return Origin(tenant, kind, batch)


async def count_queued(store: JobStore, at_most: int) -> int:
    """Count queued jobs, up to a bound."""
    return (await store.count(topic(), at_most=at_most)).states.get(State.QUEUED, 0)
