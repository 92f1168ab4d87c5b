"""Kinds are paused and resumed once each, whoever registers them meanwhile; waits are extended as they were seen."""

import asyncio
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

from msgspec.structs import replace as replaced
from pymongo.database import Database

from acked_common.model import lifecycle
from acked_common.model.pauses import PAUSES_KEPT, CountedPauses, KindPauses, PastPause, Pause, Wait
from acked_common.store.mongo.store import MongoStore
from acked_common.store.records import KindRecord, WaitExtension
from support.factories import LEASE_S, again, ago, kind_record, moved, now, owner, queued
from support.whole_store import JobStore

PAUSE = Pause("ann", "0123", "the mail server rejects everything", ago(60))


async def registered(store: JobStore, *names: str) -> list[KindRecord]:
    records = [kind_record(name, name) for name in names]
    await store.register_kinds(records)
    return records


async def test_a_paused_kind_says_who_why_and_since_when(store: JobStore) -> None:
    await registered(store, "a", "b")
    assert await store.pauses() == {}
    assert await store.pause_kind("a", PAUSE) == KindPauses(PAUSE)
    assert await store.pauses() == {"a": KindPauses(PAUSE)}
    bare = Pause("local", None, None, now())
    assert await store.pause_kind("b", bare) == KindPauses(bare)
    assert await store.pauses() == {"a": KindPauses(PAUSE), "b": KindPauses(bare)}


async def test_a_kind_that_nobody_registered_is_neither_paused_nor_made(store: JobStore) -> None:
    assert await store.pause_kind("a", PAUSE) is None
    assert await store.resume_kind("a", at=now()) is None
    assert (await store.kinds(), await store.pauses()) == ({}, {})


async def test_the_first_pause_stands(store: JobStore) -> None:
    await registered(store, "a")
    await store.pause_kind("a", PAUSE)
    later = replaced(PAUSE, client="bob", reason=None, since_at=now())
    assert await store.pause_kind("a", later) == KindPauses(PAUSE)
    assert await store.pauses() == {"a": KindPauses(PAUSE)}


async def test_of_pauses_at_once_one_stands_and_all_are_told_which(store: JobStore) -> None:
    await registered(store, "a")
    asked = [replaced(PAUSE, client=f"client-{n}") for n in range(20)]
    answers = await asyncio.gather(*(store.pause_kind("a", pause) for pause in asked))
    standing = (await store.pauses())["a"]
    assert standing.current in asked
    assert answers == [standing] * len(asked)


async def test_a_resume_ends_the_pause_and_remembers_it(store: JobStore) -> None:
    await registered(store, "a")
    await store.pause_kind("a", PAUSE)
    at = now()
    after = KindPauses(past=(PastPause(PAUSE.since_at, at),))
    assert await store.resume_kind("a", at=at) == after
    assert await store.resume_kind("a", at=now()) == after, "what is not paused stays as it is"
    assert await store.pauses() == {"a": after}
    again_at = now()
    await store.pause_kind("a", replaced(PAUSE, since_at=again_at))
    assert (await store.pauses())["a"].past == after.past
    # The gateway that resumes may have a clock that is behind.
    resumed = await store.resume_kind("a", at=again_at - timedelta(seconds=5))
    assert resumed == KindPauses(past=(*after.past, PastPause(again_at, again_at)))


async def test_resumes_at_once_end_one_pause(store: JobStore) -> None:
    await registered(store, "a")
    await store.pause_kind("a", PAUSE)
    await asyncio.gather(*(store.resume_kind("a", at=now()) for _ in range(20)))
    assert len((await store.pauses())["a"].past) == 1


async def test_the_newest_past_pauses_are_kept(store: JobStore) -> None:
    await registered(store, "a")
    for n in range(PAUSES_KEPT + 3):
        await store.pause_kind("a", replaced(PAUSE, since_at=PAUSE.since_at + timedelta(seconds=2 * n)))
        await store.resume_kind("a", at=PAUSE.since_at + timedelta(seconds=2 * n + 1))
    past = (await store.pauses())["a"].past
    assert len(past) == PAUSES_KEPT
    assert past[-1].to_at == PAUSE.since_at + timedelta(seconds=2 * (PAUSES_KEPT + 2) + 1)


async def test_a_registration_leaves_the_pauses_as_they_are(store: JobStore) -> None:
    (kind,) = await registered(store, "a")
    await store.pause_kind("a", PAUSE)
    await store.resume_kind("a", at=PAUSE.since_at + timedelta(seconds=1))
    await store.pause_kind("a", PAUSE)
    before = await store.pauses()
    changed = replace(kind, version="2", timeout_s=7.0, seen_at=now())
    await store.register_kinds([changed])
    assert await store.kinds() == {"a": changed}
    assert await store.pauses() == before


async def test_a_worker_of_the_version_before_leaves_the_pauses_too(
    mongo_store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    (kind,) = await registered(mongo_store, "a")
    await mongo_store.pause_kind("a", PAUSE)
    own = {field.name: getattr(kind, field.name) for field in fields(kind) if field.name != "name"}
    database.kinds.update_one({"_id": "a"}, {"$set": {**own, "version": "0"}}, upsert=True)
    assert (await mongo_store.pauses(), (await mongo_store.kinds())["a"].version) == ({"a": KindPauses(PAUSE)}, "0")


async def test_a_wait_is_extended_as_it_was_seen(store: JobStore) -> None:
    job, other = await queued(store, at=ago(60), expires_in_s=30), await queued(store, at=ago(60), expires_in_s=30)
    assert job.wait is not None and job.expires_at is not None and job.queued_at is not None
    wait = Wait(job.queued_at, now() + timedelta(seconds=90), CountedPauses(job.queued_at, now(), 60.5))
    await store.extend_waits([])
    await store.extend_waits(
        [
            WaitExtension(job.id, job.expires_at, wait),
            WaitExtension(other.id, job.expires_at + timedelta(seconds=1), wait),
        ]
    )
    found = await again(store, job)
    assert found.wait == wait
    assert (found.rev, found.next_check_at) == (job.rev, job.next_check_at)
    assert await again(store, other) == other
    # What was refused as expired can be claimed now.
    claimed = await store.claim([job.id, other.id], kinds=["demo"], owner=owner(), lease_s=LEASE_S, at=now())
    assert [one.id for one in claimed] == [job.id]


async def test_a_job_that_was_claimed_meanwhile_is_not_extended(store: JobStore) -> None:
    job = await queued(store)
    assert job.queued_at is not None and job.expires_at is not None
    running = await moved(store, job, lifecycle.claim(at=now(), owner=owner(), lease_s=LEASE_S))
    wait = Wait(job.queued_at, now() + timedelta(seconds=90), None)
    await store.extend_waits([WaitExtension(job.id, job.expires_at, wait)])
    assert await again(store, running) == running


async def test_what_is_queued_again_waits_anew(store: JobStore) -> None:
    job = await queued(store, at=ago(60), expires_in_s=30)
    assert job.queued_at is not None and job.expires_at is not None
    wait = Wait(job.queued_at, now() + timedelta(seconds=90), CountedPauses(job.queued_at, now(), 60.0))
    await store.extend_waits([WaitExtension(job.id, job.expires_at, wait)])
    running = await moved(store, await again(store, job), lifecycle.claim(at=now(), owner=owner(), lease_s=LEASE_S))
    back = await moved(store, running, lifecycle.take_back(at=now(), grace_s=10.0, expires_in_s=100.0))
    assert back.wait is not None and back.wait.counted is not None
    assert back.wait.counted.queued_at != back.wait.queued_at
