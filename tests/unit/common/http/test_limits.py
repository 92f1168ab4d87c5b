"""Limits in front of the routes: who is refused, what is counted and logged, and that everything is given back."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from structlog.testing import capture_logs

from acked_common.http.edge import Edge
from acked_common.http.exception_handlers import EXCEPTION_HANDLERS
from acked_common.http.limits import UNCOUNTED_BYTES, HeldBytes, Limits
from acked_common.http.problems import ProblemError
from acked_common.http.requests import read_bounded
from acked_common.http.responses import PART_BYTES, JsonResponse
from acked_common.http.settings import Bound, HeldLimits
from acked_common.model.principal import SCOPE_KEY, Permission, Principal
from support.asgi import Answer, call

ADA = Principal("acme", "ada", frozenset({Permission.READ}))
BOB = Principal("globex", "bob", frozenset({Permission.READ}))
LARGE = UNCOUNTED_BYTES * 4


class Bench:
    """Routes that wait, read and fail, behind the edge middleware with small limits."""

    def __init__(self, *, requests: int = 8, of_client: int = 2, asks: bool = True) -> None:
        self.go_on = asyncio.Event()
        self.limits = Limits(
            HeldLimits(Bound(requests, of_client), Bound(4, 2), Bound(LARGE * 16, LARGE)), asks_for_tokens=asks
        )
        self.parts: list[bytes] = []

        async def wait(_: Request) -> Response:
            await self.go_on.wait()
            return JsonResponse({})

        async def fail(_: Request) -> Response:
            raise ZeroDivisionError

        async def read(request: Request) -> Response:
            held = HeldBytes(request.scope)
            try:
                body = await read_bounded(request, LARGE * 8, held)
                await self.go_on.wait()
                return Response(str(len(body)))
            finally:
                held.release()

        async def large(_: Request) -> Response:
            return JsonResponse(b"x" * PART_BYTES * 3)

        async def hot(scope: Any, receive: Any, send: Any) -> None:
            raise ZeroDivisionError

        routes = [
            *(Route(path, wait) for path in ("/wait", "/healthz", "/status/{id}")),
            Route("/fail", fail),
            Route("/large", large),
            Route("/read", read, methods=["POST"]),
        ]
        app = Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS)
        self.front = Edge(
            app.build_middleware_stack(),
            checks=[],
            hot={"/hot": hot},
            limits=self.limits,
            free=frozenset({"/healthz"}),
        )

    async def call(self, who: Principal | None, path: str, *body: bytes, method: str = "GET") -> Answer:
        async def named(scope: Any, receive: Any, send: Any) -> None:
            await self.front(scope if who is None else {**scope, SCOPE_KEY: who}, receive, send)

        return await call(named, method, path, *body)

    def begin(self, who: Principal | None, path: str, *body: bytes, method: str = "GET") -> asyncio.Task[Answer]:
        return asyncio.create_task(self.call(who, path, *body, method=method))

    async def until_held(self, requests: int) -> None:
        await until(lambda: self.limits.requests.ledger.held == requests)


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0)
    raise AssertionError("it does not hold after a thousand turns of the loop")


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_requests_at_the_clients_bound_are_a_429() -> None:
    bench = Bench()
    refused_before = metric("acked_limit_refused_total", limit="requests", bound="client")
    held = [bench.begin(ADA, "/wait") for _ in range(2)]
    await bench.until_held(2)
    assert metric("acked_limit_held", limit="requests") == 2
    answer = await bench.call(ADA, "/wait")
    assert (answer.status, answer.json["type"]) == (429, "/problems/too-many-requests")
    assert (answer.headers["retry-after"], answer.json["limit"]) == ("1", "requests")
    assert metric("acked_limit_refused_total", limit="requests", bound="client") == refused_before + 1
    assert (await bench.call(BOB, "/fail")).status == 500, "another client is served"
    assert (await bench.call(None, "/fail")).status == 500
    bench.go_on.set()
    assert [answer.status for answer in await asyncio.gather(*held)] == [200, 200]
    assert metric("acked_limit_held", limit="requests") == 0


async def test_requests_at_the_whole_bound_are_a_503() -> None:
    bench = Bench(requests=2, of_client=2)
    held = [bench.begin(ADA, "/wait"), bench.begin(BOB, "/wait")]
    await bench.until_held(2)
    answer = await bench.call(None, "/wait")
    assert (answer.status, answer.json["type"], answer.json["limit"]) == (503, "/problems/busy", "requests")
    assert answer.headers["retry-after"] == "1"
    bench.go_on.set()
    await asyncio.gather(*held)


async def test_requests_of_everybody_leave_health_and_status() -> None:
    bench = Bench(requests=8, asks=False)
    held = [bench.begin(None, "/wait") for _ in range(7)]
    await bench.until_held(7)
    assert (await bench.call(None, "/wait")).status == 429
    free = [bench.begin(None, "/healthz"), bench.begin(None, "/status/1")]
    await bench.until_held(8)
    bench.go_on.set()
    assert [answer.status for answer in await asyncio.gather(*held, *free)] == [200] * 9


@pytest.mark.parametrize("path", ["/fail", "/hot", "/nowhere", "/large"])
async def test_requests_that_end_anyhow_are_given_back(path: str) -> None:
    bench = Bench()
    for _ in range(5):
        await bench.call(ADA, path)
    left = bench.begin(ADA, "/wait")
    await bench.until_held(1)
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    assert bench.limits.requests.ledger.held == bench.limits.bytes.ledger.held == 0
    assert bench.limits.requests.ledger.clients == 0


async def test_bytes_of_bodies_are_held_until_the_response() -> None:
    bench = Bench(of_client=6)
    first = bench.begin(ADA, "/read", b"x" * (LARGE // 2), b"x" * (LARGE // 2), method="POST")
    await bench.until_held(1)
    await until(lambda: bench.limits.bytes.ledger.held == LARGE)
    answer = await bench.call(ADA, "/read", b"x" * LARGE, method="POST")
    assert (answer.status, answer.json["type"]) == (429, "/problems/too-many-bytes")
    small = bench.begin(ADA, "/read", b"x" * UNCOUNTED_BYTES, method="POST")
    other = bench.begin(BOB, "/read", b"x" * LARGE, method="POST")
    await bench.until_held(3)
    bench.go_on.set()
    assert [answer.status for answer in await asyncio.gather(first, small, other)] == [200] * 3
    assert bench.limits.bytes.ledger.held == 0


async def test_bytes_of_large_responses_count_and_go_in_parts() -> None:
    bench = Bench()
    bench.limits.bytes.ledger.of_client = PART_BYTES * 3
    assert (await bench.call(ADA, "/large")).body == b"x" * PART_BYTES * 3
    bench.limits.bytes.take(("acme", "ada"), 1)
    answer = await bench.call(ADA, "/large")
    assert (answer.status, answer.json["type"]) == (429, "/problems/too-many-bytes")
    assert (await bench.call(BOB, "/large")).status == 200
    assert bench.limits.bytes.ledger.held == 1


def test_limit_refusals_are_logged_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("acked_common.http.limits.time.monotonic", lambda: now[0])
    polls = Bench().limits.long_polls
    with capture_logs() as logs:
        for _ in range(2):
            polls.take(("acme", "ada"))
        for pause_s in (0.0, 30.0, 29.0, 2.0):
            now[0] += pause_s
            with pytest.raises(ProblemError):
                polls.take(("acme", "ada"))
    assert [(line["limit"], line["tenant"], line["client"]) for line in logs] == [("long-polls", "acme", "ada")] * 2


def test_limit_holding_ends_with_its_context() -> None:
    polls = Bench().limits.long_polls
    with pytest.raises(ZeroDivisionError), polls.holding(None):
        assert polls.ledger.held == 1
        raise ZeroDivisionError
    assert polls.ledger.held == 0
