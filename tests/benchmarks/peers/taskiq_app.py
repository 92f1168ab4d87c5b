"""Taskiq with taskiq-aio-pika: `kiq` with publisher confirms into a quorum queue; no results."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from taskiq_aio_pika import AioPikaBroker
from taskiq_aio_pika.queue import Queue

from benchmarks.peers.endpoint import application, serve
from benchmarks.peers.marks import work

broker = AioPikaBroker(os.environ["BENCH_AMQP_URL"], qos=100, task_queues=[Queue(name="bench.taskiq")])


@broker.task(task_name="noop")
async def noop(payload: dict) -> None:
    """Does nothing."""
    work("noop", payload)


@broker.task(task_name="start")
async def start(payload: dict) -> None:
    """Tells that it has started."""
    work("start", payload)


TASKS = {"noop": noop, "start": start}


async def submit(kind: str, payload: dict) -> str:
    """Sends a task."""
    return (await TASKS[kind].kiq(payload)).task_id


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    """Connects and disconnects."""
    await broker.startup()
    yield
    await broker.shutdown()


if __name__ == "__main__":
    serve(application(submit, lifespan), int(sys.argv[1]))
