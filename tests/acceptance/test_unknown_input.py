"""Unknown input on a running stack: refused on every route of both services, with the known names; nothing is done."""

import http.client
import json
from contextlib import closing
from typing import Any

import pytest

from acked_common.model.lifecycle import State
from support.contract import assert_problem
from support.stacks import TestStack

ROUTES = [
    ("intake", "POST", "/process"),
    *((service, "GET", path) for service in ("intake", "gateway") for path in ("/kinds", "/metrics", "/openapi.json")),
    *((service, "GET", "/status/01a20d05-adf2-7315-9ee6-8162dae54aa3") for service in ("intake", "gateway")),
    *(("gateway", "GET", path) for path in ("/", "/jobs", "/workers", "/batches/b", "/load-test", "/pages/app.css")),
    ("gateway", "POST", "/load-test"),
    ("gateway", "POST", "/workers/nobody/drain"),
    ("gateway", "POST", "/jobs/01a20d05-adf2-7315-9ee6-8162dae54aa3/cancel"),
    ("gateway", "POST", "/jobs/01a20d05-adf2-7315-9ee6-8162dae54aa3/resolve"),
]


@pytest.mark.parametrize(("service", "method", "path"), ROUTES)
def test_unknown_parameter_is_refused_on_each_route(stack: TestStack, service: str, method: str, path: str) -> None:
    answer = stack.call(method, f"{path}?surprise=1", to=service)
    document = assert_problem(stack, answer, 422, "unknown-field")
    assert document["errors"][0]["pointer"] == "?surprise"
    assert "known_fields" in document


@pytest.mark.parametrize(
    ("service", "target", "pointer", "says"),
    [
        ("gateway", "/jobs?satte=failed", "?satte", "'state'"),
        ("gateway", "/jobs?status=failed", "?status", "'state'"),
        ("gateway", "/jobs?state=failed&state=queued", "?state", "more than once"),
        ("gateway", "/load-test?n=5", "?n", "count"),
        ("gateway", "/status/01a20d05-adf2-7315-9ee6-8162dae54aa3?wait=5", "?wait", "'wait_s'"),
        ("intake", "/status/01a20d05-adf2-7315-9ee6-8162dae54aa3?wait=5", "?wait", "'wait_s'"),
        ("intake", "/status/01a20d05-adf2-7315-9ee6-8162dae54aa3?wait_s=1_0", "?wait_s", "number"),
        ("intake", "/status/01a20d05-adf2-7315-9ee6-8162dae54aa3?wait_s=5&after_rev=5.5", "?after_rev", "whole"),
        ("gateway", "/jobs?page_size=%D9%A3", "?page_size", "whole"),
        ("gateway", "/jobs?tag=%ff", "?tag", "UTF-8"),
    ],
)
def test_misspelt_parameter_is_answered_with_the_nearest(
    stack: TestStack, service: str, target: str, pointer: str, says: str
) -> None:
    answer = stack.call("GET", target, to=service)
    assert answer.status == 422
    assert answer.body["errors"][0]["pointer"] == pointer
    assert says in answer.body["errors"][0]["detail"]


def test_count_in_foreign_digits_starts_no_load_test(stack: TestStack) -> None:
    assert_problem(stack, stack.call("POST", "/load-test?count=%D9%A3"), 422, "bad-count")


def failed_job(stack: TestStack) -> str:
    job_id = stack.process("flaky", payload={"failures": 9}, max_attempts=1)
    assert stack.finished(job_id)["state"] == State.FAILED
    return job_id


def sent(stack: TestStack, method: str, path: str, body: Any) -> tuple[int, Any]:
    with closing(http.client.HTTPConnection("127.0.0.1", stack.gateway_port, timeout=10)) as connection:
        connection.request(method, path, body=body, headers={"Content-Type": "application/json"})
        answer = connection.getresponse()
        found = answer.status, json.loads(answer.read())
        # The connection goes on behind a body that nobody read.
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        return found


@pytest.mark.parametrize(
    "body", [b'{"payload": 1}', b"[]", iter([b'{"payload"', b": 1}"])], ids=["length", "[]", "chunks"]
)
def test_retry_with_a_payload_is_refused_and_starts_nothing(stack: TestStack, body: Any) -> None:
    job_id = failed_job(stack)
    status, document = sent(stack, "POST", f"/jobs/{job_id}/retry", body)
    assert (status, document["type"]) == (422, "/problems/unexpected-body")
    assert stack.status(job_id)["state"] == State.FAILED
    assert stack.call("POST", f"/jobs/{job_id}/retry").status == 200


def test_retry_with_an_empty_object_starts_a_run(stack: TestStack) -> None:
    assert sent(stack, "POST", f"/jobs/{failed_job(stack)}/retry", b"{}")[0] == 200


def test_probe_with_a_query_gets_its_status(stack: TestStack) -> None:
    for service in ("intake", "gateway"):
        assert [stack.call("GET", f"{path}?at=1", to=service).status for path in ("/healthz", "/readyz")] == [200, 200]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/jobs"),
        ("GET", "/healthz"),
        ("POST", "/load-test?count=1"),
        ("POST", "/workers/worker-1/drain"),
        ("POST", "/jobs/01a20d05-adf2-7315-9ee6-8162dae54aa3/cancel"),
    ],
)
def test_body_where_none_is_taken_is_refused(stack: TestStack, method: str, path: str) -> None:
    status, document = sent(stack, method, path, b'{"a": 1}')
    assert (status, document["type"]) == (422, "/problems/unexpected-body")


def test_handshake_with_a_query_is_refused(stack: TestStack) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", stack.gateway_port, timeout=10)) as connection:
        connection.putrequest("GET", "/ws/feed?batch=b")
        for name, value in {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
            "Sec-WebSocket-Version": "13",
        }.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["type"]) == (422, "/problems/unknown-field")


def test_request_at_the_wrong_service_is_told_where_to_go(stack: TestStack) -> None:
    answer = stack.call("POST", "/process", {"kind": "noop"})
    document = assert_problem(stack, answer, 404, "not-found")
    assert document["url"] == f"http://localhost:{stack.intake_port}/process"
    for path, scheme in (("/jobs", "http"), ("/jobs/x/retry", "http"), ("/ws/feed", "ws"), ("/load-test", "http")):
        document = assert_problem(stack, stack.call("GET", path, to="intake"), 404, "not-found")
        assert document["url"] == f"{scheme}://localhost:{stack.gateway_port}{path}"


def test_paths_of_one_service_are_all_named_to_the_other(stack: TestStack) -> None:
    """Whatever one service alone serves, the other one knows by its first part."""
    paths = {to: set(stack.call("GET", "/openapi.json", to=to).body["paths"]) for to in ("intake", "gateway")}
    for to, other in (("intake", "gateway"), ("gateway", "intake")):
        for path in sorted(paths[other] - paths[to] - {"/"}):
            answer = stack.call("DELETE", path.replace("{", "").replace("}", ""), to=to)
            assert (answer.status, "url" in answer.body) == (404, True), path
