"""What MongoDB may log in its own way: a write that changed most of a document is logged as its replacement."""

from datetime import timedelta
from typing import Any

import pytest
from pymongo.database import Database

from acked_common.model import lifecycle
from acked_common.model.lifecycle import State
from acked_common.store.mongo import schema
from acked_common.store.mongo.store import MongoStore
from acked_common.store.ports import JobChanges
from acked_common.store.records import Job
from support.factories import RETENTION_S, again, moved, now, owner, queued, running

ANSWERS = 20


@pytest.fixture
def store(mongo_store: MongoStore) -> MongoStore:
    """MongoDB alone: what is tested here has no counterpart in memory."""
    return mongo_store


async def told(changes: JobChanges, count: int) -> list[Any]:
    """The next `count` news."""
    found: list[Any] = []
    for _ in range(ANSWERS):
        found += (await changes.read()).updates
        if len(found) >= count:
            break
    return found


def replace(database: Database[dict[str, Any]], job: Job, like: Job, **fields: Any) -> None:
    """Writes a job as a whole: as the other one is, with these fields."""
    document = database[schema.JOBS].find_one({"_id": like.id})
    assert document is not None
    database[schema.JOBS].replace_one({"_id": job.id}, {**document, "_id": job.id, **fields})


async def test_a_transition_that_is_logged_as_a_replacement_is_told(
    store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    other = await running(store, kind="k", batch="b", by=owner(boot="boot-7"))
    source = await running(store, kind="k", batch="b", by=owner(boot="boot-7"))
    ended = await moved(store, source, lifecycle.succeed(at=now(), result=b"1" * 9, retention_s=RETENTION_S))
    changes = store.changes()
    await changes.open()
    replace(database, other, ended)

    (news,) = await told(changes, 1)

    after = await again(store, other)
    assert (news.id, news.origin.kind, news.origin.batch, news.progress) == (other.id, "k", "b", None)
    entry = after.history[-1]
    assert (news.event.rev, news.event.state, news.event.at) == (entry.rev, State.SUCCEEDED, entry.at)
    assert news.event.rev == after.rev
    await changes.close()


async def test_a_replacement_tells_the_owner_and_the_progress_too(
    store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    job = await running(store, kind="k", by=(by := owner()))
    changes = store.changes()
    await changes.open()
    replace(database, job, job, progress=b'{"done":1}')

    event, progress = await told(changes, 2)

    assert (event.event.rev, event.event.state, event.nonce, event.progress) == (2, State.RUNNING, by.nonce, None)
    assert (progress.id, progress.event, progress.progress) == (job.id, None, b'{"done":1}')
    await changes.close()


async def test_a_replacement_of_a_job_that_never_moved_is_its_acceptance(
    store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    job = await queued(store, batch="b")
    changes = store.changes()
    await changes.open()
    replace(database, job, job, wake=now() + timedelta(seconds=9))

    (news,) = await told(changes, 1)

    assert (news.event.rev, news.event.state, news.event.at, news.origin.batch) == (
        1,
        State.QUEUED,
        job.accepted_at,
        "b",
    )
    await changes.close()
