"""What the counts of the feed cost MongoDB, however many large batches clients follow."""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from pymongo.database import Database

from acked_common.model.events import JobEvent, JobUpdate
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import Reason, State
from acked_common.store import list_limits
from acked_common.store.mongo import schema
from acked_common.store.mongo.documents import Document
from acked_common.store.mongo.store import MongoStore
from acked_gateway.feed import count_queue
from acked_gateway.feed import snapshots as module
from acked_gateway.feed.client import Client
from acked_gateway.feed.hub import Hub
from acked_gateway.feed.snapshots import Snapshots
from support.factories import insert, new_job, now, origin, topic
from support.profile import Profile

BATCHES, JOBS = 30, 60
PER_S, AT_ONCE = 200.0, 1000.0
SECONDS = 20


class Open:
    """A change stream that is open and needs no snapshots."""

    async def opened(self) -> None:
        """Is open."""


@pytest.fixture
def profile(database: Database[dict[str, Any]]) -> Iterator[Profile]:
    profile = Profile(database, schema.JOBS)
    yield profile
    profile.stop()


@pytest.fixture
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if batches of 60 jobs were as large as batches of many thousands are to the real bounds."""
    monkeypatch.setattr(module, "JOBS_AT_MOST", 5)
    monkeypatch.setattr(list_limits, "BATCH_COUNTED", 40)
    monkeypatch.setattr(count_queue, "KEYS_PER_S", PER_S)
    monkeypatch.setattr(count_queue, "KEYS_AT_ONCE", AT_ONCE)
    monkeypatch.setattr(count_queue, "KEYS_OF_A_READ", 10)
    monkeypatch.setattr(count_queue, "SMALL", 20)


@pytest.mark.usefixtures("small_bounds")
@pytest.mark.parametrize("followed", [1, BATCHES])
async def test_work_of_counts_does_not_grow_with_batches_that_are_followed(
    mongo_store: MongoStore, profile: Profile, monkeypatch: pytest.MonkeyPatch, followed: int
) -> None:
    clock = SimpleNamespace(at=0.0, monotonic=lambda: clock.at)
    monkeypatch.setattr(module, "time", clock)
    await insert(mongo_store, *(new_job(batch=f"b{n % BATCHES}") for n in range(BATCHES * JOBS)))
    hub = Hub()
    snapshots = Snapshots(mongo_store, hub, Open())  # type: ignore[arg-type]
    clients = [Client(lambda: None) for _ in range(followed)]
    for n, client in enumerate(clients):
        snapshots.request(hub.subscribe(client, "s", topic("batch", f"b{n}")))
        client.without_snapshot.clear()
    frames: dict[int, list[str]] = {n: [] for n in range(followed)}
    profile.start()

    for second in range(SECONDS):
        clock.at = float(second)
        for n in range(followed):
            event = JobEvent(new_id(), 1, State.QUEUED, Reason.ACCEPTED.value, 0, now())
            hub.publish([JobUpdate(event.id, origin("demo", batch=f"b{n}"), event)])
        await snapshots._refresh_counts()
        while reads := [task for task in asyncio.all_tasks() if task.get_name() in ("snapshot", "counts")]:
            await asyncio.wait(reads)
        for n, client in enumerate(clients):
            while (frame := client.next_frame()) is not None:
                frames[n] += [frame] if '"snapshot"' in frame else []
            assert not client.without_snapshot
    await snapshots.stop()

    counts = [operation for operation in profile.stop() if _is_count(operation)]
    examined = sum(operation["keysExamined"] for operation in counts)
    # Of each of the two lanes; the last count of each is on credit, and each examines some keys beyond its ranges.
    most = 2 * (AT_ONCE + SECONDS * PER_S + JOBS) + len(counts) * len(State)
    # Each batch in each second would be 600 counts.
    assert len(counts) <= 120
    assert examined <= most
    assert len(counts) <= most / 40
    assert all(operation["docsExamined"] == 0 for operation in counts)
    for sent in frames.values():
        assert sent and all('"counts":{"queued":40},"counted_at_most":40' in frame for frame in sent)
    assert max(map(len, frames.values())) - min(map(len, frames.values())) <= 2, "all in turn"


def _is_count(operation: Document) -> bool:
    return operation.get("command", {}).get("aggregate") == schema.JOBS
