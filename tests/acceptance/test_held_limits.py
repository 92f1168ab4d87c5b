"""One client holds all it may: it is refused more, and its neighbours are served as before."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.access import Client, make_token, problem_name
from support.holders import asking, body_of, half_requests, head, held, neighbour, refusals, refused
from support.stacks import TestStack, eventually

pytestmark = pytest.mark.alone

CONNECTIONS = 400
BODY = 200_000
BYTES = 4_000_000
ENVIRON = {
    "ACKED_ACCESS": "tokens",
    "ACKED_MAX_CONNECTIONS": str(CONNECTIONS),
    "ACKED_HELD_BYTES": str(BYTES * 4),
    "ACKED_HELD_BYTES_PER_CLIENT": str(BYTES),
    "ACKED_BODY_TIMEOUT_S": "60",
    "ACKED_LOAD_TESTS_PER_CLIENT": "2",
    "ACKED_LOAD_TEST_CALLS_PER_CLIENT": "8000",
}
SLOWER = 5.0
FLOOR_S = 0.5


@pytest.fixture(scope="module")
def ada(stack: TestStack) -> Client:
    """The client that takes what it can get."""
    return Client(stack, make_token(stack, "submit", "read", "operate", tenant="acme", client="ada"))


@pytest.fixture(scope="module")
def bob(stack: TestStack) -> Client:
    """Its neighbour."""
    return Client(stack, make_token(stack, "submit", "read", "operate", tenant="globex", client="bob"))


@pytest.fixture(scope="module")
def operator(stack: TestStack) -> Client:
    """Who reads the metrics."""
    return Client(stack, make_token(stack, "read", tenant="default", client="operator"))


def test_long_polls_of_one_client_leave_connections_to_others(
    stack: TestStack, ada: Client, bob: Client, operator: Client
) -> None:
    job_id = ada.process(delay_s=3600)
    ask = asking(bob, "GET", "/jobs?page_size=1")
    answers, quiet_s = neighbour(ask)
    assert answers.keys() == {"200"}
    poll = head(ada, f"GET /status/{job_id}?wait_s=60")
    with half_requests(stack.gateway_port, [poll] * (CONNECTIONS + 50)) as lines:
        eventually(
            lambda: refused(operator, "long-polls", "client") >= CONNECTIONS + 50 - CONNECTIONS // 4,
            within_s=20,
            what="all but a quarter are refused",
        )
        assert held(operator, "long-polls") == CONNECTIONS // 4
        answers, busy_s = neighbour(ask)
        assert answers.keys() == {"200"}
        assert busy_s <= SLOWER * quiet_s + FLOOR_S, (quiet_s, busy_s)
        # Who asks for more than one may hold is told so, and can still ask without waiting.
        answer = ada.call("GET", f"/status/{job_id}?wait_s=1")
        assert (answer.status, problem_name(answer), answer.headers["retry-after"]) == (429, "too-many-polls", "1")
        assert ada.call("GET", f"/status/{job_id}").status == 200
        assert refusals(lines).keys() == {"too-many-polls"}
    eventually(lambda: held(operator, "long-polls") == 0, within_s=20, what="all are given back")
    assert ada.call("GET", f"/status/{job_id}?wait_s=0.1").status == 200


def test_half_sent_bodies_of_one_client_are_bounded(
    stack: TestStack, ada: Client, bob: Client, operator: Client
) -> None:
    ask = asking(bob, "POST", "/process", json.loads(body_of(BODY)), to="intake")
    answers, quiet_s = neighbour(ask)
    assert answers.keys() == {"202"}
    declared = ("Content-Type: application/json", f"Content-Length: {BODY}")
    half = head(ada, "POST /process", *declared) + body_of(BODY)[: BODY // 2]
    with half_requests(stack.intake_port, [half] * 100) as lines:
        fit = BYTES // BODY
        eventually(
            lambda: refused(operator, "bytes", "client", to="intake") >= 100 - fit,
            within_s=20,
            what="no more bodies are read than fit",
        )
        assert held(operator, "bytes", to="intake") <= BYTES
        answers, busy_s = neighbour(ask)
        assert answers.keys() == {"202"}
        assert busy_s <= SLOWER * quiet_s + FLOOR_S, (quiet_s, busy_s)
        assert ada.call("POST", "/process", {"kind": "noop"}, to="intake").status == 202, "a small one needs no room"
        assert refusals(lines).keys() == {"too-many-bytes"}
    eventually(lambda: held(operator, "bytes", to="intake") == 0, within_s=20, what="all are given back")


def test_load_tests_of_one_client_are_bounded(ada: Client, bob: Client, operator: Client) -> None:
    def run(client: Client, count: int) -> tuple[int, str, int]:
        answer = client.call("POST", f"/load-test?count={count}&kind=noop")
        return answer.status, problem_name(answer), answer.body.get("persisted", 0)

    with ThreadPoolExecutor(6) as pool:
        # Two at once, and a neighbour's: none is refused anything.
        tests = [pool.submit(run, client, 1000) for client in (ada, ada, bob)]
        assert [test.result() for test in tests] == [(200, "", 1000)] * 3
        tests = [pool.submit(run, ada, 3000) for _ in range(2)]
        eventually(lambda: held(operator, "load-tests") == 2, within_s=20, what="both are under way")
        assert run(ada, 1)[:2] == (429, "too-many-load-tests")
        assert run(bob, 1) == (200, "", 1)
        assert [test.result()[0] for test in tests] == [200] * 2
    assert held(operator, "load-tests") == held(operator, "load-test-calls") == 0
    answer = ada.call("POST", "/load-test?count=8001&kind=noop")
    assert (answer.status, problem_name(answer), answer.body["limit"]) == (
        429,
        "too-many-load-tests",
        "load-test-calls",
    )


def test_a_load_test_beyond_the_rate_is_refused_nothing(ada: Client) -> None:
    """The rate of a token is 1,000 a second and 10,000 at once; what is more waits for its turn."""
    sent = [ada.call("POST", f"/load-test?count={count}&kind=noop").body for count in (8000, 8000)]
    assert [(answer["persisted"], answer["failed"]) for answer in sent] == [(8000, 0)] * 2


def test_a_client_at_its_bound_is_named_in_the_log(stack: TestStack) -> None:
    lines = [
        json.loads(line)
        for path in stack.stack.layout.logs.glob("gateway*")
        for line in path.read_text().splitlines()
        if '"a limit refuses requests"' in line
    ]
    assert {(line["limit"], line["tenant"], line["client"]) for line in lines} >= {("long-polls", "acme", "ada")}
    assert len([line for line in lines if line["limit"] == "long-polls"]) <= 2, "hundreds were refused"
