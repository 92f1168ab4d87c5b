"""`POST /process` as clients see it."""

import contextlib
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from acked_common.api.operations import Accepted
from acked_common.background.bundle_publisher import BundlePublisher
from acked_common.background.job_writer import JobWriter
from acked_common.background.kind_cache import KindCache
from acked_common.background.store_monitor import StoreMonitor
from acked_common.http.problems import ProblemError
from acked_common.model.ids import new_id, parse_id
from acked_common.model.instants import rfc3339
from acked_common.model.json_scanner import JsonScanner
from acked_common.model.lifecycle import State
from acked_common.model.principal import SCOPE_KEY, Permission, Principal
from acked_common.runtime.clock import SharedClock
from acked_common.runtime.env import Env
from acked_intake.accept.acceptance import Acceptance
from acked_intake.accept.group_commit import GroupCommit
from acked_intake.accept.keyed_commit import KeyedCommit
from acked_intake.accept.quota_counter import QuotaCounter
from acked_intake.accept.submission import parse_submission
from acked_intake.request import routes
from acked_intake.request.operations import PROCESS
from acked_intake.request.routes import ON_LOOP_BYTES, SCANNED_ON_LOOP_BYTES, ProcessEndpoint, check_and_parse
from acked_intake.settings import CommitLimits, Quotas, read_settings
from support.asgi import Answer, Application, call
from support.factories import kind_record
from support.memory_broker import MemoryBroker
from support.memory_store import MemoryStore

PORT = 9123


class Bench:
    """The endpoint over parts in memory."""

    def __init__(self, quotas: Quotas | None = None) -> None:
        settings = read_settings(Env({"ACKED_GATEWAY_PORT": str(PORT), "ACKED_MAX_BODY_BYTES": "2048"}))
        clock = SharedClock()
        self.store = MemoryStore(clock)
        self.kinds = KindCache(self.store)
        self.monitor = StoreMonitor(self.store, clock)
        self.bundle_publisher = BundlePublisher(MemoryBroker(), self.kinds)
        self.quota = QuotaCounter(self.store, quotas or Quotas(0, 0))
        commit = GroupCommit(JobWriter(self.store, self.bundle_publisher.offer), CommitLimits())
        keyed_commit = KeyedCommit(commit, self.store, answer_within_s=1.8)
        acceptance = Acceptance(
            commit, keyed_commit, self.store, self.kinds, self.monitor, clock, settings.common.times, self.quota
        )
        self.endpoint = ProcessEndpoint(acceptance, settings)

    async def post(self, body: object = None, **headers: str) -> Answer:
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        kept = {name.replace("_", "-"): v for name, v in headers.items()}
        if body is not None:
            kept = {"content-type": "application/json", **kept}
        return await call(self.endpoint, "POST", "/process", raw, headers=kept)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    await made.store.ensure_schema()
    await made.store.register_kinds([kind_record("demo", "demo")])
    await made.monitor.look()
    await made.kinds.refresh()
    yield made
    await made.bundle_publisher.stop()


async def test_an_accepted_request_is_told_where_its_status_is(bench: Bench) -> None:
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


async def test_a_job_that_was_edited_names_its_source(bench: Bench) -> None:
    source = "01a20d05-adf2-7315-9ee6-8162dae54aa3"
    response = await bench.post({"kind": "demo", "edited_from": source})
    kept = await bench.store.get(parse_id(response.json["id"]) or new_id())
    assert kept is not None and str(kept.edited_from) == source


@pytest.mark.parametrize(("permissions", "status"), [({Permission.OPERATE}, 202), (set(), 403)])
async def test_only_operators_name_an_edited_source(bench: Bench, permissions: set[Permission], status: int) -> None:
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


async def test_an_empty_body_asks_for_a_demo(bench: Bench) -> None:
    response = await bench.post(None)
    assert (response.status, response.json["kind"]) == (202, "demo")


@pytest.mark.parametrize("headers", [{"content_type": "application/json"}, {"idempotency_key": "a"}])
async def test_an_empty_body_that_was_lost_is_no_job(bench: Bench, headers: dict[str, str]) -> None:
    response = await bench.post(None, **headers)
    assert (response.status, response.json["type"]) == (400, "/problems/empty-body")


@pytest.mark.parametrize(("delay_s", "after"), [(0.2, "1"), (90, "90"), (1_000_000, "3600")])
async def test_a_delayed_job_is_asked_for_later(bench: Bench, delay_s: float, after: str) -> None:
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
async def test_a_refusal_is_a_problem_document(bench: Bench, body: object, status: int, name: str) -> None:
    response = await bench.post(body)
    assert (response.status, response.json["type"]) == (status, f"/problems/{name}")
    assert response.headers["content-type"] == "application/problem+json"
    assert int(response.headers["content-length"]) == len(response.body)


async def test_a_body_of_another_type_is_refused(bench: Bench) -> None:
    response = await bench.post({"kind": "demo"}, content_type="text/plain")
    assert (response.status, response.json["type"]) == (415, "/problems/unsupported-media-type")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_other_methods_are_told_how_to_call(bench: Bench, method: str) -> None:
    response = await call(bench.endpoint, method, "/process", headers={"host": "localhost:8081"})
    assert (response.status, response.headers["allow"]) == (405, "POST")
    assert "curl" in response.json["example"] and "localhost:8081/process" in response.json["example"]


