"""Edit and retry, against the endpoint of intake behind a real HTTP server; both share a store in memory."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web
from starlette.applications import Starlette

from acked_common.api.routes import ApiRoute
from acked_common.background.bundle_publisher import BundlePublisher
from acked_common.background.job_writer import JobWriter
from acked_common.background.kind_cache import KindCache
from acked_common.background.store_monitor import StoreMonitor
from acked_common.http.exception_handlers import EXCEPTION_HANDLERS
from acked_common.model import interventions
from acked_common.model.audit import AuditAction
from acked_common.model.ids import parse_id
from acked_common.model.lifecycle import Reason, State
from acked_common.model.principal import SCOPE_KEY, Permission, Principal
from acked_common.runtime.clock import SharedClock
from acked_common.runtime.env import Env
from acked_common.store.errors import StoreUnavailable
from acked_common.store.records import Job
from acked_gateway.audit.notes import Audit
from acked_gateway.jobs.command_routes import command_routes
from acked_gateway.jobs.commands import Commands
from acked_gateway.jobs.edits import Edits, edited_request
from acked_gateway.jobs.intake_client import IntakeClient
from acked_intake.accept.acceptance import Acceptance
from acked_intake.accept.group_commit import GroupCommit
from acked_intake.accept.keyed_commit import KeyedCommit
from acked_intake.request.operations import PROCESS
from acked_intake.request.routes import ProcessEndpoint
from acked_intake.settings import CommitLimits, read_settings
from support.asgi import Answer, call
from support.factories import MAKERS, again, cancelled, failed, kind_record, moved
from support.memory_broker import MemoryBroker
from support.parts import ShakyStore, admission
from support.web_server import web_server

MOST_BYTES = 4096
KIND = kind_record("demo", "demo", max_attempts=3, max_attempts_limit=20)


class As:
    """Calls an application as a client with these permissions."""

    def __init__(self, app: Any, *permissions: Permission) -> None:
        self._app = app
        self._principal = Principal("default", "ada", frozenset(permissions))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app({**scope, SCOPE_KEY: self._principal}, receive, send)


class Bench:
    """The gateway's commands and intake over one store; `forwarded` has the headers that intake was sent."""

    def __init__(self) -> None:
        settings = read_settings(Env({"ACKED_MAX_BODY_BYTES": str(MOST_BYTES)}))
        times = settings.common.times
        self.clock = SharedClock()
        self.store = ShakyStore(self.clock)
        self.kinds = KindCache(self.store)
        self.monitor = StoreMonitor(self.store, self.clock)
        self.bundle_publisher = BundlePublisher(MemoryBroker(), self.kinds)
        self.writer = JobWriter(self.store, self.bundle_publisher.offer)
        commit = GroupCommit(self.writer, CommitLimits())
        keyed_commit = KeyedCommit(commit, self.store, answer_within_s=1.8)
        acceptance = Acceptance(
            *(commit, keyed_commit, self.store, self.kinds, self.monitor, self.clock, times),
            admission(self.store, self.kinds),
        )
        endpoint = ApiRoute(ProcessEndpoint(acceptance, settings), PROCESS)
        self.intake_app = Starlette(routes=[endpoint], exception_handlers=dict(EXCEPTION_HANDLERS))
        self.forwarded: list[dict[str, str]] = []
        self.times = times

    def gateway(self, intake: IntakeClient) -> Starlette:
        audit = Audit(self.store.audit(), self.clock)
        commands = Commands(self.store, self.writer, audit, self.clock, self.times, waits=self.store.ledgers())
        edits = Edits(self.store, self.writer, audit, intake, self.clock, self.times)
        return Starlette(routes=command_routes(commands, edits), exception_handlers=dict(EXCEPTION_HANDLERS))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Intake, as its server calls it."""
        if scope["type"] == "http":
            self.forwarded.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await self.intake_app(scope, receive, send)

    async def edit(self, job: Job, payload: object = None, *, body: bytes | None = None, **headers: str) -> Answer:
        sent = json.dumps({"payload": payload}).encode() if body is None else body
        return await call(self.app, "POST", f"/jobs/{job.id}/edit", sent, headers=headers)

    async def made(self, response: Answer) -> Job:
        """The job that an edit made."""
        assert response.status == 202, response.body
        job_id = parse_id(response.json["id"])
        assert job_id is not None
        job = await self.store.get(job_id)
        assert job is not None
        return job

    app: Any
    routes = ()
    """Those at which a server expects WebSockets."""


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    await made.store.ensure_schema()
    await made.store.register_kinds([KIND])
    await made.monitor.look()
    await made.kinds.refresh()
    async with web_server(made) as server, intake_client(server.port) as intake:
        made.app = made.gateway(intake)
        yield made
    await made.bundle_publisher.stop()


@asynccontextmanager
async def intake_client(port: int, *, within_s: float = 10.0) -> AsyncIterator[IntakeClient]:
    client = IntakeClient(f"http://127.0.0.1:{port}", within_s=within_s)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


@pytest.mark.parametrize("make", [failed, cancelled])
async def test_another_job_takes_the_place_of_an_ended_one(bench: Bench, make: Callable[..., Awaitable[Job]]) -> None:
    asked = {"batch": "b", "tags": ("t", "u"), "max_attempts": 9, "timeout_s": 2.5, "expires_in_s": 60.0}
    before = await make(bench.store, payload=b'{"n":1}', **asked)
    response = await bench.edit(before, body=b'{"payload": {"n": 2.50, "text": "\\u00e4"}}', authorization="Bearer x")
    job = await bench.made(response)
    assert (job.state, job.kind, job.options) == (State.QUEUED, before.kind, before.options)
    assert job.payload == b'{"n": 2.50, "text": "\\u00e4"}', "kept exactly as it was sent"
    assert job.edited_from == before.id
    assert response.headers["location"] == f"/status/{job.id}"
    assert response.json["links"]["status"] == f"/status/{job.id}"
    assert bench.forwarded[0]["authorization"] == "Bearer x"

    after = await again(bench.store, before)
    assert (after.state, after.reason, after.run) == (before.state, Reason.EDITED.value, 2)
    assert (after.edited_to, after.payload) == (job.id, before.payload)
    assert after.history[-1].by is not None and after.history[-1].by.client == "local"
    (entry,) = bench.store.audit().entries
    assert (entry.action, entry.target) == (AuditAction.EDIT, {"job": str(before.id), "run": 1})


async def test_a_double_click_is_one_job(bench: Bench) -> None:
    before = await failed(bench.store)
    first, second = await asyncio.gather(bench.edit(before, 1), bench.edit(before, 1))
    assert {first.status, second.status} == {202}
    assert first.json["id"] == second.json["id"]
    third = await bench.edit(before, 1)
    assert (third.json["id"], third.headers["idempotency-replayed"]) == (first.json["id"], "true")
    after = await again(bench.store, before)
    assert [entry.reason for entry in after.history].count(Reason.EDITED.value) == 1
    assert (str(after.edited_to), after.run) == (first.json["id"], 2)


async def test_another_payload_for_the_same_run_names_the_job(bench: Bench) -> None:
    before = await failed(bench.store)
    made = await bench.made(await bench.edit(before, 1))
    response = await bench.edit(before, 2)
    assert (response.status, response.json["type"]) == (409, "/problems/wrong-state")
    assert response.json["edited_to"] == str(made.id)
    assert str(made.id) in response.json["detail"]
    assert (await again(bench.store, before)).edited_to == made.id


async def test_a_click_behind_a_crash_finishes_what_was_begun(bench: Bench) -> None:
    before = await failed(bench.store)
    # The new job is stored, and the old one does not name it.
    bench.store.failures["apply"] = [StoreUnavailable("the store is away")]
    assert (await bench.edit(before, 1)).status == 503
    assert (await again(bench.store, before)).edited_to is None
    refused = await bench.edit(before, 2)
    assert refused.status == 409, "a job was made of this run, though the old one does not name it yet"
    response = await bench.edit(before, 1)
    assert response.headers["idempotency-replayed"] == "true"
    assert response.json["id"] == refused.json["edited_to"]
    assert str((await again(bench.store, before)).edited_to) == response.json["id"]


async def test_each_run_is_edited_once(bench: Bench) -> None:
    before = await failed(bench.store)
    first = await bench.made(await bench.edit(before, 1))
    source = await again(bench.store, before)
    source = await moved(bench.store, source, interventions.retry(at=bench.clock.now(), grace_s=10, expires_in_s=100))
    source = await moved(bench.store, source, interventions.cancel(at=bench.clock.now(), retention_s=100))
    second = await bench.made(await bench.edit(source, 2))
    assert second.id != first.id
    assert (await again(bench.store, source)).edited_to == second.id


async def test_a_retry_meanwhile_wins_over_the_name(bench: Bench) -> None:
    before = await failed(bench.store)
    inserts = bench.store.calls.count("insert")
    may_insert = bench.store.holds["insert"] = asyncio.Event()
    clicked = asyncio.create_task(bench.edit(before, 1))
    await bench.store.until_called("insert", inserts + 1)
    retried = await moved(bench.store, before, interventions.retry(at=bench.clock.now(), grace_s=10, expires_in_s=100))
    may_insert.set()
    made = await bench.made(await clicked)
    assert made.edited_from == before.id
    assert await again(bench.store, before) == retried


@pytest.mark.parametrize("state", sorted(set(MAKERS) - {State.FAILED, State.CANCELLED}))
async def test_only_what_failed_or_was_cancelled_is_edited(bench: Bench, state: State) -> None:
    job = await MAKERS[state](bench.store)
    response = await bench.edit(job, 1)
    assert (response.status, response.json["type"], response.json["state"]) == (
        409,
        "/problems/wrong-state",
        state.value,
    )
    assert (bench.forwarded, bench.store.audit().entries) == ([], [])


async def test_an_erased_job_is_not_edited(bench: Bench) -> None:
    job = await failed(bench.store)
    assert (await call(bench.app, "POST", f"/jobs/{job.id}/erase")).status == 200
    response = await bench.edit(job, 1)
    assert (response.status, response.json["reason"]) == (409, Reason.ERASED.value)
    assert "erased can't be edited" in response.json["detail"]
    assert bench.forwarded == []


async def test_options_beyond_what_the_kind_allows_now_are_told(bench: Bench) -> None:
    before = await failed(bench.store, max_attempts=10)
    await bench.store.register_kinds([kind_record("demo", "demo", max_attempts=3)])
    await bench.kinds.refresh()
    response = await bench.edit(before, 1)
    assert (response.status, response.json["type"]) == (422, "/problems/invalid-field")
    assert response.json["errors"][0]["pointer"] == "/max_attempts"
    assert response.json["detail"].startswith("intake did not accept the job: max_attempts is 10")
    assert await again(bench.store, before) == before


async def test_a_payload_beyond_intakes_limit_is_refused(bench: Bench) -> None:
    before = await failed(bench.store)
    response = await bench.edit(before, "x" * MOST_BYTES)
    assert (response.status, response.json["type"]) == (413, "/problems/body-too-large")
    assert await again(bench.store, before) == before


async def test_it_takes_both_permissions(bench: Bench) -> None:
    before = await failed(bench.store)
    gateway, intake = bench.app, bench.intake_app
    bench.app = As(gateway, Permission.OPERATE)
    response = await bench.edit(before, 1)
    assert (response.status, response.json["type"]) == (403, "/problems/missing-permission")
    assert "submit" in response.json["detail"]
    assert (bench.forwarded, bench.store.audit().entries) == ([], [])
    bench.app = As(gateway, Permission.OPERATE, Permission.SUBMIT)
    # As intake finds a token that meanwhile allows less.
    bench.intake_app = As(intake, Permission.SUBMIT)  # type: ignore[assignment]
    response = await bench.edit(before, 1)
    assert (response.status, response.json["type"]) == (403, "/problems/missing-permission")
    assert "operate" in response.json["detail"]


async def test_another_tenants_job_is_not_there(bench: Bench) -> None:
    theirs = await failed(bench.store, tenant="globex")
    assert (await bench.edit(theirs, 1)).status == 404
    assert bench.forwarded == []


async def test_without_an_entry_intake_is_not_asked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def note(entry: object) -> None:
        raise StoreUnavailable("the store is away")

    monkeypatch.setattr(bench.store.audit(), "note", note)
    response = await bench.edit(await failed(bench.store), 1)
    assert (response.status, response.json["type"]) == (503, "/problems/store-unreachable")
    assert bench.forwarded == []


async def test_an_intake_that_is_away_has_stored_nothing(bench: Bench, unused_tcp_port: int) -> None:
    before = await failed(bench.store)
    async with intake_client(unused_tcp_port) as client:
        bench.app = bench.gateway(client)
        response = await bench.edit(before, 1)
    assert (response.status, response.json["type"]) == (503, "/problems/not-accepted")


async def never(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def nonsense(_: web.Request) -> web.StreamResponse:
    return web.Response(status=502, text="<html>")


async def without_id(_: web.Request) -> web.StreamResponse:
    return web.Response(status=202, text="{}")


async def fault(_: web.Request) -> web.StreamResponse:
    return web.json_response({"type": "/problems/internal", "detail": "x"}, status=500)


@pytest.mark.parametrize("response", [never, hang_up, nonsense, without_id, fault])
async def test_what_intake_did_not_answer_is_not_known(
    bench: Bench, response: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> None:
    app = web.Application()
    app.router.add_post("/process", response)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.01)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with intake_client(runner.addresses[0][1], within_s=0.3) as client:
            bench.app = bench.gateway(client)
            found = await bench.edit(await failed(bench.store), 1)
    finally:
        await runner.cleanup()
    assert (found.status, found.json["type"]) == (503, "/problems/outcome-unknown")
    assert "safe" in found.json["detail"]


async def test_a_limit_of_intake_is_passed_on(bench: Bench) -> None:
    async def limited(_: web.Request) -> web.StreamResponse:
        members = {"type": "/problems/rate-limited", "title": "t", "status": 429, "detail": "at most 5 a second"}
        return web.json_response(members, status=429, headers={"Retry-After": "7", "RateLimit": '"r";r=0;t=7'})

    app = web.Application()
    app.router.add_post("/process", limited)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with intake_client(runner.addresses[0][1]) as client:
            bench.app = bench.gateway(client)
            found = await bench.edit(await failed(bench.store), 1)
    finally:
        await runner.cleanup()
    assert (found.status, found.headers["retry-after"]) == (429, "7")
    assert found.headers["ratelimit"] == '"r";r=0;t=7'
    assert found.json["detail"] == "intake did not accept the job: at most 5 a second"


async def test_the_client_must_be_started() -> None:
    with pytest.raises(RuntimeError):
        await IntakeClient("http://127.0.0.1:1").process(b"", key="k", authorization=None)


async def test_a_request_asks_for_what_the_job_asked_for(bench: Bench) -> None:
    plain, asking = await failed(bench.store), await failed(bench.store, tags=("t",), timeout_s=3.0)
    source = {"kind": "demo", "payload": 7}
    assert json.loads(edited_request(plain, b"7")) == {**source, "edited_from": str(plain.id)}
    more = {"edited_from": str(asking.id), "tags": ["t"], "timeout_s": 3.0}
    assert json.loads(edited_request(asking, b"7")) == {**source, **more}
    assert UUID(json.loads(edited_request(plain, b"7"))["edited_from"]) == plain.id
