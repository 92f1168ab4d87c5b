"""Attention over HTTP."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from starlette.applications import Starlette

from acked_common.background.census import CensusLoop
from acked_common.http.exception_handlers import EXCEPTION_HANDLERS
from acked_common.http.holdings import Ledger
from acked_common.http.limits import Limit
from acked_common.model import lifecycle
from acked_common.model.instants import rfc3339
from acked_common.model.principal import SCOPE_KEY, Permission, Principal
from acked_common.store.errors import StoreUnavailable
from acked_common.store.records import Job
from acked_gateway.attention.routes import attention_routes
from acked_gateway.audit.notes import Audit
from acked_gateway.jobs.routes import Reads
from support.asgi import Answer, call
from support.factories import RETENTION_S, ManualClock, moved, running
from support.parts import ShakyStore


class Bench:
    """The routes over parts in memory; `client` is who calls."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = ShakyStore(self.clock)
        self.audit = Audit(self.store.audit(), self.clock)
        self.census = CensusLoop(self.store, self.clock)
        self.client = Principal("default", "ada", frozenset(Permission))
        self.limit = Limit("reads", Ledger(6, 3), own="too-many-reads", what="lists and counts")
        self.app = Starlette(
            routes=[*attention_routes(self.store, self.audit, Reads(self.limit), self.clock)],
            exception_handlers=dict(EXCEPTION_HANDLERS),
        )

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app({**scope, SCOPE_KEY: self.client}, receive, send)

    async def get(self, query: str = "") -> Answer:
        return await call(self._app, "GET", f"/attention{query}")

    async def listed(self, query: str = "") -> Any:
        response = await self.get(query)
        assert response.status == 200, response.body
        return response.json

    async def post(self, group: str, body: bytes) -> Answer:
        return await call(self._app, "POST", f"/attention/{group}", body)

    async def fail(self, group: str | None, at: datetime | None = None, *, kind: str = "k", tenant: str = "") -> Job:
        at = at or self.clock.now()
        error = {"type": "Boom", "message": f"of {group}", "retryable": True, "attempt": 1, "culprit": "m:f: x"}
        job = await running(self.store, kind=kind, claimed_at=at, **({"tenant": tenant} if tenant else {}))
        end = lifecycle.fail(
            at=at, error=error if group is None else {**error, "group": group}, exhausted=True, retention_s=RETENTION_S
        )
        return await moved(self.store, job, end)

    async def count(self) -> None:
        self.clock.advance(3.0)
        await self.census.look()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def groups(page: Any) -> list[str]:
    return [group["group"] for group in page["groups"]]


async def test_before_the_first_census_nothing_is_said_to_be_counted(bench: Bench) -> None:
    assert await bench.listed() == {
        "groups": [],
        "next_page_token": "",
        "total": {"groups": 0, "jobs": 0, "is_exact": True},
        "counted_at": None,
        "is_complete": True,
    }


async def test_failed_jobs_are_shown_by_group_newest_first(bench: Bench) -> None:
    start = bench.clock.now() - timedelta(minutes=10)
    for n in range(3):
        await bench.fail("1a", start + timedelta(minutes=n))
    await bench.fail("1b", start + timedelta(minutes=5), kind="other")
    await bench.fail(None, start - timedelta(hours=2))
    await bench.count()
    page = await bench.listed()
    assert groups(page) == ["1b", "1a", "ungrouped"]
    assert page["total"] == {"groups": 3, "jobs": 5, "is_exact": True}
    assert (await bench.listed("?page_size=1"))["total"] == page["total"]
    assert (await bench.listed("?kind=other"))["total"] == {"groups": 1, "jobs": 1, "is_exact": True}
    assert page["counted_at"] == rfc3339(bench.clock.now())
    assert page["is_complete"] is True
    first = page["groups"][1]
    per_minute = first.pop("per_minute")
    assert first == {
        "group": "1a",
        "kind": "k",
        "type": "Boom",
        "message": "of 1a",
        "culprit": "m:f: x",
        "count": 3,
        "count_is_exact": True,
        "first_at": rfc3339(start),
        "last_at": rfc3339(start + timedelta(minutes=2)),
        "comment": None,
        "taken_by": None,
        "taken_at": None,
        "snoozed_until": None,
    }
    assert (len(per_minute), sum(per_minute), per_minute[-11:-8]) == (60, 3, [1, 1, 1])
    assert sum(page["groups"][2]["per_minute"]) == 0
    assert groups(await bench.listed("?kind=other")) == ["1b"]


async def test_the_line_of_code_is_for_operators(bench: Bench) -> None:
    await bench.fail("1a")
    await bench.count()
    bench.client = Principal("default", "eve", frozenset({Permission.READ}))
    (group,) = (await bench.listed())["groups"]
    assert "culprit" not in group
    assert group["message"] == "of 1a"


async def test_another_tenants_groups_are_not_there(bench: Bench) -> None:
    await bench.fail("1a", tenant="acme")
    await bench.count()
    assert groups(await bench.listed()) == []
    assert (await bench.post("1a", b'{"taken": true}')).status == 404
    bench.client = Principal("acme", "ada", frozenset(Permission))
    assert groups(await bench.listed()) == ["1a"]
    assert (await bench.post("1a", b'{"taken": true}')).status == 200


