"""What pages of other sites may not do, and what each service tells of itself."""

import http.client
import socket
from contextlib import closing
from uuid import uuid4

import pytest

from support.contract import assert_problem, instant, raw_answer, workers
from support.stacks import Answer, TestStack, eventually

SERVICES = ("gateway", "intake")
CROSS_SITE = {"Sec-Fetch-Site": "cross-site"}
TYPED = {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-User": "?1", "Sec-Fetch-Dest": "document"}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:80", "127.0.0.1.nip.io", "10.0.0.1", "[::2]"])
def test_a_foreign_host_name_is_refused_everywhere(stack: TestStack, service: str, host: str) -> None:
    for path in ("/", "/status/x", "/load-test", "/jobs", "/process", "/metrics", "/nowhere"):
        answer = stack.call("GET", path, to=service, headers={"Host": host})
        assert_problem(stack, answer, 421, "host-not-allowed", says=host)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "[::1]:9"])
def test_the_own_names_are_allowed(stack: TestStack, service: str, host: str) -> None:
    assert stack.call("GET", "/healthz", to=service, headers={"Host": host}).status == 200


@pytest.mark.parametrize("hosts", ["", "Host: localhost\r\nHost: localhost\r\n"])
def test_exactly_one_host_is_wanted(stack: TestStack, hosts: str) -> None:
    with closing(socket.create_connection(("127.0.0.1", stack.intake_port), timeout=10)) as line:
        line.sendall(f"GET /healthz HTTP/1.1\r\n{hosts}\r\n".encode())
        assert_problem(stack, raw_answer(line), 400, "bad-host")


def test_pages_of_other_sites_change_nothing(stack: TestStack) -> None:
    job_id = stack.process("noop", delay_s=600)
    calls = [
        ("GET", "/load-test?count=1", "gateway"),
        ("GET", "/load-test/?count=1", "gateway"),
        ("GET", "/load%2Dtest?count=1", "gateway"),
        ("POST", "/load-test?count=1", "gateway"),
        ("POST", f"/jobs/{job_id}/cancel", "gateway"),
        ("POST", f"/jobs/{job_id}/retry", "gateway"),
        ("POST", f"/jobs/{job_id}/resolve", "gateway"),
        ("POST", "/process", "intake"),
    ]
    before = stack.status(job_id), stack.call("GET", "/jobs?page_size=1").body
    for method, path, service in calls:
        for site in ("cross-site", "same-site"):
            for more in ({}, {**TYPED, "Sec-Fetch-Site": site}):
                answer = stack.call(method, path, to=service, headers={"Sec-Fetch-Site": site, **more})
                assert_problem(stack, answer, 403, "cross-site")
        answer = stack.call(method, path, to=service, headers={"Origin": "https://evil.example"})
        assert_problem(stack, answer, 403, "origin-not-allowed", says="evil.example")
        answer = stack.call(method, path, to=service, headers={"Origin": "null"})
        assert_problem(stack, answer, 403, "origin-not-allowed")
    assert (stack.status(job_id), stack.call("GET", "/jobs?page_size=1").body) == before


def test_load_test_of_a_typed_address_runs_and_of_a_link_does_not(stack: TestStack) -> None:
    assert stack.call("GET", "/load-test?count=1&kind=noop", headers=TYPED).body["persisted"] == 1
    linked = stack.call("GET", "/load-test?count=1&kind=noop", headers={**TYPED, **CROSS_SITE})
    assert_problem(stack, linked, 403, "cross-site")
    page = stack.call("GET", "/load-test?count=1", headers={**TYPED, **CROSS_SITE, "Accept": "text/html"})
    assert (page.status, b"data-run-once" in page.raw) == (200, False)
    typed = stack.call("GET", "/load-test?count=1", headers={**TYPED, "Accept": "text/html"})
    assert (typed.status, b'data-run-once="' in typed.raw) == (200, True)
    ahead = stack.call("GET", "/load-test", headers={**TYPED, "Accept": "text/html", "Sec-Purpose": "prefetch"})
    assert b"data-run-once" not in ahead.raw
    for path in ("/", "/jobs", "/healthz"):
        assert stack.call("GET", path, headers=CROSS_SITE).status == 200, "what only reads is open"


@pytest.mark.parametrize("site", ["same-origin", "none", "same-site"])
def test_own_pages_and_programs_may(stack: TestStack, site: str) -> None:
    batch = f"g-{uuid4().hex}"
    for name, port in (("localhost", stack.intake_port), ("127.0.0.1", stack.intake_port)):
        headers = {"Sec-Fetch-Site": site, "Host": f"{name}:{port}", "Origin": f"http://{name}:{port}"}
        answer = stack.call("POST", "/process", {"kind": "noop", "batch": batch}, to="intake", headers=headers)
        assert answer.status == 202, answer.raw
    assert sum(stack.batch(batch).values()) == 2


@pytest.mark.parametrize("path", ["/ws/feed", "/ws/worker"])
def test_websocket_address_without_an_upgrade_is_426(stack: TestStack, path: str) -> None:
    answer = stack.call("GET", path)
    assert_problem(stack, answer, 426, "upgrade-required", says=f"ws://127.0.0.1:{stack.gateway_port}{path}")
    assert answer.headers["upgrade"] == "websocket"
    assert answer.headers["connection"] == "Upgrade"
    assert stack.call("HEAD", path).status == 426
    refused = stack.call("POST", path)
    assert_problem(stack, refused, 405, "method-not-allowed")
    assert refused.headers["allow"] == "GET"


@pytest.mark.parametrize("service", SERVICES)
def test_large_headers_are_refused(stack: TestStack, service: str) -> None:
    answer = stack.call("GET", "/healthz", to=service, headers={"Cookie": "x" * 33_000})
    assert_problem(stack, answer, 431, "headers-too-large")


