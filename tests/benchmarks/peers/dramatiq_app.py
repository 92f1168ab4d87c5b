"""Dramatiq: `send` with publisher confirms into a durable queue; no results.

Calls block, so they run in Starlette's threads, each with a connection of its own.
"""

import os
import sys

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from starlette.concurrency import run_in_threadpool

from benchmarks.peers.endpoint import application, serve
from benchmarks.peers.marks import work

dramatiq.set_broker(RabbitmqBroker(url=os.environ["BENCH_AMQP_URL"], confirm_delivery=True))


@dramatiq.actor(queue_name="bench.dramatiq", actor_name="noop")
def noop(payload: dict) -> None:
    """Does nothing."""
    work("noop", payload)


@dramatiq.actor(queue_name="bench.dramatiq", actor_name="start")
def start(payload: dict) -> None:
    """Tells that it has started."""
    work("start", payload)


ACTORS = {"noop": noop, "start": start}


async def submit(kind: str, payload: dict) -> str:
    """Sends a message."""
    return (await run_in_threadpool(ACTORS[kind].send, payload)).message_id


if __name__ == "__main__":
    serve(application(submit), int(sys.argv[1]))