async def test_groups_are_shown_in_pages(bench: Bench) -> None:
    for n in range(7):
        await bench.fail(f"1{n}", bench.clock.now() - timedelta(minutes=n // 2))
    await bench.count()
    whole = groups(await bench.listed())
    found: list[str] = []
    token, pages = "", 0
    while True:
        page = await bench.listed(f"?page_size=3&page_token={token}")
        found += groups(page)
        token, pages = page["next_page_token"], pages + 1
        if not token:
            break
    assert found == whole
    assert (len(whole), pages) == (7, 3)
    token = (await bench.listed("?page_size=3"))["next_page_token"]
    assert "other filters" in (await bench.get(f"?page_size=3&kind=k&page_token={token}")).json["detail"]


async def test_a_note_is_shown_with_its_group(bench: Bench) -> None:
    await bench.fail("1a")
    await bench.count()
    at = rfc3339(bench.clock.now())
    response = await bench.post("1a", b'{"comment": "the vendor", "taken": true}')
    notes = {"comment": "the vendor", "taken_by": "ada", "taken_at": at, "snoozed_until": None}
    assert (response.status, response.json) == (200, {"group": "1a", **notes})
    await bench.fail("1a")
    await bench.count()
    (group,) = (await bench.listed())["groups"]
    assert group["count"] == 2
    assert {name: group[name] for name in notes} == notes
    response = await bench.post("1a", b'{"comment": null, "taken": false}')
    assert response.json == {"group": "1a", **dict.fromkeys(notes)}


async def test_a_snoozed_group_comes_back_by_itself(bench: Bench) -> None:
    await bench.fail("1a")
    await bench.fail("1b")
    await bench.count()
    assert (await bench.post("1a", b'{"snooze_s": 30}')).status == 200
    assert groups(await bench.listed()) == groups(await bench.listed("?snoozed=false")) == ["1b"]
    assert groups(await bench.listed("?snoozed=true")) == ["1a"]
    bench.clock.advance(30.0)
    assert set(groups(await bench.listed())) == {"1a", "1b"}
    assert groups(await bench.listed("?snoozed=true")) == []


async def test_a_group_whose_jobs_are_gone_is_listed_no_more_but_keeps_its_comment(bench: Bench) -> None:
    job = await bench.fail("1a")
    await bench.count()
    await bench.post("1a", b'{"comment": "known"}')
    first_at = (await bench.listed())["groups"][0]["first_at"]
    await bench.store.apply(
        [
            lifecycle.Move(
                job.seen,
                lifecycle.Transition(
                    lifecycle.Reason.ERASED,
                    frozenset({lifecycle.State.FAILED}),
                    lifecycle.State.FAILED,
                    bench.clock.now(),
                    clears=frozenset({"error"}),
                ),
            )
        ]
    )
    await bench.count()
    assert groups(await bench.listed()) == []
    await bench.fail("1a")
    await bench.count()
    (group,) = (await bench.listed())["groups"]
    assert (group["comment"], group["first_at"], group["count"]) == ("known", first_at, 1)


@pytest.mark.parametrize("group", ["1absent", "ungrouped", "%2F", "A" * 300])
async def test_an_unknown_group_is_not_found(bench: Bench, group: str) -> None:
    response = await bench.post(group, b'{"taken": true}')
    assert (response.status, response.json["type"]) == (404, "/problems/not-found")


@pytest.mark.parametrize(
    ("query", "name"), [("snoozed=yes", "snoozed"), ("page_size=x", "page_size"), ("page_token=x", "page_token")]
)
async def test_a_parameter_that_means_nothing_is_named(bench: Bench, query: str, name: str) -> None:
    response = await bench.get(f"?{query}")
    assert (response.status, response.json["errors"][0]["pointer"]) == (422, f"?{name}")


async def test_a_note_that_means_nothing_changes_nothing(bench: Bench) -> None:
    await bench.fail("1a")
    await bench.count()
    response = await bench.post("1a", b'{"comment": "x", "takn": true}')
    assert (response.status, response.json["errors"][0]["pointer"]) == (422, "/takn")
    assert (await bench.listed())["groups"][0]["comment"] is None
    response = await bench.post("1a", b'{"comment": "' + b"x" * 20_000 + b'"}')
    assert (response.status, response.json["type"]) == (413, "/problems/body-too-large")


async def test_without_the_store_every_answer_says_so(bench: Bench) -> None:
    bench.store.is_away = True
    for response in (await bench.get(), await bench.post("1a", b'{"taken": true}')):
        assert (response.status, response.json["type"]) == (503, "/problems/store-unreachable")


async def test_a_note_stands_in_the_audit_before_it_is_made(bench: Bench) -> None:
    await bench.fail("1a")
    await bench.count()
    assert (await bench.post("1a", b'{"comment": "why", "taken": true, "snooze_s": 60}')).status == 200
    assert (await bench.post("1a", b'{"comment": null, "taken": false}')).status == 200
    assert (await bench.post("1absent", b'{"taken": true}')).status == 404
    assert (await bench.post("1a", b'{"taken": 1}')).status == 422
    until = rfc3339(bench.clock.now() + timedelta(seconds=60))
    entries = bench.store.audit().entries
    assert [(entry.client, entry.action, entry.target, entry.reason) for entry in entries] == [
        ("ada", "attention", {"group": "1a", "taken": True, "snoozed_until": until}, "why"),
        ("ada", "attention", {"group": "1a", "taken": False, "comment": None}, None),
    ]


async def test_without_the_audit_no_note_is_made(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(entry: Any) -> None:
        raise StoreUnavailable("the audit is away")

    await bench.fail("1a")
    await bench.count()
    monkeypatch.setattr(bench.store.audit(), "note", away)
    assert (await bench.post("1a", b'{"comment": "why"}')).status == 503
    assert (await bench.listed())["groups"][0]["comment"] is None
