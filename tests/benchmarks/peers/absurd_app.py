"""Absurd: a task spawned through its client, a row each in PostgreSQL; `work` as the second word runs the queue
instead."""

import os
import sys
import threading

import psycopg
from absurd_sdk import Absurd, TaskContext
from absurdctl import BUNDLED_SCHEMA_SQL
from starlette.concurrency import run_in_threadpool

from benchmarks.peers.endpoint import application, serve
from benchmarks.peers.marks import STEPS, link, work

URL = os.environ["BENCH_ABSURD_URL"]
QUEUE = "bench"
CONCURRENCY = 16
"""Tasks at once of a worker process. Its connection is one, so more of them do not make it faster."""


def run_queue() -> None:
    """Work until it is ended."""
    worker = Absurd(URL, QUEUE)

    @worker.register_task("steps")
    def steps(payload: dict, ctx: TaskContext) -> None:
        for number in range(STEPS):
            ctx.step(f"link-{number}", lambda number=number: link(number))
        work("steps", payload)

    @worker.register_task("noop")
    def noop(payload: dict, ctx: TaskContext) -> None:
        work("noop", payload)

    print("ready", flush=True)
    worker.start_worker(concurrency=CONCURRENCY)


def make_tables() -> None:
    """Makes the tables and the queue, from the SQL that the package carries."""
    with psycopg.connect(URL, autocommit=True) as connection:
        connection.execute(BUNDLED_SCHEMA_SQL)
    client = Absurd(URL, QUEUE)
    client.create_queue(QUEUE)
    client.close()


def serve_endpoint(port: int) -> None:
    """The endpoint, with a connection for each of Starlette's threads."""
    clients = threading.local()

    def spawn(kind: str, payload: dict) -> str:
        if not hasattr(clients, "own"):
            clients.own = Absurd(URL, QUEUE)
        return str(clients.own.spawn(kind, payload, queue=QUEUE)["task_id"])

    async def submit(kind: str, payload: dict) -> str:
        return await run_in_threadpool(spawn, kind, payload)

    serve(application(submit), port)


if __name__ == "__main__":
    match sys.argv[1]:
        case "work":
            run_queue()
        case "init":
            make_tables()
        case port:
            serve_endpoint(int(port))
