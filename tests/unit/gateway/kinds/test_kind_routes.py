"""Pause and resume over HTTP: who, why, since when; what is refused; and what the status of waiting jobs says."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from starlette.applications import Starlette

from acked_common.api.authenticator import Authenticator
from acked_common.api.hints import Hints
from acked_common.api.long_poll import LongPolls
from acked_common.api.status_route import status_routes
from acked_common.background.census import CensusLoop
from acked_common.background.kind_cache import KindCache
from acked_common.background.limit_looks import LimitLooks
from acked_common.background.pause_cache import PauseCache
from acked_common.background.queue_looks import QueueLooks
from acked_common.background.worker_cache import WorkerCache
from acked_common.http.exception_handlers import EXCEPTION_HANDLERS
from acked_common.http.holdings import Ledger
from acked_common.http.limits import Limit
from acked_common.model.instants import rfc3339
from acked_common.model.pauses import MAX_REASON_CHARS, KindPauses, Pause
from acked_common.model.payload_schemas import PayloadSchema, digest_of, stored_text
from acked_common.model.principal import SCOPE_KEY, Permission, Principal
from acked_common.store.errors import StoreUnavailable
from acked_common.store.records import RunningJob, WorkerRecord
from acked_gateway.audit.notes import Audit
from acked_gateway.jobs.intake_client import IntakeClient
from acked_gateway.kinds.backlog import backlog_route
from acked_gateway.kinds.details import KindDetailsParts
from acked_gateway.kinds.limiting import Limiting
from acked_gateway.kinds.pausing import Pausing
from acked_gateway.kinds.routes import kind_routes
from support.asgi import Answer, call
from support.factories import ManualClock, failed, kind_record, queued, running
from support.parts import ShakyStore

AT = ManualClock().now()


class Bench:
    """The routes over parts in memory, as one client calls them."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = ShakyStore(self.clock)
        self.principal: Principal | None = None
        self.census = CensusLoop(self.store, self.clock)
        kinds = KindCache(self.store)
        pauses = PauseCache(self.store)
        audit = Audit(self.store.audit(), self.clock)
        workers = self.workers = WorkerCache(self.store, seen_within_s=24.0)
        polls = Limit("polls", Ledger(6, 3), own="too-many-polls", what="long polls")
        looks = LimitLooks(self.store, self.clock)
        queues = QueueLooks(self.store, self.store, self.clock)
        hints = Hints(workers, kinds, queues, self.clock, pauses, limits=looks)
        pausing = Pausing(self.store, kinds, pauses, audit, self.clock)
        self.limiting = Limiting(self.store, pausing, pauses, looks, audit, self.clock)
        routes = [
            *kind_routes(
                pausing,
                self.limiting,
                KindDetailsParts(workers, self.census, looks),
                IntakeClient("http://localhost:1"),
            ),
            backlog_route(self.census),
            *status_routes(self.store, LongPolls(self.store), hints, kinds, pauses, Authenticator(None), polls),
        ]
        self._app = Starlette(routes=routes, exception_handlers=dict(EXCEPTION_HANDLERS))

    async def call(self, method: str, target: str, body: Any = None) -> Answer:
        sent = [] if body is None else [body if isinstance(body, bytes) else json.dumps(body).encode()]

        async def as_client(scope: Any, receive: Any, send: Any) -> None:
            await self._app({**scope, **({SCOPE_KEY: self.principal} if self.principal else {})}, receive, send)

        return await call(as_client, method, target, *sent)

    async def kinds(self) -> dict[str, Any]:
        response = await self.call("GET", "/kinds")
        return {kind["kind"]: kind["paused"] for kind in response.json["kinds"]}

    async def audited(self) -> list[tuple[str, Any, str | None]]:
        return [(entry.action, entry.target, entry.reason) for entry in self.store.audit().entries]


@pytest.fixture
async def bench() -> Bench:
    made = Bench()
    await made.store.register_kinds([kind_record("mail", "mail"), kind_record("other", "other")])
    return made


