"""Schedules over HTTP: definitions and what is wrong with them, acts and their audit, lists, previews, permissions."""

import json
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from starlette.applications import Starlette

from acked_common.background.kind_cache import KindCache
from acked_common.http.exception_handlers import EXCEPTION_HANDLERS
from acked_common.http.holdings import Ledger
from acked_common.http.limits import Limit
from acked_common.model import schedule_rules
from acked_common.model.instants import rfc3339
from acked_common.model.lifecycle import State
from acked_common.model.payload_schemas import PayloadSchema, digest_of, stored_text
from acked_common.model.principal import SCOPE_KEY, Permission, Principal
from acked_common.model.schedules import Schedule
from acked_gateway.audit.notes import Audit
from acked_gateway.jobs.routes import Reads
from acked_gateway.schedules.acts import TRIES, ScheduleActs
from acked_gateway.schedules.body import KNOWN_FIELDS
from acked_gateway.schedules.routes import schedule_routes
from support.asgi import Answer, call
from support.factories import ManualClock, insert, kind_record, new_job
from support.memory_schedules import MemorySchedules
from support.memory_store import MemoryStore
from support.parts import admission

EVERYTHING = frozenset(Permission)
EVERY = {"every_s": 60, "kind": "noop"}


class Overtaken(MemorySchedules):
    """Another process writes just ahead of each write, so many times."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.times = 0

    async def replace(self, schedule: Schedule) -> bool:
        if self.times:
            self.times -= 1
            return False
        return await super().replace(schedule)


class Bench:
    """The routes over parts in memory, as one client calls them."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.schedules = Overtaken(self.clock)
        self.kinds = KindCache(self.store)
        self.principal = Principal("acme", "ann", EVERYTHING)
        audit = Audit(self.store.audit(), self.clock)
        payloads = admission(self.store, self.kinds).payloads
        acts = ScheduleActs(self.schedules, self.kinds, payloads, audit, self.clock)
        reads = Reads(Limit("reads", Ledger(6, 3), own="too-many-reads", what="lists and counts"))
        routes = schedule_routes(self.schedules, acts, self.store, reads, self.clock)
        self._app = Starlette(routes=routes, exception_handlers=dict(EXCEPTION_HANDLERS))

    async def call(self, method: str, target: str, body: Any = None) -> Answer:
        sent = [] if body is None else [body if isinstance(body, bytes) else json.dumps(body).encode()]

        async def as_client(scope: Any, receive: Any, send: Any) -> None:
            await self._app({**scope, SCOPE_KEY: self.principal}, receive, send)

        return await call(as_client, method, target, *sent)

    async def put(self, name: str = "tick", **fields: Any) -> Answer:
        return await self.call("PUT", f"/schedules/{name}", {**EVERY, **fields})

    def audited(self) -> list[str]:
        return [entry.action for entry in self.store.audit().entries]


@pytest.fixture
async def bench() -> Bench:
    made = Bench()
    await made.store.register_kinds([kind_record("noop", "noop")])
    await made.kinds.refresh()
    return made


async def test_a_definition_comes_back_whole(bench: Bench) -> None:
    fields = {
        "cron": "@daily",
        "timezone": "Europe/Berlin",
        "kind": "noop",
        "payload": {"n": [1, 2.50]},
        "tags": ["a"],
        "batch": "b",
        "overlap": "queue_one",
        "catch_up_s": 60,
        "jitter_s": 5,
        "from": "2026-02-01T00:00:00+01:00",
        "until": "2027-01-01T00:00:00Z",
    }
    made = await bench.call("PUT", "/schedules/nightly", fields)
    assert made.status == 201
    shown = {**fields, "cron": "0 0 * * *", "from": "2026-01-31T23:00:00.000Z", "until": "2027-01-01T00:00:00.000Z"}
    assert {name: made.json[name] for name in shown} == shown
    assert (made.json["next_at"], made.json["revision"]) == ("2026-01-31T23:00:00.000Z", 1)
    found = await bench.call("GET", "/schedules/nightly")
    assert found.json == made.json


async def test_the_same_definition_again_is_no_act(bench: Bench) -> None:
    await bench.put()
    again = await bench.put()
    assert (again.status, again.json["revision"], bench.audited()) == (200, 1, ["schedule_put"])
    changed = await bench.put(payload=1)
    assert (changed.status, changed.json["revision"]) == (200, 2)


