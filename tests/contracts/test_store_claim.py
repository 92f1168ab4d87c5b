"""How workers take jobs, hold them and lose them."""

import asyncio
from collections import Counter
from datetime import timedelta

from msgspec.structs import replace

from acked_common.model import interventions, lifecycle
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import HistoryEntry, Move, Reason, State
from acked_common.model.options import JobOptions
from acked_common.store.records import Applied, Job, Lease, ProgressReport, Revision
from support.factories import (
    ERROR,
    EXPIRES_IN_S,
    GRACE_S,
    LEASE_S,
    RETENTION_S,
    again,
    ago,
    cancelled,
    cancelling,
    claimed_job,
    eventually,
    insert,
    moved,
    new_job,
    now,
    owner,
    queued,
    running,
    scheduled,
    succeeded,
    until_readable,
)
from support.whole_store import JobStore


async def test_a_claim_takes_a_bundle_whole(store: JobStore) -> None:
    jobs = await insert(store, *(new_job(payload=b'{"n":%d}' % n) for n in range(10)))
    by, at = owner(), now()

    taken = await store.claim([job.id for job in jobs], kinds=["demo"], owner=by, lease_s=30.0, at=at)

    assert {job.id for job in taken} == {job.id for job in jobs}
    assert {job.id: job.payload for job in taken} == {job.id: job.payload for job in jobs}
    for claimed in taken:
        job = await again(store, claimed)
        assert claimed == claimed_job(job)
        assert (job.state, job.reason, job.owner) == (State.RUNNING, Reason.CLAIMED, by)
        assert (job.rev, job.run, job.attempt, job.failures) == (2, 1, 1, 0)
        assert job.started_at == at
        assert job.next_check_at is not None
        assert at + timedelta(seconds=29) < job.next_check_at <= now() + timedelta(seconds=31)
        assert (job.queued_at, job.expires_at, job.due_at, job.republished) == (None, None, None, 0)
        assert job.history[1:] == (HistoryEntry(2, State.RUNNING, Reason.CLAIMED, 1, at),)


async def test_the_lease_of_a_claim_that_was_long_under_way_is_a_whole_one(store: JobStore) -> None:
    job = await queued(store, at=ago(200))

    await store.claim([job.id], kinds=["demo"], owner=owner(), lease_s=30.0, at=ago(100))

    taken = await again(store, job)
    assert taken.next_check_at is not None
    assert taken.next_check_at > now() + timedelta(seconds=20)
    assert await store.live_jobs(State.RUNNING, limit=10) == []


async def test_what_can_not_be_claimed_drops_from_the_bundle(store: JobStore) -> None:
    at = now()
    good = await queued(store)
    dropped = {
        "expired": await queued(store, at=ago(100), expires_in_s=50.0),
        "expires this very moment": await queued(store, at=at - timedelta(seconds=50), expires_in_s=50.0),
        "another kind": await queued(store, kind="other"),
        "cancelled": await cancelled(store),
        "running": await running(store),
        "scheduled": await scheduled(store),
        "succeeded": await succeeded(store),
    }
    ids = [good.id, new_id(), *(job.id for job in dropped.values()), good.id]

    taken = await store.claim(ids, kinds=["demo", "third"], owner=owner(), lease_s=30.0, at=at)

    assert [job.id for job in taken] == [good.id]
    assert {name: await again(store, job) for name, job in dropped.items()} == dropped


async def test_a_claim_of_nothing(store: JobStore) -> None:
    job = await queued(store)

    assert await store.claim([], kinds=["demo"], owner=owner(), lease_s=30.0, at=now()) == []
    assert await store.claim([job.id], kinds=[], owner=owner(), lease_s=30.0, at=now()) == []
    assert await store.claim([new_id()], kinds=["demo"], owner=owner(), lease_s=30.0, at=now()) == []
    assert await again(store, job) == job


async def test_a_claim_is_safe_to_repeat(store: JobStore) -> None:
    job, by, at = await queued(store), owner(), now()

    first = await store.claim([job.id], kinds=["demo"], owner=by, lease_s=30.0, at=at)
    second = await store.claim([job.id], kinds=["demo"], owner=by, lease_s=30.0, at=at)

    assert first == second == [claimed_job(await again(store, job))]
    assert first[0].attempt == 1


async def test_names_that_look_like_operators_stay_text(store: JobStore) -> None:
    job = await queued(store, kind="$kind")
    by = owner("$payload", boot="$$NOW", nonce="$rev")

    (taken,) = await store.claim([job.id], kinds=["$kind"], owner=by, lease_s=30.0, at=now())

    assert (taken.kind, taken.nonce) == ("$kind", "$rev")
    assert (await again(store, job)).owner == by


