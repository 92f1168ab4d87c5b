"""OWNER of the topology: the names and arguments of queues. Whatever must exist is declared from here, idempotently."""

from typing import Any

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractQueue

DEAD_QUEUE = "acked.dead"
COMMANDS_EXCHANGE = "acked.commands"
COMMAND_TTL_S = 5.0
"""A command that was not delivered by then has come another way, with the renewals."""

_LANE_PREFIX = "acked.lane."

DELIVERY_LIMIT = 50
"""Returns after which RabbitMQ dead-letters a bundle; part of the queue, so it can't change. Bounds what a crashing
consumer can cause. Before 4.3 RabbitMQ counts a nack like a crash: workers spend returns with `prefetch.patience_s`."""
_MAX_COMMANDS = 10_000


def lane_queue(lane: str) -> str:
    """The name of a lane's queue."""
    return _LANE_PREFIX + lane


def _lane_arguments() -> dict[str, Any]:
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-overflow": "reject-publish",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": DEAD_QUEUE,
    }


async def declare_lane(channel: AbstractChannel, lane: str, *, timeout_s: float) -> AbstractQueue:
    """Declares the quorum queue of a lane."""
    return await channel.declare_queue(lane_queue(lane), durable=True, arguments=_lane_arguments(), timeout=timeout_s)


async def look_at_lane(channel: AbstractChannel, lane: str, *, timeout_s: float) -> AbstractQueue:
    """Asks for the queue of a lane, which must be there; needs no right."""
    return await channel.declare_queue(lane_queue(lane), passive=True, timeout=timeout_s)


async def declare_shared(channel: AbstractChannel, *, timeout_s: float) -> None:
    """Declares what all lanes share: the queue of undeliverable bundles, kept for a person to look at."""
    await channel.declare_queue(
        DEAD_QUEUE,
        durable=True,
        arguments={
            "x-queue-type": "quorum",
            "x-overflow": "drop-head",
            "x-max-length": 100_000,
            "x-delivery-limit": DELIVERY_LIMIT,
        },
        timeout=timeout_s,
    )


async def declare_commands(channel: AbstractChannel, *, timeout_s: float) -> AbstractExchange:
    """Declares the fan-out over which gateways pass commands on to each other."""
    return await channel.declare_exchange(COMMANDS_EXCHANGE, ExchangeType.FANOUT, durable=True, timeout=timeout_s)


async def declare_command_queue(channel: AbstractChannel, *, timeout_s: float) -> AbstractQueue:
    """Declares a queue of this connection's own, which gets every command and is gone with it."""
    queue = await channel.declare_queue(
        None,
        exclusive=True,
        auto_delete=True,
        arguments={
            "x-message-ttl": int(COMMAND_TTL_S * 1000),
            "x-max-length": _MAX_COMMANDS,
            "x-overflow": "drop-head",
        },
        timeout=timeout_s,
    )
    await bind_command_queue(channel, queue.name, timeout_s=timeout_s)
    return queue


async def bind_command_queue(channel: AbstractChannel, name: str, *, timeout_s: float) -> None:
    """Makes sure that a queue of this connection gets every command."""
    exchange = await declare_commands(channel, timeout_s=timeout_s)
    queue = await channel.get_queue(name, ensure=False)
    await queue.bind(exchange, timeout=timeout_s)
