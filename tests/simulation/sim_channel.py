"""Channels to the broker in virtual time, with their consumers: both sides of each, and the way between them."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

from acked_common.broker import BrokerError
from acked_common.broker.rabbitmq.connection import BROKEN
from acked_common.broker.rabbitmq.consumer import OnMessage
from acked_common.model.bundle import Bundle, encode_bundle
from simulation.loop import STRAND, SimProcess
from simulation.pipes import Pipe

if TYPE_CHECKING:
    from simulation.sim_broker import SimBroker
    from simulation.simulator import Simulator


class Subscription:
    """One consumer of a channel, with a prefetch of its own, as the broker sees it."""

    def __init__(self, channel: "SimChannel", tag: str, lane: str, on_message: OnMessage) -> None:
        self._channel = channel
        self.tag = tag
        self.lane = lane
        self.on_message = on_message
        self.prefetch = channel.prefetch
        self.is_active = True
        """False once it is cancelled; what is unacknowledged stays so."""
        self.unacked: dict[int, Bundle] = {}

    @property
    def takes_more(self) -> bool:
        """Whether the broker may deliver one more bundle."""
        return self.is_active and len(self.unacked) < self.prefetch

    def deliver(self, bundle: Bundle) -> None:
        """Send a bundle to the consumer."""
        number = self._channel.next_number()
        self.unacked[number] = bundle
        self._channel.to_client.send(self._channel.received, self, number, bundle)

    def lose_queue(self) -> None:
        """The queue was deleted: its consumers end, and its bundles are gone, those in hand too."""
        self.is_active = False
        self.unacked.clear()
        self._channel.to_client.send(self._channel.consumers.pop, self.tag, None)


class SimChannel:
    """A channel: `is_closed`, `consumers` and the coroutines are the client's side, the rest is the broker's."""

    def __init__(self, simulator: "Simulator", process: SimProcess) -> None:
        self._simulator = simulator
        self._broker: SimBroker = simulator.broker
        self.process = process
        self.to_client = Pipe(simulator, process)
        self.to_broker = Pipe(simulator)
        self.is_open = True
        self.is_closed = False
        self.close_callbacks: set[Callable[..., object]] = set()
        self.consumers: dict[str, object] = {}
        """By tag; those that the client knows of."""
        self.subscriptions: dict[str, Subscription] = {}
        self.prefetch = 1
        self._asked: set[asyncio.Future[Any]] = set()
        self._numbers = 0
        self._broker.channels.append(self)

    def next_number(self) -> int:
        """The delivery tag of one more bundle."""
        self._numbers += 1
        return self._numbers

    async def set_qos(self, *, prefetch_count: int) -> None:
        """As of `AbstractChannel`: of the consumers to come."""

        def set_prefetch() -> None:
            self.prefetch = prefetch_count

        await self.call(set_prefetch)

    async def get_underlay_channel(self) -> "SimChannel":
        """As of `AbstractChannel`."""
        return self

    async def close(self) -> None:
        """As of `AbstractChannel`."""
        self._hang_up()
        self.to_broker.send(self.break_down)

    async def call(self, action: Callable[[], Any]) -> Any:
        """Ask the broker to do something, and return what it replies."""
        self.check_open()
        reply = self._simulator.loop.create_future()
        self._asked.add(reply)

        def replied(result: Any, error: Exception | None) -> None:
            self._asked.discard(reply)
            if not reply.done():
                if error is None:
                    reply.set_result(result)
                else:
                    reply.set_exception(error)

        def arrive() -> None:
            if not self.is_open:
                return
            if self._broker.queues.is_away:
                self.to_client.send(replied, None, RuntimeError("no broker responds"))
            else:
                self.to_client.send(replied, action(), None)

        self.to_broker.send(arrive)
        return await reply

    def check_open(self) -> None:
        """Raise what the library raises on a channel that is closed."""
        if self.is_closed:
            raise RuntimeError("the channel is closed")

    def received(self, subscription: Subscription, number: int, bundle: Bundle) -> None:
        """At the client: a bundle has arrived."""
        self._simulator.note(self.process.name, "received", *bundle.ids)
        message = Message(self._simulator, self, subscription, number, bundle)
        self.process.spawn(subscription.on_message(message))  # type: ignore[arg-type]

    def acked(self, subscription: Subscription, number: int) -> None:
        """An acknowledgement has arrived."""
        if self.is_open and subscription.unacked.pop(number, None) is not None:
            self._broker.pump(subscription.lane)

    def returned(self, subscription: Subscription, number: int) -> None:
        """A bundle was given back: it waits at the head of its lane."""
        bundle = subscription.unacked.pop(number, None)
        if self.is_open and bundle is not None:
            self._broker.queues.give_back(bundle)
            self._broker.pump(subscription.lane)

    def break_down(self) -> None:
        """The channel is gone: what was not acknowledged waits again, at the head of its lane."""
        if not self.is_open:
            return
        self.is_open = False
        self._broker.channels.remove(self)
        for one in self.subscriptions.values():
            for bundle in reversed(one.unacked.values()):
                self._broker.queues.give_back(bundle)
            one.unacked.clear()
            self._broker.pump(one.lane)
        self.to_client.send(self._hang_up)

    def _hang_up(self) -> None:
        """At the client: the channel is closed."""
        if self.is_closed:
            return
        self.is_closed = True
        self.consumers.clear()
        for reply in self._asked:
            if not reply.done():
                reply.set_exception(RuntimeError("the channel is closed"))
        for callback in self.close_callbacks:
            callback()


class SimQueue:
    """The queue of a lane, as it was declared on a channel."""

    def __init__(self, channel: SimChannel, lane: str, waiting: int, consumers: int) -> None:
        self._channel = channel
        self._lane = lane
        self.declaration_result = SimpleNamespace(consumer_count=consumers, message_count=waiting)

    async def consume(self, on_message: OnMessage, *, no_ack: bool) -> str:
        """As of `AbstractQueue`."""
        channel, lane = self._channel, self._lane
        tag = f"consumer {channel.next_number()}"
        # Bundles may arrive behind the reply, before its reader goes on.
        channel.consumers[tag] = on_message

        def subscribe() -> None:
            channel.subscriptions[tag] = Subscription(channel, tag, lane, on_message)
            channel._broker.pump(lane)

        await channel.call(subscribe)
        return tag

    async def cancel(self, tag: str) -> None:
        """As of `AbstractQueue`."""

        def unsubscribe() -> None:
            self._channel.subscriptions[tag].is_active = False

        await self._channel.call(unsubscribe)
        self._channel.consumers.pop(tag, None)


async def declare_lane(channel: SimChannel, lane: str, *, timeout_s: float) -> SimQueue:
    """As of `topology`."""
    broker = channel._broker

    def declare() -> SimQueue:
        broker.lanes.add(lane)
        return SimQueue(channel, lane, broker.depth(lane), len(broker.subscriptions(lane)))

    async with asyncio.timeout(timeout_s):
        found: SimQueue = await channel.call(declare)
        return found


async def declare_shared(channel: SimChannel, *, timeout_s: float) -> None:
    """As of `topology`."""


class SimConnection:
    """`BrokerConnection` to the broker in memory."""

    is_open = True

    def __init__(self, url: str, *, name: str) -> None:
        self._process = STRAND.get().process
        self._simulator = self._process.loop.simulation  # type: ignore[attr-defined]
        self._channels: list[SimChannel] = []

    async def open_channel(self, *, prepare: Callable[[SimChannel], Awaitable[None]]) -> SimChannel:
        """As of `BrokerConnection`."""
        await asyncio.sleep(self._simulator.delay_s())
        if self._simulator.broker.queues.is_away:
            raise BrokerError("the broker is away")
        channel = SimChannel(self._simulator, self._process)
        self._channels.append(channel)
        try:
            await prepare(channel)
        except BROKEN as error:
            raise BrokerError("the broker gave no channel") from error
        return channel

    async def close_channel(self, channel: SimChannel | None) -> None:
        """As of `BrokerConnection`."""
        if channel is not None and not channel.is_closed:
            await channel.close()

    async def drop(self) -> None:
        """As of `BrokerConnection`."""
        for channel in self._channels:
            await self.close_channel(channel)


class Message:
    """What `LaneConsumer` reads and `Delivery` acknowledges."""

    headers: ClassVar[dict[str, object]] = {}
    """As of RabbitMQ 4.3, which counts no returns."""

    def __init__(
        self, simulator: "Simulator", channel: SimChannel, subscription: Subscription, number: int, bundle: Bundle
    ) -> None:
        self._simulator = simulator
        self._channel = channel
        self._subscription = subscription
        self._number = number
        self.body = encode_bundle(bundle)

    async def ack(self) -> None:
        """Send the acknowledgement; nothing confirms it."""
        self._channel.check_open()
        simulator = self._simulator
        if simulator.rng.random() < simulator.rates.acks_lost:
            simulator.loop.outside_later(simulator.delay_s(), self._channel.break_down)
            return
        self._channel.to_broker.send(self._channel.acked, self._subscription, self._number)

    async def nack(self, *, requeue: bool) -> None:
        """Give the bundle back."""
        self._channel.check_open()
        self._channel.to_broker.send(self._channel.returned, self._subscription, self._number)
