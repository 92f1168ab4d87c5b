"""Publishes bundles with confirms, on a connection of its own, so that a blocked publisher stalls nobody else."""

import asyncio
import time

from aio_pika.abc import AbstractChannel, DeliveryMode
from aio_pika.exceptions import DeliveryError
from aiormq import spec

from acked_common.broker import BrokerError
from acked_common.broker.rabbitmq.connection import BROKEN, BrokerConnection
from acked_common.broker.rabbitmq.lane_queues import LaneQueues
from acked_common.broker.rabbitmq.topology import lane_queue
from acked_common.model.bundle import Bundle, encode_bundle
from acked_common.model.ids import new_id

CONFIRM_TIMEOUT_S = 5.0
# A confirm of many walks over all that are pending: more in flight per channel costs more than it brings.
IN_FLIGHT = 256
LET_GO_S = 0.5
"""A queue that was deleted is made again after so long: RabbitMQ 3.10 leaves consumers deaf that do not know of its end
by then."""


class RabbitPublisher:
    """`Publisher` on RabbitMQ."""

    def __init__(self, url: str, *, name: str) -> None:
        self._connection = BrokerConnection(url, name=f"{name} publish")
        self._lanes = LaneQueues(self._connection, timeout_s=CONFIRM_TIMEOUT_S, makes_shared=True)
        self._channel: AbstractChannel | None = None
        self._declared: set[str] = set()
        self._missed_at: dict[str, float] = {}
        """When a lane was last found without its queue; on the monotonic clock."""
        self._opening = asyncio.Lock()
        self._window = asyncio.Semaphore(IN_FLIGHT)

    @property
    def is_open(self) -> bool:
        """Whether the broker is there and takes bundles; false until the first publication."""
        return self._connection.is_open and not self._connection.is_blocked

    async def publish(self, bundle: Bundle) -> None:
        async with self._window:
            channel = await self._ready_channel()
            if self._connection.is_blocked:
                raise BrokerError("RabbitMQ is short of memory or disk and takes nothing")
            try:
                if bundle.lane not in self._declared:
                    await self._declare(bundle.lane)
                try:
                    await self._send(channel, bundle)
                except DeliveryError:
                    # No such queue: it was deleted under us. Make it again, then publish once more.
                    self._declared.discard(bundle.lane)
                    self._missed_at[bundle.lane] = time.monotonic()
                    await self._declare(bundle.lane)
                    await self._send(channel, bundle)
            except (*BROKEN, DeliveryError) as error:
                # A blocked connection is left as it is: each new one would push some more into the broker.
                is_broken = not isinstance(error, DeliveryError) and not self._connection.is_blocked
                if channel is self._channel and is_broken:
                    self._channel = None
                    await self._connection.drop()
                raise BrokerError(f"RabbitMQ did not confirm: {type(error).__name__}") from error

    async def connect(self) -> None:
        """Connects ahead of the first publication. Raises `BrokerError`."""
        await self._ready_channel()

    async def close(self) -> None:
        """Closes the connection."""
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
            raise BrokerError("the lane has no queue until a worker makes it")
        self._declared.add(lane)

    async def _send(self, channel: AbstractChannel, bundle: Bundle) -> None:
        # On the channel below aio-pika's: its messages and exchanges would add a fifth to what a bundle costs.
        below = await channel.get_underlay_channel()
        await below.basic_publish(
            encode_bundle(bundle),
            routing_key=lane_queue(bundle.lane),
            properties=spec.Basic.Properties(
                delivery_mode=DeliveryMode.PERSISTENT,
                content_type="application/msgpack",
                # Returns are matched by this id: two publications must never share one.
                message_id=str(new_id()),
            ),
            mandatory=True,
            timeout=CONFIRM_TIMEOUT_S,
            # The confirm is waited for; that it was written tells nothing more.
            wait=False,  # type: ignore[call-arg]
        )


class RabbitLaneProbe:
    """`LaneProbe` on RabbitMQ; a connection of its own, since an answer that is late closes the channel."""

    def __init__(self, url: str, *, name: str) -> None:
        self._connection = BrokerConnection(url, name=f"{name} probe")
        # A real declaration where that is allowed: a lane whose queue is gone is made again.
        self._lanes = LaneQueues(self._connection, timeout_s=CONFIRM_TIMEOUT_S)

    async def ready_bundles(self, lane: str) -> int:
        return await self._lanes.ensure(lane) or 0

    async def close(self) -> None:
        """Closes the connection."""
        await self._connection.drop()
