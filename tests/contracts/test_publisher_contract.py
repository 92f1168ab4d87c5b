"""What every publisher and lane probe does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import aio_pika
import pytest

from acked_common.broker import BrokerError, LaneProbe, Publisher
from acked_common.broker.rabbitmq.publisher import IN_FLIGHT, RabbitLaneProbe, RabbitPublisher
from acked_common.broker.rabbitmq.topology import lane_queue
from acked_common.model.bundle import MAX_BUNDLE_JOBS, Bundle, decode_bundle
from acked_common.model.ids import new_id
from support.memory_broker import MemoryBroker

BOUND_S = 20.0
AT = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)


@dataclass
class Broker:
    """A broker from outside: `take` is what a consumer gets, `delete_lane` what an accident does."""

    publisher: Publisher
    probe: LaneProbe
    take: Callable[[str], Awaitable[Bundle | None]]
    delete_lane: Callable[[str], Awaitable[None]]


def _in_memory() -> Broker:
    broker = MemoryBroker()

    async def take(lane: str) -> Bundle | None:
        return broker.take(lane)

    async def delete_lane(lane: str) -> None:
        broker.delete_lane(lane)

    return Broker(broker, broker, take, delete_lane)


@pytest.fixture(params=["memory", "rabbit"])
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[Broker]:
    if request.param == "memory":
        yield _in_memory()
        return
    url = request.getfixturevalue("amqp_url")
    publisher, probe = RabbitPublisher(url, name="contract"), RabbitLaneProbe(url, name="contract")
    connection = await aio_pika.connect(url, timeout=BOUND_S)

    async def take(lane: str) -> Bundle | None:
        async with connection.channel() as channel:
            queue = await channel.get_queue(lane_queue(lane), ensure=False)
            message = await queue.get(no_ack=True, fail=False, timeout=BOUND_S)
            return None if message is None else decode_bundle(message.body)

    async def delete_lane(lane: str) -> None:
        async with connection.channel() as channel:
            await channel.queue_delete(lane_queue(lane))

    yield Broker(publisher, probe, take, delete_lane)
    await publisher.close()
    await probe.close()
    await connection.close()


@pytest.fixture
async def lane(broker: Broker) -> AsyncIterator[str]:
    name = f"contract-{uuid4().hex[:12]}"
    yield name
    await broker.delete_lane(name)


def bundle(lane: str, jobs: int = 1) -> Bundle:
    return Bundle(lane, AT, tuple(new_id() for _ in range(jobs)))


async def test_a_confirmed_bundle_waits_as_it_was_given(broker: Broker, lane: str) -> None:
    sent = bundle(lane, 3)
    await broker.publisher.publish(sent)
    assert await broker.probe.ready_bundles(lane) == 1
    assert await broker.take(lane) == sent
    assert await broker.take(lane) is None


async def test_bundles_leave_a_lane_in_the_order_of_their_coming(broker: Broker, lane: str) -> None:
    sent = [bundle(lane) for _ in range(5)]
    for one in sent:
        await broker.publisher.publish(one)
    assert [await broker.take(lane) for _ in sent] == sent


async def test_many_at_once_are_all_confirmed(broker: Broker, lane: str) -> None:
    sent = [bundle(lane) for _ in range(600)]
    unconfirmed, repeats = sent, 0
    async with asyncio.timeout(3 * BOUND_S):
        while unconfirmed:
            results = await asyncio.gather(*map(broker.publisher.publish, unconfirmed), return_exceptions=True)
            assert {type(result) for result in results} <= {type(None), BrokerError}, results
            # A machine that is busy elsewhere may confirm too late what is in all the same.
            unconfirmed = [one for one, result in zip(unconfirmed, results, strict=True) if result is not None]
            repeats += len(unconfirmed)
    assert 600 <= await broker.probe.ready_bundles(lane) <= 600 + repeats


async def test_the_largest_bundle_passes(broker: Broker, lane: str) -> None:
    sent = bundle(lane, MAX_BUNDLE_JOBS)
    await broker.publisher.publish(sent)
    assert await broker.take(lane) == sent


async def test_a_repeated_bundle_waits_twice(broker: Broker, lane: str) -> None:
    sent = bundle(lane)
    await broker.publisher.publish(sent)
    await broker.publisher.publish(sent)
    assert [await broker.take(lane), await broker.take(lane), await broker.take(lane)] == [sent, sent, None]


async def test_lanes_are_apart(broker: Broker, lane: str) -> None:
    await broker.publisher.publish(bundle(lane))
    other = f"{lane}-other"
    assert await broker.probe.ready_bundles(other) == 0
    assert await broker.probe.ready_bundles(lane) == 1
    await broker.delete_lane(other)


async def test_a_lane_that_nobody_made_is_empty(broker: Broker, lane: str) -> None:
    assert await broker.probe.ready_bundles(lane) == 0


async def test_a_lane_that_was_deleted_is_made_again(broker: Broker, lane: str) -> None:
    await broker.publisher.publish(bundle(lane))
    await broker.delete_lane(lane)
    assert await broker.probe.ready_bundles(lane) == 0
    await broker.delete_lane(lane)
    sent = bundle(lane)
    await broker.publisher.publish(sent)
    assert await broker.take(lane) == sent


def _away(name: str) -> tuple[Publisher, LaneProbe]:
    if name == "memory":
        broker = MemoryBroker()
        broker.is_away = True
        return broker, broker
    # Port 1 of loopback: nothing listens there.
    url = "amqp://guest:guest@127.0.0.1:1/"
    return RabbitPublisher(url, name="contract"), RabbitLaneProbe(url, name="contract")


@pytest.mark.parametrize("name", ["memory", "rabbit"])
async def test_without_a_broker_every_call_fails_at_once(name: str) -> None:
    publisher, probe = _away(name)
    async with asyncio.timeout(BOUND_S):
        for _ in range(3):
            with pytest.raises(BrokerError):
                await publisher.publish(bundle("demo"))
            with pytest.raises(BrokerError):
                await probe.ready_bundles("demo")


@pytest.mark.parametrize("turns", [5, 20, 50])
async def test_bundles_under_way_at_a_close_are_confirmed_or_fail(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    """As where one bundle is confirmed too late: the publisher closes its connection under all others."""
    monkeypatch.setattr("acked_common.broker.rabbitmq.publisher.CONFIRM_TIMEOUT_S", 2.0)
    publisher, lane = RabbitPublisher(amqp_url, name="contract"), f"contract-{uuid4().hex[:12]}"
    await publisher.publish(bundle(lane))
    under_way = [asyncio.create_task(publisher.publish(bundle(lane))) for _ in range(IN_FLIGHT)]
    for _ in range(turns):
        await asyncio.sleep(0)
    await publisher.close()
    results = await asyncio.gather(*under_way, return_exceptions=True)
    assert {type(result) for result in results} <= {type(None), BrokerError}, results
    # It opens another one with the next bundle.
    await publisher.publish(bundle(lane))
    await publisher.close()
