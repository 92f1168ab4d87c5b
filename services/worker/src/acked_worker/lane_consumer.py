"""Consumes one lane: declares it, takes bundles, and starts again after whatever broke.

The library cancels what runs inside its callback when the channel drops, so the callback only hands over.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

from acked_common.broker import BrokerError
from acked_common.broker.connection import BROKEN, BrokerConnection
from acked_common.broker.topology import declare_lane, declare_shared
from acked_common.logs import get_log
from acked_common.wire import Bundle, WireError, decode_bundle

log = get_log(__name__)

CALL_TIMEOUT_S = 5.0
LOOK_EVERY_S = 5.0
RESTART_CAP_S = 3.0


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


class LaneConsumer:
    """The consumer of one lane."""

    def __init__(
        self,
        connection: BrokerConnection,
        probe: BrokerConnection,
        lane: str,
        prefetch: int,
        on_delivery: Callable[[Delivery], None],
    ) -> None:
        self._connection = connection
        self._probe = probe
        self.lane = lane
        self._prefetch = prefetch
        self._on_delivery = on_delivery
        self._channel: AbstractChannel | None = None
        self._queue: AbstractQueue | None = None
        self._tag: str | None = None
        self._paused_for: set[str] = set()
        self._changed = asyncio.Event()
        self._paused = asyncio.Event()
        self._failures = 0
        self.tried_at = time.monotonic()
        """When the loop last came round; on the monotonic clock."""

    @property
    def is_consuming(self) -> bool:
        """Whether bundles can arrive, or are not wanted just now."""
        if self._paused_for:
            return True
        return self._tag is not None and self._channel is not None and not self._channel.is_closed

    def pause(self, reason: str) -> None:
        """Asks for no more bundles until each reason to pause is gone; those in hand stay in hand."""
        if reason not in self._paused_for:
            self._paused_for.add(reason)
            self._paused.clear()
            self._changed.set()

    async def wait_paused(self) -> None:
        """Returns when no more bundles can arrive."""
        await self._paused.wait()

    def resume(self, reason: str) -> None:
        """Takes a reason to pause back."""
        if reason in self._paused_for:
            self._paused_for.remove(reason)
            self._changed.set()

    def set_prefetch(self, prefetch: int) -> None:
        """Changes how many unacknowledged bundles may be in hand; takes hold with a new consumer."""
        if prefetch != self._prefetch:
            self._prefetch = prefetch
            self._changed.set()

    async def run(self) -> None:
        """Consumes until it is cancelled."""
        consumed_prefetch = self._prefetch
        looked_at = time.monotonic()
        while True:
            self.tried_at = time.monotonic()
            try:
                self._changed.clear()
                if self._tag is not None and (self._paused_for or consumed_prefetch != self._prefetch):
                    await self._cancel()
                if self._paused_for:
                    self._paused.set()
                elif self._tag is None or not await self._has_consumer():
                    consumed_prefetch = self._prefetch
                    await self._consume()
                    looked_at = time.monotonic()
                    self._failures = 0
                elif self._tag is not None and time.monotonic() - looked_at >= LOOK_EVERY_S:
                    looked_at = time.monotonic()
                    await self._look()
            except (BrokerError, *BROKEN) as error:
                self._failures += 1
                if self._failures == 1:
                    log.warning("lane interrupted", lane=self.lane, error=f"{type(error).__name__}: {error}")
                await self._drop_channel()
            except Exception:
                # Whatever the library raises, a lane without its consumer would look alive.
                self._failures += 1
                log.exception("lane broken; it is consumed anew", lane=self.lane)
                await self._drop_channel()
            await self._pause_between()

    async def close(self) -> None:
        """Stops consuming; what is unacknowledged goes back to the broker."""
        self._paused_for.add("closed")
        await self._drop_channel()

    async def _pause_between(self) -> None:
        wait_s = 1.0
        if self._failures:
            wait_s = min(RESTART_CAP_S, 0.2 * 2.0 ** min(self._failures, 8)) * (0.5 + random.random() / 2)
        try:
            async with asyncio.timeout(wait_s):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _consume(self) -> None:
        if self._channel is None or self._channel.is_closed:
            self._tag = None

            async def prepare(channel: AbstractChannel) -> None:
                await declare_shared(channel, timeout_s=CALL_TIMEOUT_S)
                self._queue = await declare_lane(channel, self.lane, timeout_s=CALL_TIMEOUT_S)

            self._channel = await self._connection.open_channel(prepare=prepare)
            # Wakes the loop at once instead of at its next turn.
            self._channel.close_callbacks.add(self._on_channel_closed)
        if self._queue is None:
            raise BrokerError("the lane has no queue")
        async with asyncio.timeout(CALL_TIMEOUT_S):
            await self._channel.set_qos(prefetch_count=self._prefetch)
            self._tag = await self._queue.consume(self._on_message)
        log.info("lane consumed", lane=self.lane, prefetch=self._prefetch)

    async def _has_consumer(self) -> bool:
        """Whether the broker still delivers to us: it ends a consumer whose queue is gone, others may live on."""
        if self._channel is None or self._channel.is_closed:
            return False
        underlay: Any = await self._channel.get_underlay_channel()
        return self._tag in underlay.consumers

    async def _cancel(self) -> None:
        tag, self._tag = self._tag, None
        if tag is not None and self._queue is not None and self._channel is not None and not self._channel.is_closed:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await self._queue.cancel(tag)

    async def _look(self) -> None:
        """A deleted queue takes its consumers along without a word: look whether there are any."""
        consumers = 0

        async def look(channel: AbstractChannel) -> None:
            nonlocal consumers
            queue = await declare_lane(channel, self.lane, timeout_s=CALL_TIMEOUT_S)
            consumers = queue.declaration_result.consumer_count or 0

        channel = await self._probe.open_channel(prepare=look)
        async with asyncio.timeout(CALL_TIMEOUT_S):
            await channel.close()
        if consumers == 0 and self._tag is not None:
            raise BrokerError("the lane's queue has lost its consumers")

    async def _drop_channel(self) -> None:
        channel, self._channel, self._tag = self._channel, None, None
        await self._connection.close_channel(channel)

    def _on_channel_closed(self, *_: Any) -> None:
        self._changed.set()

    async def _on_message(self, message: AbstractIncomingMessage) -> None:
        try:
            bundle = decode_bundle(message.body)
        except WireError as error:
            # Not ours to read: it is kept on the dead queue for a person.
            log.error("unreadable bundle set aside", lane=self.lane, error=str(error))
            await message.reject(requeue=False)
            return
        self._on_delivery(Delivery(message, bundle))
