"""What a process serves beside its work: metrics on a port of their own, and a worker's health."""

import json
import os
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import Counter

from acked_common.api.metrics_server import MetricsServer
from acked_common.api.readiness import Readiness
from acked_common.http.side_server import PORTS_TRIED, bind_first_free
from acked_common.runtime.env import Env
from acked_common.runtime.settings import read_common
from acked_worker.health import HealthServer

COUNTED = Counter("acked_test_side_servers", "Of this test.")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def metrics_server(port: int) -> MetricsServer:
    return MetricsServer(read_common(Env({"ACKED_METRICS_PORT": str(port)})).listen)


async def get(port: int, path: str, host: str, *, method: str = "GET") -> tuple[int, str]:
    url = f"http://127.0.0.1:{port}{path}"
    async with aiohttp.ClientSession() as session, session.request(method, url, headers={"Host": host}) as answer:
        return answer.status, await answer.text()


async def test_metrics_have_a_port_without_the_host_guard() -> None:
    port = free_port()
    server = metrics_server(port)
    await server.start()
    try:
        COUNTED.inc()
        status, text = await get(port, "/metrics", "10.244.0.5:9100")
        assert status == 200
        assert "acked_test_side_servers_total 1.0" in text
        for path in ("/", "/jobs", "/healthz", "/metrics/x"):
            assert (await get(port, path, "localhost"))[0] == 404
        assert (await get(port, "/metrics", "localhost", method="POST"))[0] == 405
        status, text = await get(port, "/metrics?nmae=acked", "localhost")
        assert (status, "unknown-field" in text) == (422, True)
    finally:
        await server.stop()
    with pytest.raises(aiohttp.ClientConnectorError):
        await get(port, "/metrics", "localhost")


async def test_the_port_is_told_beside_the_run_file_while_it_serves(tmp_path: Path) -> None:
    port = free_port()
    listen = read_common(Env({"ACKED_METRICS_PORT": str(port), "ACKED_METRICS_HOST": "0.0.0.0"})).listen
    server = MetricsServer(listen, run_file=tmp_path / "run" / "gateway-1.json")
    address_file = tmp_path / "run" / "gateway-1.metrics"
    await server.start()
    try:
        # Where this machine reaches it.
        assert json.loads(address_file.read_text()) == {"pid": os.getpid(), "address": f"127.0.0.1:{port}"}
        assert [file.name for file in address_file.parent.iterdir()] == [address_file.name]
    finally:
        await server.stop()
    assert not address_file.exists()


async def test_processes_with_one_setting_take_ports_of_their_own() -> None:
    port = free_port()
    first, second = metrics_server(port), metrics_server(port)
    await first.start()
    await second.start()
    try:
        found = [await get(one, "/metrics", "localhost") for one in (port, port + 1)]
        assert [status for status, _ in found] == [200, 200]
    finally:
        await first.stop()
        await second.stop()


async def test_without_the_setting_nothing_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Any:
        raise AssertionError("it listens")

    monkeypatch.setattr("acked_common.api.metrics_server.bind_first_free", fail)
    server = MetricsServer(read_common(Env({})).listen)
    await server.start()
    await server.stop()


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_here_says_what_to_set(host: str) -> None:
    with pytest.raises(OSError, match="ACKED_METRICS_HOST") as raised:
        bind_first_free(host, 40_000)
    assert host in str(raised.value)
    assert str(40_000 + PORTS_TRIED - 1) in str(raised.value)


async def test_a_worker_tells_its_health_to_probes_alone() -> None:
    readiness = Readiness({"mongodb": "db-7.internal does not respond"})
    port = free_port()
    server = HealthServer(lambda: readiness, host="127.0.0.1", port=port, run_file=None, hosts=frozenset())
    await server.start()
    try:
        assert await get(port, "/healthz", "10.244.0.5:8082") == (200, '{"status":"alive"}')
        assert await get(port, "/readyz", "10.244.0.5:8082") == (503, '{"status":"not-ready","parts":{}}')
        assert (await get(port, "/metrics", "10.244.0.5:8082"))[0] == 421
        status, address_file = await get(port, "/readyz", f"127.0.0.1:{port}")
        assert (status, "db-7.internal" in address_file) == (503, True)
        assert (await get(port, "/readyz", "pod", method="HEAD")) == (503, "")
        with closing(socket.create_connection(("127.0.0.1", port), 5)):
            # A connection that says nothing holds nobody up.
            assert (await get(port, "/healthz", "pod"))[0] == 200
    finally:
        await server.stop()