async def test_a_pause_says_who_why_and_since_when(bench: Bench) -> None:
    bench.principal = Principal("default", "ann", frozenset(Permission))
    response = await bench.call("POST", "/kinds/mail/pause", {"reason": "the mail server rejects everything"})
    assert response.status == 200
    paused = {
        "client": "ann",
        "token_id": None,
        "reason": "the mail server rejects everything",
        "since": rfc3339(AT),
    }
    assert (response.json["kind"], response.json["paused"]) == ("mail", paused)
    assert await bench.kinds() == {"mail": paused, "other": None}
    assert await bench.audited() == [("pause", {"kind": "mail"}, "the mail server rejects everything")]


@pytest.mark.parametrize("body", [None, b"", {}, {"reason": None}, {"reason": ""}])
async def test_a_pause_needs_no_reason(bench: Bench, body: Any) -> None:
    response = await bench.call("POST", "/kinds/mail/pause", body)
    assert (response.status, response.json["paused"]["reason"]) == (200, None)


async def test_pausing_twice_keeps_the_first(bench: Bench) -> None:
    first = await bench.call("POST", "/kinds/mail/pause", {"reason": "one"})
    bench.clock.advance(60)
    bench.principal = Principal("default", "bob", frozenset(Permission))
    second = await bench.call("POST", "/kinds/mail/pause", {"reason": "two"})
    assert (second.status, second.json) == (200, first.json)


async def test_a_resume_ends_it_and_a_second_one_changes_nothing(bench: Bench) -> None:
    await bench.call("POST", "/kinds/mail/pause")
    bench.clock.advance(60)
    for _ in range(2):
        response = await bench.call("POST", "/kinds/mail/resume")
        assert (response.status, response.json["paused"]) == (200, None)
    (past,) = (await bench.store.pauses())["mail"].past
    assert (past.from_at, past.to_at) == (AT, AT + timedelta(seconds=60))
    assert [action for action, _, _ in await bench.audited()] == ["pause", "resume", "resume"]
    assert (await bench.call("POST", "/kinds/other/resume")).status == 200


@pytest.mark.parametrize("command", ["pause", "resume"])
async def test_an_unknown_kind_is_named_beside_the_known_ones(bench: Bench, command: str) -> None:
    response = await bench.call("POST", f"/kinds/mial/{command}")
    assert (response.status, response.json["type"]) == (404, "/problems/not-found")
    assert response.json["known_kinds"] == ["mail", "other"]
    bench.principal = Principal("default", "ann", frozenset({Permission.OPERATE}))
    response = await bench.call("POST", f"/kinds/mial/{command}")
    assert response.status == 404 and "mail" not in response.body.decode()
    assert await bench.audited() == []
    assert "mial" not in await bench.store.kinds()


async def test_a_kind_that_was_registered_a_moment_ago_is_known(bench: Bench) -> None:
    await bench.call("POST", "/kinds/mail/pause")
    await bench.store.register_kinds([kind_record("new", "new")])
    assert (await bench.call("POST", "/kinds/new/pause")).status == 200


async def test_a_kind_that_shares_its_lane_is_not_paused(bench: Bench) -> None:
    await bench.store.register_kinds([kind_record(name, "shared") for name in ("a", "b", "c")])
    response = await bench.call("POST", "/kinds/b/pause")
    assert (response.status, response.json["type"]) == (409, "/problems/shared-lane")
    assert (response.json["lane"], response.json["kinds"]) == ("shared", ["a", "c"])
    assert (await bench.store.pauses(), await bench.audited()) == ({}, [])
    # What is not paused can be resumed all the same.
    assert (await bench.call("POST", "/kinds/b/resume")).status == 200


