"""Sees to it that a lane has its queue: makes it, or looks for it where this account may not make one.

In containers only workers may (`accounts/grants.py`); each makes the queues of its lanes within seconds of a loss.
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
    """The queues of lanes, over one connection; a refusal closes the channel, so each look has its own."""

    def __init__(self, connection: BrokerConnection, *, timeout_s: float, makes_shared: bool = False) -> None:
        """`makes_shared`: also makes what all lanes share."""
        self._connection = connection
        self._timeout_s = timeout_s
        self._makes_shared = makes_shared
        self._may_make = True

    async def ensure(self, lane: str) -> int | None:
        """How many bundles wait on a lane; None where it has no queue and can't get one here. Raises `BrokerError`."""
        if self._may_make:
            try:
                return await self._ask(lane, makes=True)
            except BrokerError as error:
                if not isinstance(error.__cause__, ChannelAccessRefused):
                    raise
                self._may_make = False
                log.info("this account makes no queues; workers do")
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
