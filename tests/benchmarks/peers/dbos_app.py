"""DBOS: a workflow enqueued through its client, one row each; `work` as the second word runs the queue instead."""

import os
import sys
import threading

from dbos import DBOS, DBOSClient
from starlette.concurrency import run_in_threadpool

from benchmarks.peers.endpoint import application, serve
from benchmarks.peers.marks import STEPS, link, work

URL = os.environ["BENCH_DBOS_URL"]
QUEUE = "bench"


@DBOS.workflow(name="noop")
def noop(payload: dict) -> None:
    """Does nothing."""
    work("noop", payload)


@DBOS.workflow(name="start")
def start(payload: dict) -> None:
    """Tells that it has started."""
    work("start", payload)


@DBOS.step(name="link")
def step(number: int) -> int:
    """Does nothing."""
    return link(number)


@DBOS.workflow(name="steps")
def steps(payload: dict) -> None:
    """A few steps, one after the other."""
    for number in range(STEPS):
        step(number)
    work("steps", payload)


def run_queue() -> None:
    """Makes the tables and works until it is ended. Queues are asked each second, as shipped."""
    DBOS(config={"name": "bench", "system_database_url": URL, "log_level": "WARNING"})
    DBOS.launch()
    DBOS.register_queue(QUEUE)
    print("ready", flush=True)
    threading.Event().wait()


def make_tables() -> None:
    """Makes the tables and the queue."""
    DBOS(config={"name": "bench", "system_database_url": URL, "log_level": "WARNING"})
    DBOS.launch()
    DBOS.register_queue(QUEUE)
    DBOS.destroy()


def serve_endpoint(port: int) -> None:
    """The endpoint, with a connection for each of Starlette's threads."""
    client = DBOSClient(system_database_url=URL, system_database_pool_size=40)

    def enqueue(kind: str, payload: dict) -> str:
        return client.enqueue({"queue_name": QUEUE, "workflow_name": kind}, payload).get_workflow_id()

    async def submit(kind: str, payload: dict) -> str:
        return await run_in_threadpool(enqueue, kind, payload)

    serve(application(submit), port)


if __name__ == "__main__":
    match sys.argv[1]:
        case "work":
            run_queue()
        case "init":
            make_tables()
        case port:
            serve_endpoint(int(port))
