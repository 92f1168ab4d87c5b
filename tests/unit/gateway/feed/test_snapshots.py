"""Snapshots: one look for all who want the same scope, behind an open stream, and again where it came to nothing."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from acked_common.model.events import JobEvent, JobUpdate
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import Reason, State
from acked_common.model.topics import Topic
from acked_common.store import list_limits
from acked_common.store.errors import StoreUnavailable
from acked_common.store.records import TopicCount
from acked_gateway.feed import count_queue
from acked_gateway.feed import snapshots as module
from acked_gateway.feed.client import Client
from acked_gateway.feed.hub import Hub
from acked_gateway.feed.snapshots import AT_ONCE, COUNTED_AT_MOST, Snapshots
from acked_gateway.feed.subscription import Subscription
from support.factories import ManualClock, insert, new_job, now, origin, running, succeeded, topic
from support.memory_store import MemoryStore
from support.parts import BOUND_S, settle


class LookedAt(MemoryStore):
    """A store whose looks can wait and fail."""

    def __init__(self) -> None:
        super().__init__(ManualClock())
        self.looks: list[Topic] = []
        self.counts: list[tuple[Topic, int]] = []
        self.lets, self.lets_count = asyncio.Event(), asyncio.Event()
        self.lets.set(), self.lets_count.set()
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

    async def count(self, topic: Topic, *, at_most: int) -> TopicCount:
        self.counts.append((topic, at_most))
        # As a server: what happens while the answer is under way is not in it.
        found = await super().count(topic, at_most=at_most)
        await self.lets_count.wait()
        if self.failures:
            raise self.failures.pop(0)
        return found


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


def tell(bench: Bench, batch: str) -> None:
    """Let the stream show an event of a batch."""
    at = JobEvent(new_id(), 1, State.QUEUED, Reason.ACCEPTED.value, 0, now())
    bench.hub.publish([JobUpdate(at.id, origin("demo", batch=batch), at)])


async def large_batches(bench: Bench, monkeypatch: pytest.MonkeyPatch, count: int) -> list[Subscription]:
    """So many batches of three jobs, all too large for a look and counted twice."""
    monkeypatch.setattr(module, "JOBS_AT_MOST", 2)
    await insert(bench.store, *(new_job(batch=f"b{n // 3}") for n in range(3 * count)))
    wanted = [bench.want(topic("batch", f"b{n}")) for n in range(count)]
    for _ in range(2):
        await settle(20)
        await bench.snapshots._refresh_counts()
    await settle(20)
    return wanted


def overdraw(bench: Bench, times: int) -> None:
    """As if other counts had read much more than they may at once; -1 as if that was long ago."""
    for lane in (bench.snapshots._queue._unknown, bench.snapshots._queue._small):
        lane.charge("other", times * 1000 * count_queue.KEYS_AT_ONCE, time.monotonic())


async def test_counts_of_a_very_large_batch_say_that_they_are_bounded(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_limits, "BATCH_COUNTED", 2)
    (subscription,) = await large_batches(bench, monkeypatch, 1)
    found = frame(subscription)
    assert (found["counts"], found["counted_at_most"]) == ({"queued": 2}, 2)


async def test_count_that_takes_long_is_not_overtaken_by_the_next(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (subscription,) = await large_batches(bench, monkeypatch, 1)
    bench.store.lets_count.clear()
    began = len(bench.store.counts)
    for _ in range(3):
        await insert(bench.store, new_job(batch="b0"))
        tell(bench, "b0")
        await bench.snapshots._refresh_counts()
        await settle()
    assert len(bench.store.counts) == began + 1
    bench.store.lets_count.set()
    await settle(20)
    assert len(bench.store.counts) == began + 2
    assert frame(subscription)["counts"] == {"queued": 6}


async def test_count_that_fails_is_made_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.0)
    monkeypatch.setattr(module, "JOBS_AT_MOST", 0)
    await insert(bench.store, new_job(batch="b"))
    bench.store.lets_count.clear()
    subscription = bench.want(topic("batch", "b"))
    await settle()
    bench.store.failures = [StoreUnavailable("away")]
    bench.store.lets_count.set()
    async with asyncio.timeout(BOUND_S):
        while len(bench.store.counts) < 2:  # noqa: ASYNC110 - turns of the loop, no time
            await asyncio.sleep(0)
    await settle()
    assert frame(subscription)["counts"] == {"queued": 1}


async def test_first_counts_go_ahead_when_much_was_read(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await large_batches(bench, monkeypatch, 5)
    began = len(bench.store.counts)
    overdraw(bench, 1)
    for n in range(5):
        tell(bench, f"b{n}")
    await bench.snapshots._refresh_counts()
    await insert(bench.store, *(new_job(batch="new") for _ in range(3)))
    late = bench.want(topic("batch", "new"))
    gone = bench.want(topic("batch", "b0"))
    await settle(20)
    assert len(bench.store.counts) == began, "what was read before is paid first"
    bench.hub.leave(gone.client)
    overdraw(bench, -1)
    await bench.snapshots._refresh_counts()
    await settle(50)
    assert frame(late)["counts"] == {"queued": 3}
    counted = [one.value for one, _ in bench.store.counts[began:]]
    assert counted == ["new", "b0", "b1", "b2", "b3", "b4"], "a new client wanted b0 too"


async def test_topics_without_clients_are_not_counted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = await large_batches(bench, monkeypatch, 3)
    began = len(bench.store.counts)
    overdraw(bench, 1)
    for n in range(3):
        tell(bench, f"b{n}")
    await bench.snapshots._refresh_counts()
    for subscription in wanted[:2]:
        bench.hub.leave(subscription.client)
    overdraw(bench, -1)
    await bench.snapshots._refresh_counts()
    await settle(20)
    assert [one.value for one, _ in bench.store.counts[began:]] == ["b2"]
    assert bench.snapshots._uncounted == {} and bench.snapshots._counting == set()


async def test_looks_at_once_are_bounded(bench: Bench) -> None:
    bench.store.lets.clear()
    wanted = [bench.want(topic("kind", f"k{n}")) for n in range(2 * AT_ONCE)]
    await settle(50)
    assert bench.store.at_once == AT_ONCE
    bench.store.lets.set()
    await settle(50)
    assert bench.store.most_at_once == AT_ONCE
    assert [frame(subscription)["type"] for subscription in wanted] == ["snapshot"] * len(wanted)
