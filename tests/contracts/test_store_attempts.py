"""What a job keeps of its attempts that did not succeed, and of who moved it, whatever becomes of it."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import bson
import pytest
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions
from pymongo.database import Database

from acked_common.model import interventions, lifecycle
from acked_common.model.attempts import (
    ATTEMPTS_KEPT,
    TRACEBACKS_KEPT,
    AttemptOutcome,
    EndedAttempt,
    kept_error,
    with_group,
    worker_lost,
)
from acked_common.model.lifecycle import Move, State, Transition
from acked_common.model.principal import Actor
from acked_common.outcomes.outcome import (
    MAX_CULPRIT_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_TRACEBACK_BYTES,
    MAX_TYPE_CHARS,
    Crashed,
    Ending,
    ErrorInfo,
    Failed,
    Succeeded,
    timed_out,
)
from acked_common.outcomes.outcome_rules import Defaults, transition_after
from acked_common.store.mongo import schema
from acked_common.store.mongo.documents import job_document
from acked_common.store.mongo.field_names import DELETE_AT, NEXT_CHECK_AT
from acked_common.store.mongo.store import MongoStore
from acked_common.store.records import Applied, ClaimedJob, Job, JobFilter
from support.factories import (
    EXPIRES_IN_S,
    GRACE_S,
    LEASE_S,
    RETENTION_S,
    again,
    claimed_job,
    kind_record,
    moved,
    new_job,
    now,
    owner,
    queued,
    running,
)
from support.whole_store import JobStore

QUEUE: dict[str, Any] = {"grace_s": GRACE_S, "expires_in_s": EXPIRES_IN_S}
KEEP: dict[str, Any] = {"retention_s": RETENTION_S}
KIND = kind_record("demo", "demo", max_attempts=1000, backoff_base_s=0.0, backoff_cap_s=0.0)
BY = Actor("ops", "abcdefghijkm", "bulk:1")
MOST_BYTES = 400 * 1024
"""Of a job that has failed as often and as loudly as it may: a fortieth of what MongoDB stores."""
OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True, uuid_representation=UuidRepresentation.STANDARD)


def error_of(number: int, **fields: Any) -> ErrorInfo:
    given = {"type": "T", "message": f"no order {number}", "retryable": True}
    return ErrorInfo(**(given | {"traceback": f"trace {number}", "culprit": "mail.send: x"} | fields))


def after(job: Job | ClaimedJob, ending: Ending, *, cancelling: bool = False, worker: str = "worker-7") -> Transition:
    """The transition that a worker records for this ending."""
    claimed = job if isinstance(job, ClaimedJob) else claimed_job(job)
    found = transition_after(
        ending, claimed, KIND, Defaults(**QUEUE, **KEEP), worker=worker, cancelling=cancelling, at=now()
    )
    assert found is not None
    return found


async def claimed_again(store: JobStore, job: Job) -> Job:
    """The job in its next attempt."""
    if job.state is State.SCHEDULED:
        job = await moved(store, job, lifecycle.become_due(at=now(), **QUEUE))
    (taken,) = await store.claim([job.id], kinds=["demo"], owner=owner("worker-8"), lease_s=LEASE_S, at=now())
    return await again(store, taken)


async def failed_once(store: JobStore, number: int = 1) -> Job:
    """A job that is in its second attempt."""
    job = await running(store)
    job = await moved(store, job, after(job, Failed(error_of(number), True)))
    return await claimed_again(store, job)


async def failed_often(store: JobStore, times: int, **fields: Any) -> Job:
    job = await running(store)
    for number in range(1, times + 1):
        job = await moved(store, job, after(job, Failed(error_of(number, **fields), True)))
        job = await claimed_again(store, job)
    return job


async def test_each_attempt_without_success_is_kept_in_order(store: JobStore) -> None:
    job = await running(store, by=owner("worker-7"))
    started: list[datetime | None] = []
    for ending in (Failed(error_of(1), True), timed_out(1.0, "where"), Crashed("exit code 1")):
        started.append(job.started_at)
        job = await moved(store, job, after(job, ending))
        job = await claimed_again(store, job)
    lost = EndedAttempt(
        1, 4, "worker-8", job.started_at or now(), now(), AttemptOutcome.LOST, worker_lost("demo", "worker-8")
    )
    job = await moved(store, job, lifecycle.take_back(at=now(), ended=lost, **QUEUE))
    assert [(one.run, one.attempt, one.outcome, one.worker, one.traceback) for one in job.attempts] == [
        (1, 1, AttemptOutcome.FAILED, "worker-7", "trace 1"),
        (1, 2, AttemptOutcome.TIMED_OUT, "worker-7", "where"),
        (1, 3, AttemptOutcome.CRASHED, "worker-7", None),
        (1, 4, AttemptOutcome.LOST, "worker-8", None),
    ]
    assert [one.started_at for one in job.attempts[:3]] == started
    assert all(one.started_at <= one.ended_at for one in job.attempts)
    error = {"type": "T", "message": "no order 1", "retryable": True, "culprit": "mail.send: x"}
    assert job.attempts[0].error == kept_error(with_group(error, "demo"))


async def test_attempts_outlive_success_retry_and_resolve(store: JobStore) -> None:
    job = await failed_once(store)
    kept = job.attempts
    job = await moved(store, job, after(job, Succeeded(b"1")))
    assert (job.state, job.error, job.attempts) == (State.SUCCEEDED, None, kept)

    job = await failed_once(store)
    job = await moved(store, job, after(job, Failed(error_of(2, retryable=False), False)))
    assert job.state is State.FAILED and [one.attempt for one in job.attempts] == [1, 2]
    kept = job.attempts
    job = await moved(store, job, interventions.retry(at=now(), by=BY, **QUEUE))
    assert (job.error, job.attempts) == (None, kept)
    job = await claimed_again(store, job)
    job = await moved(store, job, after(job, Failed(error_of(3, retryable=False), False)))
    assert [(one.run, one.attempt) for one in job.attempts] == [(1, 1), (1, 2), (2, 3)]
    kept = job.attempts
    resolve = interventions.resolve(at=now(), to=State.SUCCEEDED, result=b"1", note=None, by=BY, **KEEP)
    job = await moved(store, job, resolve)
    assert (job.state, job.error, job.attempts) == (State.SUCCEEDED, None, kept)


async def test_attempt_that_failed_while_it_was_cancelled_is_kept(store: JobStore) -> None:
    job = await running(store)
    job = await moved(store, job, interventions.request_cancel(at=now(), by=BY))
    job = await moved(store, job, after(job, Failed(error_of(1), True), cancelling=True))
    assert (job.state, job.error) == (State.CANCELLED, None)
    assert [one.outcome for one in job.attempts] == [AttemptOutcome.FAILED]


async def test_erased_job_keeps_no_attempt(store: JobStore) -> None:
    job = await failed_once(store)
    job = await moved(store, job, after(job, Succeeded(b"1")))
    job = await moved(store, job, interventions.erase(at=now(), state=State.SUCCEEDED, by=BY))
    assert job.attempts == ()


async def test_newest_attempts_and_tracebacks_are_kept_and_no_more(store: JobStore) -> None:
    job = await failed_often(store, ATTEMPTS_KEPT + 3)
    assert [one.attempt for one in job.attempts] == list(range(4, ATTEMPTS_KEPT + 4))
    with_traceback = [one.attempt for one in job.attempts if one.traceback is not None]
    assert with_traceback == list(range(ATTEMPTS_KEPT + 4 - TRACEBACKS_KEPT, ATTEMPTS_KEPT + 4))
    assert [one.traceback for one in job.attempts[-2:]] == [f"trace {n}" for n in with_traceback[-2:]]


async def test_persons_are_named_in_the_history(store: JobStore) -> None:
    job = await running(store)
    job = await moved(store, job, interventions.request_cancel(at=now(), by=BY))
    nobody = Actor("local")
    job = await moved(store, job, lifecycle.end_cancelled(at=now(), **KEEP))
    job = await moved(store, job, interventions.retry(at=now(), by=nobody, **QUEUE))
    assert [(entry.reason, entry.by) for entry in job.history] == [
        ("accepted", None),
        ("claimed", None),
        ("cancel_requested", BY),
        ("cancelled", None),
        ("retried", nobody),
    ]


async def test_lists_and_sweeps_leave_attempts_out(store: JobStore) -> None:
    job = await failed_once(store)
    page = await store.list_jobs(JobFilter(), page_size=10)
    assert [(one.id, one.attempts) for one in page.jobs] == [(job.id, ())]
    late = lifecycle.claim(at=now(), owner=owner(), lease_s=-60.0)
    job = await moved(store, job, lifecycle.take_back(at=now(), **QUEUE))
    job = await moved(store, job, late)
    (swept,) = await store.live_jobs(State.RUNNING, limit=10)
    assert (swept.id, swept.attempts) == (job.id, ())
    assert len(job.attempts) == 1


async def test_attempt_is_kept_once_however_often_it_is_written(store: JobStore) -> None:
    """As after a write whose response was lost."""
    job = await running(store)
    move = Move(job.seen, after(job, Failed(error_of(1), True)))
    for _ in range(3):
        assert await store.apply([move]) == [Applied.APPLIED]
    assert [one.attempt for one in (await again(store, job)).attempts] == [1]


async def test_attempt_of_a_stale_outcome_is_not_kept(store: JobStore) -> None:
    job = await running(store)
    late = Move(job.seen, after(job, Failed(error_of(1), True)))
    job = await moved(store, job, lifecycle.take_back(at=now(), **QUEUE))
    assert await store.apply([late]) == [Applied.STALE]
    assert (await again(store, job)).attempts == ()


async def test_attempts_of_jobs_that_move_alike_are_their_own(store: JobStore) -> None:
    jobs = [await running(store, by=owner(nonce="one")) for _ in range(3)]
    at = now()
    moves = []
    for number, job in enumerate(jobs):
        ending = Failed(error_of(number if number else 1), True)
        found = transition_after(
            ending, claimed_job(job), KIND, Defaults(**QUEUE, **KEEP), worker=f"w-{number}", cancelling=False, at=at
        )
        assert found is not None
        moves.append(Move(job.seen, found))
    assert await store.apply(moves) == [Applied.APPLIED] * 3
    found_jobs = [await again(store, job) for job in jobs]
    assert [[one.worker for one in job.attempts] for job in found_jobs] == [["w-0"], ["w-1"], ["w-2"]]


LOUD = {
    "message": "\N{PILE OF POO}" * (MAX_MESSAGE_BYTES // 4),
    "traceback": "t" * MAX_TRACEBACK_BYTES,
    "culprit": "c" * MAX_CULPRIT_BYTES,
}


async def test_job_of_sixty_loud_failures_stays_small(
    mongo_store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    job = await failed_often(mongo_store, 60, **LOUD, type="T" * MAX_TYPE_CHARS)
    stored = database[schema.JOBS].with_options(codec_options=OPTIONS).find_one({"_id": job.id})
    assert (
        stored is not None and len(stored["attempts"]) == ATTEMPTS_KEPT and len(stored["tracebacks"]) == TRACEBACKS_KEPT
    )
    assert len(bson.encode(stored, codec_options=OPTIONS)) < MOST_BYTES


async def test_longer_arrays_are_refused_by_the_validator(
    mongo_store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    job = await queued(mongo_store)
    jobs = database[schema.JOBS].with_options(codec_options=OPTIONS)
    for name, kept in (("attempts", ATTEMPTS_KEPT), ("tracebacks", TRACEBACKS_KEPT)):
        jobs.update_one({"_id": job.id}, {"$set": {name: [{}] * kept}})
        with pytest.raises(Exception, match="failed validation"):
            jobs.update_one({"_id": job.id}, {"$set": {name: [{}] * (kept + 1)}})


async def test_job_of_the_version_before_is_read_and_keeps_attempts_from_now_on(
    mongo_store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    """Its error has no group and no culprit, its history no persons, and there are no attempts."""
    before = datetime(2026, 1, 1, tzinfo=UTC)
    document = job_document(new_job(id=UUID(int=7), at=before))
    del document[NEXT_CHECK_AT]
    document |= {
        "state": "failed",
        "reason": "permanent_error",
        "rev": 3,
        "attempt": 1,
        "failures": 1,
        "started_at": before,
        "finished_at": before,
        DELETE_AT: now() + timedelta(days=1),
        "error": {"type": "T", "message": "m", "retryable": False, "attempt": 1, "traceback": "t"},
        "history": [
            {"rev": 2, "state": "running", "reason": "claimed", "attempt": 1, "at": before},
            {"rev": 3, "state": "failed", "reason": "permanent_error", "attempt": 1, "at": before},
        ],
    }
    for name in ("queued_at", "expires_at", "republished"):
        document.pop(name, None)
    database[schema.JOBS].with_options(codec_options=OPTIONS).insert_one(document)
    job = (await mongo_store.get_many([UUID(int=7)]))[UUID(int=7)]
    assert (job.attempts, job.edited_from, job.edited_to, job.erased_at) == ((), None, None, None)
    assert job.error == document["error"] and [entry.by for entry in job.history] == [None] * 3
    job = await moved(mongo_store, job, interventions.retry(at=now(), by=BY, **QUEUE))
    job = await claimed_again(mongo_store, job)
    job = await moved(mongo_store, job, after(job, Failed(error_of(1, retryable=False), False)))
    assert [(one.run, one.attempt) for one in job.attempts] == [(2, 2)]