async def test_a_claim_answers_what_the_request_asked_for(store: JobStore) -> None:
    asked = {"batch": "b", "tags": ("x", "y"), "max_attempts": 3, "timeout_s": 4.5, "expires_in_s": 600.0}
    # One job is claimed with another command than several.
    for count in (1, 2):
        jobs = [await queued(store, payload=b'{"n":1}', **asked) for _ in range(count)]
        taken = await store.claim([job.id for job in jobs], kinds=["demo"], owner=owner(), lease_s=30.0, at=now())
        for claimed in taken:
            assert claimed == claimed_job(await again(store, claimed))
            assert claimed.options == JobOptions(**asked)


async def test_a_claim_that_is_read_back_late_tells_what_happened_since(store: JobStore) -> None:
    job, by, at = await queued(store), owner(), now()
    (first,) = await store.claim([job.id], kinds=["demo"], owner=by, lease_s=30.0, at=at)
    await moved(store, await again(store, job), interventions.request_cancel(at=at + timedelta(seconds=2)))

    later = at + timedelta(seconds=9)
    (second,) = await store.claim([job.id], kinds=["demo"], owner=by, lease_s=30.0, at=later)

    assert (first.rev, first.started_at, first.cancel_requested_at) == (2, at, None)
    assert (second.rev, second.started_at, second.cancel_requested_at) == (3, at, at + timedelta(seconds=2))


async def test_each_claim_raises_the_attempt(store: JobStore) -> None:
    job = await queued(store)
    for attempt in (1, 2, 3):
        (taken,) = await store.claim([job.id], kinds=["demo"], owner=owner(), lease_s=30.0, at=now())
        assert taken.attempt == attempt
        job = await moved(
            store, await again(store, job), lifecycle.release(at=now(), grace_s=GRACE_S, expires_in_s=EXPIRES_IN_S)
        )
    assert (job.attempt, job.failures) == (3, 0)


async def test_racing_claims_split_the_jobs(store: JobStore) -> None:
    jobs = await insert(store, *(new_job() for _ in range(200)))
    ids = [job.id for job in jobs]
    owners = [owner(f"worker-{n}", boot=f"boot-{n}") for n in range(20)]

    taken = await asyncio.gather(*(store.claim(ids, kinds=["demo"], owner=by, lease_s=30.0, at=now()) for by in owners))

    assert Counter(job.id for share in taken for job in share) == Counter(ids)
    kept = await store.get_many(ids)
    for by, share in zip(owners, taken, strict=True):
        assert all((kept[job.id].owner, job.attempt, job.rev) == (by, 1, 2) for job in share)
    assert {job.id: job for share in taken for job in share} == {job.id: claimed_job(job) for job in kept.values()}


async def test_racing_claims_and_cancels_leave_one_winner_each(store: JobStore) -> None:
    jobs = await insert(store, *(new_job() for _ in range(50)))
    ids = [job.id for job in jobs]
    cancels = [Move(job.seen, interventions.cancel(at=now(), retention_s=RETENTION_S)) for job in jobs]

    taken, outcomes = await asyncio.gather(
        store.claim(ids, kinds=["demo"], owner=owner(), lease_s=30.0, at=now()), store.apply(cancels)
    )

    was_taken = {job.id for job in taken}
    for job, outcome in zip(jobs, outcomes, strict=True):
        assert (job.id in was_taken) is (outcome is Applied.STALE)
    assert all(revision.rev == 2 for revision in (await store.revisions(ids)).values())


async def _lost_and_taken_again(store: JobStore) -> tuple[Job, Job]:
    """A job as its first owner knows it, and as it runs by now under another one."""
    first = await running(store)
    taken_back = lifecycle.take_back(at=now(), grace_s=GRACE_S, expires_in_s=EXPIRES_IN_S)
    await moved(store, first, taken_back)
    by = owner("worker-2", boot="boot-2")
    await store.claim([first.id], kinds=["demo"], owner=by, lease_s=30.0, at=now())
    return first, await again(store, first)


async def test_an_old_attempt_is_fenced(store: JobStore) -> None:
    old, current = await _lost_and_taken_again(store)
    end = lifecycle.succeed(at=now(), result=b"1", retention_s=RETENTION_S)

    seen_now = replace(old.seen, rev=current.rev)
    assert await store.apply([Move(old.seen, end), Move(seen_now, end)]) == [Applied.STALE] * 2

    assert await again(store, current) == current
    assert await store.apply([Move(current.seen, end)]) == [Applied.APPLIED]


async def test_another_claim_of_the_same_attempt_is_fenced(store: JobStore) -> None:
    job = await running(store)
    end = lifecycle.succeed(at=now(), result=b"1", retention_s=RETENTION_S)

    assert await store.apply([Move(replace(job.seen, nonce="another"), end)]) == [Applied.STALE]

    assert await again(store, job) == job


