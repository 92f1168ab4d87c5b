"""Every named transition, applied as a compare-and-set."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from acked_common.model import interventions, lifecycle, lifecycle_waits, poison
from acked_common.model.ids import new_id
from acked_common.model.instants import whole_ms
from acked_common.model.lifecycle import HISTORY_KEPT, Move, Reason, Seen, State, Transition
from acked_common.model.lifecycle_waits import Waits
from acked_common.model.principal import Actor
from acked_common.store.records import Applied, Job
from support.factories import (
    ERROR,
    EXPIRES_IN_S,
    GRACE_S,
    LEASE_S,
    MAKERS,
    RETENTION_S,
    again,
    cancelled,
    cancelling,
    failed,
    moved,
    now,
    owner,
    queued,
    running,
    scheduled,
    succeeded,
    suspected,
)
from support.whole_store import JobStore

QUEUE = {"grace_s": GRACE_S, "expires_in_s": EXPIRES_IN_S}
KEEP = {"retention_s": RETENTION_S}
OWNER = owner("worker-9", boot="boot-9")
BY = Actor("ops", "abcdefghijkm", "bulk:1")
OTHER = new_id()


@dataclass(frozen=True)
class Case:
    """One transition, the job that it starts from, and what it changes beside state, reason, rev and history."""

    start: Callable[..., Awaitable[Job]]
    transition: Callable[[datetime], Transition]
    to: State
    reason: Reason
    changes: Callable[[Job, datetime], dict[str, Any]] = field(default=lambda job, at: {})


async def resolved_as_failed(store: JobStore, **fields: Any) -> Job:
    """A failed job of which a person has said more."""
    end = interventions.resolve(at=now(), to=State.FAILED, result=b"1", note="gone", retention_s=RETENTION_S)
    return await moved(store, await failed(store, **fields), end)


async def asleep(store: JobStore, **fields: Any) -> Job:
    """A job that sleeps for a day."""
    waits = Waits("sleep", "rest", now() + timedelta(days=1))
    return await moved(store, await running(store, **fields), lifecycle_waits.park(at=now(), waits=waits))


def _is_queued(at: datetime) -> dict[str, Any]:
    return {
        "queued_at": at,
        "next_check_at": at + timedelta(seconds=GRACE_S),
        "expires_at": at + timedelta(seconds=EXPIRES_IN_S),
        "republished": 0,
        "owner": None,
    }


def _is_due(at: datetime) -> dict[str, Any]:
    due_at = at + timedelta(seconds=7)
    return {"owner": None, "due_at": due_at, "next_check_at": due_at}


def _is_ended(at: datetime) -> dict[str, Any]:
    return {"finished_at": at, "next_check_at": None, "owner": None}


NOT_QUEUED = {"queued_at": None, "expires_at": None, "republished": 0}

CASES = {
    "claim": Case(
        queued,
        lambda at: lifecycle.claim(at=at, owner=OWNER, lease_s=LEASE_S),
        State.RUNNING,
        Reason.CLAIMED,
        lambda job, at: (
            NOT_QUEUED
            | {"owner": OWNER, "started_at": at, "attempt": 1, "next_check_at": at + timedelta(seconds=LEASE_S)}
        ),
    ),
    "succeed": Case(
        running,
        lambda at: lifecycle.succeed(at=at, result=b'{"$x":1}', **KEEP),
        State.SUCCEEDED,
        Reason.COMPLETED,
        lambda job, at: _is_ended(at) | {"result": b'{"$x":1}'},
    ),
    "succeed while cancelling": Case(
        cancelling,
        lambda at: lifecycle.succeed(at=at, result=b"1", **KEEP),
        State.SUCCEEDED,
        Reason.COMPLETED,
        lambda job, at: _is_ended(at) | {"result": b"1", "cancel_requested": False},
    ),
    "fail for good": Case(
        running,
        lambda at: lifecycle.fail(at=at, error=ERROR, exhausted=False, **KEEP),
        State.FAILED,
        Reason.PERMANENT_ERROR,
        lambda job, at: _is_ended(at) | {"error": ERROR, "failures": 1},
    ),
    "fail with no attempts left": Case(
        running,
        lambda at: lifecycle.fail(at=at, error=ERROR, exhausted=True, **KEEP),
        State.FAILED,
        Reason.ATTEMPTS_EXHAUSTED,
        lambda job, at: _is_ended(at) | {"error": ERROR, "failures": 1},
    ),
    "back off": Case(
        running,
        lambda at: lifecycle.back_off(at=at, error=ERROR, delay_s=7.0),
        State.SCHEDULED,
        Reason.BACKING_OFF,
        lambda job, at: (
            {
                "error": ERROR,
                "failures": 1,
            }
            | _is_due(at)
        ),
    ),
    "release": Case(
        running,
        lambda at: lifecycle.release(at=at, **QUEUE),
        State.QUEUED,
        Reason.DRAINED,
        lambda job, at: _is_queued(at),
    ),
    "take back": Case(
        running,
        lambda at: lifecycle.take_back(at=at, **QUEUE),
        State.QUEUED,
        Reason.LEASE_EXPIRED,
        lambda job, at: _is_queued(at) | {"suspect": True},
    ),
    "release a suspect": Case(
        suspected,
        lambda at: lifecycle.release(at=at, **QUEUE),
        State.QUEUED,
        Reason.DRAINED,
        lambda job, at: _is_queued(at) | {"suspect": False},
    ),
    "release a suspect that did not start": Case(
        suspected,
        lambda at: lifecycle.release(at=at, reason=Reason.NOT_STARTED, **QUEUE),
        State.QUEUED,
        Reason.NOT_STARTED,
        lambda job, at: _is_queued(at),
    ),
    "release what may have stopped its worker": Case(
        running,
        lambda at: lifecycle.release(at=at, suspect=True, **QUEUE),
        State.QUEUED,
        Reason.DRAINED,
        lambda job, at: _is_queued(at) | {"suspect": True},
    ),
    "back off what may have stopped its worker": Case(
        running,
        lambda at: lifecycle.back_off(at=at, error=ERROR, delay_s=7.0, suspect=True),
        State.SCHEDULED,
        Reason.BACKING_OFF,
        lambda job, at: {"error": ERROR, "failures": 1, "suspect": True} | _is_due(at),
    ),
    "release for later": Case(
        suspected,
        lambda at: lifecycle.release(at=at, reason=Reason.NOT_STARTED, delay_s=7.0, **QUEUE),
        State.SCHEDULED,
        Reason.NOT_STARTED,
        lambda job, at: _is_due(at),
    ),
    "clear a suspect": Case(
        suspected,
        lambda at: lifecycle.succeed(at=at, result=b"1", **KEEP),
        State.SUCCEEDED,
        Reason.COMPLETED,
        lambda job, at: _is_ended(at) | {"result": b"1", "suspect": False},
    ),
    "crash": Case(
        suspected,
        lambda at: poison.crash(at=at, how="exit code 1", crashes=0, attempt=2, delay_s=7.0, **KEEP),
        State.SCHEDULED,
        Reason.CRASHED,
        lambda job, at: (
            {
                "crashes": 1,
            }
            | _is_due(at)
        ),
    ),
    "crash too often": Case(
        suspected,
        lambda at: poison.crash(at=at, how="exit code 1", crashes=2, attempt=2, delay_s=7.0, **KEEP),
        State.FAILED,
        Reason.POISON,
        lambda job, at: _is_ended(at) | {"crashes": 1},
    ),
    "become due": Case(
        scheduled,
        lambda at: lifecycle.become_due(at=at, **QUEUE),
        State.QUEUED,
        Reason.DUE,
        lambda job, at: _is_queued(at) | {"due_at": None},
    ),
    "expire": Case(
        queued,
        lambda at: lifecycle.expire(at=at, waited_s=60.0, kind="demo", attempt=0, **KEEP),
        State.FAILED,
        Reason.EXPIRED,
        lambda job, at: NOT_QUEUED | _is_ended(at),
    ),
    "cancel what is queued": Case(
        queued,
        lambda at: interventions.cancel(at=at, **KEEP),
        State.CANCELLED,
        Reason.CANCELLED,
        lambda job, at: NOT_QUEUED | _is_ended(at),
    ),
    "cancel what is scheduled": Case(
        scheduled,
        lambda at: interventions.cancel(at=at, **KEEP),
        State.CANCELLED,
        Reason.CANCELLED,
        lambda job, at: _is_ended(at) | {"due_at": None},
    ),
    "request a cancel": Case(
        running,
        lambda at: interventions.request_cancel(at=at),
        State.RUNNING,
        Reason.CANCEL_REQUESTED,
        lambda job, at: {"cancel_requested": True},
    ),
    "end cancelled": Case(
        cancelling,
        lambda at: lifecycle.end_cancelled(at=at, **KEEP),
        State.CANCELLED,
        Reason.CANCELLED,
        lambda job, at: _is_ended(at) | {"cancel_requested": False},
    ),
    "retry": Case(
        failed,
        lambda at: interventions.retry(at=at, **QUEUE),
        State.QUEUED,
        Reason.RETRIED,
        lambda job, at: _is_queued(at) | {"run": 2, "failures": 0, "error": None, "finished_at": None},
    ),
    "resolve as succeeded": Case(
        failed,
        lambda at: interventions.resolve(at=at, to=State.SUCCEEDED, result=b'"by hand"', note="done by hand", **KEEP),
        State.SUCCEEDED,
        Reason.RESOLVED,
        lambda job, at: (
            _is_ended(at) | {"run": 2, "failures": 0, "error": None, "result": b'"by hand"', "note": "done by hand"}
        ),
    ),
    "resolve as failed": Case(
        failed,
        lambda at: interventions.resolve(at=at, to=State.FAILED, result=None, note=None, **KEEP),
        State.FAILED,
        Reason.RESOLVED,
        lambda job, at: _is_ended(at) | {"run": 2, "failures": 0},
    ),
    "resolve again": Case(
        resolved_as_failed,
        lambda at: interventions.resolve(at=at, to=State.FAILED, result=None, note=None, **KEEP),
        State.FAILED,
        Reason.RESOLVED,
        lambda job, at: _is_ended(at) | {"run": 3, "failures": 0, "result": None, "note": None},
    ),
    "retry what was cancelled": Case(
        cancelled,
        lambda at: interventions.retry(at=at, by=BY, **QUEUE),
        State.QUEUED,
        Reason.RETRIED,
        lambda job, at: _is_queued(at) | {"run": 2, "failures": 0, "finished_at": None},
    ),
    "run now": Case(
        scheduled,
        lambda at: interventions.run_now(at=at, by=BY, **QUEUE),
        State.QUEUED,
        Reason.RUN_NOW,
        lambda job, at: _is_queued(at) | {"due_at": None},
    ),
    "end a wait": Case(
        asleep,
        lambda at: interventions.end_wait(at=at, by=BY, **QUEUE),
        State.QUEUED,
        Reason.RUN_NOW,
        lambda job, at: _is_queued(at) | {"waits": None},
    ),
    "edit": Case(
        failed,
        lambda at: interventions.edit(at=at, state=State.FAILED, edited_to=OTHER, by=BY, **KEEP),
        State.FAILED,
        Reason.EDITED,
        lambda job, at: _is_ended(at) | {"run": 2, "edited_to": OTHER},
    ),
    "erase": Case(
        failed,
        lambda at: interventions.erase(at=at, state=State.FAILED, by=BY),
        State.FAILED,
        Reason.ERASED,
        lambda job, at: {"payload": b"null", "error": None, "erased_at": whole_ms(at)},
    ),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def _is_owned(case: Case) -> bool:
    return case.start in (running, suspected, cancelling)


owned_cases = pytest.mark.parametrize(
    "case", [case for case in CASES.values() if _is_owned(case)], ids=[n for n, c in CASES.items() if _is_owned(c)]
)


@every_case
async def test_a_move_changes_what_it_says_and_nothing_else(store: JobStore, case: Case) -> None:
    job, at = await case.start(store, batch="b", tags=("t",)), now()
    move = Move(job.seen, case.transition(at))

    assert await store.apply([move]) == [Applied.APPLIED]

    after = await again(store, job)
    changes = case.changes(job, at)
    if case.reason in (Reason.CRASHED, Reason.POISON, Reason.EXPIRED):
        changes["error"] = move.transition.sets["error"]
    assert after == replace(
        job,
        state=case.to,
        reason=case.reason,
        rev=job.rev + 1,
        history=(*job.history, move.history_entry),
        **changes,
    )
    assert (after.next_check_at is None) is after.state.is_terminal


@every_case
async def test_a_move_is_safe_to_repeat(store: JobStore, case: Case) -> None:
    job = await case.start(store)
    move = Move(job.seen, case.transition(now()))
    assert await store.apply([move]) == [Applied.APPLIED]
    after = await again(store, job)

    assert await store.apply([move]) == [Applied.APPLIED]

    assert await again(store, job) == after


async def test_a_repeat_is_recognised_after_later_moves(store: JobStore) -> None:
    job = await running(store)
    end = Move(job.seen, lifecycle.fail(at=now(), error=ERROR, exhausted=True, **KEEP))
    await store.apply([end])
    job = await moved(store, await again(store, job), interventions.retry(at=now(), **QUEUE))

    assert await store.apply([end]) == [Applied.APPLIED]

    assert await again(store, job) == job


@every_case
@pytest.mark.parametrize("seen", [{"rev": 99}, {"attempt": 99}], ids=["rev", "attempt"])
async def test_a_move_of_a_job_that_was_seen_otherwise_is_stale(
    store: JobStore, case: Case, seen: dict[str, int]
) -> None:
    job = await case.start(store)
    other = Seen(job.id, job.state, seen.get("rev", job.rev), seen.get("attempt", job.attempt))

    assert await store.apply([Move(other, case.transition(now()))]) == [Applied.STALE]

    assert await again(store, job) == job


@owned_cases
async def test_a_move_by_another_claim_is_stale(store: JobStore, case: Case) -> None:
    job = await case.start(store)

    assert await store.apply([Move(replace(job.seen, nonce="another"), case.transition(now()))]) == [Applied.STALE]

    assert await again(store, job) == job


@every_case
async def test_a_move_of_a_job_in_another_state_is_stale(store: JobStore, case: Case) -> None:
    transition = case.transition(now())
    for state, make in MAKERS.items():
        if state in transition.leaves:
            continue
        job = await make(store)
        for believed in transition.leaves:
            seen = Seen(job.id, believed, job.rev, job.attempt)
            assert await store.apply([Move(seen, transition)]) == [Applied.STALE]
        assert await again(store, job) == job


@every_case
async def test_a_move_of_a_job_that_is_not_there_is_stale(store: JobStore, case: Case) -> None:
    transition = case.transition(now())
    seen = Seen(new_id(), min(transition.leaves), 1, 0)

    assert await store.apply([Move(seen, transition)]) == [Applied.STALE]

    assert await store.get(seen.id) is None


@pytest.mark.parametrize("name", ["fail for good", "back off", "release", "take back", "crash", "crash too often"])
async def test_the_cancel_flag_wins(store: JobStore, name: str) -> None:
    job = await cancelling(store)

    assert await store.apply([Move(job.seen, CASES[name].transition(now()))]) == [Applied.STALE]

    assert await again(store, job) == job
    ended = await moved(store, job, lifecycle.end_cancelled(at=now(), **KEEP))
    assert ended.state is State.CANCELLED


async def test_nothing_but_a_person_leaves_an_end(store: JobStore) -> None:
    jobs = [await MAKERS[state](store) for state in lifecycle.TERMINAL]
    for job, case in itertools.product(jobs, CASES.values()):
        transition = case.transition(now())
        if job.state in transition.leaves:
            assert transition.reason in {Reason.RETRIED, Reason.RESOLVED, Reason.EDITED, Reason.ERASED}
            continue
        with pytest.raises(lifecycle.WrongState):
            Move(job.seen, transition)
        moves = [Move(replace(job.seen, state=believed), transition) for believed in transition.leaves]
        assert set(await store.apply(moves)) == {Applied.STALE}
        assert await again(store, job) == job


async def test_only_failed_jobs_are_retried_or_resolved(store: JobStore) -> None:
    done = await succeeded(store)
    with pytest.raises(lifecycle.WrongState):
        Move(done.seen, interventions.retry(at=now(), **QUEUE))
    with pytest.raises(lifecycle.WrongState):
        Move(done.seen, interventions.resolve(at=now(), to=State.FAILED, result=None, note=None, **KEEP))


@every_case
async def test_jobs_that_move_alike_are_judged_and_changed_one_by_one(store: JobStore, case: Case) -> None:
    jobs = [await case.start(store) for _ in range(4)]
    transition = case.transition(now())
    beaten = jobs[2]
    moves = [Move(replace(job.seen, nonce=None), transition) for job in jobs]
    moves[2] = replace(moves[2], seen=replace(moves[2].seen, rev=beaten.rev + 5))

    assert await store.apply(moves) == [Applied.APPLIED, Applied.APPLIED, Applied.STALE, Applied.APPLIED]

    for job, move in zip(jobs, moves, strict=True):
        after = await again(store, job)
        if job is beaten:
            assert after == job
        else:
            assert (after.state, after.reason, after.rev) == (case.to, case.reason, job.rev + 1)
            assert after.history == (*job.history, move.history_entry)
    assert await store.apply(moves) == [Applied.APPLIED, Applied.APPLIED, Applied.STALE, Applied.APPLIED]


async def test_of_twenty_racing_ends_one_wins(store: JobStore) -> None:
    job, at = await running(store), now()
    ends = [
        Move(job.seen, lifecycle.succeed(at=at + timedelta(milliseconds=n), result=b"%d" % n, **KEEP))
        for n in range(20)
    ]

    outcomes = await asyncio.gather(*(store.apply([end]) for end in ends))

    winners = [n for n, outcome in enumerate(outcomes) if outcome == [Applied.APPLIED]]
    after = await again(store, job)
    assert len(winners) == 1
    assert (after.result, after.rev) == (b"%d" % winners[0], job.rev + 1)


async def test_history_keeps_the_first_entry_and_the_newest(store: JobStore) -> None:
    job = await queued(store)
    written = list(job.history)
    for _ in range(20):
        for transition in (
            lifecycle.claim(at=now(), owner=owner(), lease_s=LEASE_S),
            lifecycle.back_off(at=now(), error=ERROR, delay_s=0.0),
            lifecycle.become_due(at=now(), **QUEUE),
        ):
            written.append(Move(job.seen, transition).history_entry)
            job = await moved(store, job, transition)

    assert len(written) == 61
    assert job.history == (written[0], *written[-HISTORY_KEPT:])
    assert await store.histories([job.id]) == {job.id: job.history}
    assert (job.rev, job.attempt, job.failures, job.run) == (61, 20, 20, 1)

    # The claim of many has a write of its own.
    await store.claim([job.id], kinds=["demo"], owner=owner(), lease_s=LEASE_S, at=now())
    job = await again(store, job)
    assert len(job.history) == 1 + HISTORY_KEPT
    assert (job.history[0], job.history[1], job.history[-1].rev) == (written[0], written[-48], 62)


async def test_crashes_are_counted_until_a_person_retries(store: JobStore) -> None:
    job = await suspected(store)
    for crashes in range(poison.MAX_CRASHES):
        crash = poison.crash(at=now(), how="exit code 1", crashes=crashes, attempt=job.attempt, delay_s=0.0, **KEEP)
        job = await moved(store, job, crash)
        assert (job.crashes, job.failures, job.suspect) == (crashes + 1, 0, True)
        if job.state is State.SCHEDULED:
            job = await moved(store, job, lifecycle.become_due(at=now(), **QUEUE))
            (taken,) = await store.claim([job.id], kinds=["demo"], owner=owner(), lease_s=LEASE_S, at=now())
            assert taken.suspect, "the worker that claims it knows"
            job = await again(store, job)
    assert (job.state, job.reason) == (State.FAILED, Reason.POISON)

    job = await moved(store, job, interventions.retry(at=now(), **QUEUE))

    assert (job.crashes, job.suspect, job.error) == (0, True, None)


async def test_an_error_with_any_text_is_kept(store: JobStore) -> None:
    error = {"type": "$Odd.Name", "message": "a\nb $set {} \U0001f680", "retryable": False, "attempt": 1, "a.b": None}
    job = await running(store)

    after = await moved(store, job, lifecycle.fail(at=now(), error=error, exhausted=False, **KEEP))

    assert after.error == error


async def test_a_move_that_comes_too_late_changes_nothing(store: JobStore) -> None:
    at = await store.server_time()
    jobs = [await queued(store, at=now()) for _ in range(4)]
    cancel = interventions.cancel(at=now(), **KEEP)
    soon, late = at + timedelta(seconds=60), at - timedelta(milliseconds=1)
    moves = [Move(job.seen, cancel, until_at) for job, until_at in zip(jobs, (late, soon, late, None), strict=True)]
    expected = [Applied.STALE, Applied.APPLIED, Applied.STALE, Applied.APPLIED]
    assert await store.apply(moves) == expected
    assert [await again(store, job) == job for job in jobs] == [True, False, True, False]
    assert await store.apply(moves) == expected
