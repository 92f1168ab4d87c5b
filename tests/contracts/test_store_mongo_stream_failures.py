"""What a change stream tells when MongoDB breaks it off, lost its history, or can't say what a change was."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from acked_common.model import interventions, lifecycle
from acked_common.model.events import JobUpdate
from acked_common.store.errors import HistoryLost, StoreError, StoreUnavailable
from acked_common.store.mongo.changes import MongoChanges
from acked_common.store.mongo.store import MongoStore
from acked_common.store.ports import JobChanges
from acked_common.store.records import Job
from support.factories import RETENTION_S, moved, now, queued, running
from support.failing_mongod import FailingMongod
from support.parts import BOUND_S
from support.stores import store_behind
from support.tcp_proxy import proxy_to

APP = "under-test"
READS = 20
CURSOR_NOT_FOUND = 43
UNAUTHORIZED = 13
"""Not repeated by the driver."""
HISTORY_LOST = {"ChangeStreamHistoryLost": 286, "ChangeStreamFatalError": 280, "InvalidResumeToken": 260}


@pytest.fixture
async def store(mongod: FailingMongod, mongo_database: str) -> AsyncIterator[MongoStore]:
    async with (
        proxy_to(*mongod.address) as proxy,
        store_behind(proxy, mongo_database, app_name=APP, timeout_s=6.0) as store,
    ):
        yield store
    mongod.client.drop_database(mongo_database)


@pytest.fixture
def mongo_database() -> str:
    """A name on the failing server."""
    return f"test_{uuid4().hex[:16]}"


@pytest.fixture
async def changes(store: MongoStore) -> AsyncIterator[JobChanges]:
    changes = store.changes()
    await changes.open()
    yield changes
    await changes.close()


async def read(changes: JobChanges, count: int) -> list[JobUpdate]:
    """The next news, over breaks."""
    found: list[JobUpdate] = []
    for _ in range(READS):
        try:
            found += (await changes.read()).updates
        except HistoryLost:
            raise
        except StoreError:
            continue
        if len(found) >= count:
            break
    return found


def ids(news: list[JobUpdate]) -> list[UUID]:
    return [one.id for one in news]


async def seen(store: MongoStore, changes: JobChanges) -> Job:
    """A job whose acceptance was read: the stream has a place to resume at."""
    job = await queued(store)
    assert ids(await read(changes, 1)) == [job.id]
    return job


@pytest.mark.parametrize("code", HISTORY_LOST.values(), ids=HISTORY_LOST.keys())
@pytest.mark.parametrize("command", ["getMore", "aggregate"])
async def test_lost_history_is_said_once_and_the_stream_begins_anew(
    mongod: FailingMongod, store: MongoStore, changes: JobChanges, code: int, command: str
) -> None:
    await seen(store, changes)
    if command == "aggregate":
        # The stream broke; it is opened again where it was, and that place is gone.
        with mongod.failing(["getMore"], app_name=APP, times=1, closeConnection=True), pytest.raises(StoreError):
            await changes.read()
    with mongod.failing([command], app_name=APP, times=1, errorCode=code), pytest.raises(HistoryLost):
        await changes.read()
    missed = await queued(store)
    # Without the place that is gone: what comes from now on is told.
    await changes.open()
    later = await queued(store)
    told = ids(await read(changes, 1))
    assert told == [later.id]
    assert missed.id not in told


@pytest.mark.parametrize(
    "how",
    [{"closeConnection": True}, {"errorCode": CURSOR_NOT_FOUND}, {"errorCode": 11602}],
    ids=["cut off", "cursor gone", "steps down"],
)
async def test_broken_stream_is_resumed_without_a_gap(
    mongod: FailingMongod, store: MongoStore, changes: JobChanges, how: dict[str, Any]
) -> None:
    await seen(store, changes)
    with mongod.failing(["getMore"], app_name=APP, times=1, **how):
        with pytest.raises(StoreError) as broken:
            await changes.read()
        assert not isinstance(broken.value, HistoryLost)
        jobs = [await queued(store) for _ in range(3)]
    assert ids(await read(changes, 3)) == [job.id for job in jobs]


async def test_server_without_a_cluster_time_yet_is_asked_again(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With access control, a server that has just started signs no times before it has read its keys."""
    command, replies = MongoChanges._command, []

    async def without(self: MongoChanges, *args: Any) -> dict[str, Any]:
        reply = await command(self, *args)
        replies.append(reply)
        return {name: value for name, value in reply.items() if name != "$clusterTime"} if len(replies) == 1 else reply

    monkeypatch.setattr(MongoChanges, "_command", without)
    changes = store.changes()
    with pytest.raises(StoreUnavailable, match="cluster time"):
        await changes.open()
    await changes.open()
    job = await queued(store)
    assert ids(await read(changes, 1)) == [job.id]
    await changes.close()


async def test_news_whose_origin_could_not_be_read_are_read_again(mongod: FailingMongod, store: MongoStore) -> None:
    job = await running(store, kind="k", batch="b")
    changes = store.changes()
    await changes.open()
    await moved(store, job, lifecycle.succeed(at=now(), result=b"1", retention_s=RETENTION_S))
    with mongod.failing(["find"], app_name=APP, times=1, errorCode=UNAUTHORIZED), pytest.raises(StoreError):
        await asyncio.wait_for(_read_until_news(changes), BOUND_S)
    (news,) = await read(changes, 1)
    assert (news.id, news.origin.kind, news.origin.batch) == (job.id, "k", "b")
    await changes.close()


async def _read_until_news(changes: JobChanges) -> None:
    while not (await changes.read()).updates:
        continue


async def test_origin_that_was_forgotten_is_looked_up(store: MongoStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acked_common.store.mongo.changes.ORIGINS_KEPT", 1)
    changes = store.changes()
    await changes.open()
    jobs = [await queued(store, kind=f"k{n}", batch=f"b{n}") for n in range(3)]
    await read(changes, 3)
    for job in jobs:
        await moved(store, job, interventions.cancel(at=now(), retention_s=RETENTION_S))
    news = await read(changes, 3)
    assert [(one.id, one.origin.kind, one.origin.batch) for one in news] == [
        (job.id, job.kind, job.options.batch) for job in jobs
    ]
    await changes.close()
