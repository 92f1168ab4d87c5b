"""Consume one queue until the owner stops it, across failures.

`ConsumerState` decides the next step; this module performs it. The library cancels its running callback when the
channel drops, so `on_message` must only pass the message on.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

from acked_common.broker import BrokerError
from acked_common.broker.rabbitmq.connection import BROKEN, BrokerConnection, library_errors, raise_cancelled
from acked_common.broker.rabbitmq.consumer_state import ConsumerState, ConsumerStep
from acked_common.runtime.logs import get_log

log = get_log(__name__)

CALL_TIMEOUT_S = 5.0

Declare = Callable[[AbstractChannel], Awaitable[AbstractQueue]]
OnMessage = Callable[[AbstractIncomingMessage], Awaitable[None]]
Look = Callable[[], Awaitable[bool]]
"""Return whether to replace the consumer as a precaution. Raises `BrokerError` if it must be replaced."""


class Consumer:
    """The consumer of one queue; `run` is its loop."""

    def __init__(
        self,
        connection: BrokerConnection,
        name: str,
        *,
        declare: Declare,
        on_message: OnMessage,
        look: Look,
        prefetch: int | None = None,
    ) -> None:
        """Take the callbacks and the prefetch.

        `declare` declares the queue on a new channel. `look` is called every few seconds. `prefetch` limits the
        unacknowledged messages; None: the consumer acknowledges none.
        """
        self._connection = connection
        self._name = name
        self._declare = declare
        self._on_message = on_message
        self._look = look
        self._state = ConsumerState(prefetch, time.monotonic())
        self._channel: AbstractChannel | None = None
        self._queue: AbstractQueue | None = None
        self._tag: str | None = None
        self._changed = asyncio.Event()
        self._paused = asyncio.Event()
        self.tried_at = time.monotonic()
        """When the loop last came round; on the monotonic clock."""

    @property
    def queue(self) -> AbstractQueue | None:
        """The queue as last declared."""
        return self._queue

    @property
    def channel(self) -> AbstractChannel | None:
        """The channel of the consumer; None between two channels."""
        return self._channel

    @property
    def is_consuming(self) -> bool:
        """Whether messages can arrive, in a moment at the latest, or the consumer is paused."""
        if self._state.is_paused:
            return True
        # The channel's own flag stays open when the peer is gone.
        is_open = self._connection.is_open and (self._channel is None or not self._channel.is_closed)
        return is_open and self._state.expects_messages

    @property
    def consumes_since(self) -> float:
        """The instant of the newest consume request, on the monotonic clock."""
        return self._state.consumes_since

    @property
    def has_in_hand(self) -> bool:
        """Whether a message is unacknowledged."""
        return False

    def pause(self, reason: str) -> None:
        """Request no messages until `resume` has removed every reason; unacknowledged ones stay with their owner."""
        if self._state.pause(reason):
            self._paused.clear()
            self._changed.set()

    async def wait_paused(self) -> None:
        """Return when no more messages can arrive."""
        await self._paused.wait()

    def resume(self, reason: str) -> None:
        """Remove a reason to pause."""
        if self._state.resume(reason):
            self._changed.set()

    def set_prefetch(self, prefetch: int) -> None:
        """Change the limit of unacknowledged messages; a new consumer applies it."""
        if self._state.set_prefetch(prefetch):
            self._changed.set()

    async def run(self) -> None:
        """Consume until cancelled."""
        while True:
            self.tried_at = time.monotonic()
            self._changed.clear()
            try:
                with library_errors():
                    await self._step()
            except (BrokerError, *BROKEN) as error:
                if self._state.failed():
                    log.warning("consumer interrupted", queue=self._name, error=f"{type(error).__name__}: {error}")
                await self._drop_channel()
            except Exception:
                # Whatever the library raises, a queue without its consumer would look alive.
                self._state.failed()
                log.exception("consumer failed; it restarts", queue=self._name)
                await self._drop_channel()
            raise_cancelled()
            await self._pause_between()

    async def close(self) -> None:
        """Stop consuming; unacknowledged messages return to the broker."""
        self._state.pause("closed")
        await self._drop_channel()

    async def _step(self) -> None:
        step = self._state.next_step()
        if step is ConsumerStep.CANCEL:
            await self._cancel()
            step = self._state.next_step()
        if step is ConsumerStep.REST:
            self._paused.set()
        elif step is ConsumerStep.CONSUME:
            await self._consume()
        elif not await self._has_consumer():
            # The broker ends a consumer whose queue is gone; the channel knows nothing of it.
            await self._drop_channel()
            await self._consume()
        elif self._state.take_look(time.monotonic()) and await self._look():
            await self._renew()

    async def _renew(self) -> None:
        """Replace the consumer, on another channel.

        A message is acknowledged on its own channel. After the end of that channel it would end the connection.
        """
        await self._cancel()
        if not self.has_in_hand:
            before, self._channel = self._channel, None
            await self._connection.close_channel(before)
        await self._consume(is_told=False)

    async def _consume(self, *, is_told: bool = True) -> None:
        if self._channel is None or self._channel.is_closed or not self._connection.is_open:

            async def prepare(channel: AbstractChannel) -> None:
                self._queue = await self._declare(channel)

            self._channel = await self._connection.open_channel(prepare=prepare)
            # Wakes the loop at once instead of at its next turn.
            self._channel.close_callbacks.add(self._on_channel_closed)
        if self._queue is None:
            raise BrokerError("the queue does not exist")
        prefetch = self._state.prefetch
        async with asyncio.timeout(CALL_TIMEOUT_S):
            if prefetch is not None:
                await self._channel.set_qos(prefetch_count=prefetch)
            self._tag = await self._queue.consume(self._on_message, no_ack=prefetch is None)
        self._state.consumed(prefetch, time.monotonic())
        if is_told:
            log.info("queue consumed", queue=self._name, prefetch=prefetch)

    async def _has_consumer(self) -> bool:
        """Return whether the broker still delivers to this consumer."""
        if self._channel is None or not self.is_consuming:
            return False
        underlay: Any = await self._channel.get_underlay_channel()
        return self._tag in underlay.consumers

    async def _cancel(self) -> None:
        tag, self._tag = self._tag, None
        is_open = self._queue is not None and self._channel is not None and not self._channel.is_closed
        self._state.cancelling(is_open=is_open)
        if is_open and tag is not None and self._queue is not None:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await self._queue.cancel(tag)

    async def _drop_channel(self) -> None:
        channel, self._channel, self._tag = self._channel, None, None
        self._state.dropped()
        await self._connection.close_channel(channel)

    def _on_channel_closed(self, *_: Any) -> None:
        self._changed.set()

    async def _pause_between(self) -> None:
        wait_s = self._state.wait_s(random.random())
        try:
            async with asyncio.timeout(wait_s):
                await self._changed.wait()
        except TimeoutError:
            pass
