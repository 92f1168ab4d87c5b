"""Several moves in one call: those that are alike may be one write, and each job is judged by itself all the same."""

from msgspec.structs import replace

from acked_common.model import interventions, lifecycle
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import Move, State
from acked_common.store.records import Applied
from support.factories import ERROR, EXPIRES_IN_S, GRACE_S, LEASE_S, RETENTION_S, again, moved, now, owner, running
from support.whole_store import JobStore

QUEUE = {"grace_s": GRACE_S, "expires_in_s": EXPIRES_IN_S}
KEEP = {"retention_s": RETENTION_S}


async def test_a_batch_of_moves_is_judged_one_by_one(store: JobStore) -> None:
    jobs = [await running(store) for _ in range(4)]
    end = lifecycle.succeed(at=now(), result=b"1", **KEEP)
    moves = [
        Move(jobs[0].seen, end),
        Move(replace(jobs[1].seen, rev=77), end),
        Move(jobs[2].seen, end),
        Move(replace(jobs[3].seen, id=new_id()), end),
    ]

    outcome = await store.apply(moves)

    assert outcome == [Applied.APPLIED, Applied.STALE, Applied.APPLIED, Applied.STALE]
    states = await store.revisions([job.id for job in jobs])
    assert [states[job.id].state is State.SUCCEEDED for job in jobs] == [True, False, True, False]


async def test_a_job_that_was_taken_away_keeps_none_of_its_neighbours(store: JobStore) -> None:
    mine = owner("worker-1")
    jobs = [await running(store, by=mine) for _ in range(5)]
    taken = await moved(store, jobs[1], lifecycle.take_back(at=now(), **QUEUE))
    taken = await moved(store, taken, lifecycle.claim(at=now(), owner=owner("worker-2"), lease_s=LEASE_S))
    cancelled = await moved(store, jobs[3], interventions.request_cancel(at=now()))
    release = lifecycle.release(at=now(), **QUEUE)

    outcome = await store.apply([Move(job.seen, release) for job in jobs])

    applied, stale = Applied.APPLIED, Applied.STALE
    assert outcome == [applied, stale, applied, stale, applied]
    assert await again(store, taken) == taken
    assert await again(store, cancelled) == cancelled
    for job in (jobs[0], jobs[2], jobs[4]):
        assert (await again(store, job)).state is State.QUEUED


async def test_no_moves(store: JobStore) -> None:
    assert await store.apply([]) == []


async def test_two_moves_of_one_job_in_one_call_apply_once(store: JobStore) -> None:
    job = await running(store)
    at = now()
    moves = [
        Move(job.seen, lifecycle.succeed(at=at, result=b"1", **KEEP)),
        Move(job.seen, lifecycle.fail(at=at, error=ERROR, exhausted=False, **KEEP)),
    ]

    outcome = await store.apply(moves)

    assert sorted(outcome, key=lambda applied: applied.value) == [Applied.APPLIED, Applied.STALE]
    after = await again(store, job)
    assert after.rev == job.rev + 1
    assert after.state is moves[outcome.index(Applied.APPLIED)].transition.to
