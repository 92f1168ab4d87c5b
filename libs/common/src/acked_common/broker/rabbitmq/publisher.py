"""Publish bundles with confirms, on a separate connection, so that a blocked publisher stalls nothing else."""

import asyncio
import time

from aio_pika.abc import AbstractChannel, DeliveryMode
from aio_pika.exceptions import DeliveryError
from aiormq import spec

from acked_common.broker import BrokerError
from acked_common.broker.rabbitmq.connection import BROKEN, BrokerConnection, library_errors
from acked_common.broker.rabbitmq.lane_queues import LaneQueues
from acked_common.broker.rabbitmq.topology import lane_queue
from acked_common.model.bundle import Bundle, encode_bundle
from acked_common.model.ids import new_id

CONFIRM_TIMEOUT_S = 5.0
# aio-pika scans all pending confirms at each multiple ack: a larger window costs more than it gains.
IN_FLIGHT = 256
LET_GO_S = 0.5
"""Delay before a deleted queue is declared again.

With RabbitMQ 3.10, consumers that have not learned of the deletion by then stay subscribed to nothing.
"""


class RabbitPublisher:
    """`Publisher` on RabbitMQ."""

    def __init__(self, url: str, *, name: str) -> None:
        self._connection = BrokerConnection(url, name=f"{name} publish")
        self._lanes = LaneQueues(self._connection, timeout_s=CONFIRM_TIMEOUT_S, makes_shared=True)
        self._channel: AbstractChannel | None = None
        self._declared: set[str] = set()
        self._missed_at: dict[str, float] = {}
        """Monotonic instant at which a lane was last found without its queue."""
        self._opening = asyncio.Lock()
        self._window = asyncio.Semaphore(IN_FLIGHT)

    @property
    def is_open(self) -> bool:
        """Whether the broker is connected and accepts bundles; false until the first publish."""
        return self._connection.is_open and not self._connection.is_blocked

    async def publish(self, bundle: Bundle) -> None:
        async with self._window:
            channel = await self._ready_channel()
            if self._connection.is_blocked:
                raise BrokerError("RabbitMQ blocks publishers: it is short of memory or disk")
            try:
                if bundle.lane not in self._declared:
                    await self._declare(bundle.lane)
                try:
                    await self._send(channel, bundle)
                except DeliveryError:
                    # Unroutable: the queue was deleted. Declare it again, then publish once more.
                    self._declared.discard(bundle.lane)
                    self._missed_at[bundle.lane] = time.monotonic()
                    await self._declare(bundle.lane)
                    await self._send(channel, bundle)
            except (*BROKEN, DeliveryError) as error:
                # A blocked connection stays open: every new one could push one more bundle into the broker.
                is_broken = not isinstance(error, DeliveryError) and not self._connection.is_blocked
                if channel is self._channel and is_broken:
                    self._channel = None
                    await self._connection.drop()
                raise BrokerError(f"RabbitMQ did not confirm: {type(error).__name__}") from error

    async def connect(self) -> None:
        """Connect ahead of the first publish. Raise `BrokerError`."""
        await self._ready_channel()

    async def close(self) -> None:
        """Close the connection."""
        self._channel = None
        await self._connection.drop()

    async def _ready_channel(self) -> AbstractChannel:
        channel = self._channel
        if channel is not None and not channel.is_closed and self._connection.is_open:
            return channel
        async with self._opening:
            if self._channel is None or self._channel.is_closed or not self._connection.is_open:
                self._declared.clear()
                self._channel = await self._connection.open_channel(publishes=True)
            return self._channel

    async def _declare(self, lane: str) -> None:
        if lane in self._missed_at:
            await asyncio.sleep(self._missed_at[lane] + LET_GO_S - time.monotonic())
        if await self._lanes.ensure(lane) is None:
            raise BrokerError("the lane has no queue until a worker declares it")
        self._declared.add(lane)

    async def _send(self, channel: AbstractChannel, bundle: Bundle) -> None:
        # aio-pika's message and exchange objects would add 20 % to the cost of a bundle: use aiormq directly.
        below = await channel.get_underlay_channel()
        with library_errors():
            await below.basic_publish(
                encode_bundle(bundle),
                routing_key=lane_queue(bundle.lane),
                properties=spec.Basic.Properties(
                    delivery_mode=DeliveryMode.PERSISTENT,
                    content_type="application/msgpack",
                    # Returned messages are matched by this id, so publishes must never share one.
                    message_id=str(new_id()),
                ),
                mandatory=True,
                timeout=CONFIRM_TIMEOUT_S,
                # The confirm is awaited; waiting for the socket write adds nothing.
                wait=False,  # type: ignore[call-arg]
            )


class RabbitLaneProbe:
    """`LaneProbe` on RabbitMQ, on a separate connection: a late response closes the channel."""

    def __init__(self, url: str, *, name: str) -> None:
        self._connection = BrokerConnection(url, name=f"{name} probe")
        # Declares where allowed, so that a lost queue is restored.
        self._lanes = LaneQueues(self._connection, timeout_s=CONFIRM_TIMEOUT_S)

    async def ready_bundles(self, lane: str) -> int:
        return await self._lanes.ensure(lane) or 0

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.drop()
