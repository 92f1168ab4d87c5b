"""OWNER of the topology: names and arguments of queues and exchanges, declared idempotently."""

from typing import Any

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractQueue

DEAD_QUEUE = "acked.dead"
COMMANDS_EXCHANGE = "acked.commands"
COMMAND_TTL_S = 5.0
"""Lifetime of a command on the broker; after it, the worker has read the command at a renewal."""

_LANE_PREFIX = "acked.lane."

DELIVERY_LIMIT = 50
"""Deliveries after which RabbitMQ dead-letters a bundle; a queue argument, so it can't change.

It bounds the damage of a crashing consumer. Before 4.3 RabbitMQ counts a nack like a crash: workers spend returns with
`prefetch.patience_s`.
"""
_MAX_COMMANDS = 10_000


def lane_queue(lane: str) -> str:
    """Return the name of a lane's queue."""
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
    """Declare the quorum queue of a lane."""
    return await channel.declare_queue(lane_queue(lane), durable=True, arguments=_lane_arguments(), timeout=timeout_s)


async def look_at_lane(channel: AbstractChannel, lane: str, *, timeout_s: float) -> AbstractQueue:
    """Check passively that a lane's queue exists; needs no permission."""
    return await channel.declare_queue(lane_queue(lane), passive=True, timeout=timeout_s)


async def declare_shared(channel: AbstractChannel, *, timeout_s: float) -> None:
    """Declare the queue that all lanes share, for undeliverable bundles."""
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
    """Declare the fanout exchange over which gateways broadcast commands."""
    return await channel.declare_exchange(COMMANDS_EXCHANGE, ExchangeType.FANOUT, durable=True, timeout=timeout_s)


async def declare_command_queue(channel: AbstractChannel, *, timeout_s: float) -> AbstractQueue:
    """Declare an exclusive queue that receives every command and is deleted with its connection."""
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
    """Bind an exclusive queue to the command exchange."""
    exchange = await declare_commands(channel, timeout_s=timeout_s)
    queue = await channel.get_queue(name, ensure=False)
    await queue.bind(exchange, timeout=timeout_s)