async def test_without_the_store_nothing_is_accepted(bench: Bench) -> None:
    bench.monitor._problem = "MongoDB does not respond"
    response = await bench.post({"kind": "demo"})
    assert (response.status, response.json["type"], response.headers["retry-after"]) == (
        503,
        "/problems/not-accepted",
        "1",
    )


async def test_the_answer_is_what_the_document_tells(bench: Bench) -> None:
    response = await bench.post({"kind": "demo"})
    found = msgspec.json.decode(response.body, type=Accepted)
    assert found == response.json, "the response has no member that the type lacks"
    (accepted,) = PROCESS.answers
    assert (accepted.status, list(accepted.media)) == (response.status, [response.headers["content-type"]])
    always = {name.lower() for name, header in accepted.headers.items() if header.is_always_there}
    assert always <= set(response.headers)


async def test_a_request_that_is_sent_again_with_its_key_gets_the_same_answer(bench: Bench) -> None:
    body = {"kind": "demo", "payload": {"a": 1, "b": 2}, "delay_s": 90}
    first = await bench.post(body, idempotency_key="order-7")
    again = await bench.post(
        b'{"payload":{"b":2, "a":1},"delay_s":90.0,"tags":null,"kind":"demo"}', idempotency_key='"order-7"'
    )
    assert (first.status, again.status) == (202, 202)
    assert again.body == first.body
    assert "idempotency-replayed" not in first.headers
    assert dict(again.headers) == {**first.headers, "idempotency-replayed": "true"}


async def test_without_a_key_each_request_is_a_job(bench: Bench) -> None:
    first, second = [await bench.post({"kind": "demo"}) for _ in range(2)]
    assert first.json["id"] != second.json["id"]
    assert "idempotency-replayed" not in second.headers


async def test_another_request_with_the_same_key_is_refused(bench: Bench) -> None:
    first = await bench.post({"kind": "demo", "payload": 1}, idempotency_key="k")
    response = await bench.post({"kind": "demo", "payload": 2}, idempotency_key="k")
    assert (response.status, response.json["type"]) == (422, "/problems/idempotency-key-reused")
    assert response.json["id"] == first.json["id"]
    assert (await bench.post({"kind": "demo", "payload": 1}, idempotency_key="k")).json == first.json


@pytest.mark.parametrize("key", ["", " ", "a b", "ä", "k" * 256, '"', '""', '"a', "a,b", "a/b", '"a b"'])
async def test_a_key_that_can_not_be_used_is_refused(bench: Bench, key: str) -> None:
    response = await bench.post({"kind": "demo"}, idempotency_key=key)
    assert (response.status, response.json["type"]) == (400, "/problems/bad-idempotency-key")
    assert "1 to 255" in response.json["detail"]


async def test_a_key_is_the_tenant_s_own(bench: Bench) -> None:
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
    bench = Bench(Quotas(in_all=2, of_tenant=0))
    await bench.store.ensure_schema()
    await bench.store.register_kinds([kind_record("demo", "demo")])
    await bench.monitor.look()
    await bench.kinds.refresh()
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


async def test_a_small_body_is_parsed_at_once_and_a_large_one_in_another_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[threading.Thread] = []

    def noting(body: bytes, **limits: Any) -> Any:
        threads.append(threading.current_thread())
        return parse_submission(body, **limits)

    monkeypatch.setattr(routes, "parse_submission", noting)
    small = b'{"kind": "noop"}'
    assert (await check_and_parse(small)).kind == "noop"
    assert (await check_and_parse(small.ljust(ON_LOOP_BYTES))).kind == "noop"
    assert (await check_and_parse(small.ljust(ON_LOOP_BYTES + 1))).kind == "noop"
    here = threading.main_thread()
    assert [thread is here for thread in threads] == [True, True, False]


@pytest.mark.parametrize(
    "payload", [b"1" + b",1" * 1000 + b",x", b'{"a":0,"a":1}' + b",1" * 1000, b'"\\u003a"' + b",1" * 1000]
)
async def test_a_doubtful_body_is_judged_in_another_thread(monkeypatch: pytest.MonkeyPatch, payload: bytes) -> None:
    threads: list[threading.Thread] = []
    scan = JsonScanner.scan

    def noting(scanner: JsonScanner) -> None:
        threads.append(threading.current_thread())
        scan(scanner)

    monkeypatch.setattr(JsonScanner, "scan", noting)
    body = b'{"kind": "noop", "payload": [' + payload + b"]}"
    assert SCANNED_ON_LOOP_BYTES < len(body) <= ON_LOOP_BYTES
    with contextlib.suppress(ProblemError):
        await check_and_parse(body)
    with pytest.raises(ProblemError):
        await check_and_parse(b'{"kind"')
    assert [thread is threading.main_thread() for thread in threads] == [False, True]


@pytest.mark.parametrize("size", [0, SCANNED_ON_LOOP_BYTES + 1, ON_LOOP_BYTES + 1])
async def test_a_wrong_body_is_refused_on_both_ways(size: int) -> None:
    with pytest.raises(ProblemError) as caught:
        await check_and_parse(b'{"kind": 5}'.ljust(size))
    assert caught.value.problem.errors[0]["pointer"] == "/kind"
    with pytest.raises(ProblemError) as caught:
        await check_and_parse(b'{"kind"'.ljust(size), max_bytes=ON_LOOP_BYTES * 2)
    assert caught.value.problem.name == "bad-json"
