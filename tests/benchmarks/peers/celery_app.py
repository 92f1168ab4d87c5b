"""Celery: `apply_async` with publisher confirms into a quorum queue, results in MongoDB.

Calls block, so they run in Starlette's threads, as its documents advise.
"""

import os
import sys

from celery import Celery
from starlette.concurrency import run_in_threadpool

from benchmarks.peers.endpoint import application, serve
from benchmarks.peers.marks import work

app = Celery(
    "bench",
    broker=os.environ["BENCH_AMQP_URL"],
    backend=os.environ["BENCH_CELERY_RESULTS"],
)
app.conf.update(
    task_default_queue="bench.celery",
    task_default_queue_type="quorum",
    broker_transport_options={"confirm_publish": True},
    broker_pool_limit=40,
    broker_connection_retry_on_startup=True,
    task_acks_late=True,
    worker_prefetch_multiplier=50,
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
    result_expires=None,
    mongodb_backend_settings={"database": "bench_celery"},
)


@app.task(name="noop")
def noop(payload: dict) -> None:
    """Does nothing."""
    work("noop", payload)


@app.task(name="start")
def start(payload: dict) -> None:
    """Tells that it has started."""
    work("start", payload)


TASKS = {"noop": noop, "start": start}


async def submit(kind: str, payload: dict) -> str:
    """Sends a task."""
    return (await run_in_threadpool(TASKS[kind].apply_async, (payload,))).id


if __name__ == "__main__":
    serve(application(submit), int(sys.argv[1]))
