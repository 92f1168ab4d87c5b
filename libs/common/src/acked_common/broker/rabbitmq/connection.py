"""A RabbitMQ connection that is opened on demand and reopened, with jitter, after a failure.

aio-pika's robust connection restores channels in the background and can lose one for good. Here a broken connection is
dropped as a whole, and its users open new channels.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from aio_pika.abc import AbstractChannel
from aio_pika.connection import Connection, make_url
from aio_pika.exceptions import AMQPException
from aiormq.exceptions import AMQPError

from acked_common.broker import BrokerError
from acked_common.model.backoff import Backoff
from acked_common.runtime.broker_addresses import Address, addresses

HEARTBEAT_S = 10
HOST_WITHIN_S = 2.0
"""Timeout for one of several hosts, after which the next one is tried."""
BROKEN = (
    AMQPError,
    AMQPException,
    OSError,
    TimeoutError,
    asyncio.IncompleteReadError,
    RuntimeError,
    # The peer closed the connection before the first frame of the handshake.
    StopAsyncIteration,
)
"""Exceptions of the library for a lost connection or channel."""

RECONNECT = Backoff(base_s=0.4, cap_s=5.0)


class BrokerConnection:
    """Connect on demand; between attempts, which are spaced with jitter, fail at once.

    Several hosts are tried in random order, so that clients spread over the nodes. Hosts that failed recently come
    last. Each attempt has a timeout, so a host that accepts connections without responding costs no more than that.
    """

    def __init__(self, url: str, *, name: str, timeout_s: float = 5.0) -> None:
        self._addresses = addresses(url)
        self._failed_at: dict[str, float] = {}
        """Monotonic instant of the last failure by host."""
        self._name = name
        self._timeout_s = timeout_s
        self._connection: Connection | None = None
        self._lock = asyncio.Lock()
        self._failures = 0
        self._not_before = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the connection is open."""
        # `is_closed` alone stays false after the peer has disappeared.
        return self._connection is not None and self._connection.connected.is_set() and not self._connection.is_closed

    @property
    def is_blocked(self) -> bool:
        """Whether the broker blocks publishers, because it is short of memory or disk."""
        if self._connection is None or self._connection.transport is None or not self.is_open:
            return False
        # The library exposes this only to callers that await it: start the coroutine without waiting.
        asked = self._connection.transport.connection.ready()
        try:
            asked.send(None)
        except StopIteration:
            return False
        finally:
            asked.close()
        return True

    async def open_channel(
        self,
        *,
        prepare: Callable[[AbstractChannel], Awaitable[None]] | None = None,
        publishes: bool = False,
    ) -> AbstractChannel:
        """Open a channel; `prepare` declares on it what the caller needs. Raise `BrokerError`."""
        connection = await self._connected()
        try:
            with library_errors():
                async with asyncio.timeout(self._timeout_s):
                    channel = connection.channel(publisher_confirms=publishes, on_return_raises=publishes)
                    await channel.initialize()
                    if prepare is not None:
                        await prepare(channel)
                    return channel
        except BROKEN as error:
            raise_cancelled()
            if isinstance(error, TimeoutError):
                # Half open, or stuck: only a new connection helps.
                await self.drop()
            raise BrokerError(f"RabbitMQ opened no channel: {type(error).__name__}") from error

    async def close_channel(self, channel: AbstractChannel | None) -> None:
        """Close a channel, or the whole connection if that fails. Never raise."""
        if channel is not None and not channel.is_closed:
            try:
                with library_errors():
                    async with asyncio.timeout(1.0):
                        await channel.close()
            except BROKEN:
                await self.drop()

    async def _connected(self) -> Connection:
        async with self._lock:
            if self._connection is not None and self.is_open:
                return self._connection
            await self.drop()
            if time.monotonic() < self._not_before:
                raise BrokerError("RabbitMQ is unavailable")
            failed: list[tuple[Address, Exception]] = []
            for address in self._in_turn():
                try:
                    connection = await self._connect(address)
                except BROKEN as error:
                    self._failed_at[address.name] = time.monotonic()
                    failed.append((address, error))
                    continue
                self._failures = 0
                self._failed_at.pop(address.name, None)
                self._connection = connection
                return connection
            self._failures += 1
            self._not_before = time.monotonic() + RECONNECT.equal_jitter_s(self._failures)
            why = ", ".join(f"{address.name} {type(error).__name__}" for address, error in failed)
            raise BrokerError(f"RabbitMQ is unavailable: {why}") from failed[-1][1]

    def _in_turn(self) -> list[Address]:
        shuffled = random.sample(self._addresses, len(self._addresses))
        return sorted(shuffled, key=lambda address: self._failed_at.get(address.name, 0.0))

    async def _connect(self, address: Address) -> Connection:
        within_s = self._timeout_s if len(self._addresses) == 1 else min(self._timeout_s, HOST_WITHIN_S)
        connection = Connection(
            make_url(address.url, heartbeat=HEARTBEAT_S), client_properties={"connection_name": self._name}
        )
        try:
            async with asyncio.timeout(within_s):
                await connection.connect(timeout=within_s)
        except BROKEN:
            raise_cancelled()
            await _close(connection)
            raise
        return connection

    async def drop(self) -> None:
        """Close the connection; the next use opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await _close(connection)


@contextmanager
def library_errors() -> Iterator[None]:
    """Raise `ConnectionAbortedError`, one of `BROKEN`, for calls that wait while another task closes their connection.

    In these the library sets the bare class `Exception` where the broker confirms the close.
    """
    try:
        yield
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise ConnectionAbortedError("the connection was closed meanwhile") from error


def raise_cancelled() -> None:
    """Raise CancelledError if the current task is being cancelled.

    The library swallows a cancellation that coincides with its own failure; the caller would never end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _close(connection: Connection) -> None:
    """Close a connection in any state."""
    try:
        async with asyncio.timeout(1.0):
            await connection.close()
    except BROKEN:
        pass
