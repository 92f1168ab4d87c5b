"""A lane on a real RabbitMQ: bundles arrive, are acknowledged, and go on arriving whatever happens to the queue."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import uuid4

import aio_pika
import pytest

from acked_common.broker import BrokerError
from acked_common.broker.rabbitmq.connection import BrokerConnection
from acked_common.broker.rabbitmq.lane_consumer import Delivery, LaneConsumer
from acked_common.broker.rabbitmq.publisher import RabbitLaneProbe, RabbitPublisher
from acked_common.broker.rabbitmq.topology import DEAD_QUEUE, declare_lane, lane_queue
from acked_common.model.bundle import Bundle
from acked_common.model.ids import new_id
from acked_worker.consume.prefetch import MOST_RETURNS, patience_s

WITHIN_S = 20.0


def bundle(lane: str) -> Bundle:
    return Bundle(lane, datetime(2026, 1, 2, tzinfo=UTC), (new_id(), new_id()))


async def published(publisher: RabbitPublisher, sent: Bundle) -> None:
    """Publishes as the bundle publisher does: again, where a queue that is only being made refuses."""
    for _ in range(40):
        try:
            await publisher.publish(sent)
            return
        except BrokerError:
            await asyncio.sleep(0.05)
    raise AssertionError("the bundle was never confirmed")


@pytest.fixture
def lane() -> str:
    return f"test-{uuid4().hex[:12]}"


@pytest.fixture
async def publisher(amqp_url: str) -> AsyncIterator[RabbitPublisher]:
    made = RabbitPublisher(amqp_url, name="test")
    yield made
    await made.close()


@asynccontextmanager
async def consuming(
    amqp_url: str, lane: str, *, prefetch: int = 1
) -> AsyncIterator[tuple[LaneConsumer, "asyncio.Queue[Delivery]"]]:
    """A running consumer and what arrives at it."""
    arrived: asyncio.Queue[Delivery] = asyncio.Queue()
    connection, probe = BrokerConnection(amqp_url, name="test"), BrokerConnection(amqp_url, name="test probe")
    consumer = LaneConsumer(connection, probe, lane, prefetch, arrived.put_nowait)
    task = asyncio.create_task(consumer.run())
    try:
        yield consumer, arrived
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await consumer.close()
        await connection.drop()
        await probe.drop()


async def next_of(arrived: "asyncio.Queue[Delivery]") -> Delivery:
    async with asyncio.timeout(WITHIN_S):
        return await arrived.get()


async def until_consumers(admin: aio_pika.abc.AbstractConnection, lane: str, count: int) -> None:
    """Returns when the lane's queue has so many consumers."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            channel = await admin.channel()
            try:
                queue = await channel.declare_queue(lane_queue(lane), passive=True)
                if queue.declaration_result.consumer_count == count:
                    return
            except aio_pika.exceptions.ChannelNotFoundEntity:
                # Not made again yet; the failed look has closed the channel.
                pass
            finally:
                if not channel.is_closed:
                    await channel.close()
            await asyncio.sleep(0.05)