@pytest.mark.parametrize(
    ("body", "name", "pointer"),
    [
        (b"[]", "invalid-field", ""),
        (b'{"reason": 7}', "invalid-field", "/reason"),
        (b'{"reson": "x"}', "invalid-field", "/reson"),
        (json.dumps({"reason": "x" * (MAX_REASON_CHARS + 1)}).encode(), "invalid-field", "/reason"),
        (b"{", "bad-json", None),
        (b'{"reason": "a", "reason": "b"}', "duplicate-key", None),
        (b" " * 20_000 + b"{}", "body-too-large", None),
    ],
)
async def test_a_body_that_is_not_understood_pauses_nothing(
    bench: Bench, body: bytes, name: str, pointer: str | None
) -> None:
    response = await bench.call("POST", "/kinds/mail/pause", body)
    assert response.json["type"] == f"/problems/{name}"
    if pointer is not None:
        assert response.json["errors"][0]["pointer"] == pointer
    assert (await bench.store.pauses(), await bench.audited()) == ({}, [])


async def test_a_resume_takes_no_body(bench: Bench) -> None:
    response = await bench.call("POST", "/kinds/mail/resume", {"reason": "x"})
    assert response.json["type"] == "/problems/unexpected-body"


async def test_without_its_audit_nothing_is_paused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(_: object) -> None:
        raise StoreUnavailable("no primary")

    monkeypatch.setattr(bench.store.audit(), "note", refused)
    for command in ("pause", "resume"):
        response = await bench.call("POST", f"/kinds/mail/{command}")
        assert (response.status, response.json["type"]) == (503, "/problems/store-unreachable")
    assert await bench.store.pauses() == {}


async def test_without_mongodb_the_kinds_are_told_as_they_were_last_known(bench: Bench) -> None:
    await bench.call("POST", "/kinds/mail/pause", {"reason": "r"})
    before = await bench.kinds()
    bench.store.is_away = True
    assert await bench.kinds() == before


async def test_the_status_of_a_waiting_job_says_by_whom_its_kind_is_paused(bench: Bench) -> None:
    job, other = await queued(bench.store, kind="mail"), await queued(bench.store, kind="other")
    runs = await running(bench.store, kind="mail")
    bench.principal = Principal("default", "ann", frozenset(Permission))
    await bench.call("POST", "/kinds/mail/pause", {"reason": "maintenance"})
    bench.principal = None
    hint = (await bench.call("GET", f"/status/{job.id}")).json["hint"]
    assert hint == f"kind 'mail' is paused by ann since {rfc3339(AT)}: maintenance"
    assert "no worker" in (await bench.call("GET", f"/status/{other.id}")).json["hint"]
    assert "paused" not in (await bench.call("GET", f"/status/{runs.id}")).json["hint"]
    await bench.call("POST", "/kinds/mail/resume")
    assert "no worker" in (await bench.call("GET", f"/status/{job.id}")).json["hint"]


async def test_a_gauge_names_each_kind_that_is_paused(bench: Bench) -> None:
    def gauge(kind: str) -> float | None:
        return REGISTRY.get_sample_value("acked_kind_paused", {"kind": kind})

    assert gauge("mail") is None
    await bench.call("POST", "/kinds/mail/pause")
    await bench.call("POST", "/kinds/other/pause")
    assert (gauge("mail"), gauge("other")) == (1.0, 1.0)
    await bench.call("POST", "/kinds/mail/resume")
    assert (gauge("mail"), gauge("other")) == (None, 1.0)
    await bench.call("POST", "/kinds/other/resume")
    assert gauge("other") is None


async def test_the_pause_of_another_gateway_is_told_at_once(bench: Bench) -> None:
    await bench.kinds()
    pause = Pause("bob", None, None, AT)
    assert await bench.store.pause_kind("mail", pause) == KindPauses(pause)
    found = (await bench.kinds())["mail"]
    assert found is not None and found["client"] == "bob"


def worker_of(*kinds: str, jobs: tuple[RunningJob, ...] = ()) -> WorkerRecord:
    return WorkerRecord("boot", "worker-1", kinds, 8, len(jobs), 5, "1", AT, AT, running_jobs=jobs)


