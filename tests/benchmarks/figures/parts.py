"""What the way of a job is made of, each part alone: an insert, a publication until its delivery, an update."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import aio_pika
import uvloop
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import WriteConcern

from acked_common.model import lifecycle
from acked_common.model.ids import new_id
from acked_common.store.mongo.documents import job_document
from acked_common.store.records import NewJob
from benchmarks.bench import Bench

_QUEUE = "bench.parts"
_DATABASE = "bench_parts"
_WITHIN_S = 10.0
_PAUSE_S = 0.005


def measure_parts(bench: Bench, *, samples: int, within_s: float) -> list[float]:
    """Milliseconds of each sum of the three, one after the other on an idle system."""
    return uvloop.run(_measure(bench, samples, within_s))


async def _measure(bench: Bench, samples: int, within_s: float) -> list[float]:
    urls = bench.ours.stack.urls
    client: Any = AsyncIOMotorClient(urls["mongo"], uuidRepresentation="standard")
    jobs = client[_DATABASE].get_collection("jobs", write_concern=WriteConcern(w="majority", j=True))
    delivered: asyncio.Queue[bytes] = asyncio.Queue()

    async def on_message(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        await message.ack()
        delivered.put_nowait(message.body)

    took: list[float] = []
    async with await aio_pika.connect(urls["amqp"]) as connection:
        channel = await connection.channel(publisher_confirms=True)
        queue = await channel.declare_queue(_QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        await queue.purge()
        consumer = await queue.consume(on_message)
        end = time.monotonic() + within_s
        # The first ones pay for connections.
        for number in range(samples + 5):
            if time.monotonic() > end and len(took) >= 3:
                break
            async with asyncio.timeout(_WITHIN_S):
                document = job_document(_job())
                started = time.perf_counter()
                await jobs.insert_one(document)
                await channel.default_exchange.publish(
                    aio_pika.Message(document["_id"].bytes, delivery_mode=aio_pika.DeliveryMode.PERSISTENT), _QUEUE
                )
                await delivered.get()
                await jobs.update_one({"_id": document["_id"], "rev": 1}, {"$set": {"rev": 2, "attempt": 1}})
                if number >= 5:
                    took.append((time.perf_counter() - started) * 1e3)
                await asyncio.sleep(_PAUSE_S)
        await queue.cancel(consumer)
        await queue.delete(if_unused=False, if_empty=False)
    await client.drop_database(_DATABASE)
    client.close()
    return took


def _job() -> NewJob:
    at = datetime.now(UTC)
    fields = lifecycle.accept_fields(at=at, delay_s=0, grace_s=10, expires_in_s=86_400)
    return NewJob(id=new_id(), kind="start", payload=b'{"number": 1}', accepted_at=at, lifecycle=fields)
