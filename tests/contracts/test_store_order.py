"""A history has one order, although each process that writes it has a clock of its own."""

from datetime import timedelta

from msgspec.structs import replace

from acked_common.model import interventions, lifecycle
from acked_common.model.lifecycle import Move, State
from acked_common.store.records import Applied, Job
from support.factories import (
    ERROR,
    EXPIRES_IN_S,
    GRACE_S,
    LEASE_S,
    RETENTION_S,
    again,
    cancelling,
    insert,
    moved,
    new_job,
    now,
    owner,
    queued,
)
from support.whole_store import JobStore

BEHIND = timedelta(seconds=5)


def instants(job: Job) -> list[float]:
    return [entry.at.timestamp() for entry in job.history]


async def test_claim_by_a_slow_clock_is_not_before_the_accept(store: JobStore) -> None:
    at = now()
    jobs = await insert(store, new_job(at=at), new_job(at=at - 2 * BEHIND))
    for asked in (jobs[:1], jobs):
        await store.claim([job.id for job in asked], kinds=["demo"], owner=owner(), lease_s=LEASE_S, at=at - BEHIND)
    late, early = [await again(store, job) for job in jobs]
    assert (late.history[-1].at, late.started_at) == (at, at)
    assert (early.history[-1].at, early.started_at) == (at - BEHIND, at - BEHIND)
    assert early.state is late.state is State.RUNNING


async def test_bundle_is_claimed_in_order_job_by_job(store: JobStore) -> None:
    at = now()
    jobs = await insert(store, *(new_job(at=at + timedelta(milliseconds=n)) for n in range(-2, 3)))
    taken = await store.claim([job.id for job in jobs], kinds=["demo"], owner=owner(), lease_s=LEASE_S, at=at)
    ordered = {job.id: max(at, at + timedelta(milliseconds=n)) for n, job in zip(range(-2, 3), jobs, strict=True)}
    assert {claimed.id: claimed.started_at for claimed in taken} == ordered
    outcome = await store.apply(
        [
            Move(claimed.seen, lifecycle.succeed(at=at - BEHIND, result=b"null", retention_s=RETENTION_S))
            for claimed in taken
        ]
    )
    assert outcome == [Applied.APPLIED] * 5
    for job in jobs:
        done = await again(store, job)
        assert instants(done) == sorted(instants(done))
        assert done.finished_at == ordered[job.id] == done.history[-1].at


async def test_each_transition_follows_the_one_before_it(store: JobStore) -> None:
    at = now()
    job = await queued(store, at=at)
    (claimed,) = await store.claim([job.id], kinds=["demo"], owner=owner(), lease_s=LEASE_S, at=at - BEHIND)
    back = lifecycle.back_off(at=at - BEHIND, error=ERROR, delay_s=60.0)
    assert await store.apply([Move(claimed.seen, back)]) == [Applied.APPLIED]
    waits = await again(store, job)
    assert waits.due_at == at + timedelta(seconds=60), "the delay counts from the transition"
    due = await moved(store, waits, lifecycle.become_due(at=at - BEHIND, grace_s=GRACE_S, expires_in_s=EXPIRES_IN_S))
    assert due.queued_at == at
    ended = await moved(store, due, interventions.cancel(at=at - 2 * BEHIND, retention_s=RETENTION_S))
    assert instants(ended) == [at.timestamp()] * 5
    assert ended.finished_at == at


async def test_outcome_follows_a_cancel_by_another_clock(store: JobStore) -> None:
    at = now()
    job = await cancelling(store)
    asked_at = job.history[-1].at
    done = await moved(store, job, lifecycle.succeed(at=at - BEHIND, result=b"1", retention_s=RETENTION_S))
    assert done.history[-1].at == asked_at


async def test_time_alone_does_not_make_a_move_stale(store: JobStore) -> None:
    job = await queued(store)
    seen = replace(job.seen, at=now() - BEHIND)
    cancel = interventions.cancel(at=now(), retention_s=RETENTION_S)
    assert await store.apply([Move(seen, cancel)]) == [Applied.APPLIED]
