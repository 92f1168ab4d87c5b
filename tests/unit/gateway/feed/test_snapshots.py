"""Snapshots: one look for all who want the same scope, behind an open stream, and again where it came to nothing."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from acked_common.model.events import JobEvent, JobUpdate
from acked_common.model.lifecycle import Reason, State
from acked_common.model.topics import Topic
from acked_common.store.errors import StoreUnavailable
from acked_gateway.feed import snapshots as module
from acked_gateway.feed.client import Client
from acked_gateway.feed.hub import Hub
from acked_gateway.feed.snapshots import AT_ONCE, COUNTED_AT_MOST, Snapshots
from acked_gateway.feed.subscription import Subscription
from support.factories import ManualClock, insert, new_job, origin, running, succeeded, topic
from support.memory_store import MemoryStore
from support.parts import BOUND_S, settle


class LookedAt(MemoryStore):
    """A store whose looks can wait and fail."""

    def __init__(self) -> None:
        super().__init__(ManualClock())
        self.looks: list[Topic] = []
        self.counts: list[tuple[Topic, int]] = []
        self.lets = asyncio.Event()
        self.lets.set()
        self.failures: list[Exception] = []
        self.at_once = self.most_at_once = 0

    async def look(self, topic: Topic, *, limit: int) -> list[JobUpdate] | None:
        self.looks.append(topic)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.lets.wait()
        finally:
            self.at_once -= 1
        if self.failures:
            raise self.failures.pop(0)
        return await super().look(topic, limit=limit)

    async def count(self, topic: Topic, *, at_most: int) -> dict[State, int]:
        self.counts.append((topic, at_most))
        return await super().count(topic, at_most=at_most)


class Stream:
    """Notes which snapshots were given out; opens when the test lets it."""

    def __init__(self) -> None:
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.given: list[tuple[Sequence[Subscription], Sequence[JobUpdate]]] = []

    async def opened(self) -> None:
        await self.is_open.wait()

    def snapshot_sent(self, subscriptions: Sequence[Subscription], news: Sequence[JobUpdate]) -> None:
        self.given.append((subscriptions, news))


class Bench:
    def __init__(self) -> None:
        self.store, self.hub, self.stream = LookedAt(), Hub(), Stream()
        self.snapshots = Snapshots(self.store, self.hub, self.stream)  # type: ignore[arg-type]

    def subscribed(self, wanted: Topic) -> Subscription:
        """A new client that wants the topic."""
        client = Client(lambda: None)
        subscription = self.hub.subscribe(client, "s", wanted)
        client.without_snapshot.clear()
        return subscription

    def want(self, wanted: Topic = topic()) -> Subscription:  # noqa: B008 - it never changes
        subscription = self.subscribed(wanted)
        self.snapshots.request(subscription)
        return subscription


def frame(subscription: Subscription) -> Any:
    """The next frame of its client."""
    text = subscription.client.next_frame()
    return None if text is None else json.loads(text)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.snapshots.stop()


async def test_all_who_want_a_scope_share_a_look(bench: Bench) -> None:
    job = await running(bench.store)
    wanted = [bench.want() for _ in range(5)]
    await settle()
    assert bench.store.looks == [topic()]
    for subscription in wanted:
        found = frame(subscription)
        assert (found["type"], [one["id"] for one in found["jobs"]]) == ("snapshot", [str(job.id)])
    ((given, news),) = bench.stream.given
    assert (list(given), [one.id for one in news]) == (wanted, [job.id])


async def test_look_is_made_behind_the_open_stream(bench: Bench) -> None:
    bench.stream.is_open.clear()
    first = bench.want()
    await settle()
    assert bench.store.looks == []
    second = bench.want()
    bench.stream.is_open.set()
    await settle()
    assert bench.store.looks == [topic()]
    assert frame(first)["type"] == frame(second)["type"] == "snapshot"


async def test_subscription_during_a_look_gets_a_look_of_its_own(bench: Bench) -> None:
    bench.store.lets.clear()
    bench.want()
    await settle()
    # What happened before it came may be missing in the look under way.
    late = bench.want()
    await settle()
    bench.store.lets.set()
    await settle()
    assert bench.store.looks == [topic(), topic()]
    assert frame(late)["type"] == "snapshot"


async def test_look_that_fails_is_made_again_for_all(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.0)
    bench.store.failures = [StoreUnavailable("away")] * 3
    wanted = [bench.want() for _ in range(2)]
    async with asyncio.timeout(BOUND_S):
        while len(bench.store.looks) < 4:  # noqa: ASYNC110 - turns of the loop, no time
            await asyncio.sleep(0)
    await settle()
    assert [frame(subscription)["type"] for subscription in wanted] == ["snapshot"] * 2


async def test_client_that_left_meanwhile_is_given_nothing(bench: Bench) -> None:
    bench.store.lets.clear()
    gone, stays = bench.want(), bench.want()
    await settle()
    bench.hub.leave(gone.client)
    bench.store.lets.set()
    await settle()
    assert frame(gone) is None
    assert frame(stays)["type"] == "snapshot"
    ((given, _),) = bench.stream.given
    assert list(given) == [stays]


async def test_client_that_fell_behind_its_look_gets_another(bench: Bench) -> None:
    bench.store.lets.clear()
    subscription = bench.want()
    await settle()
    subscription.invalidate()
    bench.store.lets.set()
    await settle()
    assert len(bench.store.looks) == 2
    assert frame(subscription)["type"] == "snapshot"


async def test_large_scope_is_shown_by_its_counts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "JOBS_AT_MOST", 3)
    await insert(bench.store, *(new_job(kind="k", batch="b") for _ in range(4)))
    await succeeded(bench.store, kind="other")
    of_kind, of_batch = bench.want(topic("kind", "k")), bench.want(topic("batch", "b"))
    await settle()
    found = frame(of_kind)
    assert (found["counts"], found["counted_at_most"]) == ({"queued": 4}, COUNTED_AT_MOST)
    # A batch is counted whole.
    found = frame(of_batch)
    assert found["counts"] == {"queued": 4} and "counted_at_most" not in found
    # Counts say of no job what the stream may still show.
    assert bench.stream.given == []


async def test_counts_are_renewed_once_something_happened(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "JOBS_AT_MOST", 1)
    await insert(bench.store, *(new_job() for _ in range(2)))
    subscription = bench.want()
    await settle()
    assert frame(subscription)["counts"] == {"queued": 2}
    looks = len(bench.store.looks)

    async def renew() -> int:
        await bench.snapshots._refresh_counts()
        await settle()
        return len(bench.store.counts)

    # Once more behind the first counts: what happened while they were taken is in none.
    assert [await renew() for _ in range(3)] == [2, 2, 2]
    (job,) = await insert(bench.store, new_job())
    at = JobEvent(job.id, 1, State.QUEUED, Reason.ACCEPTED.value, 0, job.accepted_at)
    bench.hub.publish([JobUpdate(job.id, origin("demo"), at)])
    assert [await renew() for _ in range(2)] == [3, 3]
    assert len(bench.store.looks) == looks, "what is shown by counts needs no look"


async def test_looks_at_once_are_bounded(bench: Bench) -> None:
    bench.store.lets.clear()
    wanted = [bench.want(topic("kind", f"k{n}")) for n in range(2 * AT_ONCE)]
    await settle(50)
    assert bench.store.at_once == AT_ONCE
    bench.store.lets.set()
    await settle(50)
    assert bench.store.most_at_once == AT_ONCE
    assert [frame(subscription)["type"] for subscription in wanted] == ["snapshot"] * len(wanted)
