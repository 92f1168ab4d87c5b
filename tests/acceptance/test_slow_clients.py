"""A thousand clients that never end their requests: all are let go in time, and nobody else notices."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from support.stacks import TestStack, eventually

pytestmark = pytest.mark.alone

LIMIT_S = 4.0
ENVIRON = {
    "ACKED_FIRST_BYTE_TIMEOUT_S": str(LIMIT_S),
    "ACKED_HEAD_TIMEOUT_S": str(LIMIT_S),
    "ACKED_BODY_TIMEOUT_S": str(LIMIT_S),
}
SLOW = 1000
PAIRS = 3
ROUND_S = 2.0
CLIENTS = 4
FLOOR_S = 0.01
LATEST_S = LIMIT_S + 5.0
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


@pytest.mark.parametrize("service", ["intake", "gateway"])
async def test_a_thousand_slow_clients_slow_nobody_down(stack: TestStack, service: str) -> None:
    port = stack.port(service)
    job_id = stack.process("noop", delay_s=3600)
    call: tuple[str, str, Any] = ("GET", f"/status/{job_id}", None)
    with_body = f"/jobs/{job_id}/resolve"
    if service == "intake":
        with_body = "/process"
        call = ("POST", "/process", {"kind": "noop", "delay_s": 3600})
    files_before = stack.metric("process_open_fds", to=service)
    await latencies(port, *call)
    quiet: list[float] = []
    busy: list[float] = []
    for _ in range(PAIRS):
        quiet.append(p99(await latencies(port, *call)))
        async with slow_clients(port, with_body) as process:
            assert stack.metric("acked_http_connections", to=service) >= SLOW
            busy.append(p99(await latencies(port, *call)))
            # A new client is served as well, with its first request.
            assert stack.call("GET", "/healthz", to=service).status == 200
            async with asyncio.timeout(LATEST_S + 20):
                assert process.stdout is not None
                told = json.loads(await process.stdout.readline())
        assert told["longest_s"] < LATEST_S
        assert set(told["answers"]["silent"]) == {""}
        assert set(told["answers"]["head"]) == {"HTTP/1.1 408 Request Timeout"}
        assert set(told["answers"]["body"]) == {"HTTP/1.1 408 Request Timeout"}
    # The quietest round of each: what else runs on the machine only ever adds.
    assert min(busy) <= 2 * min(quiet) + FLOOR_S, (quiet, busy)
    eventually(
        lambda: stack.metric("process_open_fds", to=service) <= files_before + 10, within_s=10, what="files are closed"
    )