async def test_a_kind_has_its_pauses_its_workers_and_its_counts(bench: Bench) -> None:
    waits, runs = await queued(bench.store, kind="mail"), await running(bench.store, kind="mail")
    await failed(bench.store, kind="mail")
    jobs = (RunningJob(runs.id, "mail", 1, AT), RunningJob(waits.id, "other", 1, AT))
    await bench.store.refresh_worker(worker_of("mail", "other", jobs=jobs))
    await bench.call("POST", "/kinds/mail/pause", {"reason": "one"})
    bench.clock.advance(5)
    await bench.call("POST", "/kinds/mail/resume")
    await bench.census.look()
    found = (await bench.call("GET", "/kinds/mail")).json
    assert (found["kind"], found["paused"], found["is_served"]) == ("mail", None, True)
    assert found["past_pauses"] == [{"since": rfc3339(AT), "until": rfc3339(AT + timedelta(seconds=5))}]
    (worker,) = found["workers"]
    assert [job["id"] for job in worker["running_jobs"]] == [str(runs.id)], "jobs of the kind alone"
    assert found["backlog"]["states"] == {"queued": 1, "running": 1, "failed": 1}
    listed = (await bench.call("GET", "/backlog")).json
    assert listed["kinds"] == [found["backlog"]]
    assert listed["counted_at"] == rfc3339(bench.clock.now())


async def test_a_kind_without_anything_says_so(bench: Bench) -> None:
    found = (await bench.call("GET", "/kinds/mail")).json
    assert (found["is_served"], found["workers"], found["backlog"]) == (False, [], None)
    await bench.census.look()
    found = (await bench.call("GET", "/kinds/mail")).json
    assert found["backlog"] == {"kind": "mail", "states": {}, "oldest_queued_at": None, "attention": 0}


async def test_another_tenant_is_told_neither_workers_nor_counts_of_a_kind(bench: Bench) -> None:
    await bench.store.refresh_worker(worker_of("mail"))
    await bench.census.look()
    bench.principal = Principal("acme", "bob", frozenset(Permission))
    found = (await bench.call("GET", "/kinds/mail")).json
    assert (found["is_served"], found["workers"], found["backlog"]) == (True, None, None)


async def test_counts_that_are_too_old_are_not_shown(bench: Bench) -> None:
    await queued(bench.store, kind="mail")
    await bench.census.look()
    bench.clock.advance(61)
    assert (await bench.call("GET", "/backlog")).json == {"counted_at": None, "kinds": [], "inexact_states": []}


async def test_a_kind_that_nobody_registered_is_not_found(bench: Bench) -> None:
    for method, path in (("GET", "/kinds/mial"), ("POST", "/kinds/mial/jobs")):
        answer = await bench.call(method, path)
        assert (answer.status, answer.json["type"]) == (404, "/problems/not-found")
        assert answer.json["known_kinds"] == ["mail", "other"]


def _schema(of: str, version: str) -> PayloadSchema:
    text = stored_text({"type": of})
    assert text is not None
    return PayloadSchema(digest_of(text), version, text)


async def test_details_show_the_schemas_that_count(bench: Bench) -> None:
    old, new = _schema("string", "1"), _schema("integer", "2")
    for one in (old, new):
        shown = {"payload_schema": {"type": "any"}, "schemas": (one,)}
        await bench.store.register_kinds([kind_record("mail", "mail", **shown)])
    both = [{"version": "2", "schema": {"type": "integer"}}, {"version": "1", "schema": {"type": "string"}}]
    for workers, schemas, is_checked in (
        ([], both[:1], True),
        ([old, None], both[1:], False),
        ([old, new], both, True),
    ):
        for number, one in enumerate(workers):
            worker = replace(worker_of("mail"), boot=str(number))
            if one is not None:
                worker = replace(worker, schemas={"mail": one.digest})
            await bench.store.refresh_worker(worker)
        bench.workers._read_at = None
        details = (await bench.call("GET", "/kinds/mail")).json
        assert (details["payload_schemas"], details["is_payload_checked"]) == (schemas, is_checked)
    other = (await bench.call("GET", "/kinds/other")).json
    assert (other["payload_schemas"], other["is_payload_checked"], "payload_schema" in other) == ([], False, False)
