"""`POST /process` as clients see it."""

from typing import Any

import msgspec
import pytest

from acked_common.api.operations import Accepted
from acked_common.model.ids import new_id, parse_id
from acked_common.model.instants import rfc3339
from acked_common.model.lifecycle import State
from acked_common.model.principal import SCOPE_KEY, Permission, Principal
from acked_intake.request.operations import PROCESS
from acked_intake.settings import Quotas
from support.asgi import Application, call
from support.intake import PORT, IntakeBench


async def test_an_accepted_request_is_told_where_its_status_is(bench: IntakeBench) -> None:
    response = await bench.post({"kind": "demo", "payload": {"n": 1}})
    assert (response.status, response.headers["content-type"]) == (202, "application/json")
    found = response.json
    job_id = parse_id(found["id"])
    assert job_id is not None
    kept = await bench.store.get(job_id)
    assert kept is not None
    assert found == {
        "id": str(kept.id),
        "state": State.QUEUED.value,
        "kind": "demo",
        "accepted_at": rfc3339(kept.accepted_at),
        "links": {"status": f"/status/{kept.id}", "feed": f"ws://localhost:{PORT}/ws/feed"},
    }
    assert response.headers["location"] == f"/status/{kept.id}"
    assert response.headers["retry-after"] == "1"
    assert int(response.headers["content-length"]) == len(response.body)


async def test_a_job_that_was_edited_names_its_source(bench: IntakeBench) -> None:
    source = "01a20d05-adf2-7315-9ee6-8162dae54aa3"
    response = await bench.post({"kind": "demo", "edited_from": source})
    kept = await bench.store.get(parse_id(response.json["id"]) or new_id())
    assert kept is not None and str(kept.edited_from) == source


@pytest.mark.parametrize(("permissions", "status"), [({Permission.OPERATE}, 202), (set(), 403)])
async def test_only_operators_name_an_edited_source(
    bench: IntakeBench, permissions: set[Permission], status: int
) -> None:
    principal = Principal("acme", "c", frozenset({Permission.SUBMIT, *permissions}))

    async def as_the_guards_leave_it(scope: Any, receive: Any, send: Any) -> None:
        await bench.endpoint({**scope, SCOPE_KEY: principal}, receive, send)

    body = b'{"kind":"demo","edited_from":"01a20d05-adf2-7315-9ee6-8162dae54aa3"}'
    headers = {"content-type": "application/json"}
    response = await call(as_the_guards_leave_it, "POST", "/process", body, headers=headers)
    assert response.status == status
    if status == 403:
        assert (response.json["type"], "operate" in response.json["detail"]) == ("/problems/missing-permission", True)
        assert await bench.store.count_waiting(at_most=9) == 0
    plain = await call(as_the_guards_leave_it, "POST", "/process", b'{"kind":"demo"}', headers=headers)
    assert plain.status == 202


async def test_an_empty_body_asks_for_a_demo(bench: IntakeBench) -> None:
    response = await bench.post(None)
    assert (response.status, response.json["kind"]) == (202, "demo")


@pytest.mark.parametrize("headers", [{"content_type": "application/json"}, {"idempotency_key": "a"}])
async def test_an_empty_body_that_was_lost_is_no_job(bench: IntakeBench, headers: dict[str, str]) -> None:
    response = await bench.post(None, **headers)
    assert (response.status, response.json["type"]) == (400, "/problems/empty-body")


@pytest.mark.parametrize(("delay_s", "after"), [(0.2, "1"), (90, "90"), (1_000_000, "3600")])
async def test_a_delayed_job_is_asked_for_later(bench: IntakeBench, delay_s: float, after: str) -> None:
    response = await bench.post({"kind": "demo", "delay_s": delay_s})
    assert (response.json["state"], response.headers["retry-after"]) == (State.SCHEDULED.value, after)


@pytest.mark.parametrize(
    ("body", "status", "name"),
    [
        (b"{", 400, "bad-json"),
        (b'{"kind":"demo","kind":"demo"}', 400, "duplicate-key"),
        ({"kind": 7}, 422, "invalid-field"),
        ({"kind": "demo", "colour": "red"}, 422, "unknown-field"),
        ({"kind": "nope"}, 422, "unknown-kind"),
        ({"kind": "demo", "payload": "x" * 2048}, 413, "body-too-large"),
    ],
)
async def test_a_refusal_is_a_problem_document(bench: IntakeBench, body: object, status: int, name: str) -> None:
    response = await bench.post(body)
    assert (response.status, response.json["type"]) == (status, f"/problems/{name}")
    assert response.headers["content-type"] == "application/problem+json"
    assert int(response.headers["content-length"]) == len(response.body)


async def test_a_body_of_another_type_is_refused(bench: IntakeBench) -> None:
    response = await bench.post({"kind": "demo"}, content_type="text/plain")
    assert (response.status, response.json["type"]) == (415, "/problems/unsupported-media-type")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_other_methods_are_told_how_to_call(bench: IntakeBench, method: str) -> None:
    response = await call(bench.endpoint, method, "/process", headers={"host": "localhost:8081"})
    assert (response.status, response.headers["allow"]) == (405, "POST")
    assert "curl" in response.json["example"] and "localhost:8081/process" in response.json["example"]


