"""Limits on connections: eviction, the reserve for probes, refusals: over real connections."""

from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from acked_common.http.server import connection_watch
from acked_common.http.server.connection_watch import RESERVED_CONNECTIONS
from support.raw_http import GET, LONG, UPGRADE, closed, serve


async def test_a_full_server_lets_go_who_only_waits() -> None:
    before = closed("evicted")
    async with serve(replace(LONG, connections=20)) as server:
        idle = await server.connect(GET)
        await idle.response()
        slow = [await server.connect(b"GET /quick HTTP/1.1\r\n") for _ in range(60)]
        for _ in range(5):
            assert (await (await server.connect(GET)).response())[0] == 200
        await slow[0].wait_closed()
    assert closed("evicted") >= before + 40


async def test_a_server_full_of_running_requests_still_tells_its_health() -> None:
    async with serve(replace(LONG, connections=20)) as server:
        running = [await server.connect(GET.replace(b"/quick", b"/slow")) for _ in range(20)]
        for _ in range(RESERVED_CONNECTIONS * 2):
            health = await server.connect(GET.replace(b"/quick", b"/healthz"))
            status, headers, _ = await health.response()
            assert (status, headers["connection"]) == (200, "close")
            await health.wait_closed()
        other = await server.connect(GET)
        assert await other.problem() == "busy"
        server.may_end.set()
        for client in running:
            assert (await client.response())[0] == 200
        again = await server.connect(GET)
        assert (await again.response())[0] == 200


async def test_beyond_the_reserve_connections_are_refused() -> None:
    async with serve(replace(LONG, connections=1)) as server:
        running = await server.connect(GET.replace(b"/quick", b"/slow"))
        await server.began.wait()
        more = [await server.connect(GET.replace(b"/quick", b"/slow")) for _ in range(RESERVED_CONNECTIONS)]
        for each in more:
            assert await each.problem() == "busy"
        server.may_end.set()
        assert (await running.response())[0] == 200


async def test_a_thousand_slow_clients_are_ended_little_by_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_watch, "TICK_S", 0.05)
    async with serve(replace(LONG, head_s=0.2)) as server:
        slow = [await server.connect(b"GET / HTTP/1.1\r\n") for _ in range(200)]
        assert {await each.problem() for each in slow} == {"slow-head"}
        await server.wait_empty()


async def test_a_refused_client_that_stays_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_watch, "GOODBYE_S", 0.1)
    async with serve(LONG) as server:
        client = await server.connect(b"nonsense\r\n\r\n")
        assert (await client.response())[0] == 400
        await server.wait_empty()


async def test_connections_are_counted_until_they_are_gone() -> None:
    def count() -> Any:
        return REGISTRY.get_sample_value("acked_http_connections")

    before = count()
    async with serve(LONG) as server:
        client = await server.connect(GET)
        await client.response()
        assert count() == before + 1
        websocket = await server.connect(UPGRADE + b"\r\n")
        await websocket.response()
        assert count() == before + 1
        server.leave()
        await server.wait_empty()
        assert count() == before
