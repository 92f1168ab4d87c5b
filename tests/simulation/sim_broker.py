"""The broker in memory with consumers: it delivers, takes acknowledgements, and loses, doubles and delivers again."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from acked_common.broker import BrokerError
from acked_common.broker.rabbitmq.lane_consumer import Delivery
from acked_common.model.bundle import Bundle
from simulation.loop import STRAND, SimProcess
from simulation.sim_store import at_once
from support.memory_broker import MemoryBroker

if TYPE_CHECKING:
    from simulation.simulator import Simulator


class SimBroker:
    """The broker that all processes share."""

    def __init__(self, simulator: "Simulator") -> None:
        self._simulator = simulator
        self.queues = MemoryBroker()
        self.channels: list[Channel] = []
        self.lanes: set[str] = set()
        self.swallows = False
        """It confirms every bundle and keeps none."""

    @property
    def unacked(self) -> int:
        """Bundles that consumers hold."""
        return sum(len(channel.unacked) for channel in self.channels)

    def ready(self) -> int:
        """Bundles that wait."""
        away, self.queues.is_away = self.queues.is_away, False
        try:
            return sum(self._depth(lane) for lane in sorted(self.lanes))
        finally:
            self.queues.is_away = away

    def _depth(self, lane: str) -> int:
        return int(at_once(self.queues.ready_bundles(lane)))

    def put(self, bundle: Bundle) -> None:
        """A bundle has arrived."""
        self.lanes.add(bundle.lane)
        at_once(self.queues.publish(bundle))
        self.pump(bundle.lane)

    def pump(self, lane: str) -> None:
        """Delivers what waits to consumers that take more."""
        if self.queues.is_away:
            return
        while takers := [channel for channel in self.channels if channel.lane == lane and channel.takes_more]:
            bundle = self.queues.take(lane)
            if bundle is None:
                return
            self._simulator.rng.choice(takers).deliver(bundle)

    def pump_all(self) -> None:
        """As `pump`, on every lane."""
        for lane in sorted(self.lanes):
            self.pump(lane)

    def lose_lane(self, lane: str, *, with_unacked: bool) -> None:
        """Loses what waits on a lane; with its queue, its consumers and what they hold too."""
        self.queues.delete_lane(lane)
        if with_unacked:
            for channel in [channel for channel in self.channels if channel.lane == lane]:
                channel.unacked.clear()
                channel.close()

    def close_channels(self) -> None:
        """All connections are gone; what was not acknowledged waits again."""
        for channel in list(self.channels):
            channel.close()


class Channel:
    """One consumer's channel, as the broker sees it."""

    def __init__(self, simulator: "Simulator", process: SimProcess, consumer: "SimConsumer") -> None:
        self._simulator = simulator
        self._process = process
        self._consumer = consumer
        self.lane = consumer.lane
        self.is_open = True
        self.is_consuming = True
        self.prefetch = 1
        self.unacked: dict[int, Bundle] = {}
        self._tags = 0
        simulator.broker.channels.append(self)

    @property
    def takes_more(self) -> bool:
        """Whether the broker may deliver one more bundle."""
        return self.is_consuming and self.is_open and len(self.unacked) < self.prefetch

    def deliver(self, bundle: Bundle) -> None:
        """Sends a bundle to the consumer."""
        self._tags += 1
        self.unacked[self._tags] = bundle
        self._simulator.loop.outside_later(self._simulator.delay_s(), self._arrive, self._tags, bundle)

    def _arrive(self, tag: int, bundle: Bundle) -> None:
        # Runs as a callback of the consumer's process, like a frame that its loop reads.
        loop = self._simulator.loop
        loop.call_soon(self._consumer.received, self, tag, bundle, context=self._process.main.context())

    def acked(self, tag: int) -> None:
        """An acknowledgement has arrived."""
        if self.is_open and self.unacked.pop(tag, None) is not None:
            self._simulator.broker.pump(self.lane)

    def returned(self, tag: int) -> None:
        """A bundle was given back: it waits at the head of its lane."""
        bundle = self.unacked.pop(tag, None)
        if self.is_open and bundle is not None:
            self._simulator.broker.queues.give_back(bundle)
            self._simulator.broker.pump(self.lane)

    def close(self) -> None:
        """The channel is gone: what was not acknowledged waits again, at the head of its lane."""
        if not self.is_open:
            return
        self.is_open = False
        broker = self._simulator.broker
        broker.channels.remove(self)
        for bundle in reversed(self.unacked.values()):
            broker.queues.give_back(bundle)
        self.unacked.clear()
        broker.pump(self.lane)
        delay_s = self._simulator.delay_s()
        self._simulator.loop.call_later(delay_s, self._consumer.channel_closed, context=self._process.main.context())


class Message:
    """What `Delivery` acknowledges."""

    headers: ClassVar[dict[str, object]] = {}
    """As of RabbitMQ 4.3, which counts no returns."""

    def __init__(self, simulator: "Simulator", channel: Channel, tag: int) -> None:
        self._simulator = simulator
        self._channel = channel
        self._tag = tag

    async def ack(self) -> None:
        """Sends the acknowledgement; nobody answers it."""
        simulator = self._simulator
        if not self._channel.is_open:
            raise RuntimeError("the channel is closed")
        if simulator.rng.random() < simulator.rates.acks_lost:
            simulator.loop.outside_later(simulator.delay_s(), self._channel.close)
            return
        simulator.loop.outside_later(simulator.delay_s(), self._channel.acked, self._tag)

    async def nack(self, *, requeue: bool) -> None:
        """Gives the bundle back."""
        if not self._channel.is_open:
            raise RuntimeError("the channel is closed")
        self._simulator.loop.outside_later(self._simulator.delay_s(), self._channel.returned, self._tag)


