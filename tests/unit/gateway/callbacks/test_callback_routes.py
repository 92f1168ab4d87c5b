"""The list of all deliveries over HTTP: those of the tenant, by state, page by page."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from starlette.applications import Starlette

from acked_common.http.exception_handlers import EXCEPTION_HANDLERS
from acked_common.http.holdings import Ledger
from acked_common.http.limits import Limit
from acked_common.model import interventions
from acked_common.model.callbacks import CALLBACK_KIND, EventDelivery, JobEnd, delivery_id, tag_of, webhook_id
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import State
from acked_common.model.principal import SCOPE_KEY, Permission, Principal
from acked_gateway.audit.notes import Audit
from acked_gateway.callbacks.deliveries import Resends
from acked_gateway.callbacks.routes import callback_routes
from acked_gateway.callbacks.secrets import Signing
from acked_gateway.jobs.routes import Reads
from support.asgi import Answer, call
from support.factories import RETENTION_S, ManualClock, insert, moved, new_job
from support.memory_callback_endpoints import MemoryCallbackEndpoints
from support.memory_store import MemoryStore

URL = "https://hooks.example/x"


class Bench:
    """The routes over parts in memory, as one client calls them."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.principal = Principal("acme", "ann", frozenset(Permission))
        audit = Audit(self.store.audit(), self.clock)
        signing = Signing(self.store.callback_secrets(), audit, self.clock)
        reads = Reads(Limit("reads", Ledger(6, 3), own="too-many-reads", what="lists and counts"))
        resends = Resends(self.store, MemoryCallbackEndpoints(), audit)
        routes = callback_routes(self.store, resends, signing, reads, self.clock)
        self._app = Starlette(routes=routes, exception_handlers=dict(EXCEPTION_HANDLERS))

    async def get(self, query: str = "") -> Answer:
        async def as_client(scope: Any, receive: Any, send: Any) -> None:
            await self._app({**scope, SCOPE_KEY: self.principal}, receive, send)

        return await call(as_client, "GET", f"/callbacks{query}")

    async def delivers(self, at: datetime, *, tenant: str = "acme", resend: int = 0, job: UUID | None = None) -> UUID:
        """Insert a delivery of the end of a job, and return its id."""
        job_id, end = job or new_id(), JobEnd(1, "job.succeeded", at, resend)
        sent = EventDelivery(
            tenant, job_id, URL, end.run, end.event, at, end.resend, webhook_id(job_id, end), '{"type":"job.succeeded"}'
        )
        found = delivery_id(job_id, end)
        await insert(
            self.store,
            new_job(
                id=found,
                kind=CALLBACK_KIND,
                tenant=tenant,
                tags=(tag_of(job_id),),
                at=at,
                payload=msgspec.json.encode(sent),
            ),
        )
        return found


@pytest.fixture
def bench() -> Bench:
    return Bench()


def ids(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.body
    return [one["id"] for one in answer.json["deliveries"]]


async def test_deliveries_of_all_jobs_are_listed_page_by_page(bench: Bench) -> None:
    begin = bench.clock.now()
    sent = [await bench.delivers(begin + timedelta(seconds=number)) for number in range(3)]
    await bench.delivers(begin, tenant="globex")
    await insert(bench.store, new_job(tenant="acme", at=begin))
    newest_first = [str(one) for one in reversed(sent)]
    assert ids(await bench.get()) == newest_first
    first = await bench.get("?page_size=2")
    rest = await bench.get(f"?page_size=2&page_token={first.json['next_page_token']}")
    assert ids(first) + ids(rest) == newest_first
    assert rest.json["next_page_token"] == ""
    bench.principal = Principal("initech", "cy", frozenset(Permission))
    assert ids(await bench.get()) == []
    assert (await bench.get(f"?page_token={first.json['next_page_token']}")).status == 422


async def test_each_delivery_names_the_job_that_ended(bench: Bench) -> None:
    job = new_id()
    sent = [await bench.delivers(bench.clock.now(), job=job, resend=number) for number in range(2)]
    listed = (await bench.get()).json["deliveries"]
    assert {one["id"] for one in listed} == {str(one) for one in sent}
    assert {(one["job"], one["url"], one["webhook_id"]) for one in listed} == {(str(job), URL, f"{job}_1_succeeded")}


async def test_deliveries_are_selected_by_the_state_of_their_jobs(bench: Bench) -> None:
    at = bench.clock.now()
    stays, ends = [await bench.delivers(at + timedelta(seconds=number)) for number in range(2)]
    found = await bench.store.get_many([ends])
    await moved(bench.store, found[ends], interventions.cancel(at=at, retention_s=RETENTION_S))
    assert ids(await bench.get(f"?state={State.CANCELLED}")) == [str(ends)]
    assert ids(await bench.get(f"?state={State.QUEUED}")) == [str(stays)]
    assert ids(await bench.get("?state=")) == [str(ends), str(stays)]
    refused = await bench.get("?state=lost")
    assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "?state")


async def test_an_erased_delivery_is_left_out(bench: Bench) -> None:
    at = bench.clock.now()
    kept, erased = [await bench.delivers(at + timedelta(seconds=number)) for number in range(2)]
    job = (await bench.store.get_many([erased]))[erased]
    job = await moved(bench.store, job, interventions.cancel(at=at, retention_s=RETENTION_S))
    await moved(bench.store, job, interventions.erase(at=at, state=job.state))
    assert ids(await bench.get()) == [str(kept)]