@pytest.mark.parametrize(
    ("fields", "pointer", "says"),
    [
        ({"cron": "* * * * * *", "every_s": None}, "/cron", "without seconds"),
        ({"cron": 5, "every_s": None}, "/cron", "must be a text"),
        ({"cron": "0 0 * * *", "every_s": None, "timezone": "Mars"}, "/timezone", "not a time zone"),
        ({"timezone": "UTC"}, "/timezone", "is for cron"),
        ({"cron": "0 0 * * *"}, "/every_s", "send one of them"),
        ({"every_s": True}, "/every_s", "whole number"),
        ({"every_s": None}, "/every_s", "must be there"),
        ({"kind": None}, "/kind", "is missing"),
        ({"kind": "A"}, "/kind", "must be 1 to 64"),
        ({"until": "2020-01-01T00:00:00Z"}, "/until", "never fire"),
        ({"from": "8d"}, "/from", "must be an instant"),
        ({"overlap": 1}, "/overlap", "must be one of"),
        ({"paused": "yes"}, "/paused", "must be true or false"),
        ({"payload": "x" * 70_000}, "/payload", "65,536"),
        ({"tags": [str(n) for n in range(16)]}, "/tags", "at most 15"),
        ({"tags": ["a", "a"]}, "/tags/1", "already in the list"),
        ({"batch": ".."}, "/batch", "neither"),
        ({"jitter_s": 3601}, "/jitter_s", "from 0 to 3,600"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_is_wrong_is_named(bench: Bench, fields: dict[str, Any], pointer: str, says: str) -> None:
    response = await bench.put(**fields)
    assert (response.status, response.json["type"]) == (422, "/problems/invalid-field")
    (error,) = response.json["errors"]
    assert (error["pointer"], says in error["detail"]) == (pointer, True), error
    assert bench.audited() == []


async def test_bodies_that_are_no_definition_are_refused(bench: Bench) -> None:
    assert (await bench.call("PUT", "/schedules/x", [1])).status == 422
    assert (await bench.call("PUT", "/schedules/x", b"{")).status == 400
    unknown = await bench.put(priority=1)
    assert (unknown.json["type"], unknown.json["known_fields"]) == ("/problems/unknown-field", list(KNOWN_FIELDS))
    assert (await bench.put("X")).status == 422
    assert (await bench.put(kind="gone")).json["type"] == "/problems/unknown-kind"


async def test_a_payload_that_no_worker_takes_is_refused(bench: Bench) -> None:
    text = stored_text({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})
    assert text is not None
    await bench.store.register_kinds(
        [kind_record("noop", "noop", schemas=(PayloadSchema(digest_of(text), "1", text),))]
    )
    await bench.kinds.refresh()
    first = await bench.put(payload={"n": "x"})
    taken = await bench.put(payload={"n": 1})
    # Nothing is known of workers before the first read, and then all is checked.
    assert (first.status, taken.status) in {(422, 201), (201, 200)}


async def test_a_schedule_is_paused_resumed_and_deleted(bench: Bench) -> None:
    await bench.put()
    paused = await bench.call("POST", "/schedules/tick/pause", {"reason": "tired"})
    assert (paused.json["paused"]["client"], paused.json["paused"]["reason"]) == ("ann", "tired")
    assert paused.json["next_at"] is None
    assert (await bench.call("POST", "/schedules/tick/pause")).json == paused.json
    resumed = await bench.call("POST", "/schedules/tick/resume")
    assert resumed.json["paused"] is None and resumed.json["next_at"]
    assert (await bench.put(paused=True)).json["paused"]["client"] == "ann"
    assert (await bench.put(paused=False)).json["paused"] is None
    assert (await bench.call("DELETE", "/schedules/tick")).json["name"] == "tick"
    assert (await bench.call("GET", "/schedules/tick")).status == 404
    assert bench.audited() == [
        *("schedule_put", "schedule_pause", "schedule_resume"),
        *("schedule_put", "schedule_put", "schedule_delete"),
    ]


async def test_run_now_is_one_firing_until_it_is_decided(bench: Bench) -> None:
    await bench.put()
    first = await bench.call("POST", "/schedules/tick/run-now")
    bench.clock.advance(1)
    second = await bench.call("POST", "/schedules/tick/run-now")
    assert (first.status, first.json["outcome"], second.json) == (202, "asked", first.json)
    (listed,) = (await bench.call("GET", "/schedules/tick/firings")).json["firings"]
    assert listed == first.json
    assert bench.audited() == ["schedule_put", "schedule_run"]


BACKFILL = "/schedules/tick/backfill"


async def test_a_backfill_is_shown_with_the_schedule_and_audited_once(bench: Bench) -> None:
    await bench.put()
    wanted = {"from": rfc3339(bench.clock.now() - timedelta(hours=1)), "limit": 7}
    wanted["until"] = rfc3339(bench.clock.now())
    made = await bench.call("POST", BACKFILL, wanted)
    assert made.status == 202 and wanted.items() <= made.json.items()
    assert (made.json["started"], made.json["ended_at"]) == (0, None)
    bench.clock.advance(1)
    assert (await bench.call("POST", BACKFILL, wanted)).json == made.json
    assert (await bench.call("GET", "/schedules/tick")).json["backfill"] == made.json
    assert bench.audited() == ["schedule_put", "schedule_backfill"]
    assert bench.store.audit().entries[-1].target == {"schedule": "tick", **wanted}


@pytest.mark.parametrize(
    ("fields", "pointer", "says"),
    [
        ({}, "/from", "is missing"),
        ({"from": "8d"}, "/from", "must be an instant"),
        ({"from": "2025-12-31T00:00:00Z", "until": "2099-01-01T00:00:00Z"}, "/until", "in the future"),
        ({"from": "2025-12-31T00:00:00Z", "limit": 1001}, "/limit", "from 1 to 1,000"),
        ({"from": "2025-12-31T00:00:01Z", "until": "2025-12-31T00:00:02Z"}, "/from", "no instant"),
    ],
    ids=["nothing", "duration", "future", "limit", "empty"],
)
async def test_what_is_wrong_with_a_backfill_is_named(
    bench: Bench, fields: dict[str, Any], pointer: str, says: str
) -> None:
    await bench.put()
    response = await bench.call("POST", BACKFILL, fields)
    assert (response.status, response.json["type"]) == (422, "/problems/invalid-field")
    (error,) = response.json["errors"]
    assert (error["pointer"], says in error["detail"]) == (pointer, True), error
    assert bench.audited() == ["schedule_put"]


async def test_bodies_that_are_no_backfill_are_refused(bench: Bench) -> None:
    await bench.put()
    assert (await bench.call("POST", BACKFILL, [1])).status == 422
    assert (await bench.call("POST", BACKFILL)).status in (400, 422)
    unknown = await bench.call("POST", BACKFILL, {"from": "2025-12-31T00:00:00Z", "overlap": "all"})
    assert (unknown.json["type"], unknown.json["known_fields"]) == (
        "/problems/unknown-field",
        ["from", "until", "limit"],
    )
    assert (await bench.call("POST", "/schedules/none/backfill", {"from": "2025-12-31T00:00:00Z"})).status == 404


async def test_acts_outlast_other_writers(bench: Bench) -> None:
    await bench.put()
    bench.schedules.times = TRIES - 1
    assert (await bench.call("POST", "/schedules/tick/pause")).status == 200
    bench.schedules.times = TRIES
    for response in (await bench.call("POST", "/schedules/tick/resume"), await bench.put(payload=1)):
        assert response.status in (200, 503)
    bench.schedules.times = TRIES
    assert (await bench.put(payload=2)).json["type"] == "/problems/busy"
    assert bench.audited().count("schedule_pause") == 1


async def test_the_number_of_schedules_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("support.memory_schedules.MOST_OF_TENANT", 1)
    monkeypatch.setattr("support.memory_schedules.MOST_IN_ALL", 2)
    assert (await bench.put("a")).status == 201
    own = await bench.put("b")
    bench.principal = Principal("globex", "bob", EVERYTHING)
    assert (await bench.put("a")).status == 201
    bench.principal = Principal("initech", "cy", EVERYTHING)
    all_of_them = await bench.put("a")
    assert (own.status, own.json["type"]) == (429, "/problems/too-many-schedules")
    assert ("the tenant" in own.json["detail"], "all tenants" in all_of_them.json["detail"]) == (True, True)


async def test_lists_have_pages_and_no_payloads(bench: Bench) -> None:
    for name in ("c", "a", "b"):
        await bench.put(name, payload="secret")
    first = await bench.call("GET", "/schedules?page_size=2")
    assert [one["name"] for one in first.json["schedules"]] == ["a", "b"]
    assert "secret" not in json.dumps(first.json)
    rest = await bench.call("GET", f"/schedules?page_token={first.json['next_page_token']}")
    assert ([one["name"] for one in rest.json["schedules"]], rest.json["next_page_token"]) == (["c"], "")
    for token in ("!", "QQ", "YQ="):
        assert (await bench.call("GET", f"/schedules?page_token={token}")).status == 422


async def test_the_preview_is_that_of_the_time_zone(bench: Bench) -> None:
    await bench.call("PUT", "/schedules/d", {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "kind": "noop"})
    preview = (await bench.call("GET", "/schedules/d/next?count=2")).json
    assert [one["local"] for one in preview["instants"]] == ["2026-01-03T02:30:00+01:00", "2026-01-04T02:30:00+01:00"]
    assert len((await bench.call("GET", "/schedules/d/next")).json["instants"]) == 20
    for count in ("0", "5001", "x"):
        assert (await bench.call("GET", f"/schedules/d/next?count={count}")).json["type"] == "/problems/bad-count"


async def test_the_preview_of_a_definition_is_that_of_the_schedule_and_stores_nothing(bench: Bench) -> None:
    fields = {"every_s": 60, "kind": "noop", "jitter_s": 30}
    drafted = await bench.call("POST", "/schedules/d/next?count=3", fields)
    assert (drafted.status, len(drafted.json["instants"])) == (200, 3)
    assert (await bench.call("GET", "/schedules/d")).status == 404
    assert bench.audited() == []
    await bench.call("PUT", "/schedules/d", fields)
    # The jitter is that of the name, too.
    assert (await bench.call("GET", "/schedules/d/next?count=3")).json == drafted.json


async def test_the_preview_of_a_definition_refuses_what_put_refuses(bench: Bench) -> None:
    async def preview(name: str = "d", count: str = "1", **fields: Any) -> str:
        response = await bench.call("POST", f"/schedules/{name}/next?count={count}", {**EVERY, **fields})
        return str(response.json.get("type", response.status)).removeprefix("/problems/")

    assert await preview() == "200"
    assert await preview(kind="gone") == "unknown-kind"
    assert await preview(cron="0 0 * * *") == "invalid-field"
    assert await preview(priority=1) == "unknown-field"
    assert await preview("Not-a-name") == "invalid-field"
    assert await preview(count="0") == "bad-count"


async def test_the_preview_of_a_definition_needs_submit_alone(bench: Bench) -> None:
    await bench.put()
    bench.principal = Principal("acme", "dev", frozenset({Permission.SUBMIT}))
    assert (await bench.call("POST", "/schedules/tick/next", {**EVERY, "every_s": 7})).status == 200


async def test_lists_show_the_state_of_the_last_job(bench: Bench) -> None:
    await bench.put()
    bench.clock.advance(60)
    stored = await bench.schedules.get("tick", tenant="acme")
    assert stored is not None
    decided = schedule_rules.decide(stored, now=bench.clock.now(), live=())
    (starting,) = decided.progress.starting
    assert starting.job is not None
    await insert(bench.store, new_job(id=starting.job, tenant="acme"))
    done = schedule_rules.started(decided, {starting.job})
    await bench.schedules.replace(replace(done, rev=done.rev + 1))
    (listed,) = (await bench.call("GET", "/schedules")).json["schedules"]
    one = (await bench.call("GET", "/schedules/tick")).json
    assert listed["last_firing"]["job_state"] == one["last_firing"]["job_state"] == State.QUEUED
    assert (await bench.put(payload=1)).json["last_firing"]["job_state"] is None


async def test_firings_show_what_became_of_their_jobs(bench: Bench) -> None:
    await bench.put()
    bench.clock.advance(60)
    stored = await bench.schedules.get("tick", tenant="acme")
    assert stored is not None
    decided = schedule_rules.decide(stored, now=bench.clock.now(), live=())
    done = schedule_rules.started(decided, {one.job for one in decided.progress.starting if one.job})
    await bench.schedules.replace(replace(done, rev=done.rev + 1))
    (firing,) = (await bench.call("GET", "/schedules/tick/firings")).json["firings"]
    assert (firing["outcome"], firing["job_state"], firing["count"]) == ("started", None, 1)
    assert (await bench.call("GET", "/schedules/tick")).json["last_firing"]["at"] == firing["at"]


async def test_replacing_needs_operate_and_others_see_nothing(bench: Bench) -> None:
    await bench.put()
    bench.principal = Principal("acme", "dev", frozenset({Permission.SUBMIT}))
    assert (await bench.put("own")).status == 201
    assert (await bench.put()).status == 200, "nothing changes"
    refused = await bench.put(payload=1)
    assert (refused.status, refused.json["type"]) == (403, "/problems/missing-permission")
    bench.principal = Principal("globex", "bob", EVERYTHING)
    for method, path in (
        *(("GET", path) for path in ("", "/next", "/firings")),
        *(("POST", path) for path in ("/pause", "/resume", "/run-now")),
        ("DELETE", ""),
    ):
        assert (await bench.call(method, f"/schedules/tick{path}")).status == 404
    assert (await bench.call("GET", "/schedules")).json["schedules"] == []


async def test_a_zone_that_is_gone_is_named(bench: Bench) -> None:
    await bench.call("PUT", "/schedules/d", {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "kind": "noop"})
    await bench.call("POST", "/schedules/d/pause")
    stored = await bench.schedules.get("d", tenant="acme")
    assert stored is not None
    gone = replace(stored.order, timing=replace(stored.order.timing, timezone="Nowhere/Gone"))
    await bench.schedules.replace(replace(stored, order=gone, rev=stored.rev + 1))
    for method, path in (("GET", "next"), ("POST", "resume")):
        response = await bench.call(method, f"/schedules/d/{path}")
        assert (response.status, response.json["errors"][0]["pointer"]) == (422, "/timezone")
