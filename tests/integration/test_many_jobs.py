"""Attention, lists and bulk actions over very many ended jobs: the work of each is bounded, and each prints its time.

`--ended-jobs` says how many have succeeded: `./just test full` has a million.
"""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from pymongo.database import Database
from starlette.applications import Starlette

from acked_common.api.hints import Hints
from acked_common.background.job_writer import JobWriter
from acked_common.background.kind_cache import KindCache
from acked_common.background.pause_cache import PauseCache
from acked_common.background.queue_looks import QueueLooks
from acked_common.background.worker_cache import WorkerCache
from acked_common.http.exception_handlers import EXCEPTION_HANDLERS
from acked_common.http.holdings import Ledger
from acked_common.http.limits import Limit
from acked_common.model.bulk_actions import COUNTED_UP_TO, EXAMPLES_KEPT
from acked_common.model.lifecycle import Reason, State
from acked_common.runtime.clock import SharedClock
from acked_common.store.mongo import schema
from acked_common.store.mongo.documents import Document
from acked_common.store.mongo.store import MongoStore
from acked_gateway.attention.routes import attention_routes
from acked_gateway.audit.notes import Audit
from acked_gateway.bulk.orders import BulkOrders
from acked_gateway.bulk.pages import Pages
from acked_gateway.bulk.routes import bulk_routes
from acked_gateway.bulk.runner import BulkRunner
from acked_gateway.jobs.acts import Acts
from acked_gateway.jobs.routes import Reads, job_routes
from support.asgi import call
from support.factories import eventually, now
from support.nonce import nonce
from support.parts import common_settings, running_tasks
from support.profile import Profile
from support.seeding import Seed, error_of, seed
from support.servers import Servers

FAILED, GROUPS, PER_GROUP = 100_000, 40, 2_500
ENDED_JOBS = 200_000
MOST_KEYS = 10_000

pytestmark = pytest.mark.alone


