"""Limits over HTTP: who, why, before and after; what is refused; what counts; and what statuses and metrics say."""

from typing import Any

import pytest
from prometheus_client import REGISTRY

from acked_common.model.instants import rfc3339
from acked_common.model.limits import MOST_RUNNING, KindLimit, Placement, TakenPlaces
from acked_common.model.principal import Permission, Principal
from acked_common.store.errors import StoreUnavailable
from acked_common.store.limits import PlacedClaim
from acked_common.store.records import Job, WorkerRecord
from support.factories import LEASE_S, ManualClock, insert, kind_record, new_job, owner, queued, running
from unit.gateway.kinds.test_kind_routes import Bench

AT = ManualClock().now()


@pytest.fixture
async def bench() -> Bench:
    made = Bench()
    await made.store.register_kinds([kind_record("mail", "mail"), kind_record("other", "other")])
    return made


async def limits(bench: Bench) -> dict[str, Any]:
    response = await bench.call("GET", "/kinds")
    return {kind["kind"]: kind["limit"] for kind in response.json["kinds"]}


async def served(bench: Bench) -> None:
    await bench.store.refresh_worker(WorkerRecord("boot", "worker-1", ("mail",), 8, 0, 5, "1", AT, AT))


async def placed(bench: Bench, *tenants: str) -> list[Job]:
    """Running jobs in places."""
    at = bench.clock.now()
    jobs = await insert(bench.store, *(new_job(kind="mail", tenant=tenant, at=at) for tenant in tenants))
    order = [Placement(job.id, n, n) for n, job in enumerate(jobs)]
    await bench.store.claim_placed(PlacedClaim(order, owner(), LEASE_S, at, None))
    return jobs


async def held(bench: Bench, count: int = 1, *, tenant: str = "default") -> list[Job]:
    jobs = await insert(bench.store, *(new_job(kind="mail", at=bench.clock.now(), tenant=tenant) for _ in range(count)))
    await bench.store.hold_jobs([job.id for job in jobs])
    return jobs


async def test_a_limit_says_who_why_and_since_when_and_is_replaced_as_a_whole(bench: Bench) -> None:
    bench.principal = Principal("default", "ann", frozenset(Permission))
    response = await bench.call("POST", "/kinds/mail/limit", {"running": 20, "per_tenant": 5, "reason": "twenty calls"})
    assert response.status == 200
    limit = {
        "running": 20,
        "per_tenant": 5,
        "client": "ann",
        "token_id": None,
        "reason": "twenty calls",
        "since": rfc3339(AT),
    }
    assert (response.json["kind"], response.json["limit"]) == ("mail", limit)
    assert await limits(bench) == {"mail": limit, "other": None}
    bench.clock.advance(60)
    response = await bench.call("POST", "/kinds/mail/limit", {"running": 10})
    after = {**limit, "running": 10, "per_tenant": None, "reason": None, "since": rfc3339(bench.clock.now())}
    assert response.json["limit"] == after
    response = await bench.call("POST", "/kinds/mail/unlimit")
    assert (response.status, response.json["limit"], await limits(bench)) == (200, None, {"mail": None, "other": None})
    both, ten = {"running": 20, "per_tenant": 5}, {"running": 10}
    assert await bench.audited() == [
        ("limit", {"kind": "mail", "before": None, "after": both}, "twenty calls"),
        ("limit", {"kind": "mail", "before": both, "after": ten}, None),
        ("unlimit", {"kind": "mail", "before": ten, "after": None}, None),
    ]


async def test_removing_what_is_not_limited_changes_nothing(bench: Bench) -> None:
    assert (await bench.call("POST", "/kinds/mail/unlimit")).status == 200
    assert await bench.store.pauses() == {}, "a kind that never had a limit costs nothing"


