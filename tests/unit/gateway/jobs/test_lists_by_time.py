"""Lists of jobs between instants, page by page."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from starlette.applications import Starlette

from acked_common.api.hints import Hints
from acked_common.background.kind_cache import KindCache
from acked_common.background.pause_cache import PauseCache
from acked_common.background.queue_looks import QueueLooks
from acked_common.background.worker_cache import WorkerCache
from acked_common.http.exception_handlers import EXCEPTION_HANDLERS
from acked_common.http.holdings import Ledger
from acked_common.http.limits import Limit
from acked_common.model.ids import first_id_at
from acked_common.model.instants import rfc3339
from acked_gateway.jobs.routes import Reads, job_routes
from support.asgi import Answer, call
from support.factories import ManualClock, insert, new_job
from support.memory_store import MemoryStore


class Bench:
    """The routes of lists over a store in memory."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        reads = Reads(Limit("reads", Ledger(6, 3), own="too-many-reads", what="lists and counts"))
        workers, looks = WorkerCache(self.store, seen_within_s=24.0), QueueLooks(self.store, self.store, self.clock)
        hints = Hints(workers, KindCache(self.store), looks, self.clock, PauseCache(self.store))
        self.app = Starlette(
            routes=[*job_routes(self.store, hints, reads, self.clock, self.store.load_tests(), self.store.ledgers())],
            exception_handlers=dict(EXCEPTION_HANDLERS),
        )

    async def get(self, target: str) -> Answer:
        return await call(self.app, "GET", target)

    async def listed(self, query: str) -> Any:
        response = await self.get(f"/jobs{query}")
        assert response.status == 200, response.body
        return response.json


@pytest.fixture
def bench() -> Bench:
    return Bench()


def ids(page: Any) -> list[UUID]:
    return [UUID(job["id"]) for job in page["jobs"]]


async def test_page_token_of_a_relative_since_holds(bench: Bench) -> None:
    start = bench.clock.now()
    ids_at = [UUID(int=first_id_at(start + timedelta(minutes=n)).int + 7 * 2**76 + 2**63 + n) for n in range(4)]
    await insert(bench.store, *(new_job(id=job_id) for job_id in ids_at))
    bench.clock.advance(180.0)
    first = await bench.listed("?since=3m&page_size=2")
    assert ids(first) == [ids_at[3], ids_at[2]]
    # The oldest job is older than three minutes now; the list is still that of the first page.
    bench.clock.advance(120.0)
    second = await bench.listed(f"?since=3m&page_size=2&page_token={first['next_page_token']}")
    assert ids(second) == [ids_at[1], ids_at[0]]
    assert second["next_page_token"] == ""
    response = await bench.get(f"/jobs?since=4m&page_size=2&page_token={first['next_page_token']}")
    assert "other filters" in response.json["detail"]


async def test_bounds_in_time_narrow_a_list(bench: Bench) -> None:
    start = bench.clock.now()
    ids_at = [UUID(int=first_id_at(start + timedelta(hours=n)).int + 7 * 2**76 + 2**63) for n in range(4)]
    await insert(bench.store, *(new_job(id=job_id) for job_id in ids_at))
    bench.clock.advance(4 * 3600.0)
    assert ids(await bench.listed("?since=3h")) == ids_at[:0:-1]
    assert ids(await bench.listed(f"?since={rfc3339(start)}&until=2h")) == [ids_at[1], ids_at[0]]
    assert ids(await bench.listed("?until=1h&kind=demo")) == [ids_at[2], ids_at[1], ids_at[0]]
    assert ids(await bench.listed("?until=5h")) == []
