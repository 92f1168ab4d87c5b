"""Broadcast commands between gateways: published to all, consumed by each, never persisted.

A lost command only delays its effect: the store has it too, and the worker reads it at its next renewal.
"""

import asyncio
from collections.abc import Callable

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractIncomingMessage, AbstractQueue, DeliveryMode

from acked_common.broker import BrokerError
from acked_common.broker.rabbitmq.connection import BROKEN, BrokerConnection, library_errors
from acked_common.broker.rabbitmq.consumer import CALL_TIMEOUT_S, Consumer
from acked_common.broker.rabbitmq.topology import (
    COMMAND_TTL_S,
    bind_command_queue,
    declare_command_queue,
    declare_commands,
)
from acked_common.channel.commands import Command, DatabaseNotice, Published, decode_command, encode_command
from acked_common.model.bundle import WireError
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.logs import get_log

log = get_log(__name__)


class RabbitCommandBus:
    """Publish commands, and consume those of every gateway, including this one."""

    def __init__(
        self,
        url: str,
        *,
        name: str,
        on_command: Callable[[Command], None],
        on_notice: Callable[[DatabaseNotice], None] = lambda _: None,
    ) -> None:
        self._publishing = BrokerConnection(url, name=f"{name} publish commands")
        self._consuming = BrokerConnection(url, name=f"{name} consume commands")
        self._on_command = on_command
        self._on_notice = on_notice
        self._publish_channel: AbstractChannel | None = None
        self._exchange: AbstractExchange | None = None
        self._opening = asyncio.Lock()
        self._consumer = Consumer(
            self._consuming, "commands", declare=self._declare, on_message=self._on_message, look=self._bind_again
        )
        self._tasks = Tasks()

    @property
    def is_consuming(self) -> bool:
        """Whether commands of other gateways can arrive."""
        return self._consumer.is_consuming

    async def start(self) -> None:
        """Consume until `stop`, across broker failures."""
        self._tasks.spawn(self._consumer.run(), "consume commands")

    async def stop(self) -> None:
        """Stop consuming and close the connections."""
        await self._tasks.cancel_all()
        self._publish_channel = None
        await self._consumer.close()
        await self._publishing.drop()
        await self._consuming.drop()

    async def publish(self, command: Published) -> None:
        """Publish to every gateway, without confirm. Raise `BrokerError`."""
        message = aio_pika.Message(
            encode_command(command),
            delivery_mode=DeliveryMode.NOT_PERSISTENT,
            expiration=COMMAND_TTL_S,
            content_type="application/msgpack",
        )
        exchange = await self._ready_exchange()
        try:
            with library_errors():
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    await exchange.publish(message, routing_key="", mandatory=False)
        except BROKEN as error:
            self._publish_channel = None
            await self._publishing.drop()
            raise BrokerError(f"RabbitMQ did not accept a command: {type(error).__name__}") from error

    async def _ready_exchange(self) -> AbstractExchange:
        async with self._opening:
            channel = self._publish_channel
            is_open = channel is not None and not channel.is_closed and self._publishing.is_open
            if self._exchange is None or not is_open:

                async def prepare(channel: AbstractChannel) -> None:
                    self._exchange = await declare_commands(channel, timeout_s=CALL_TIMEOUT_S)

                self._publish_channel = await self._publishing.open_channel(prepare=prepare)
            if self._exchange is None:
                raise BrokerError("the command exchange is not declared")
            return self._exchange

    async def _declare(self, channel: AbstractChannel) -> AbstractQueue:
        return await declare_command_queue(channel, timeout_s=CALL_TIMEOUT_S)

    async def _bind_again(self) -> bool:
        """Declare the exchange and the binding again: deleting an exchange drops its bindings silently.

        Runs on the consuming connection, since the queue is exclusive to it.
        """
        queue = self._consumer.queue

        async def bind(channel: AbstractChannel) -> None:
            if queue is not None:
                await bind_command_queue(channel, queue.name, timeout_s=CALL_TIMEOUT_S)

        channel = await self._consuming.open_channel(prepare=bind)
        await self._consuming.close_channel(channel)
        return False

    async def _on_message(self, message: AbstractIncomingMessage) -> None:
        try:
            command = decode_command(message.body)
        except WireError as error:
            log.warning("unreadable command ignored", error=str(error))
            return
        if isinstance(command, DatabaseNotice):
            self._on_notice(command)
        else:
            self._on_command(command)
