"""How new jobs are kept and read."""

import asyncio
import json
from datetime import UTC, timedelta

import pytest

from acked_common.model.ids import new_id
from acked_common.model.lifecycle import HistoryEntry, Reason, State
from acked_common.model.options import NO_OPTIONS
from acked_common.store.records import Insertion, NewJob, Revision
from support.factories import ago, count_queued, insert, new_job, now, queued, scheduled
from support.whole_store import JobStore

PAYLOADS = {
    "keys with a meaning": b'{"$where": "1", "$set": {"x": 1}, "a.b": {"$ref": 1, "$id": 2}, "": 0}',
    "odd spacing, order and numbers": b'{ "b" :1e400,\n"a": 123456789012345678901234567890 , "b":2}',
    "every byte": bytes(range(256)),
    "empty": b"",
    "text": '{"ключ": "значение 🚀"}'.encode(),
    "large": json.dumps({"rows": ["x" * 1000] * 1000}).encode(),
}


async def test_a_new_job_is_kept_as_it_was_given(store: JobStore) -> None:
    at = now()
    given = new_job(
        kind="report",
        payload=b'{"x":1}',
        at=at,
        batch="night.1",
        tags=("a", "b"),
        max_attempts=7,
        timeout_s=2.5,
        expires_in_s=60.0,
    )

    assert await store.insert([given]) == [Insertion.STORED]

    job = await store.get(given.id)
    assert job is not None
    assert (job.id, job.kind, job.payload, job.options.batch, job.options.tags) == (
        given.id,
        "report",
        b'{"x":1}',
        "night.1",
        ("a", "b"),
    )
    assert (job.state, job.reason, job.first_state) == (State.QUEUED, Reason.ACCEPTED, State.QUEUED)
    assert (job.rev, job.run, job.attempt, job.failures, job.crashes, job.republished) == (1, 1, 0, 0, 0, 0)
    assert (job.accepted_at, job.queued_at) == (at, at)
    assert (job.next_check_at, job.expires_at) == (at + timedelta(seconds=10), at + timedelta(seconds=60))
    options = job.options
    assert (options.max_attempts, options.timeout_s, options.expires_in_s) == (7, 2.5, 60.0)
    assert job.history == (HistoryEntry(1, State.QUEUED, Reason.ACCEPTED, 0, at),)
    assert (job.owner, job.result, job.error, job.progress, job.finished_at) == (None, None, None, None, None)
    assert not job.cancel_requested


async def test_what_was_not_given_stays_away(store: JobStore) -> None:
    job = await queued(store)

    assert job.options == NO_OPTIONS
    assert (job.due_at, job.started_at, job.note) == (None, None, None)


async def test_a_delayed_job_is_scheduled(store: JobStore) -> None:
    at = now()

    job = await scheduled(store, at=at, delay_s=90.0)

    assert (job.state, job.first_state, job.history[0].state) == (State.SCHEDULED,) * 3
    assert (job.due_at, job.next_check_at) == (at + timedelta(seconds=90),) * 2
    assert (job.queued_at, job.expires_at) == (None, None)


async def test_the_wake_of_a_job_that_expires_soon_is_its_expiry(store: JobStore) -> None:
    at = now()

    job = await queued(store, at=at, grace_s=10.0, expires_in_s=3.0)

    assert job.next_check_at == job.expires_at == at + timedelta(seconds=3)


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS.keys())
async def test_a_payload_comes_back_byte_for_byte(store: JobStore, payload: bytes) -> None:
    job = await queued(store, payload=payload)

    assert job.payload == payload
    assert type(job.payload) is bytes


async def test_instants_are_aware_utc_in_whole_milliseconds(store: JobStore) -> None:
    at = now().replace(microsecond=678_912)

    job = await queued(store, at=at)

    cut = at.replace(microsecond=678_000)
    assert (job.accepted_at, job.queued_at, job.history[0].at) == (cut, cut, cut)
    assert job.accepted_at.utcoffset() == timedelta(0)
    assert job.accepted_at.astimezone(UTC) == cut


async def test_the_same_id_again_is_stored_once_and_the_first_stays(store: JobStore) -> None:
    first = new_job(payload=b"1")
    second = NewJob(first.id, "other", b"2", first.accepted_at, first.lifecycle)

    assert await store.insert([first]) == [Insertion.STORED]
    assert await store.insert([second, new_job()]) == [Insertion.STORED, Insertion.STORED]

    job = await store.get(first.id)
    assert job is not None
    assert (job.kind, job.payload, job.rev) == ("demo", b"1", 1)
    assert await count_queued(store, 100) == 2


async def test_one_id_twice_in_one_call_is_stored_once(store: JobStore) -> None:
    job = new_job()

    assert await store.insert([job, job]) == [Insertion.STORED, Insertion.STORED]

    assert await count_queued(store, 100) == 1


async def test_each_job_is_kept_on_its_own_merit(store: JobStore) -> None:
    good = [new_job() for _ in range(3)]
    nonsense = NewJob(new_id(), "demo", b"{}", now(), {"state": State.QUEUED})

    outcome = await store.insert([good[0], nonsense, good[1], good[2]])

    assert outcome == [Insertion.STORED, Insertion.NOT_STORED, Insertion.STORED, Insertion.STORED]
    assert await store.get_many([job.id for job in [*good, nonsense]]) == {
        job.id: await store.get(job.id) for job in good
    }


async def test_nothing_given_is_nothing_stored(store: JobStore) -> None:
    assert await store.insert([]) == []


async def test_the_order_of_the_answers_is_that_of_the_jobs_in_a_large_commit(store: JobStore) -> None:
    known = [new_job() for _ in range(5)]
    await insert(store, *known)
    jobs = [new_job(payload=b"x" * 500) for _ in range(1000)]
    jobs[100:100] = known

    assert await store.insert(jobs) == [Insertion.STORED] * 1005
    assert await count_queued(store, 2000) == 1005


async def test_concurrent_inserts_of_the_same_jobs_store_each_once(store: JobStore) -> None:
    jobs = [new_job() for _ in range(50)]

    outcomes = await asyncio.gather(*(store.insert(jobs) for _ in range(20)))

    assert outcomes == [[Insertion.STORED] * 50] * 20
    assert await count_queued(store, 1000) == 50


async def test_a_job_that_is_not_there(store: JobStore) -> None:
    job = await queued(store)
    absent = new_id()

    assert await store.get(absent) is None
    assert await store.get_many([absent]) == {}
    assert await store.get_many([]) == {}
    assert await store.histories([absent]) == {} == await store.histories([])
    assert await store.get_many([absent, job.id, job.id]) == {job.id: job}
    assert await store.revisions([absent, job.id]) == {job.id: Revision(1, State.QUEUED)}
    assert await store.revisions([]) == {}


async def test_a_job_that_was_read_is_no_part_of_the_store(store: JobStore) -> None:
    job = await queued(store, at=ago(5), tags=("a",))

    assert await store.get(job.id) == job
    assert await store.get(job.id) is not job
