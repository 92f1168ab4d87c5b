"""Bundles on their way to the broker: cut by kind, kept while it is away, sent when it is back."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from acked_common.background.bundle_publisher import KEPT_BUNDLES, BundlePublisher, QueuedJob
from acked_common.background.kind_cache import KindCache
from acked_common.broker import BrokerError
from acked_common.model.bundle import Bundle
from acked_common.model.ids import new_id
from support.factories import ManualClock, kind_record
from support.memory_broker import MemoryBroker
from support.memory_store import MemoryStore
from support.parts import BOUND_S, settle

AT = ManualClock().now()


class HeldBroker(MemoryBroker):
    """Confirms when it is let; refuses what goes to the lanes in `refused`."""

    def __init__(self) -> None:
        super().__init__()
        self.confirms = asyncio.Event()
        self.confirms.set()
        self.refused: set[str] = set()
        self.tried = 0

    async def publish(self, bundle: Bundle) -> None:
        self.tried += 1
        await self.confirms.wait()
        if bundle.lane in self.refused:
            raise BrokerError("refused")
        await super().publish(bundle)

    def all_of(self, lane: str) -> list[Bundle]:
        found = []
        while (bundle := self.take(lane)) is not None:
            found.append(bundle)
        return found


@pytest.fixture
def broker() -> HeldBroker:
    return HeldBroker()


@pytest.fixture
async def bundle_publisher(broker: HeldBroker, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[BundlePublisher]:
    monkeypatch.setattr("acked_common.background.bundle_publisher.RETRY_S", 0.001)
    store = MemoryStore(ManualClock())
    await store.register_kinds([kind_record("a", "shared", bundle=2), kind_record("b", "shared", bundle=3)])
    kinds = KindCache(store)
    await kinds.refresh()
    made = BundlePublisher(broker, kinds)
    yield made
    broker.confirms.set()
    await made.stop()


def jobs(kind: str, count: int, at: datetime = AT) -> list[QueuedJob]:
    return [(new_id(), kind, at + timedelta(seconds=n)) for n in range(count)]


def ids(found: Iterable[QueuedJob]) -> list[UUID]:
    return [job_id for job_id, _, _ in found]


def dropped_bundles() -> float:
    return REGISTRY.get_sample_value("acked_bundles_dropped_total") or 0.0


async def sent(bundle_publisher: BundlePublisher) -> None:
    async with asyncio.timeout(BOUND_S):
        while bundle_publisher.waiting:
            await settle()
    await settle()


async def test_jobs_are_published_in_bundles_of_their_kind(
    broker: HeldBroker, bundle_publisher: BundlePublisher
) -> None:
    offered = [*jobs("a", 3), *jobs("b", 4)]
    bundle_publisher.offer(offered)
    await settle()
    found = broker.all_of("shared")
    assert [len(bundle.ids) for bundle in found] == [2, 1, 3, 1]
    assert [job_id for bundle in found for job_id in bundle.ids] == ids(offered)
    assert found[0].queued_at == AT + timedelta(seconds=1)


async def test_an_unknown_kind_has_a_lane_of_its_own_name(
    broker: HeldBroker, bundle_publisher: BundlePublisher
) -> None:
    bundle_publisher.offer(jobs("new", 40))
    await settle()
    assert [len(bundle.ids) for bundle in broker.all_of("new")] == [32, 8]


async def test_to_offer_nothing_is_nothing(broker: HeldBroker, bundle_publisher: BundlePublisher) -> None:
    bundle_publisher.offer([])
    await bundle_publisher.publish([])
    await settle()
    assert broker.tried == 0


async def test_an_offer_never_waits_for_the_broker(broker: HeldBroker, bundle_publisher: BundlePublisher) -> None:
    broker.confirms.clear()
    bundle_publisher.offer(jobs("a", 2))
    await settle()
    assert (broker.tried, bundle_publisher.waiting) == (1, 0)
    broker.confirms.set()
    await settle()
    assert len(broker.all_of("shared")) == 1


async def test_what_is_not_confirmed_is_kept_and_sent_when_the_broker_is_back(
    broker: HeldBroker, bundle_publisher: BundlePublisher
) -> None:
    broker.is_away = True
    offered = jobs("a", 6)
    bundle_publisher.offer(offered)
    await settle()
    assert bundle_publisher.waiting == 3
    bundle_publisher.start()
    await settle()
    assert bundle_publisher.waiting == 3
    broker.is_away = False
    await sent(bundle_publisher)
    assert sorted(job_id for bundle in broker.all_of("shared") for job_id in bundle.ids) == sorted(ids(offered))


async def test_while_kept_bundles_are_sent_again_new_ones_wait_behind_them(
    broker: HeldBroker, bundle_publisher: BundlePublisher
) -> None:
    broker.is_away = True
    bundle_publisher.offer(jobs("a", 2))
    await settle()
    broker.is_away = False
    broker.confirms.clear()
    tried = broker.tried
    bundle_publisher.start()
    async with asyncio.timeout(BOUND_S):
        while broker.tried == tried:
            await settle()
    bundle_publisher.offer(jobs("a", 2))
    await settle()
    assert (broker.tried - tried, bundle_publisher.waiting) == (1, 2)
    broker.confirms.set()
    await sent(bundle_publisher)
    assert len(broker.all_of("shared")) == 2


async def test_while_the_broker_is_away_the_loop_tries_and_not_every_request(
    broker: HeldBroker, bundle_publisher: BundlePublisher
) -> None:
    broker.is_away = True
    bundle_publisher.offer(jobs("a", 2))
    await settle()
    for _ in range(100):
        bundle_publisher.offer(jobs("a", 2))
    await settle()
    assert (broker.tried, bundle_publisher.waiting) == (1, 101)


async def test_a_lane_that_refuses_keeps_only_its_own_bundles(
    broker: HeldBroker, bundle_publisher: BundlePublisher
) -> None:
    broker.refused = {"bad"}
    bundle_publisher.offer([*jobs("bad", 1), *jobs("a", 2)])
    await settle()
    assert bundle_publisher.waiting == 1
    assert len(broker.all_of("shared")) == 1


async def test_memory_is_bounded_while_the_broker_is_away(
    broker: HeldBroker, bundle_publisher: BundlePublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.is_away = True
    bundle_publisher.offer(jobs("a", 1))
    await settle()
    bundle_publisher.offer(jobs("a", 2 * KEPT_BUNDLES + 10))
    assert bundle_publisher.waiting == KEPT_BUNDLES


async def test_what_a_full_publisher_drops_is_the_oldest_and_is_counted(
    broker: HeldBroker,
    bundle_publisher: BundlePublisher,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("acked_common.background.bundle_publisher.KEPT_BUNDLES", 3)
    dropped_before = dropped_bundles()
    broker.is_away = True
    offered = jobs("a", 2 * 5)
    for start in range(0, 10, 2):
        bundle_publisher.offer(offered[start : start + 2])
        await settle()
    assert bundle_publisher.waiting == 3
    assert dropped_bundles() - dropped_before == 2
    assert capsys.readouterr().out.count("bundle publisher is full") == 1
    broker.is_away = False
    bundle_publisher.start()
    await sent(bundle_publisher)
    assert [job_id for bundle in broker.all_of("shared") for job_id in bundle.ids] == ids(offered[4:])


async def test_publish_tells_whose_bundle_was_confirmed(broker: HeldBroker, bundle_publisher: BundlePublisher) -> None:
    broker.refused = {"bad"}
    good, bad = jobs("a", 5), jobs("bad", 3)
    assert await bundle_publisher.publish([*good, *bad]) == set(ids(good))
    assert bundle_publisher.waiting == 0
    broker.is_away = True
    assert await bundle_publisher.publish(good) == set()


async def test_stop_waits_for_publications_under_way(broker: HeldBroker, bundle_publisher: BundlePublisher) -> None:
    broker.confirms.clear()
    bundle_publisher.offer(jobs("a", 2))
    await settle()
    stopping = asyncio.create_task(bundle_publisher.stop())
    await settle()
    assert not stopping.done()
    broker.confirms.set()
    async with asyncio.timeout(BOUND_S):
        await stopping
    assert len(broker.all_of("shared")) == 1


async def test_stop_does_not_wait_for_a_broker_that_is_away(
    broker: HeldBroker, bundle_publisher: BundlePublisher
) -> None:
    bundle_publisher.start()
    broker.is_away = True
    bundle_publisher.offer(jobs("a", 2))
    await settle()
    async with asyncio.timeout(BOUND_S):
        await bundle_publisher.stop()
    assert bundle_publisher.waiting <= 1


async def test_before_the_kinds_were_read_nothing_goes_on_a_lane_that_may_be_wrong(broker: HeldBroker) -> None:
    bundle_publisher = BundlePublisher(broker, KindCache(MemoryStore(ManualClock())))
    assert await bundle_publisher.publish(jobs("a", 3)) == set()
    assert await broker.ready_bundles("a") == 0
