"""One job of a tenant holds an idempotency key, as long as it is kept."""

import asyncio

from acked_common.model.lifecycle import State
from acked_common.store.records import IdempotencyKey, Insertion, KeyHolder, NewJob
from support.factories import count_queued, insert, key_of, new_job, now, succeeded
from support.whole_store import JobStore

KEY = "order-7"


def holder_of(job: NewJob) -> KeyHolder:
    assert job.key is not None
    return KeyHolder(job.id, job.kind, job.lifecycle["state"], job.accepted_at, job.key.fingerprint)


async def test_the_holder_of_a_key_is_told_as_it_was_accepted(store: JobStore) -> None:
    queued = new_job(kind="report", key=key_of(KEY))
    scheduled = new_job(delay_s=60.0, key=IdempotencyKey("k" * 255, bytes(range(32))))

    assert await store.insert([queued, scheduled]) == [Insertion.STORED] * 2

    assert await store.key_holder(queued.tenant, KEY) == holder_of(queued)
    assert await store.key_holder(scheduled.tenant, "k" * 255) == holder_of(scheduled)
    assert holder_of(scheduled).state is State.SCHEDULED


async def test_nobody_holds_a_key_that_no_job_has(store: JobStore) -> None:
    await insert(store, new_job(), new_job(key=key_of(KEY)))

    assert await store.key_holder("default", "other") is None
    assert await store.key_holder("default", KEY.upper()) is None
    assert await store.key_holder("other", KEY) is None


async def test_a_key_is_given_once(store: JobStore) -> None:
    first, same, other = (new_job(key=key_of(KEY, what)) for what in ("a", "a", "b"))
    neighbours = [new_job(), new_job(key=key_of("another"))]

    assert await store.insert([first]) == [Insertion.STORED]
    assert await store.insert([neighbours[0], same, other, neighbours[1]]) == [
        Insertion.STORED,
        Insertion.KEY_TAKEN,
        Insertion.KEY_TAKEN,
        Insertion.STORED,
    ]

    assert await store.get_many([same.id, other.id]) == {}
    assert await store.key_holder("default", KEY) == holder_of(first)
    assert await count_queued(store, 10) == 3


async def test_of_two_jobs_of_one_call_the_first_gets_the_key(store: JobStore) -> None:
    first, second = (new_job(key=key_of(KEY)) for _ in range(2))

    assert await store.insert([first, second]) == [Insertion.STORED, Insertion.KEY_TAKEN]

    assert await store.key_holder("default", KEY) == holder_of(first)


async def test_jobs_without_a_key_never_meet(store: JobStore) -> None:
    assert await store.insert([new_job() for _ in range(20)]) == [Insertion.STORED] * 20


async def test_a_key_is_the_tenant_s_own(store: JobStore) -> None:
    ours, theirs = (new_job(key=key_of(KEY), tenant=tenant) for tenant in ("ours", "theirs"))

    assert await store.insert([ours, theirs]) == [Insertion.STORED] * 2

    assert await store.key_holder("ours", KEY) == holder_of(ours)
    assert await store.key_holder("theirs", KEY) == holder_of(theirs)


async def test_the_same_job_again_is_stored_and_holds_its_key(store: JobStore) -> None:
    job = new_job(key=key_of(KEY))

    assert [await store.insert([job]) for _ in range(3)] == [[Insertion.STORED]] * 3
    assert await store.insert([job, job]) == [Insertion.STORED] * 2

    assert await store.key_holder("default", KEY) == holder_of(job)
    assert await count_queued(store, 10) == 1


async def test_a_job_that_is_not_stored_binds_no_key(store: JobStore) -> None:
    nonsense = NewJob(new_job().id, "demo", b"{}", now(), {"state": State.QUEUED}, key=key_of(KEY))
    job = new_job(key=key_of(KEY))

    assert await store.insert([nonsense]) == [Insertion.NOT_STORED]
    assert await store.key_holder("default", KEY) is None
    assert await store.insert([nonsense, job]) == [Insertion.NOT_STORED, Insertion.STORED]

    assert await store.key_holder("default", KEY) == holder_of(job)


async def test_an_ended_job_holds_its_key(store: JobStore) -> None:
    ended = await succeeded(store, key=key_of(KEY))

    assert await store.insert([new_job(key=key_of(KEY))]) == [Insertion.KEY_TAKEN]

    holder = await store.key_holder("default", KEY)
    assert holder is not None
    assert (holder.id, holder.state) == (ended.id, State.QUEUED)


async def test_of_concurrent_inserts_one_gets_the_key_and_all_see_it(store: JobStore) -> None:
    jobs = [new_job(key=key_of(KEY, str(n))) for n in range(40)]

    async def keep(job: NewJob) -> tuple[Insertion, KeyHolder | None]:
        (found,) = await store.insert([job])
        return found, await store.key_holder("default", KEY)

    answers = await asyncio.gather(*(keep(job) for job in jobs))

    (winner,) = [job for job, (found, _) in zip(jobs, answers, strict=True) if found is Insertion.STORED]
    assert [found for found, _ in answers].count(Insertion.KEY_TAKEN) == 39
    assert {holder for _, holder in answers} == {holder_of(winner)}