async def test_a_renewal_prolongs_the_leases_and_tells_the_cancel_flags(store: JobStore) -> None:
    mine = await running(store, claimed_at=ago(20))
    stopped = await cancelling(store)
    nonces = [job.owner.nonce if job.owner else None for job in (mine, stopped)]
    before = now()
    apart = timedelta(milliseconds=5)

    leases = await store.renew([mine.id, stopped.id], boot="boot-1", lease_s=45.5)

    assert leases == {
        mine.id: Lease(mine.id, 1, nonces[0], 2, cancel_requested=False),
        stopped.id: Lease(stopped.id, 1, nonces[1], 3, cancel_requested=True),
    }

    async def is_prolonged() -> bool:
        wakes = [(await again(store, job)).next_check_at for job in (mine, stopped)]
        lease = timedelta(seconds=45.5)
        return all(wake is not None and before - apart <= wake - lease <= now() + apart for wake in wakes)

    await eventually(is_prolonged)
    after = await again(store, mine)
    assert replace(after, next_check_at=mine.next_check_at) == mine


async def test_lost_leases_are_missing_from_a_renewal(store: JobStore) -> None:
    mine = await running(store, claimed_at=ago(20))
    _, taken_again = await _lost_and_taken_again(store)
    ended = await succeeded(store)
    waiting = await queued(store)
    elsewhere = await running(store, by=owner("worker-2", boot="boot-2"))
    others = [taken_again, ended, waiting, elsewhere]

    leases = await store.renew([mine.id, new_id(), *(job.id for job in others)], boot="boot-1", lease_s=30.0)

    assert set(leases) == {mine.id}
    # Behind a write that a majority has, a renewal of what is not ours could be seen.
    await until_readable(store)
    assert [await again(store, job) for job in others] == others
    assert (await again(store, mine)).next_check_at != mine.next_check_at
    assert await store.renew([], boot="boot-1", lease_s=30.0) == {}


async def test_a_renewal_in_between_saves_the_lease(store: JobStore) -> None:
    job = await running(store, claimed_at=ago(40))
    (seen,) = await store.live_jobs(State.RUNNING, limit=10)
    await store.renew([job.id], boot="boot-1", lease_s=LEASE_S)
    back = lifecycle.take_back(at=now(), grace_s=GRACE_S, expires_in_s=EXPIRES_IN_S)

    assert await store.apply([Move(seen.seen_with_lease, back)]) == [Applied.STALE]

    assert (await again(store, job)).owner == job.owner


async def test_progress_is_kept_without_a_rev(store: JobStore) -> None:
    job = await running(store)
    assert job.owner is not None

    await store.report_progress([ProgressReport(job.id, 1, job.owner.nonce, b'{"$done":0.5}')])

    async def is_kept() -> bool:
        return (await again(store, job)).progress == b'{"$done":0.5}'

    await eventually(is_kept)
    assert await again(store, job) == replace(job, progress=b'{"$done":0.5}')
    assert await store.revisions([job.id]) == {job.id: Revision(job.rev, State.RUNNING)}


async def test_progress_of_what_no_longer_runs_is_dropped(store: JobStore) -> None:
    job = await running(store)
    ended = await succeeded(store)
    assert job.owner is not None

    for report in (
        ProgressReport(job.id, 2, job.owner.nonce, b"1"),
        ProgressReport(job.id, 1, "another", b"2"),
        ProgressReport(ended.id, 1, job.owner.nonce, b"3"),
        ProgressReport(new_id(), 1, job.owner.nonce, b"4"),
    ):
        await store.report_progress([report])
        await until_readable(store)
        assert (await again(store, job), await again(store, ended)) == (job, ended)
    await store.report_progress([])


async def test_progress_of_an_ended_attempt_is_dropped(store: JobStore) -> None:
    job = await running(store)
    assert job.owner is not None
    ended = await moved(store, job, lifecycle.succeed(at=now(), result=b"1", retention_s=RETENTION_S))

    await store.report_progress([ProgressReport(job.id, 1, job.owner.nonce, b"0.9")])

    await until_readable(store)
    assert await again(store, job) == ended


async def test_a_new_attempt_starts_without_progress(store: JobStore) -> None:
    job = await running(store)
    assert job.owner is not None
    await store.report_progress([ProgressReport(job.id, 1, job.owner.nonce, b"0.9")])
    job = await moved(store, job, lifecycle.back_off(at=now(), error=ERROR, delay_s=0.0))
    assert job.progress == b"0.9"
    job = await moved(store, job, lifecycle.become_due(at=now(), grace_s=GRACE_S, expires_in_s=EXPIRES_IN_S))

    await store.claim([job.id], kinds=["demo"], owner=owner(), lease_s=30.0, at=now())

    assert (await again(store, job)).progress is None
