"""Consume one lane: declare it and pass its bundles on."""

import asyncio
import time
from collections.abc import Callable

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

from acked_common.broker import BrokerError
from acked_common.broker.rabbitmq.connection import BROKEN, BrokerConnection, library_errors
from acked_common.broker.rabbitmq.consumer import CALL_TIMEOUT_S, Consumer
from acked_common.broker.rabbitmq.liveness import ConsumerLiveness, Verdict
from acked_common.broker.rabbitmq.topology import declare_lane, declare_shared
from acked_common.model.bundle import Bundle, WireError, decode_bundle
from acked_common.runtime.logs import get_log

log = get_log(__name__)


class Delivery:
    """An unacknowledged bundle; its acknowledgement requests the next one."""

    def __init__(
        self, message: AbstractIncomingMessage, bundle: Bundle, on_ack: Callable[[], None] = lambda: None
    ) -> None:
        self._message = message
        self._on_ack = on_ack
        self.bundle = bundle
        count = message.headers.get("x-delivery-count")
        self.returns = count if isinstance(count, int) else 0
        """How much of its delivery limit the bundle has spent."""

    async def ack(self) -> None:
        """Acknowledge. After the end of the channel the broker delivers again, and the claim finds nothing."""
        try:
            with library_errors():
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    await self._message.ack()
        except BROKEN:
            pass
        finally:
            self._on_ack()

    async def give_back(self) -> None:
        """Return the bundle to the head of its queue, for a worker that has a slot. Never raise."""
        try:
            with library_errors():
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    await self._message.nack(requeue=True)
        except BROKEN:
            pass
        finally:
            self._on_ack()


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
        """Take `probe`, a separate connection: a late check must not cost the consumer."""
        super().__init__(
            connection,
            f"lane {lane}",
            declare=self._declare_lane,
            on_message=self._hand_over,
            look=self._look_at_lane,
            prefetch=prefetch,
        )
        self._probe = probe
        self._liveness = ConsumerLiveness()
        self.lane = lane
        self._on_delivery = on_delivery

    @property
    def has_in_hand(self) -> bool:
        return self._liveness.in_hand > 0

    async def _declare_lane(self, channel: AbstractChannel) -> AbstractQueue:
        await declare_shared(channel, timeout_s=CALL_TIMEOUT_S)
        return await declare_lane(channel, self.lane, timeout_s=CALL_TIMEOUT_S)

    async def _look_at_lane(self) -> bool:
        """Check the queue: deleting it ends its consumers silently, or leaves them without messages."""
        found: AbstractQueue | None = None

        async def look(channel: AbstractChannel) -> None:
            nonlocal found
            found = await declare_lane(channel, self.lane, timeout_s=CALL_TIMEOUT_S)

        channel = await self._probe.open_channel(prepare=look)
        async with asyncio.timeout(CALL_TIMEOUT_S):
            await channel.close()
        if found is None or not found.declaration_result.consumer_count:
            raise BrokerError("the lane's queue has lost its consumers")
        waiting = found.declaration_result.message_count or 0
        verdict = self._liveness.look(waiting, time.monotonic(), consumes_since=self.consumes_since)
        if verdict is Verdict.DEAF:
            raise BrokerError("bundles wait in the lane's queue, but the consumer receives none")
        return verdict is Verdict.SILENT

    async def _hand_over(self, message: AbstractIncomingMessage) -> None:
        try:
            bundle = decode_bundle(message.body)
        except WireError as error:
            # This version can't read it, so it stays on the dead queue for an operator.
            log.error("unreadable bundle set aside", lane=self.lane, error=str(error))
            await message.reject(requeue=False)
            return
        self._liveness.heard(time.monotonic())
        self._on_delivery(Delivery(message, bundle, lambda: self._liveness.acknowledged(time.monotonic())))
