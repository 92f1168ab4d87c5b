"""The load test against an intake that answers on loopback what each test wants."""

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from acked_gateway.load_test.runner import LoadTester, LoadTestResult, new_batch_name

BOUND_S = 10.0

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Intake:
    """Counts what reaches it; answers as it was told."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.url = ""
        self.bodies: list[bytes] = []
        self.peers: set[object] = set()
        self.arrived = asyncio.Event()

    async def process(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.read())
        assert request.transport is not None
        self.peers.add(request.transport.get_extra_info("peername"))
        self.arrived.set()
        return await self.answer(request)


@asynccontextmanager
async def intake(answer: Answer) -> AsyncIterator[Intake]:
    it = Intake(answer)
    app = web.Application()
    app.router.add_post("/process", it.process)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    it.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield it
    finally:
        await runner.cleanup()


@asynccontextmanager
async def load_tester(
    url: str, *, max_connections: int = 16, request_timeout_s: float = BOUND_S
) -> AsyncIterator[LoadTester]:
    it = LoadTester(url, max_connections=max_connections, request_timeout_s=request_timeout_s)
    await it.start()
    try:
        yield it
    finally:
        await it.close()


async def run(answer: Answer, count: int = 3, *, request_timeout_s: float = BOUND_S) -> LoadTestResult:
    async with intake(answer) as it, load_tester(it.url, request_timeout_s=request_timeout_s) as load:
        return await asyncio.wait_for(load.run(count), BOUND_S)


def accepted(job_id: str) -> web.Response:
    return web.Response(
        body=b'{"id":"%s","kind":"demo"}' % job_id.encode(), status=202, content_type="application/json"
    )


async def accept(_: web.Request) -> web.StreamResponse:
    return accepted(str(uuid.uuid4()))


async def never(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def test_each_call_is_one_request_and_all_are_persisted() -> None:
    async with intake(accept) as it, load_tester(it.url) as load:
        result = await load.run(1200, "noop")
    assert (result.requested, result.persisted, result.failed, result.failures) == (1200, 1200, 0, {})
    assert len(it.bodies) == 1200
    assert set(it.bodies) == {json.dumps({"kind": "noop", "batch": result.batch}).replace(" ", "").encode()}
    assert len(it.peers) <= 16


async def test_latencies_are_ordered_and_within_the_duration() -> None:
    result = await run(accept, 200)
    p50, p95, p99, highest = (result.latency_ms[name] for name in ("p50", "p95", "p99", "max"))
    assert p50 is not None and p95 is not None and p99 is not None and highest is not None
    assert 0 < p50 <= p95 <= p99 <= highest <= result.duration_ms


async def test_latency_counts_the_wait_for_a_connection() -> None:
    async def take_a_while(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.02)
        return await accept(request)

    async with intake(take_a_while) as it, load_tester(it.url, max_connections=1) as load:
        result = await load.run(5)
    assert result.latency_ms["max"] is not None and result.latency_ms["max"] >= 5 * 20


async def test_the_timeout_does_not_count_the_wait_for_a_connection() -> None:
    async def take_a_while(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.03)
        return await accept(request)

    async with intake(take_a_while) as it, load_tester(it.url, max_connections=1, request_timeout_s=0.3) as load:
        result = await load.run(15)
    assert result.duration_ms > 300
    assert result.failures == {}


async def test_the_payload_and_a_given_batch_are_sent() -> None:
    async with intake(accept) as it, load_tester(it.url) as load:
        result = await load.run(1, "demo", {"seconds": 0.5}, batch="mine")
    assert result.batch == "mine"
    assert json.loads(it.bodies[0]) == {"kind": "demo", "batch": "mine", "payload": {"seconds": 0.5}}


def test_batch_names_are_valid_and_differ() -> None:
    names = {new_batch_name() for _ in range(200)}
    assert len(names) == 200
    assert all(re.fullmatch(r"load-\d{8}T\d{6}Z-[0-9a-f]{8}", name) for name in names)


async def test_all_calls_are_tasks_at_once_and_connections_are_bounded() -> None:
    async with intake(never) as it, load_tester(it.url, max_connections=4) as load:
        before = len(asyncio.all_tasks())
        running = asyncio.create_task(load.run(2000))
        async with asyncio.timeout(BOUND_S):
            while len(it.bodies) < 4 or len(asyncio.all_tasks()) < before + 2000:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert len(it.peers) == 4
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_cancelling_ends_every_call_and_leaves_no_task() -> None:
    async with intake(never) as it, load_tester(it.url) as load:
        before = asyncio.all_tasks()
        running = asyncio.create_task(load.run(6_000))
        await asyncio.wait_for(it.arrived.wait(), BOUND_S)
        running.cancel()
        async with asyncio.timeout(BOUND_S):
            with pytest.raises(asyncio.CancelledError):
                await running
            mine = {task for task in asyncio.all_tasks() - before if "make_one" in repr(task.get_coro())}
        assert mine == set()
        it.answer = accept
        assert (await asyncio.wait_for(load.run(50), BOUND_S)).persisted == 50


async def test_a_process_that_stops_makes_no_new_calls_and_tells_what_was_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("acked_gateway.load_test.runner.GOES_ON_S", 0.01)
    may_answer, stopping = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        await may_answer.wait()
        return await accept(request)

    async with intake(answer) as it, load_tester(it.url, max_connections=4) as load:
        test = asyncio.create_task(load.run(500, stopping=stopping))
        await asyncio.wait_for(it.arrived.wait(), BOUND_S)
        stopping.set()
        # Longer than the test goes on.
        await asyncio.wait({test}, timeout=0.05)
        assert not test.done(), "calls under way get their answers"
        may_answer.set()
        result = await asyncio.wait_for(test, BOUND_S)
        assert len(it.bodies) == result.persisted == 4
        assert result.failures == {"not made: the gateway stops": 496}


async def test_a_test_that_ends_in_time_is_whole_though_the_process_stops() -> None:
    stopping = asyncio.Event()
    stopping.set()
    async with intake(accept) as it, load_tester(it.url) as load:
        result = await asyncio.wait_for(load.run(50, stopping=stopping), BOUND_S)
    assert (result.persisted, result.failures) == (50, {})


async def test_connections_are_kept_for_the_next_test() -> None:
    async with intake(accept) as it, load_tester(it.url, max_connections=8) as load:
        await load.run(100)
        used = set(it.peers)
        await load.run(100)
    assert it.peers == used


async def test_two_tests_at_once_keep_their_own_figures() -> None:
    async with intake(accept) as it, load_tester(it.url, max_connections=4) as load:
        one, two = await asyncio.gather(load.run(60), load.run(40))
    assert (one.persisted, two.persisted) == (60, 40)
    assert one.batch != two.batch


async def test_a_problem_is_counted_by_its_status_and_name() -> None:
    async def busy(_: web.Request) -> web.StreamResponse:
        body = {"type": "/problems/busy", "title": "Busy", "status": 503}
        return web.json_response(body, status=503, content_type="application/problem+json")

    result = await run(busy)
    assert (result.persisted, result.failed, result.failures) == (0, 3, {"503 busy": 3})
    assert result.latency_ms == {"p50": None, "p95": None, "p99": None, "max": None}


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (500, b"<html>oops", "500"),
        (502, b"[" * 5000, "502"),
        (307, b"", "307"),
        (200, b'{"id":"x"}', "200"),
        (202, b"", "202 without an id"),
        (202, b'{"id":""}', "202 without an id"),
        (202, b'{"id":5}', "202 without an id"),
        (202, b'{"id":"\xff"}', "202 without an id"),
    ],
)
async def test_what_is_no_202_with_an_id_is_failed(status: int, body: bytes, reason: str) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status, headers={"Location": "/elsewhere"})

    assert (await run(answer)).failures == {reason: 3}


async def test_an_id_is_found_wherever_it_stands() -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"kind": "demo", "id": str(uuid.uuid4())}, status=202)

    assert (await run(answer)).persisted == 3


async def test_an_id_given_twice_is_one_persisted_job() -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return accepted("00000000-0000-7000-8000-000000000000")

    result = await run(answer)
    assert (result.persisted, result.failures) == (1, {"202 with an id given before": 2})


async def test_no_answer_in_time_is_failed() -> None:
    assert (await run(never, request_timeout_s=0.05)).failures == {"timeout": 3}


async def test_a_connection_that_breaks_is_failed() -> None:
    async def hang_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    assert (await run(hang_up)).failures == {"connection lost": 3}


async def test_an_answer_cut_in_its_body_is_failed() -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=202, headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b'{"id":"')
        assert request.transport is not None
        request.transport.close()
        return response

    result = await run(cut)
    assert (result.persisted, result.failures) == (0, {"connection lost": 3})


async def test_an_intake_that_is_away_is_failed(unused_tcp_port: int) -> None:
    async with load_tester(f"http://127.0.0.1:{unused_tcp_port}/") as load:
        assert (await load.run(3)).failures == {"no connection": 3}


async def test_many_different_reasons_are_summed_up() -> None:
    statuses = iter(range(500, 540))

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=next(statuses))

    failures = (await run(answer, 40)).failures
    assert failures["other"] == 24
    assert sum(failures.values()) == 40


@pytest.mark.parametrize("count", [0, -1, 100_001])
async def test_a_count_out_of_bounds_is_refused(count: int) -> None:
    async with load_tester("http://127.0.0.1:9") as load:
        with pytest.raises(ValueError, match="1 to 100,000"):
            await load.run(count)


@pytest.mark.parametrize("connections", [0, 251])
def test_connections_out_of_bounds_are_refused(connections: int) -> None:
    with pytest.raises(ValueError, match="1 to 250"):
        LoadTester("http://127.0.0.1:9", max_connections=connections)


async def test_it_must_be_started() -> None:
    with pytest.raises(RuntimeError, match="started"):
        await LoadTester("http://127.0.0.1:9").run(1)


async def test_calls_beyond_the_clients_rate_wait_and_are_made() -> None:
    refused: set[bytes] = set()

    async def accept_the_second_time(request: web.Request) -> web.StreamResponse:
        # Each connection is refused once.
        assert request.transport is not None
        peer = str(request.transport.get_extra_info("peername")).encode()
        if peer not in refused:
            refused.add(peer)
            return web.Response(status=429, headers={"Retry-After": "1"})
        return accepted(str(uuid.uuid4()))

    result = await run(accept_the_second_time, 40)
    assert refused
    assert (result.persisted, result.failed, result.failures) == (40, 0, {})
    assert result.duration_ms >= 1000
    assert result.latency_ms["max"] is not None and result.latency_ms["max"] >= 1000
