"""`/load-test`: what it refuses, what its page is, and how it ends where no intake answers or its client leaves."""

import http.client
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from support.contract import all_succeed, answered, assert_problem, load_test
from support.stacks import TestStack, eventually


@pytest.mark.parametrize("count", ["0", "-1", "100001", "1e3", "1.5", "x", "%20", "99999999999999999999", "$gt"])
def test_bad_counts_are_refused(stack: TestStack, count: str) -> None:
    before = answered(stack)
    for method in ("GET", "POST"):
        assert_problem(stack, stack.call(method, f"/load-test?count={count}"), 422, "bad-count")
    assert answered(stack) == before


def test_the_batch_can_be_named(stack: TestStack) -> None:
    assert load_test(stack, "?count=20&kind=noop&batch=Mine_1.a-b").batch == "Mine_1.a-b"
    all_succeed(stack, "Mine_1.a-b", 20, within_s=10)


@pytest.mark.parametrize("batch", ["a%20b", "a/b", "%24gt", "x" * 65, ".", ".."])
def test_bad_batch_names_are_refused(stack: TestStack, batch: str) -> None:
    before = answered(stack)
    assert_problem(stack, stack.call("POST", f"/load-test?count=7&batch={batch}"), 422, "bad-batch")
    assert answered(stack) == before


def test_an_unknown_kind_is_refused(stack: TestStack) -> None:
    before = answered(stack), answered(stack, 422)
    for method in ("GET", "POST"):
        answer = stack.call(method, "/load-test?count=7&kind=nothing")
        document = assert_problem(stack, answer, 422, "unknown-kind", says="'nothing'")
        assert "demo" in document["known_kinds"]
    assert (answered(stack), answered(stack, 422)) == before, "no call was made"


def test_to_ask_about_it_starts_nothing(stack: TestStack) -> None:
    before = answered(stack)
    assert stack.call("HEAD", "/load-test?count=50").status == 200
    assert answered(stack) == before


def test_a_browser_gets_the_page(stack: TestStack) -> None:
    before = answered(stack)
    accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    page = stack.call("GET", "/load-test?count=1000", headers={"Accept": accept})
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")
    assert b"<html" in page.raw
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert answered(stack) == before, "the page itself asks for the calls"
    for path in re.findall(r'(?:src|href)="(/pages/[^"]+)"', page.raw.decode()):
        assert stack.call("GET", path).status == 200
    assert stack.call("GET", "/pages/load_test.js").status == 200


@contextmanager
def without_intake(stack: TestStack) -> Iterator[None]:
    stack.stack.parts.stop("intake-1")
    try:
        yield
    finally:
        stack.stack.up()


def test_without_intake_nothing_is_kept(stack: TestStack) -> None:
    with without_intake(stack):
        answer = stack.call("GET", "/load-test?count=50")
        document = assert_problem_here(stack, answer.status, answer.body)
        assert (document["requested"], document["persisted"], document["failures"]) == (50, 0, {"no connection": 50})
        assert answer.headers["retry-after"]
    assert load_test(stack, "?count=50&kind=noop").persisted == 50


def assert_problem_here(stack: TestStack, status: int, document: dict[str, object]) -> dict[str, object]:
    """As `assert_problem`, where only the gateway is there to serve the problem's page."""
    assert (status, document["status"]) == (503, 503)
    assert document["type"] == "/problems/intake-unreachable"
    assert stack.call("GET", str(document["type"])).status == 200
    return document


def test_a_client_that_leaves_ends_it(stack: TestStack) -> None:
    left = '{route="/load-test",status="499"}'
    before, left_before = answered(stack), stack.metric("acked_http_requests_total", left)
    connection = http.client.HTTPConnection("127.0.0.1", stack.gateway_port, timeout=30)
    with closing(connection):
        connection.request("GET", "/load-test?count=100000&kind=noop")
        eventually(lambda: answered(stack) > before, within_s=20, what="the calls begin")
    eventually(
        lambda: stack.metric("acked_http_requests_total", left) > left_before, within_s=20, what="the test is given up"
    )
    seen: list[int] = []

    def is_quiet() -> bool:
        seen.append(answered(stack))
        return len(seen) > 5 and len(set(seen[-5:])) == 1

    eventually(is_quiet, within_s=20, what="no more calls come")
    assert seen[-1] - before < 90_000
    assert load_test(stack, "?count=50&kind=noop").persisted == 50