@pytest.mark.parametrize("service", SERVICES)
def test_unknown_paths_and_methods(stack: TestStack, service: str) -> None:
    for path in ("/nowhere", "/status", "/problems/nothing", "/../etc/passwd", "/jobs/x/y"):
        assert_problem(stack, stack.call("GET", path, to=service), 404, "not-found")
    answer = stack.call("DELETE", "/kinds", to=service)
    assert_problem(stack, answer, 405, "method-not-allowed", says="DELETE")
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize("service", SERVICES)
def test_every_answer_carries_the_safe_headers(stack: TestStack, service: str) -> None:
    for path in ("/healthz", "/kinds", "/nowhere", "/problems/busy", "/metrics"):
        headers = stack.call("GET", path, to=service).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers
    assert "default-src" in stack.call("GET", "/problems/busy", to=service).headers["content-security-policy"]


def worker_call(stack: TestStack, path: str, host: str = "localhost") -> Answer:
    port = stack.stack.parts.health_port("worker-1")
    assert port is not None
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with closing(connection):
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())


def test_health_and_metrics_everywhere(stack: TestStack) -> None:
    answers = [{path: stack.call("GET", path, to=service) for path in HEALTH_PATHS} for service in SERVICES]
    answers.append({path: worker_call(stack, path) for path in HEALTH_PATHS})
    parts = []
    for found in answers:
        assert {answer.status for answer in found.values()} == {200}, found["/readyz"].raw
        assert found["/healthz"].body == {"status": "alive"}
        assert found["/readyz"].body["status"] == "ready"
        assert set(found["/readyz"].body["parts"].values()) == {"ok"}
        parts.append(set(found["/readyz"].body["parts"]))
        assert found["/metrics"].headers["content-type"].startswith("text/plain")
        assert b"process_resident_memory_bytes" in found["/metrics"].raw
    for told, expected in zip(parts, PARTS, strict=True):
        assert expected <= told
    assert worker_call(stack, "/metrics", "evil.example").status == 421


@pytest.mark.parametrize("host", ["10.244.0.5:8080", "10-0-0-1.default.pod.cluster.local", "acked-gateway:8080"])
def test_probes_with_any_host_get_the_status_alone(stack: TestStack, host: str) -> None:
    for service in SERVICES:
        assert stack.call("GET", "/healthz", to=service, headers={"Host": host}).body == {"status": "alive"}
        ready = stack.call("GET", "/readyz", to=service, headers={"Host": host})
        assert (ready.status, ready.body) == (200, {"status": "ready", "parts": {}})
        assert stack.call("HEAD", "/readyz", to=service, headers={"Host": host}).status == 200
    assert worker_call(stack, "/healthz", host).body == {"status": "alive"}
    assert worker_call(stack, "/readyz", host).body == {"status": "ready", "parts": {}}


@pytest.mark.parametrize("request_line", ["OPTIONS / HTTP/1.0", "GET /healthz HTTP/1.0", "OPTIONS /readyz HTTP/1.0"])
def test_probes_of_http_1_0_need_no_host(stack: TestStack, request_line: str) -> None:
    for port in (stack.gateway_port, stack.intake_port, stack.stack.parts.health_port("worker-1")):
        with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as line:
            line.sendall(f"{request_line}\r\n\r\n".encode())
            answer = raw_answer(line)
            assert (answer.status, answer.body["status"]) in ((200, "alive"), (200, "ready"))
            assert not answer.body.get("parts")


HEALTH_PATHS = ("/healthz", "/readyz", "/metrics")
PARTS = ({"mongodb", "rabbitmq"}, {"mongodb", "kinds", "rabbitmq"}, {"mongodb", "lanes", "renewals", "draining"})


def test_kinds_are_listed_on_both_services(stack: TestStack) -> None:
    ours, theirs = (
        {kind["kind"]: kind for kind in stack.call("GET", "/kinds", to=service).body["kinds"]} for service in SERVICES
    )
    assert ours.keys() == theirs.keys()
    assert {"demo", "noop", "flaky", "http_call", "test.fails", "test.thread"} <= ours.keys()
    seen_at = instant(ours["test.fails"].pop("seen_at"))
    assert seen_at
    assert ours["test.fails"] == {
        "kind": "test.fails",
        "lane": "test.fails",
        "version": "1",
        "timeout_s": 900.0,
        "max_attempts": 3,
        "backoff_base_s": 0.05,
        "backoff_cap_s": 0.1,
        "bundle": 32,
        "paused": None,
        "limit": None,
    }
    assert theirs["test.thread"]["bundle"] == 1, "a plain function gets single jobs"


def test_workers_are_listed(stack: TestStack) -> None:
    first = eventually(lambda: workers(stack).get("worker-1"), within_s=10, what="the worker is listed")
    assert {"demo", "noop", "flaky", "http_call", "test.echo"} <= set(first.kinds)
    assert first.slots == 200
    assert first.version
    assert instant(first.since) < instant(first.seen_at)
    job_id = stack.process("demo", payload={"seconds": 60})
    eventually(lambda: workers(stack)["worker-1"].running == 1, within_s=10, what="it counts what it runs")
    assert stack.call("POST", f"/jobs/{job_id}/cancel").status == 200
    stack.finished(job_id)
    eventually(lambda: workers(stack)["worker-1"].running == 0, within_s=10, what="it runs nothing")
    counted = workers(stack)["worker-1"]
    assert counted.finished > first.finished
    assert counted.since == first.since
    assert instant(counted.seen_at) > instant(first.seen_at)
