"""The public contract as the acceptance tests read it: problem documents, instants and response shapes."""

import http.client
import re
import socket
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from acked_common.model.lifecycle import State
from support.stacks import Answer, TestStack, eventually

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
# Maximum difference of two processes' estimates of MongoDB's time.
CLOCKS_DIFFER = timedelta(milliseconds=50)
UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

_pages_seen: set[tuple[int, str]] = set()


def instant(text: Any) -> datetime:
    """Parse an instant of the contract: RFC 3339, UTC, milliseconds."""
    assert isinstance(text, str), text
    assert INSTANT.fullmatch(text), text
    return datetime.fromisoformat(text)


def assert_problem(
    stack: TestStack, answer: Answer, status: int, name: str, *, pointers: Sequence[str] | None = None, says: str = ""
) -> Any:
    """Check that the response is this problem with errors at these places, and that both services serve its page."""
    assert answer.status == status, answer.raw
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["content-length"]) == len(answer.raw)
    document = answer.body
    assert document["type"] == f"/problems/{name}", document
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    errors = document.get("errors", [])
    if pointers is not None:
        assert [error["pointer"] for error in errors] == list(pointers), document
    assert all(error.keys() == {"pointer", "detail"} and error["detail"] for error in errors), document
    assert says in document["detail"] or any(says in error["detail"] for error in errors), document
    assert_page(stack, name)
    return document


def assert_page(stack: TestStack, name: str) -> None:
    """Check that a problem's `type` leads to an HTML page on each service."""
    if (stack.gateway_port, name) in _pages_seen:
        return
    for service in ("gateway", "intake"):
        page = stack.call("GET", f"/problems/{name}", to=service)
        assert page.status == 200, (service, name)
        assert page.headers["content-type"].startswith("text/html")
        assert f"/problems/{name}".encode() in page.raw
    _pages_seen.add((stack.gateway_port, name))


class LatencyMs(msgspec.Struct, forbid_unknown_fields=True):
    """Milliseconds; None if no call was accepted."""

    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None


class LoadTestFigures(msgspec.Struct, forbid_unknown_fields=True):
    """The response of a load test."""

    batch: str
    requested: int
    persisted: int
    failed: int
    duration_ms: float
    latency_ms: LatencyMs
    latency_histogram: Mapping[str, list[float]]
    links: Mapping[str, str]


class Worker(msgspec.Struct, forbid_unknown_fields=True):
    """One entry of `GET /workers`."""

    id: str
    instance: str
    kinds: list[str]
    slots: int
    running: int
    finished: int
    version: str
    since: str
    seen_at: str
    draining: bool
    running_jobs: list[Mapping[str, Any]]


class _Workers(msgspec.Struct, forbid_unknown_fields=True):
    workers: list[Worker]


def load_test(stack: TestStack, query: str = "", *, method: str = "GET") -> LoadTestFigures:
    """Run a load test, by default of 1,000 demos, and return its figures."""
    answer = stack.call(method, f"/load-test{query}")
    assert answer.status == 200, answer.raw
    return msgspec.json.decode(answer.raw, type=LoadTestFigures)


def workers(stack: TestStack) -> dict[str, Worker]:
    """Return the connected workers by id."""
    answer = stack.call("GET", "/workers")
    assert answer.status == 200, answer.raw
    return {worker.id: worker for worker in msgspec.json.decode(answer.raw, type=_Workers).workers}


def raw_answer(line: socket.socket) -> Answer:
    """Read the next response on a raw connection."""
    response = http.client.HTTPResponse(line)
    response.begin()
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


def answered(stack: TestStack, status: int = 202) -> int:
    """Return intake's own count of `/process` responses with this status."""
    labels = f'{{route="/process",status="{status}"}}'
    return int(stack.metric("acked_http_requests_total", labels, to="intake"))


def all_succeed(stack: TestStack, batch: str, count: int, within_s: float) -> float:
    """Wait until all jobs of the batch have succeeded and return the seconds that it took."""
    eventually(lambda: stack.batch(batch) == {State.SUCCEEDED: count}, within_s=within_s, what=f"{count} succeed")
    counted = stack.call("GET", f"/batches/{batch}").body
    assert counted["total"] == count
    return float(counted["duration_s"])
