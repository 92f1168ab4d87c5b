"""How many requests a client may send: the buckets, and the middleware that asks them."""

import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from acked_common.http.edge import Edge
from acked_common.http.rate_limit import RateLimit
from acked_common.http.request_rate import RequestRate, retry_after_s
from acked_common.model.principal import LOCAL, SCOPE_KEY, Permission, Principal
from support.asgi import Answer, call

ADA = Principal("acme", "ada", frozenset({Permission.SUBMIT}))
BOB = Principal("acme", "bob", frozenset({Permission.SUBMIT}))


def test_a_burst_then_the_rate() -> None:
    rate = RequestRate(2.0, 3)
    assert [rate.take("a", 0.0) for _ in range(3)] == [2.0, 1.0, 0.0]
    assert rate.take("a", 0.0) == -0.5
    assert rate.take("a", 0.25) == -0.25
    assert rate.take("a", 0.5) == 0.0
    assert rate.take("a", 0.5) == -0.5


def test_a_refusal_costs_nothing() -> None:
    rate = RequestRate(1.0, 1)
    rate.take("a", 0.0)
    assert all(rate.take("a", 0.5) < 0 for _ in range(100))
    assert rate.take("a", 1.0) == 0.0


def test_clients_share_nothing() -> None:
    rate = RequestRate(1.0, 1)
    assert rate.take("a", 0.0) == 0.0
    assert rate.take("b", 0.0) == 0.0
    assert rate.take("a", 0.0) < 0


@given(st.lists(st.floats(0, 2), max_size=60), st.floats(0.1, 50), st.integers(1, 20))
def test_never_more_than_the_burst_and_what_has_come_since(pauses: list[float], per_s: float, burst: int) -> None:
    rate = RequestRate(per_s, burst)
    now = 100.0
    allowed = 0
    for pause_s in pauses:
        now += pause_s
        taken = rate.take("a", now)
        allowed += taken >= 0
        assert taken >= -1 / per_s
        assert allowed <= burst + (now - 100.0) * per_s + 1e-6


@given(st.floats(0.1, 50), st.integers(1, 20))
def test_who_comes_back_after_the_time_that_was_told_is_served(per_s: float, burst: int) -> None:
    rate = RequestRate(per_s, burst)
    while (taken := rate.take("a", 5.0)) >= 0:
        pass
    assert rate.take("a", 5.0 + retry_after_s(taken)) >= 0


def test_buckets_are_bounded_and_those_in_use_stay() -> None:
    rate = RequestRate(1.0, 2, max_clients=3)
    for client in "abc":
        rate.take(client, 0.0)
    rate.take("a", 0.0)
    # b and c are full again a second later, a is not.
    rate.take("d", 1.0)
    assert rate.take("a", 1.0) == 0.0
    assert len(rate._buckets) == 2
    empty = RequestRate(0.001, 1, max_clients=3)
    for number in range(1000):
        empty.take(number, 0.0)
    assert len(empty._buckets) == 3


def test_headers_tell_the_policy_and_what_is_left() -> None:
    rate = RequestRate(10.0, 25)
    assert rate.policy == b'"default";q=25;w=3'
    assert rate.header(rate.take("a", 0.0)) == b'"default";r=24;t=1'
    while (taken := rate.take("a", 0.0)) > 0:
        pass
    assert rate.header(taken) == b'"default";r=0;t=3'
    assert rate.header(rate.take("a", 0.0)) == b'"default";r=0;t=1'


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


class Bench:
    def __init__(self, burst: int = 1) -> None:
        limit = RateLimit(RequestRate(0.01, burst), free=frozenset({"/healthz"}))
        self.answered: list[tuple[str, int]] = []
        self._front = Edge(
            app, checks=[limit.check], count=lambda scope, status, _: self.answered.append((scope["path"], status))
        )

    async def call(self, principal: Principal, method: str = "POST", path: str = "/process") -> Answer:
        async def named(scope: Any, receive: Any, send: Any) -> None:
            await self._front({**scope, SCOPE_KEY: principal}, receive, send)

        return await call(named, method, path)


async def test_each_answer_tells_the_rate() -> None:
    answer = await Bench(5).call(ADA)
    assert answer.status == 202
    assert answer.headers["ratelimit-policy"] == '"default";q=5;w=500'
    assert answer.headers["ratelimit"] == '"default";r=4;t=100'


async def test_too_many_are_a_429_that_says_when_to_come_back() -> None:
    bench = Bench()
    await bench.call(ADA)
    answer = await bench.call(ADA)
    assert answer.status == 429
    assert answer.json["type"] == "/problems/rate-limited"
    assert 99 <= int(answer.headers["retry-after"]) <= 100
    assert answer.headers["ratelimit"].startswith('"default";r=0;t=')
    assert bench.answered == [("/process", 202), ("/process", 429)]
    assert (await bench.call(BOB)).status == 202


async def test_who_needs_no_token_is_not_limited() -> None:
    bench = Bench()
    for _ in range(5):
        answer = await bench.call(LOCAL)
        assert answer.status == 202
        assert "ratelimit" not in answer.headers


async def test_health_is_told_to_anybody_at_any_time() -> None:
    bench = Bench()
    for _ in range(5):
        assert (await bench.call(ADA, "GET", "/healthz")).status == 202
    assert (await bench.call(ADA)).status == 202


async def test_a_websocket_is_refused_before_it_is_open() -> None:
    rate = RequestRate(1e-6, 1)
    front = Edge(app, checks=[RateLimit(rate, free=frozenset()).check])
    rate.take((ADA.tenant, ADA.client), time.monotonic())
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/ws/feed", SCOPE_KEY: ADA, "extensions": {"websocket.http.response": {}}}
    await front(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.http.response.start", "websocket.http.response.body"]
    assert sent[0]["status"] == 429
