"""A thousand clients that never end their requests: all are let go in time, and nobody else notices."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from support.slow_clients import REQUEST_WITHIN_S
from support.stacks import TestStack, eventually

pytestmark = pytest.mark.alone

SLOW = 1000
PAIRS = 3
ROUND_S = 1.25
CLIENTS = 4
FLOOR_S = 0.01
LATEST_S = REQUEST_WITHIN_S + 5.0
SERVICES = ("intake", "gateway")
TESTS = Path(__file__).resolve().parents[1]


@asynccontextmanager
async def slow_clients(port: int, path: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """They have begun; the context's end waits until the server has ended them."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "support.slow_clients", str(port), str(SLOW), path),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            assert (await process.stdout.readline()).strip() == b"ready"
        yield process
    finally:
        if process.returncode is None and sys.exc_info()[0] is not None:
            process.kill()
        await process.wait()


async def latencies(port: int, method: str, path: str, body: Any) -> list[float]:
    """Of healthy clients, for a while; each of their calls succeeds."""
    found: list[float] = []
    until = time.monotonic() + ROUND_S

    async def client(session: aiohttp.ClientSession) -> None:
        while time.monotonic() < until:
            began = time.monotonic()
            async with session.request(method, f"http://127.0.0.1:{port}{path}", json=body) as answer:
                await answer.read()
            assert answer.status in (200, 202), answer.status
            found.append(time.monotonic() - began)

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(client(session) for _ in range(CLIENTS)))
    return found


def p99(found: list[float]) -> float:
    return sorted(found)[len(found) * 99 // 100]


@pytest.mark.long
async def test_a_thousand_slow_clients_of_each_service_slow_nobody_down(stack: TestStack) -> None:
    job_id = stack.process("noop", delay_s=3600)
    calls: dict[str, tuple[str, str, Any]] = {
        "intake": ("POST", "/process", {"kind": "noop", "delay_s": 3600}),
        "gateway": ("GET", f"/status/{job_id}", None),
    }
    with_body = {"intake": "/process", "gateway": f"/jobs/{job_id}/resolve"}
    files_before = {service: stack.metric("process_open_fds", to=service) for service in SERVICES}
    quiet: dict[str, list[float]] = {service: [] for service in SERVICES}
    busy: dict[str, list[float]] = {service: [] for service in SERVICES}
    for service in SERVICES:
        await latencies(stack.port(service), *calls[service])
    for _ in range(PAIRS):
        for service in SERVICES:
            quiet[service].append(p99(await latencies(stack.port(service), *calls[service])))
        async with AsyncExitStack() as contexts:
            slow = [
                await contexts.enter_async_context(slow_clients(stack.port(service), with_body[service]))
                for service in SERVICES
            ]
            for service in SERVICES:
                assert stack.metric("acked_http_connections", to=service) >= SLOW
                busy[service].append(p99(await latencies(stack.port(service), *calls[service])))
                # A new client is served as well, with its first request.
                assert stack.call("GET", "/healthz", to=service).status == 200
            for process in slow:
                async with asyncio.timeout(LATEST_S + 20):
                    assert process.stdout is not None
                    told = json.loads(await process.stdout.readline())
                assert told["longest_s"] < LATEST_S
                assert set(told["answers"]["silent"]) == {""}
                assert set(told["answers"]["head"]) == {"HTTP/1.1 408 Request Timeout"}
                assert set(told["answers"]["body"]) == {"HTTP/1.1 408 Request Timeout"}
    for service in SERVICES:
        # The quietest round of each: what else runs on the machine only ever adds.
        assert min(busy[service]) <= 2 * min(quiet[service]) + FLOOR_S, (service, quiet, busy)
        eventually(
            lambda name=service: stack.metric("process_open_fds", to=name) <= files_before[name] + 10,  # type: ignore[misc]
            within_s=10,
            what=f"{service} has closed their files",
        )
