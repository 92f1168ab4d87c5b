"""What tests do to the broker behind everybody's back."""

import aio_pika

from acked_common.broker.rabbitmq.topology import lane_queue
from faults.rig import Rig


def purge(rig: Rig, lane: str) -> int:
    """Throws away all that waits on a lane; how many bundles that were."""

    async def act() -> int:
        async with await aio_pika.connect(rig.stack.stack.urls["amqp"]) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue(lane_queue(lane), passive=True)
            return int((await queue.purge()).message_count or 0)

    return rig.outside.run(act())


def depths(rig: Rig, queues: list[str]) -> dict[str, int]:
    """How many messages wait in each queue."""

    async def look() -> dict[str, int]:
        found: dict[str, int] = {}
        async with await aio_pika.connect(rig.stack.stack.urls["amqp"]) as connection:
            for queue in queues:
                channel = await connection.channel()
                declared = await channel.declare_queue(queue, passive=True)
                found[queue] = declared.declaration_result.message_count or 0
                await channel.close()
        return found

    return rig.outside.run(look())
