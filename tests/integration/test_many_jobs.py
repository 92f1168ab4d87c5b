"""Attention and lists over very many ended jobs: each answer has bounded work, and says how long it took.

`--ended-jobs` says how many have succeeded: `./just test full` has a million.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from pymongo.database import Database
from starlette.applications import Starlette

from acked_common.api.hints import Hints
from acked_common.background.kind_cache import KindCache
from acked_common.background.pause_cache import PauseCache
from acked_common.background.queue_looks import QueueLooks
from acked_common.background.worker_cache import WorkerCache
from acked_common.http.exception_handlers import EXCEPTION_HANDLERS
from acked_common.http.holdings import Ledger
from acked_common.http.limits import Limit
from acked_common.model.lifecycle import State
from acked_common.runtime.clock import SharedClock
from acked_common.store.mongo import schema
from acked_common.store.mongo.documents import Document
from acked_common.store.mongo.store import MongoStore
from acked_gateway.attention.routes import attention_routes
from acked_gateway.audit.notes import Audit
from acked_gateway.jobs.routes import Reads, job_routes
from support.asgi import call
from support.factories import now
from support.nonce import nonce
from support.profile import Profile
from support.seeding import Seed, error_of, seed
from support.servers import Servers

FAILED, GROUPS, PER_GROUP = 100_000, 40, 2_500
MOST_KEYS = 10_000

pytestmark = pytest.mark.alone


class Bench:
    """The gateway's routes over a store with many jobs, and what each request costs the server."""

    def __init__(self, store: MongoStore, database: Database[dict[str, Any]]) -> None:
        clock = SharedClock()
        self.store = store
        self.database = database
        self._profile = Profile(database, schema.JOBS, schema.CENSUS, schema.ERROR_GROUPS)
        reads = Reads(Limit("reads", Ledger(6, 3), own="too-many-reads", what="lists and counts"))
        workers, kinds = WorkerCache(store, seen_within_s=24.0), KindCache(store)
        hints = Hints(workers, kinds, QueueLooks(store, store, clock), clock, PauseCache(store))
        audit = Audit(store.audit(), clock)
        self._app = Starlette(
            routes=[*job_routes(store, hints, reads, clock), *attention_routes(store, audit, reads, clock)],
            exception_handlers=dict(EXCEPTION_HANDLERS),
        )

    async def get(self, target: str) -> Any:
        """Return the answer of a request, whose work must be bounded."""
        answer = await call(self._app, "GET", target)
        self._profile.start()
        began = time.monotonic()
        answer = await call(self._app, "GET", target)
        took_s = time.monotonic() - began
        operations = self._profile.stop()
        assert answer.status == 200, answer.body
        keys, documents = work_of(operations)
        print(f"{target:<60} {took_s * 1000:8.1f} ms {keys:8,} keys {documents:8,} documents")  # noqa: T201
        plans = {operation["planSummary"] for operation in operations}
        assert not any("COLLSCAN" in plan for plan in plans), (target, plans)
        assert not any(operation.get("hasSortStage") for operation in operations), target
        assert keys <= MOST_KEYS and documents <= MOST_KEYS, (target, keys, documents)
        return answer.json


def work_of(operations: list[Document]) -> tuple[int, int]:
    """Return how many keys and documents were examined."""
    return (
        sum(operation.get("keysExamined", 0) for operation in operations),
        sum(operation.get("docsExamined", 0) for operation in operations),
    )


def _group(number: int) -> str:
    return f"1{number % GROUPS:016x}"


def _failed(number: int) -> Document:
    group = _group(number)
    error = {**error_of(group, number), "message": f"{MARK} is lost for the {number}. time"}
    return {"error": error, "kind": f"k{number % GROUPS % 8}", "batch": f"b{number % 100}", "tags": ["failed"]}


def _succeeded(number: int) -> Document:
    return {"kind": f"k{number % 8}", "batch": f"b{number % 1000}"} if number % 2 else {"tags": [f"t{number % 50}"]}


MARK = nonce()


@asynccontextmanager
async def _store(url: str, database: str) -> AsyncIterator[MongoStore]:
    # A gateway's own bound of a call would be too short for an index over all of them.
    store = MongoStore(url, database, app_name="many-jobs", timeout_s=120.0)
    yield store
    await store.close()


async def test_every_answer_over_many_ended_jobs_has_bounded_work(
    mongo_url: str, mongo_database: str, servers: Servers, ended_jobs: int
) -> None:
    database, end = servers.mongo()[mongo_database], now()
    began = time.monotonic()
    seed(
        database,
        Seed(ended_jobs, State.SUCCEEDED, end, timedelta(milliseconds=600), _succeeded),
        Seed(FAILED, State.FAILED, end, timedelta(milliseconds=1200), _failed, first_number=ended_jobs),
    )
    async with _store(mongo_url, mongo_database) as store:
        await store.ensure_schema()
        print(f"\n{ended_jobs:,} succeeded and {FAILED:,} failed jobs in {time.monotonic() - began:.1f} s")  # noqa: T201
        bench = Bench(store, database)
        await _count(bench)
        await _attention(bench)
        await _lists(bench)


async def _count(bench: Bench) -> None:
    profile = Profile(bench.database, schema.JOBS)
    profile.start()
    counted = await bench.store.count_census(at=now())
    keys, documents = work_of(profile.stop())
    print(f"census: {counted.summary.took_s * 1000:.1f} ms, {keys:,} keys, {documents:,} documents")  # noqa: T201
    # Each failed job once, and no other job.
    assert keys <= FAILED + 10 * GROUPS
    assert documents <= GROUPS
    await bench.store.write_census(counted)


async def _attention(bench: Bench) -> None:
    found = await bench.get("/attention")
    groups = {group["group"]: group for group in found["groups"]}
    assert groups.keys() == {_group(number) for number in range(GROUPS)}
    assert {(group["count"], group["count_is_exact"]) for group in groups.values()} == {(PER_GROUP, True)}
    # One every 1.2 s, in turn: 3,000 in an hour.
    assert all(70 <= sum(group["per_minute"]) <= 76 for group in groups.values())
    assert all(MARK in group["message"] for group in groups.values())
    assert len((await bench.get("/attention?kind=k3"))["groups"]) == GROUPS // 8
    assert (await bench.get("/attention?snoozed=true"))["groups"] == []


async def _lists(bench: Bench) -> None:
    group = _group(7)
    for query, size in (
        ("page_size=1000", 1000),
        ("state=failed&page_size=1000", 1000),
        (f"error.group={group}&page_size=1000", 1000),
        (f"error.group={group}&since=1h", 50),
        (f"error.group={group}&kind=k7&tag=failed", 50),
        (f"error.group={group}&until=1h&batch=b7", 50),
        ("error.group=ungrouped", 0),
        ("kind=k3&since=2h&until=1h", 50),
        ("batch=b7&state=failed", 50),
        ("batch=b7", 50),
        ("tag=t4", 50),
        ("state=running", 0),
        ("state=cancelled&kind=k1", 0),
        ("kind=absent&tag=failed", 0),
        ("state=failed&kind=k1&tag=failed&since=30m", 50),
    ):
        jobs = (await bench.get(f"/jobs?{query}"))["jobs"]
        assert len(jobs) == size, query
        if "error.group=1" in query:
            assert {job["error"]["group"] for job in jobs} == {group}
            assert all(MARK in job["error"]["message"] for job in jobs)
