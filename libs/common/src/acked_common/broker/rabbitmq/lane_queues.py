"""Ensure that a lane has its queue: declare it, or check for it where this account may not declare.

In containers only workers may declare (`accounts/grants.py`); they restore a lost queue within seconds.
"""

from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import ChannelNotFoundEntity
from aiormq.exceptions import ChannelAccessRefused

from acked_common.broker import BrokerError
from acked_common.broker.rabbitmq.connection import BrokerConnection
from acked_common.broker.rabbitmq.topology import declare_lane, declare_shared, look_at_lane
from acked_common.runtime.logs import get_log

log = get_log(__name__)


class LaneQueues:
    """Declare lane queues over one connection; a refusal closes the channel, so each call opens its own."""

    def __init__(self, connection: BrokerConnection, *, timeout_s: float, makes_shared: bool = False) -> None:
        """With `makes_shared`, declare the queues shared by all lanes too."""
        self._connection = connection
        self._timeout_s = timeout_s
        self._makes_shared = makes_shared
        self._may_make = True

    async def ensure(self, lane: str) -> int | None:
        """Return the number of bundles ready on a lane. Raise `BrokerError`.

        None if the lane has no queue and this account may not declare one.
        """
        if self._may_make:
            try:
                return await self._ask(lane, makes=True)
            except BrokerError as error:
                if not isinstance(error.__cause__, ChannelAccessRefused):
                    raise
                self._may_make = False
                log.info("this account may not declare queues; workers do")
        try:
            return await self._ask(lane, makes=False)
        except BrokerError as error:
            if isinstance(error.__cause__, ChannelNotFoundEntity):
                return None
            raise

    async def _ask(self, lane: str, *, makes: bool) -> int:
        waiting = 0

        async def ask(channel: AbstractChannel) -> None:
            nonlocal waiting
            if makes:
                if self._makes_shared:
                    await declare_shared(channel, timeout_s=self._timeout_s)
                queue = await declare_lane(channel, lane, timeout_s=self._timeout_s)
            else:
                queue = await look_at_lane(channel, lane, timeout_s=self._timeout_s)
            waiting = queue.declaration_result.message_count or 0

        await self._connection.close_channel(await self._connection.open_channel(prepare=ask))
        return waiting
