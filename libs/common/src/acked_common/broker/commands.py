"""Passes commands on between gateways: published to all, consumed by each, kept by nobody.

A command that gets lost here is only late: it is also in the store, and comes with the worker's next renewal.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractIncomingMessage, AbstractQueue, DeliveryMode

from acked_common.broker import BrokerError
from acked_common.broker.connection import BROKEN, BrokerConnection
from acked_common.broker.topology import COMMAND_TTL_S, declare_command_queue, declare_commands
from acked_common.channel.commands import Command, decode_command, encode_command
from acked_common.lifetime import Tasks
from acked_common.logs import get_log
from acked_common.wire import WireError

log = get_log(__name__)

CALL_TIMEOUT_S = 5.0
LOOK_EVERY_S = 1.0
_RESTART_CAP_S = 3.0


class RabbitCommands:
    """Publishes commands, and consumes those of every gateway, this one's own included."""

    def __init__(self, url: str, *, name: str, on_command: Callable[[Command], None]) -> None:
        self._publishing = BrokerConnection(url, name=f"{name} publish commands")
        self._consuming = BrokerConnection(url, name=f"{name} consume commands")
        self._on_command = on_command
        self._publish_channel: AbstractChannel | None = None
        self._exchange: AbstractExchange | None = None
        self._opening = asyncio.Lock()
        self._channel: AbstractChannel | None = None
        self._queue: AbstractQueue | None = None
        self._tag: str | None = None
        self._changed = asyncio.Event()
        self._failures = 0
        self._tasks = Tasks()

    @property
    def is_consuming(self) -> bool:
        """Whether commands of other gateways can arrive."""
        # The channel's own flag stays open when the peer is gone.
        return (
            self._tag is not None
            and self._consuming.is_open
            and self._channel is not None
            and not self._channel.is_closed
        )

    async def start(self) -> None:
        """Consumes until `stop`, whatever happens to the broker."""
        self._tasks.spawn(self._consume_for_ever(), "consume commands")

    async def stop(self) -> None:
        """Consumes no more and closes the connections."""
        await self._tasks.cancel_all()
        self._publish_channel = self._channel = self._tag = None
        await self._publishing.drop()
        await self._consuming.drop()

    async def publish(self, command: Command) -> None:
        """Tells every gateway; not confirmed. Raises `BrokerError`."""
        message = aio_pika.Message(
            encode_command(command),
            delivery_mode=DeliveryMode.NOT_PERSISTENT,
            expiration=COMMAND_TTL_S,
            content_type="application/msgpack",
        )
        exchange = await self._ready_exchange()
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await exchange.publish(message, routing_key="", mandatory=False)
        except BROKEN as error:
            self._publish_channel = None
            await self._publishing.drop()
            raise BrokerError(f"RabbitMQ took no command: {type(error).__name__}") from error

    async def _ready_exchange(self) -> AbstractExchange:
        async with self._opening:
            channel = self._publish_channel
            is_open = channel is not None and not channel.is_closed and self._publishing.is_open
            if self._exchange is None or not is_open:

                async def prepare(channel: AbstractChannel) -> None:
                    self._exchange = await declare_commands(channel, timeout_s=CALL_TIMEOUT_S)

                self._publish_channel = await self._publishing.open_channel(prepare=prepare)
            if self._exchange is None:
                raise BrokerError("the commands have no exchange")
            return self._exchange

    async def _consume_for_ever(self) -> None:
        while True:
            self._changed.clear()
            try:
                if not await self._has_consumer():
                    await self._consume()
                    if self._failures:
                        log.info("commands consumed again")
                    self._failures = 0
            except (BrokerError, *BROKEN) as error:
                self._failures += 1
                if self._failures == 1:
                    log.warning("commands interrupted", error=f"{type(error).__name__}: {error}")
                await self._drop_channel()
            await self._pause()

    async def _pause(self) -> None:
        wait_s = LOOK_EVERY_S
        if self._failures:
            wait_s = min(_RESTART_CAP_S, 0.2 * 2.0 ** min(self._failures, 8)) * (0.5 + random.random() / 2)
        try:
            async with asyncio.timeout(wait_s):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _consume(self) -> None:
        await self._drop_channel()

        async def prepare(channel: AbstractChannel) -> None:
            self._queue = await declare_command_queue(channel, timeout_s=CALL_TIMEOUT_S)

        channel = await self._consuming.open_channel(prepare=prepare)
        self._channel = channel
        # Wakes the loop at once instead of at its next turn.
        channel.close_callbacks.add(self._on_channel_closed)
        if self._queue is None:
            raise BrokerError("the commands have no queue")
        async with asyncio.timeout(CALL_TIMEOUT_S):
            self._tag = await self._queue.consume(self._on_message, no_ack=True)

    async def _has_consumer(self) -> bool:
        """Whether the broker still delivers to us: it ends a consumer whose queue is gone, the channel lives on."""
        if not self.is_consuming or self._channel is None:
            return False
        underlay: Any = await self._channel.get_underlay_channel()
        return self._tag in underlay.consumers

    async def _drop_channel(self) -> None:
        channel, self._channel, self._tag = self._channel, None, None
        await self._consuming.close_channel(channel)

    def _on_channel_closed(self, *_: Any) -> None:
        self._changed.set()

    async def _on_message(self, message: AbstractIncomingMessage) -> None:
        try:
            command = decode_command(message.body)
        except WireError as error:
            log.warning("unreadable command ignored", error=str(error))
            return
        self._on_command(command)