class SimConsumer:
    """`LaneConsumer` on the broker in memory: pauses, resumes and comes back as that does."""

    def __init__(
        self, connection: object, probe: object, lane: str, prefetch: int, on_delivery: Callable[[Delivery], None]
    ) -> None:
        self._process = STRAND.get().process
        self._simulator = self._process.loop.simulation  # type: ignore[attr-defined]
        self.lane = lane
        self._prefetch = prefetch
        self._on_delivery = on_delivery
        self._channel: Channel | None = None
        self._paused_for: set[str] = set()
        self._changed = asyncio.Event()
        self._paused = asyncio.Event()
        self.tried_at = 0.0

    @property
    def is_consuming(self) -> bool:
        """As of `LaneConsumer`."""
        return bool(self._paused_for) or (self._channel is not None and self._channel.is_open)

    def pause(self, reason: str) -> None:
        """As of `LaneConsumer`."""
        if reason not in self._paused_for:
            self._paused_for.add(reason)
            self._paused.clear()
            self._changed.set()

    async def wait_paused(self) -> None:
        """As of `LaneConsumer`."""
        await self._paused.wait()

    def resume(self, reason: str) -> None:
        """As of `LaneConsumer`."""
        if reason in self._paused_for:
            self._paused_for.remove(reason)
            self._changed.set()

    def set_prefetch(self, prefetch: int) -> None:
        """As of `LaneConsumer`."""
        if prefetch != self._prefetch:
            self._prefetch = prefetch
            self._changed.set()

    async def run(self) -> None:
        """As of `LaneConsumer`."""
        while True:
            self._changed.clear()
            channel = self._channel
            if self._paused_for:
                if channel is not None:
                    await asyncio.sleep(self._simulator.delay_s())
                    channel.is_consuming = False
                self._paused.set()
            else:
                await self._consume()
            await self._changed.wait()

    async def _consume(self) -> None:
        await asyncio.sleep(self._simulator.delay_s())
        while self._simulator.broker.queues.is_away:  # noqa: ASYNC110 - as a consumer that connects again
            await asyncio.sleep(0.5)
        if self._channel is None or not self._channel.is_open:
            self._channel = Channel(self._simulator, self._process, self)
        self._channel.prefetch = self._prefetch
        self._channel.is_consuming = True
        self._simulator.broker.pump(self.lane)

    async def close(self) -> None:
        """As of `LaneConsumer`."""
        self._paused_for.add("closed")
        if self._channel is not None:
            self._channel.close()

    def received(self, channel: Channel, tag: int, bundle: Bundle) -> None:
        """The broker has delivered a bundle."""
        self._simulator.note(self._process.name, "received", *bundle.ids)
        self._on_delivery(Delivery(Message(self._simulator, channel, tag), bundle))  # type: ignore[arg-type]

    def channel_closed(self) -> None:
        """The connection is gone; the loop makes another."""
        self._changed.set()


class SimPublisher:
    """`RabbitPublisher` on the broker in memory."""

    def __init__(self, url: str, *, name: str) -> None:
        self._process = STRAND.get().process
        self._simulator = self._process.loop.simulation  # type: ignore[attr-defined]

    @property
    def is_open(self) -> bool:
        """As of `RabbitPublisher`."""
        return True

    async def publish(self, bundle: Bundle) -> None:
        """As of `Publisher`."""
        confirmed = self._simulator.loop.create_future()
        self._simulator.loop.outside_later(self._simulator.delay_s(), self._arrive, bundle, confirmed)
        await confirmed

    def _arrive(self, bundle: Bundle, confirmed: "asyncio.Future[None]") -> None:
        simulator, chance = self._simulator, self._simulator.rng.random
        rates = simulator.rates
        if simulator.broker.queues.is_away or chance() < rates.publish_lost:
            simulator.note(self._process.name, "publication lost", *bundle.ids)
            self._later(confirmed, BrokerError("not confirmed"))
            return
        if simulator.broker.swallows or chance() < rates.publish_vanishes:
            simulator.note(self._process.name, "bundle confirmed and lost", *bundle.ids)
        else:
            copies = 2 if chance() < rates.publish_twice else 1
            simulator.note(self._process.name, f"published x{copies}", *bundle.ids)
            for _ in range(copies):
                simulator.broker.put(bundle)
        is_unconfirmed = chance() < rates.publish_unconfirmed
        if not is_unconfirmed:
            simulator.observer.confirmed(bundle)
        self._later(confirmed, BrokerError("not confirmed") if is_unconfirmed else None)

    def _later(self, confirmed: "asyncio.Future[None]", error: BrokerError | None) -> None:
        def tell() -> None:
            if confirmed.done():
                return
            if error is None:
                confirmed.set_result(None)
            else:
                confirmed.set_exception(error)

        self._simulator.loop.outside_later(self._simulator.delay_s(), tell)

    async def connect(self) -> None:
        """As of `RabbitPublisher`."""

    async def close(self) -> None:
        """As of `RabbitPublisher`."""


class SimProbe:
    """`RabbitLaneProbe` on the broker in memory."""

    def __init__(self, url: str, *, name: str) -> None:
        self._simulator = STRAND.get().process.loop.simulation  # type: ignore[attr-defined]

    async def ready_bundles(self, lane: str) -> int:
        """As of `LaneProbe`."""
        await asyncio.sleep(self._simulator.delay_s())
        if not self._simulator.broker.queues.is_away:
            # A declaration makes the lane again.
            self._simulator.broker.lanes.add(lane)
        found: int = await self._simulator.broker.queues.ready_bundles(lane)
        await asyncio.sleep(self._simulator.delay_s())
        return found

    async def close(self) -> None:
        """As of `RabbitLaneProbe`."""
