"""What the HTTP services share: health, problems, counted requests, bounded bodies."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from acked_common.api.operational_routes import operations_routes
from acked_common.api.readiness import FaultTimes, Readiness
from acked_common.http.edge import Edge
from acked_common.http.exception_handlers import EXCEPTION_HANDLERS
from acked_common.http.problems import ProblemError, problem
from acked_common.http.request_metrics import RequestMetrics, begin_at_zero
from acked_common.http.requests import read_bounded, while_connected
from acked_common.http.responses import JsonResponse
from acked_common.http.server.serve import bind_port, within_files
from acked_common.http.settings import HttpLimits
from acked_common.model.instants import rfc3339
from acked_common.store.errors import StoreUnavailable
from support.asgi import Answer, call
from support.factories import ManualClock
from support.web_server import StartupFailed, web_server

LIMIT = 100


async def refuse(_: Request) -> Response:
    raise ProblemError(problem("busy", "too many"))


async def without_store(_: Request) -> Response:
    raise StoreUnavailable("reading: no MongoDB server answers")


async def broken(_: Request) -> Response:
    raise ZeroDivisionError("secret detail")


async def echo(request: Request) -> Response:
    return Response(await read_bounded(request, LIMIT))


def app(readiness: Readiness | None = None) -> Starlette:
    application = Starlette(
        routes=[
            Route("/refuse", refuse),
            Route("/store", without_store),
            Route("/broken", broken),
            Route("/echo", echo, methods=["POST"]),
            *operations_routes(lambda: readiness or Readiness({})),
        ],
        exception_handlers=EXCEPTION_HANDLERS,
    )
    counter = RequestMetrics(frozenset({"/refuse", "/metrics"}))
    application.middleware_stack = Edge(application.build_middleware_stack(), checks=[], count=counter.count)
    return application


async def get(path: str, **readiness: dict[str, str | None]) -> Answer:
    return await call(app(Readiness(**readiness) if readiness else None), "GET", path)  # type: ignore[arg-type]


async def test_a_response_is_timed_by_route_and_status() -> None:
    def value(name: str) -> float:
        return REGISTRY.get_sample_value(f"acked_http_{name}", {"route": "/refuse", "status": "503"}) or 0.0

    count, seconds = value("request_duration_seconds_count"), value("request_duration_seconds_sum")
    began = time.perf_counter()
    assert (await get("/refuse")).status == 503
    assert value("request_duration_seconds_count") == value("requests_total") == count + 1
    assert 0 < value("request_duration_seconds_sum") - seconds <= time.perf_counter() - began


def test_a_series_can_be_there_before_its_first_response() -> None:
    begin_at_zero("/begun", 503)
    assert REGISTRY.get_sample_value("acked_http_requests_total", {"route": "/begun", "status": "503"}) == 0


async def test_health_is_the_process_alone() -> None:
    answer = await get("/healthz", blocking={"mongodb": "away"})
    assert (answer.status, answer.json) == (200, {"status": "alive"})


@pytest.mark.parametrize(
    ("blocking", "degraded", "status", "word"),
    [
        ({}, {}, 200, "ready"),
        ({"mongodb": None}, {"rabbitmq": None}, 200, "ready"),
        ({"mongodb": None}, {"rabbitmq": "away"}, 200, "degraded"),
        ({"mongodb": "away"}, {"rabbitmq": None}, 503, "not-ready"),
        ({"mongodb": "away"}, {"rabbitmq": "away"}, 503, "not-ready"),
    ],
)
async def test_readiness_tells_each_part(
    blocking: dict[str, str | None], degraded: dict[str, str | None], status: int, word: str
) -> None:
    answer = await get("/readyz", blocking=blocking, degraded=degraded)
    assert (answer.status, answer.json["status"]) == (status, word)
    assert answer.json["parts"] == {name: text or "ok" for name, text in {**blocking, **degraded}.items()}


async def test_readiness_dates_each_fault_until_it_ends() -> None:
    clock = ManualClock()
    times = FaultTimes(clock.now)
    began = rfc3339(clock.now())
    assert times.note(Readiness({"mongodb": None}, {"rabbitmq": "away"})).faults == {"rabbitmq"}
    clock.advance(5)
    noted = times.note(Readiness({"mongodb": "away"}, {"rabbitmq": "still away"}))
    both = await call(app(noted), "GET", "/readyz")
    assert both.json["since"] == {"mongodb": rfc3339(clock.now()), "rabbitmq": began}
    over = await call(app(times.note(Readiness({"mongodb": None}, {"rabbitmq": None}))), "GET", "/readyz")
    assert over.json == {"status": "ready", "parts": {"mongodb": "ok", "rabbitmq": "ok"}}
    clock.advance(5)
    again = await call(app(times.note(Readiness({"mongodb": "away"}))), "GET", "/readyz")
    assert again.json["since"] == {"mongodb": rfc3339(clock.now())}


async def test_a_problem_is_answered_as_one_with_its_headers() -> None:
    answer = await get("/refuse")
    assert (answer.status, answer.headers["content-type"]) == (503, "application/problem+json")
    assert answer.headers["retry-after"] == "1"
    assert (answer.json["type"], answer.json["detail"]) == ("/problems/busy", "too many")


async def test_without_the_store_the_answer_says_so() -> None:
    answer = await get("/store")
    assert (answer.status, answer.json["type"]) == (503, "/problems/store-unreachable")


async def test_a_fault_tells_no_detail() -> None:
    answer = await get("/broken")
    assert (answer.status, answer.json["type"]) == (500, "/problems/internal")
    assert b"secret" not in answer.body


async def test_a_path_that_is_not_there_is_a_problem() -> None:
    answer = await get("/nowhere")
    assert (answer.status, answer.json["type"]) == (404, "/problems/not-found")


async def test_a_method_that_is_not_served_names_those_that_are() -> None:
    answer = await call(app(), "DELETE", "/refuse")
    assert (answer.status, answer.json["type"]) == (405, "/problems/method-not-allowed")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


async def test_problem_pages_are_served() -> None:
    page = await get("/problems/busy")
    assert page.status == 200 and page.headers["content-type"].startswith("text/html")
    assert b"The server is at capacity" in page.body
    assert (await get("/problems/unheard-of")).status == 404


@pytest.mark.parametrize(("size", "status"), [(0, 200), (LIMIT, 200), (LIMIT + 1, 413)])
async def test_a_body_is_read_up_to_its_limit(size: int, status: int) -> None:
    chunks = [b"x" * min(7, size - start) for start in range(0, size, 7)]
    answer = await call(app(), "POST", "/echo", *chunks)
    assert answer.status == status
    if status == 200:
        assert answer.body == b"x" * size
    else:
        assert answer.json["type"] == "/problems/body-too-large"


async def counted() -> dict[str, float]:
    lines = (await get("/metrics")).body.decode().splitlines()
    return {
        line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
        for line in lines
        if line.startswith("acked_http_requests_total{")
    }


async def test_requests_are_counted_by_the_first_part_of_a_known_path() -> None:
    refused, other = (
        'acked_http_requests_total{{route="{}",status="{}"}}'.format(*pair)
        for pair in (("/refuse", 503), ("other", 404))
    )
    before = await counted()
    for path in ("/refuse", "/a/1", "/a/2", "/b"):
        await get(path)
    after = await counted()
    assert after[refused] - before.get(refused, 0) == 1
    assert after[other] - before.get(other, 0) == 3
    assert not any(f'route="{path}"' in series for path in ("/a", "/a/1", "/a/2", "/b") for series in after)


def test_json_texts_pass_as_they_are() -> None:
    assert JsonResponse(b'{"a":1}').body == b'{"a":1}'
    assert json.loads(bytes(JsonResponse({"a": 1}).body)) == {"a": 1}


async def test_a_server_answers_without_naming_itself() -> None:
    async with (
        web_server(app()) as web,
        aiohttp.ClientSession() as client,
        client.get(f"http://127.0.0.1:{web.port}/healthz") as answer,
    ):
        assert (answer.status, await answer.json()) == (200, {"status": "alive"})
        assert "server" not in answer.headers


async def test_an_application_that_fails_to_start_is_never_served() -> None:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        raise StoreUnavailable("starting: no MongoDB server answers")
        yield

    with pytest.raises(StartupFailed) as failed:
        async with web_server(Starlette(lifespan=lifespan)):
            pytest.fail("it was served")
    assert isinstance(failed.value.__cause__, StoreUnavailable)


def test_connections_leave_room_for_other_files() -> None:
    limits = HttpLimits(connections=8192)
    assert within_files(limits, 16384) is limits
    assert within_files(limits, 1024).connections == 512


def test_two_processes_may_share_a_port() -> None:
    with bind_port("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with bind_port("127.0.0.1", port) as second:
            assert second.getsockname()[1] == port
            first.listen()
            # One that does not listen yet gets no connection.
            for _ in range(20):
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


async def test_work_of_a_client_that_leaves_is_ended() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def left() -> Any:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientDisconnect):
        await while_connected(Request({"type": "http"}, left), work())
    assert ended.is_set()
