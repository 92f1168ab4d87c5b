"""Consumes one lane: declares it and hands over its bundles."""

import asyncio
from collections.abc import Callable

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

from acked_common.broker import BrokerError
from acked_common.broker.connection import BROKEN, BrokerConnection
from acked_common.broker.consumer import CALL_TIMEOUT_S, Consumer
from acked_common.broker.topology import declare_lane, declare_shared
from acked_common.logs import get_log
from acked_common.wire import Bundle, WireError, decode_bundle

log = get_log(__name__)


class Delivery:
    """A bundle in hand; its acknowledgement asks for the next one."""

    def __init__(self, message: AbstractIncomingMessage, bundle: Bundle) -> None:
        self._message = message
        self.bundle = bundle

    async def ack(self) -> None:
        """Acknowledges; on a channel that is gone the broker delivers again, and the claim will find nothing."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await self._message.ack()
        except BROKEN:
            pass


class LaneConsumer(Consumer):
    """The consumer of one lane."""

    def __init__(
        self,
        connection: BrokerConnection,
        probe: BrokerConnection,
        lane: str,
        prefetch: int,
        on_delivery: Callable[[Delivery], None],
    ) -> None:
        """`probe` is another connection: a look that is late must not cost the consumer."""
        super().__init__(
            connection,
            f"lane {lane}",
            declare=self._declare_lane,
            on_message=self._hand_over,
            look=self._look_for_consumers,
            prefetch=prefetch,
        )
        self._probe = probe
        self.lane = lane
        self._on_delivery = on_delivery

    async def _declare_lane(self, channel: AbstractChannel) -> AbstractQueue:
        await declare_shared(channel, timeout_s=CALL_TIMEOUT_S)
        return await declare_lane(channel, self.lane, timeout_s=CALL_TIMEOUT_S)

    async def _look_for_consumers(self) -> None:
        """A deleted queue takes its consumers along without a word: look whether there are any."""
        consumers = 0

        async def look(channel: AbstractChannel) -> None:
            nonlocal consumers
            queue = await declare_lane(channel, self.lane, timeout_s=CALL_TIMEOUT_S)
            consumers = queue.declaration_result.consumer_count or 0

        channel = await self._probe.open_channel(prepare=look)
        async with asyncio.timeout(CALL_TIMEOUT_S):
            await channel.close()
        if consumers == 0:
            raise BrokerError("the lane's queue has lost its consumers")

    async def _hand_over(self, message: AbstractIncomingMessage) -> None:
        try:
            bundle = decode_bundle(message.body)
        except WireError as error:
            # Not ours to read: it is kept on the dead queue for a person.
            log.error("unreadable bundle set aside", lane=self.lane, error=str(error))
            await message.reject(requeue=False)
            return
        self._on_delivery(Delivery(message, bundle))