async def until_ready(probe: RabbitLaneProbe, lane: str, count: int) -> None:
    """Returns when so many bundles wait; a quorum queue tells its count a moment late."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            if await probe.ready_bundles(lane) == count:
                return
            await asyncio.sleep(0.02)


async def test_the_acknowledgement_asks_for_the_next_bundle(
    amqp_url: str, lane: str, publisher: RabbitPublisher
) -> None:
    sent = [bundle(lane) for _ in range(3)]
    for each in sent:
        await published(publisher, each)
    async with consuming(amqp_url, lane) as (_, arrived):
        first = await next_of(arrived)
        assert first.bundle == sent[0]
        # Nothing more comes before the acknowledgement: the broker still holds the two others.
        probe = RabbitLaneProbe(amqp_url, name="test")
        await until_ready(probe, lane, 2)
        assert arrived.empty()
        await first.ack()
        second = await next_of(arrived)
        await second.ack()
        third = await next_of(arrived)
        await third.ack()
        assert [second.bundle, third.bundle] == sent[1:]
        await probe.close()


async def test_a_consumer_that_changes_its_prefetch_or_resumes_is_ready_all_the_while(amqp_url: str, lane: str) -> None:
    async with consuming(amqp_url, lane) as (consumer, _), asyncio.timeout(WITHIN_S):

        async def stays_ready_until_consumed(prefetch: int) -> None:
            while consumer._tag is None or consumer._state.applied_prefetch != prefetch:
                assert consumer.is_consuming
                await asyncio.sleep(0)
            assert consumer.is_consuming

        assert not consumer.is_consuming
        while not consumer.is_consuming:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
        consumer.set_prefetch(4)
        await stays_ready_until_consumed(4)
        consumer.pause("test")
        await consumer.wait_paused()
        consumer.resume("test")
        await stays_ready_until_consumed(4)


async def test_a_paused_consumer_gets_nothing_until_it_resumes(
    amqp_url: str, lane: str, publisher: RabbitPublisher
) -> None:
    async with consuming(amqp_url, lane) as (consumer, arrived):
        await published(publisher, bundle(lane))
        await (await next_of(arrived)).ack()
        consumer.pause("first")
        consumer.pause("second")
        async with asyncio.timeout(WITHIN_S):
            await consumer.wait_paused()
        sent = bundle(lane)
        await published(publisher, sent)
        probe = RabbitLaneProbe(amqp_url, name="test")
        await until_ready(probe, lane, 1)
        consumer.resume("first")
        assert arrived.empty()
        consumer.resume("second")
        assert (await next_of(arrived)).bundle == sent
        await probe.close()


async def test_a_bundle_that_is_given_back_reaches_another_worker(
    amqp_url: str, lane: str, publisher: RabbitPublisher
) -> None:
    async with consuming(amqp_url, lane, prefetch=3) as (full, at_full):
        sent = [bundle(lane) for _ in range(3)]
        for each in sent:
            await published(publisher, each)
        in_hand = [await next_of(at_full) for _ in sent]
        full.pause("no slot")
        async with asyncio.timeout(WITHIN_S):
            await full.wait_paused()
        for delivery in reversed(in_hand):
            await delivery.give_back()
        assert not full.has_in_hand
        async with consuming(amqp_url, lane) as (_, at_idle):
            come = []
            for _ in sent:
                delivery = await next_of(at_idle)
                await delivery.ack()
                come.append(delivery.bundle)
        assert sorted(come, key=lambda b: b.ids) == sorted(sent, key=lambda b: b.ids)
        assert at_full.empty()


async def test_a_bundle_says_how_often_it_was_returned_and_outlives_those_of_a_busy_worker(
    amqp_url: str, lane: str, publisher: RabbitPublisher
) -> None:
    async with consuming(amqp_url, lane) as (_, arrived):
        sent = bundle(lane)
        await published(publisher, sent)
        for returns in range(MOST_RETURNS):
            delivery = await next_of(arrived)
            assert (delivery.bundle, delivery.returns) == (sent, returns)
            await delivery.give_back()
        last = await next_of(arrived)
        assert patience_s(last.returns) == math.inf
        await last.ack()


async def test_every_consumer_of_a_deleted_queue_comes_back(
    amqp_url: str, lane: str, publisher: RabbitPublisher
) -> None:
    admin = await aio_pika.connect(amqp_url)
    async with consuming(amqp_url, lane) as (_, one), consuming(amqp_url, lane) as (_, other):
        await until_consumers(admin, lane, 2)
        channel = await admin.channel()
        await channel.queue_delete(lane_queue(lane))
        # The queue is made again, and both consume it: one alone would leave the other idle for ever.
        await until_consumers(admin, lane, 2)
        sent = bundle(lane)
        await published(publisher, sent)
        async with asyncio.timeout(WITHIN_S):
            arrivals = [asyncio.create_task(arrived.get()) for arrived in (one, other)]
            done, waiting = await asyncio.wait(arrivals, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result().bundle for task in done] == [sent]
        for task in waiting:
            task.cancel()
    await admin.close()


async def test_a_queue_that_is_made_again_in_one_breath_is_consumed_on(
    amqp_url: str, lane: str, publisher: RabbitPublisher
) -> None:
    """RabbitMQ 3.10 carries the consumer over to the new queue and keeps its messages from it."""
    admin = await aio_pika.connect(amqp_url)
    async with consuming(amqp_url, lane) as (_, arrived):
        await until_consumers(admin, lane, 1)
        await published(publisher, bundle(lane))
        held = await next_of(arrived)
        channel = await admin.channel()
        await channel.queue_delete(lane_queue(lane))
        await declare_lane(channel, lane, timeout_s=WITHIN_S)
        sent = [bundle(lane), bundle(lane)]
        for each in sent:
            await published(publisher, each)
        await held.ack()
        come: list[Bundle] = []
        while len(come) < len(sent):
            delivery = await next_of(arrived)
            await delivery.ack()
            come.append(delivery.bundle)
        assert come == sent
    await admin.close()


async def test_a_silent_consumer_is_made_anew_and_misses_nothing(
    amqp_url: str, lane: str, publisher: RabbitPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("acked_common.broker.rabbitmq.liveness.SILENT_S", 0.0)
    monkeypatch.setattr("acked_common.broker.rabbitmq.consumer_state.LOOK_EVERY_S", 0.0)
    async with consuming(amqp_url, lane) as (consumer, arrived), asyncio.timeout(WITHIN_S):
        while not consumer.is_consuming:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
        channels = {consumer.channel}
        while len(channels - {None}) < 4:
            sent = bundle(lane)
            await published(publisher, sent)
            while arrived.empty():
                assert consumer.is_consuming
                channels.add(consumer.channel)
                await asyncio.sleep(0)
            delivery = arrived.get_nowait()
            await delivery.ack()
            # One whose acknowledgement had met the end of its channel would come again, or end the connection.
            assert delivery.bundle == sent


async def test_what_nobody_can_read_is_set_aside_on_the_dead_queue(amqp_url: str, lane: str) -> None:
    admin = await aio_pika.connect(amqp_url)
    channel = await admin.channel()
    async with consuming(amqp_url, lane) as (_, arrived):
        await until_consumers(admin, lane, 1)
        text = f"not a bundle {lane}".encode()
        await channel.default_exchange.publish(aio_pika.Message(text), routing_key=lane_queue(lane))
        dead = await channel.get_queue(DEAD_QUEUE)
        async with asyncio.timeout(WITHIN_S):
            while True:
                message = await dead.get(fail=False)
                if message is not None:
                    await message.ack()
                    if message.body == text:
                        break
                await asyncio.sleep(0.02)
        assert arrived.empty()
    await admin.close()