@pytest.mark.parametrize("command", ["limit", "unlimit"])
async def test_an_unknown_kind_is_named_beside_the_known_ones(bench: Bench, command: str) -> None:
    body = {"running": 1} if command == "limit" else None
    response = await bench.call("POST", f"/kinds/mial/{command}", body)
    assert (response.status, response.json["type"]) == (404, "/problems/not-found")
    assert response.json["known_kinds"] == ["mail", "other"]
    assert await bench.audited() == []


@pytest.mark.parametrize(
    ("body", "pointer", "says"),
    [
        ({}, "", "unlimit removes"),
        ({"reason": "x"}, "", "unlimit removes"),
        ([], "", "object"),
        ({"running": 0}, "/running", "pause the kind"),
        ({"per_tenant": -1}, "/per_tenant", "from 1 to 10,000"),
        ({"running": MOST_RUNNING + 1}, "/running", "from 1 to 10,000"),
        ({"running": 1.5}, "/running", "whole number"),
        ({"running": True}, "/running", "whole number"),
        ({"running": "20"}, "/running", "whole number"),
        ({"running": 2, "per_tenant": 3}, "/per_tenant", "must not exceed running"),
        ({"running": 2, "reason": 7}, "/reason", "text"),
        ({"running": 2, "tenant": "a"}, "/tenant", "not a known field"),
    ],
)
async def test_a_limit_that_is_not_one_is_refused(bench: Bench, body: Any, pointer: str, says: str) -> None:
    response = await bench.call("POST", "/kinds/mail/limit", body)
    assert (response.status, response.json["type"]) == (422, "/problems/invalid-field")
    (error,) = response.json["errors"]
    assert error["pointer"] == pointer and says in error["detail"]
    assert (await bench.store.pauses(), await bench.audited()) == ({}, [])


