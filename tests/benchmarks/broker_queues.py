"""Queues of the shared RabbitMQ: emptied between measurements."""

import asyncio

import aio_pika
from aio_pika.exceptions import ChannelClosed

_WITHIN_S = 30.0


def purge(url: str, *names: str) -> None:
    """Throws away what waits in these queues, those that are there."""
    asyncio.run(_purge(url, names))


async def _purge(url: str, names: tuple[str, ...]) -> None:
    async with asyncio.timeout(_WITHIN_S):
        async with await aio_pika.connect(url) as connection:
            for name in names:
                channel = await connection.channel()
                try:
                    queue = await channel.declare_queue(name, passive=True)
                    await queue.purge()
                except ChannelClosed:
                    continue
                await channel.close()