class Bench:
    """The gateway's routes over a store with many jobs, and what each request costs the server."""

    def __init__(self, store: MongoStore, database: Database[dict[str, Any]]) -> None:
        clock = SharedClock()
        self.store = store
        self.database = database
        self._profile = Profile(database, schema.JOBS, schema.CENSUS, schema.ERROR_GROUPS, schema.BULK_ACTIONS)
        reads = Reads(Limit("reads", Ledger(6, 3), own="too-many-reads", what="lists and counts"))
        workers, kinds = WorkerCache(store, seen_within_s=24.0), KindCache(store)
        hints = Hints(workers, kinds, QueueLooks(store, store, clock), clock, PauseCache(store))
        audit = Audit(store.audit(), clock)
        actions, choices, acts = store.bulk_actions(), store.choices(), Acts(common_settings().times)
        pages = Pages(choices, JobWriter(store, lambda jobs: None), clock, acts, lambda *_: None)
        self._runner = BulkRunner(actions, pages, clock, owner="one")
        orders = BulkOrders(choices, actions, clock, acts, audit=audit, wake=self._runner.wake)
        self._app = Starlette(
            routes=[
                *job_routes(store, hints, reads, clock, store.load_tests(), store.ledgers()),
                *attention_routes(store, audit, reads, clock),
                *bulk_routes(actions, orders, reads),
            ],
            exception_handlers=dict(EXCEPTION_HANDLERS),
        )

    async def get(self, target: str) -> Any:
        """Return the body of a response, whose work must be bounded."""
        return await self._second("GET", target, b"")

    async def dry_run(self, chosen: dict[str, str], *, most_keys: int = MOST_KEYS) -> Any:
        """Return what a retry of these jobs would do; its work must be bounded by the count."""
        body = json.dumps({"action": "retry", "filter": chosen, "dry_run": True}).encode()
        return await self._second("POST", "/bulk-actions", body, most_keys=most_keys)

    async def retry(self, chosen: dict[str, str]) -> Any:
        """Retry these jobs and return how the action ended; its work must be bounded by their number."""
        body = json.dumps({"action": "retry", "filter": chosen}).encode()
        self._profile.start()
        began = time.monotonic()
        ordered = await call(self._app, "POST", "/bulk-actions", body)
        assert ordered.status == 202, ordered.body
        target = f"/bulk-actions/{ordered.json['id']}"

        async def is_over() -> bool:
            return (await call(self._app, "GET", target)).json["ended_at"] is not None

        async with running_tasks() as tasks:
            self._runner.start(tasks)
            await eventually(is_over, within_s=120.0)
            took_s = time.monotonic() - began
            await self._runner.stop()
        operations = self._profile.stop()
        keys, documents = self._work(f"retry {json.dumps(chosen)}", took_s, operations)
        ended = (await call(self._app, "GET", target)).json
        # Each job is counted by its key, then read once and written once.
        assert ended["done"] <= documents <= 3 * ended["done"] and keys <= 5 * ended["done"], (keys, documents)
        return ended

    async def _second(self, method: str, target: str, body: bytes, *, most_keys: int = MOST_KEYS) -> Any:
        # The first request fills what caches keep, of the server too.
        await call(self._app, method, target, body)
        self._profile.start()
        began = time.monotonic()
        answer = await call(self._app, method, target, body)
        took_s = time.monotonic() - began
        operations = self._profile.stop()
        assert answer.status == 200, answer.body
        keys, documents = self._work(f"{target} {body.decode()}", took_s, operations)
        assert keys <= most_keys and documents <= MOST_KEYS, (target, keys, documents)
        return answer.json

    @staticmethod
    def _work(what: str, took_s: float, operations: list[Document]) -> tuple[int, int]:
        """Print and return the work of some operations, none of which may scan a collection or sort."""
        keys, documents = work_of(operations)
        print(f"{what:<60} {took_s * 1000:8.1f} ms {keys:8,} keys {documents:8,} documents")  # noqa: T201
        plans = {operation["planSummary"] for operation in operations if "planSummary" in operation}
        assert not any("COLLSCAN" in plan for plan in plans), (what, plans)
        assert not any(operation.get("hasSortStage") for operation in operations), what
        return keys, documents


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
    mongo_url: str, fresh_database: str, servers: Servers, ended_jobs: int
) -> None:
    database, end = servers.mongo()[fresh_database], now()
    began = time.monotonic()
    seed(
        database,
        Seed(ended_jobs, State.SUCCEEDED, end, timedelta(milliseconds=600), _succeeded),
        Seed(FAILED, State.FAILED, end, timedelta(milliseconds=1200), _failed, first_number=ended_jobs),
    )
    async with _store(mongo_url, fresh_database) as store:
        await store.ensure_schema()
        print(f"\n{ended_jobs:,} succeeded and {FAILED:,} failed jobs in {time.monotonic() - began:.1f} s")  # noqa: T201
        bench = Bench(store, database)
        await _count(bench)
        await _attention(bench, since_end_s=(now() - end).total_seconds())
        await _lists(bench)
        await _bulk(bench)


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


async def _attention(bench: Bench, *, since_end_s: float) -> None:
    found = await bench.get("/attention")
    groups = {group["group"]: group for group in found["groups"]}
    assert groups.keys() == {_group(number) for number in range(GROUPS)}
    assert {(group["count"], group["count_is_exact"]) for group in groups.values()} == {(PER_GROUP, True)}
    # One every 1.2 s, in turn: 3,000 in an hour, 75 of a group; none since seeding began.
    shown = (3600 - since_end_s) / 1.2 / GROUPS
    assert all(shown - 5 <= sum(group["per_minute"]) <= shown + 1 for group in groups.values()), shown
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


async def _bulk(bench: Bench) -> None:
    group = {"error.group": _group(7)}
    found = await bench.dry_run(group)
    assert (found["count"], found["count_is_exact"], len(found["examples"])) == (PER_GROUP, True, EXAMPLES_KEPT)
    # A count examines each of its jobs' keys once, up to its bound.
    found = await bench.dry_run({"state": "failed"}, most_keys=COUNTED_UP_TO + 10 * GROUPS)
    assert found["count"] == FAILED or not found["count_is_exact"]
    ended = await bench.retry(group)
    assert (ended["state"], ended["done"], ended["refused"]) == ("done", PER_GROUP, {})
    assert (await bench.get(f"/jobs?error.group={_group(7)}"))["jobs"] == []
    assert {job["reason"] for job in (await bench.get("/jobs?state=queued"))["jobs"]} == {Reason.RETRIED}
    assert bench.database[schema.JOBS].count_documents({"state": State.QUEUED, "run": 2}) == PER_GROUP