@pytest.mark.parametrize("command", ["limit", "unlimit"])
async def test_without_its_audit_nothing_is_limited(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    async def refused(_: object) -> None:
        raise StoreUnavailable("no primary")

    monkeypatch.setattr(bench.store.audit(), "note", refused)
    response = await bench.call("POST", f"/kinds/mail/{command}", {"running": 1} if command == "limit" else None)
    assert (response.status, response.json["type"]) == (503, "/problems/store-unreachable")
    assert await bench.store.pauses() == {}


async def test_jobs_that_run_already_count_from_the_response_on(bench: Bench) -> None:
    await running(bench.store, kind="mail")
    await running(bench.store, kind="mail", tenant="acme")
    await running(bench.store, kind="other")
    await bench.call("POST", "/kinds/mail/limit", {"running": 3})
    use = await bench.store.limit_use("mail")
    assert (use.running, use.of_tenants) == (2, {"default": 1, "acme": 1})
    # A worker that had not read the limit started one more.
    await running(bench.store, kind="mail")
    await bench.limiting.look()
    assert (await bench.store.limit_use("mail")).running == 3
    assert await bench.store.unplaced_jobs(["mail"]) == []


async def test_long_after_a_change_the_search_for_such_jobs_is_rare(bench: Bench) -> None:
    searched = 0

    async def unplaced(_: object) -> list[Any]:
        nonlocal searched
        searched += 1
        return []

    await bench.limiting.look()
    await bench.call("POST", "/kinds/mail/limit", {"running": 3})
    bench.store.unplaced_jobs = unplaced  # type: ignore[method-assign, assignment]
    for _ in range(60):
        bench.clock.advance(1)
        await bench.limiting.look()
    assert searched == 29 + 3


async def test_the_status_of_a_held_job_says_how_many_run(bench: Bench) -> None:
    await served(bench)
    await bench.call("POST", "/kinds/mail/limit", {"running": 3, "per_tenant": 2})
    await placed(bench, "default", "acme", "acme")
    (job,), (own,) = await held(bench), await held(bench, tenant="acme")
    hint = (await bench.call("GET", f"/status/{job.id}")).json["hint"]
    assert hint == (
        "limited: 3 of 3 running jobs of its kind, 2 wait for a place; the next end of one starts the oldest that may"
    )
    bench.principal = Principal("acme", "bob", frozenset(Permission))
    hint = (await bench.call("GET", f"/status/{own.id}")).json["hint"]
    assert hint == "limited: 2 of 2 running jobs of its tenant; the next end of one starts the oldest that may"
    bench.principal = None
    await bench.call("POST", "/kinds/mail/limit", {"running": 5})
    hint = (await bench.call("GET", f"/status/{job.id}")).json["hint"]
    assert hint.startswith("limited: waits for a place of its kind")
    await bench.call("POST", "/kinds/mail/unlimit")
    assert "limited" not in (await bench.call("GET", f"/status/{job.id}")).json["hint"]


async def test_other_tenants_learn_no_counts_of_all(bench: Bench) -> None:
    await served(bench)
    await bench.call("POST", "/kinds/mail/limit", {"running": 1})
    await placed(bench, "default")
    (job,) = await held(bench, tenant="acme")
    assert (await bench.call("GET", "/kinds/mail")).json["limit_use"] == {"running": 1, "held": 1}
    bench.principal = Principal("acme", "bob", frozenset(Permission))
    hint = (await bench.call("GET", f"/status/{job.id}")).json["hint"]
    assert hint == "limited: all 1 places of its kind are taken; the next end of one starts the oldest that may"
    found = (await bench.call("GET", "/kinds/mail")).json
    assert found["limit_use"] is None and found["limit"]["running"] == 1


async def test_a_pause_and_a_missing_worker_are_told_before_the_limit(bench: Bench) -> None:
    await bench.call("POST", "/kinds/mail/limit", {"running": 1})
    (job,) = await held(bench)
    assert "no worker" in (await bench.call("GET", f"/status/{job.id}")).json["hint"]
    await served(bench)
    await bench.call("POST", "/kinds/mail/pause")
    assert "paused" in (await bench.call("GET", f"/status/{job.id}")).json["hint"]


async def test_gauges_show_limits_and_held_jobs(bench: Bench) -> None:
    def gauge(name: str, **labels: str) -> float | None:
        return REGISTRY.get_sample_value(name, {"kind": "mail", **labels})

    await bench.call("POST", "/kinds/mail/limit", {"running": 3, "per_tenant": 2})
    await held(bench, 4)
    await bench.limiting.look()
    assert (gauge("acked_kind_limit", of="kind"), gauge("acked_kind_limit", of="tenant")) == (3, 2)
    assert gauge("acked_kind_held_jobs") == 4
    await bench.call("POST", "/kinds/mail/unlimit")
    await bench.limiting.look()
    assert gauge("acked_kind_limit", of="kind") is None and gauge("acked_kind_held_jobs") is None


async def test_counts_of_limits_are_shared_for_a_second(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = 0
    count = bench.store.limit_use

    async def noted(kind: str) -> Any:
        nonlocal counted
        counted += 1
        return await count(kind)

    await bench.call("POST", "/kinds/mail/limit", {"running": 3})
    monkeypatch.setattr(bench.store, "limit_use", noted)
    for _ in range(5):
        assert (await bench.call("GET", "/kinds/mail")).json["limit_use"] == {"running": 0, "held": 0}
    assert counted == 1
    bench.clock.advance(1.5)
    await bench.call("GET", "/kinds/mail")
    assert counted == 2


async def test_the_limit_of_another_gateway_is_told_at_once(bench: Bench) -> None:
    await limits(bench)
    await bench.store.limit_kind("mail", KindLimit(7, None, "bob", None, None, AT))
    found = (await limits(bench))["mail"]
    assert (found["client"], found["running"]) == ("bob", 7)
    assert (await bench.store.read_places(["mail"])).taken.get("mail", TakenPlaces()) == TakenPlaces()
    assert (await queued(bench.store, kind="mail")).is_held is False
