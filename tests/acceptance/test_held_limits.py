"""One client holds all it may: it is refused more, and its neighbours are served as before."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from uuid import uuid4

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

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
    "ACKED_FEEDS_PER_CLIENT": "4",
    "ACKED_FEED_SUBSCRIPTIONS_PER_CLIENT": "100",
    "ACKED_FEED_IDS_PER_CLIENT": "3000",
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
    logged = [
        json.loads(line)
        for path in stack.stack.layout.logs.glob("gateway*")
        for line in path.read_text().splitlines()
        if '"a limit refuses requests"' in line
    ]
    told = [(line["tenant"], line["client"]) for line in logged if line["limit"] == "long-polls"]
    assert ("acme", "ada") in told and len(told) <= 3, "once a minute, though hundreds were refused"


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


@contextmanager
def feed(client: Client) -> Iterator[ClientConnection]:
    url = f"ws://127.0.0.1:{client.stack.gateway_port}/ws/feed"
    with connect(url, additional_headers=client.headers, proxy=None, compression=None) as line:
        assert json.loads(line.recv(timeout=10))["type"] == "hello"
        yield line


def subscribed(line: ClientConnection, sub: int, scope: Any) -> str:
    """What a subscription is answered: `snapshot`, or the name of a problem."""
    line.send(json.dumps({"type": "subscribe", "sub": sub, "scope": scope}))
    while True:
        frame = json.loads(line.recv(timeout=10))
        if frame.get("sub") == sub:
            return str(frame["problem"]["type"].rpartition("/")[2]) if frame["type"] == "error" else frame["type"]


def test_feeds_and_scopes_of_one_client_are_bounded(ada: Client, bob: Client, operator: Client) -> None:
    with ExitStack() as lines:
        feeds = [lines.enter_context(feed(ada)) for _ in range(4)]
        with pytest.raises(InvalidStatus) as caught, feed(ada):
            pass
        assert caught.value.response.status_code == 429
        assert caught.value.response.headers["Retry-After"] == "1"
        other = lines.enter_context(feed(bob))
        # By ids over all connections: three times a thousand.
        for number in range(3):
            assert subscribed(feeds[number], 0, {"ids": [str(uuid4()) for _ in range(1000)]}) == "snapshot"
        assert subscribed(feeds[3], 0, {"ids": [str(uuid4())]}) == "too-many-subscriptions"
        feeds[0].send(json.dumps({"type": "unsubscribe", "sub": 0}))
        eventually(lambda: held(operator, "feed-ids") == 2000, within_s=10, what="a thousand are given back")
        assert subscribed(feeds[3], 1, {"ids": [str(uuid4())]}) == "snapshot"
        # By subscriptions over all connections.
        found = [subscribed(line, sub, {"kind": "noop"}) for line in feeds[:2] for sub in range(1, 50)]
        assert found.count("too-many-subscriptions") == len(found) - (100 - 3)
        assert subscribed(other, 0, {"ids": [str(uuid4()) for _ in range(1000)]}) == "snapshot"
    for limit in ("feeds", "feed-subscriptions", "feed-ids"):
        eventually(lambda name=limit: held(operator, name) == 0, within_s=10, what=f"{limit} are given back")  # type: ignore[misc]
    with feed(ada) as line:
        assert subscribed(line, 0, {"all": True}) == "snapshot"


def test_pings_without_a_token_hold_nothing_up(stack: TestStack, bob: Client) -> None:
    ask = asking(bob, "GET", "/jobs?page_size=1")
    _, quiet_s = neighbour(ask)
    shake = b"GET /ws/feed HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    shake += b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    with half_requests(stack.gateway_port, [shake] * 8) as lines:
        for line in lines:
            assert line.recv(65536).startswith(b"HTTP/1.1 101")
            with suppress(OSError):
                line.settimeout(1)
                line.sendall(b"\x89\x80\0\0\0\0" * 200_000)
        answers, busy_s = neighbour(ask)
        assert answers.keys() == {"200"}
        assert busy_s <= SLOWER * quiet_s + FLOOR_S, (quiet_s, busy_s)