async def test_without_the_store_nothing_is_accepted(bench: IntakeBench) -> None:
    bench.monitor._problem = "MongoDB does not respond"
    response = await bench.post({"kind": "demo"})
    assert (response.status, response.json["type"], response.headers["retry-after"]) == (
        503,
        "/problems/not-accepted",
        "1",
    )


async def test_the_answer_is_what_the_document_tells(bench: IntakeBench) -> None:
    response = await bench.post({"kind": "demo"})
    found = msgspec.json.decode(response.body, type=Accepted)
    assert found == response.json, "the response has no member that the type lacks"
    (accepted,) = [answer for answer in PROCESS.answers if answer.status == 202]
    assert (accepted.status, list(accepted.media)) == (response.status, [response.headers["content-type"]])
    always = {name.lower() for name, header in accepted.headers.items() if header.is_always_there}
    assert always <= set(response.headers)


async def test_a_request_that_is_sent_again_with_its_key_gets_the_same_answer(bench: IntakeBench) -> None:
    body = {"kind": "demo", "payload": {"a": 1, "b": 2}, "delay_s": 90}
    first = await bench.post(body, idempotency_key="order-7")
    again = await bench.post(
        b'{"payload":{"b":2, "a":1},"delay_s":90.0,"tags":null,"kind":"demo"}', idempotency_key='"order-7"'
    )
    assert (first.status, again.status) == (202, 202)
    assert again.body == first.body
    assert "idempotency-replayed" not in first.headers
    assert dict(again.headers) == {**first.headers, "idempotency-replayed": "true"}


async def test_without_a_key_each_request_is_a_job(bench: IntakeBench) -> None:
    first, second = [await bench.post({"kind": "demo"}) for _ in range(2)]
    assert first.json["id"] != second.json["id"]
    assert "idempotency-replayed" not in second.headers


async def test_another_request_with_the_same_key_is_refused(bench: IntakeBench) -> None:
    first = await bench.post({"kind": "demo", "payload": 1}, idempotency_key="k")
    response = await bench.post({"kind": "demo", "payload": 2}, idempotency_key="k")
    assert (response.status, response.json["type"]) == (422, "/problems/idempotency-key-reused")
    assert response.json["id"] == first.json["id"]
    assert (await bench.post({"kind": "demo", "payload": 1}, idempotency_key="k")).json == first.json


@pytest.mark.parametrize("key", ["", " ", "a b", "ä", "k" * 256, '"', '""', '"a', "a,b", "a/b", '"a b"'])
async def test_a_key_that_can_not_be_used_is_refused(bench: IntakeBench, key: str) -> None:
    response = await bench.post({"kind": "demo"}, idempotency_key=key)
    assert (response.status, response.json["type"]) == (400, "/problems/bad-idempotency-key")
    assert "1 to 255" in response.json["detail"]


async def test_a_key_is_the_tenant_s_own(bench: IntakeBench) -> None:
    def endpoint_of(tenant: str) -> Application:
        async def as_the_guards_leave_it(scope: Any, receive: Any, send: Any) -> None:
            await bench.endpoint({**scope, SCOPE_KEY: Principal(tenant, "c", frozenset())}, receive, send)

        return as_the_guards_leave_it

    headers = {"idempotency-key": "k", "content-type": "application/json"}
    ids = {
        tenant: {
            (await call(endpoint_of(tenant), "POST", "/process", b'{"kind":"demo"}', headers=headers)).json["id"]
            for _ in range(2)
        }
        for tenant in ("ours", "theirs")
    }
    assert [len(found) for found in ids.values()] == [1, 1]
    assert ids["ours"] != ids["theirs"]
    for tenant, (job_id,) in ids.items():
        holder = await bench.store.key_holder(tenant, "k")
        assert holder is not None and str(holder.id) == job_id


async def test_when_too_many_jobs_wait_nothing_is_stored() -> None:
    bench = IntakeBench(Quotas(in_all=2, of_tenant=0))
    await bench.begin()
    first = await bench.post({"kind": "demo"}, idempotency_key='"first"')
    assert [first.status] + [(await bench.post({"kind": "demo"})).status for _ in range(2)] == [202, 202, 503]
    response = await bench.post({"kind": "demo"})
    assert response.json["type"] == "/problems/quota-exceeded"
    assert response.headers["retry-after"] == "60"
    assert await bench.store.count_waiting(at_most=10) == 2
    # A bad request is told what is wrong with it all the same.
    assert (await bench.post({"kind": 5})).status == 422
    # What was accepted once is told again, however many wait.
    again = await bench.post({"kind": "demo"}, idempotency_key='"first"')
    assert (again.status, again.headers["idempotency-replayed"], again.json["id"]) == (202, "true", first.json["id"])
    assert (await bench.post({"kind": "demo", "payload": 1}, idempotency_key='"first"')).status == 422
    assert (await bench.post({"kind": "demo"}, idempotency_key='"new"')).status == 503
    assert await bench.store.count_waiting(at_most=10) == 2
    await bench.bundle_publisher.stop()
