"""Two processes share a port; each is stopped again and again under load, and no client notices."""

import asyncio
import http.client
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from acked_common.model.lifecycle import State
from support.load import Load

ROUNDS = int(os.environ.get("ACKED_TEST_ROUNDS", "3"))
ENDS_WITHIN_S = 10.0
STARTS_WITHIN_S = 30.0
BODY = {"kind": "noop", "batch": "stops"}


class Service:
    """One process of a service, on a port that others share."""

    def __init__(self, module: str, environ: Mapping[str, str], run_file: Path) -> None:
        self._module, self._run_file = module, run_file
        self._environ = {**environ, "ACKED_RUN_FILE": str(run_file)}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Returns when this very process is ready."""
        self._process = await asyncio.create_subprocess_exec(sys.executable, "-m", self._module, env=self._environ)
        async with asyncio.timeout(STARTS_WITHIN_S):
            while await asyncio.to_thread(self.readiness) != 200:
                assert self._process.returncode is None
                await asyncio.sleep(0.02)

    async def stop(self) -> float:
        """SIGTERM; seconds until it is gone."""
        assert self._process is not None
        started = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(ENDS_WITHIN_S):
            await self._process.wait()
        return time.monotonic() - started

    async def end(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def readiness(self) -> int:
        """What `/readyz` answers on the port of its own; 0 when it does not."""
        try:
            told = json.loads(self._run_file.read_text())
        except OSError:
            return 0
        if told["pid"] != self.pid:
            return 0
        connection = http.client.HTTPConnection("127.0.0.1", told["health_port"], timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def two_of(
    module: str, mongo_url: str, amqp_url: str, database: str, folder: Path
) -> AsyncIterator[tuple[list[Service], int]]:
    """Two processes that are ready, and their port."""
    port = free_port()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ACKED_")}
    environ |= {
        "ACKED_MONGO_URL": mongo_url,
        "ACKED_AMQP_URL": amqp_url,
        "ACKED_DATABASE": database,
        "ACKED_INTAKE_PORT": str(port),
        "ACKED_GATEWAY_PORT": str(port),
    }
    init = await asyncio.create_subprocess_exec(sys.executable, "-m", "acked_worker.init", env=environ)
    assert await init.wait() == 0
    services = [Service(module, environ, folder / f"{number}.json") for number in (1, 2)]
    async with AsyncExitStack() as stack:
        for service in services:
            stack.push_async_callback(service.end)
        await asyncio.gather(*(service.start() for service in services))
        yield services, port


async def test_no_client_notices_that_a_process_of_a_shared_port_stops(
    mongo_url: str, amqp_url: str, mongo_database: str, servers: Any, tmp_path: Path
) -> None:
    async with (
        two_of("acked_intake", mongo_url, amqp_url, mongo_database, tmp_path) as (services, port),
        Load(f"http://127.0.0.1:{port}/process", [BODY]) as load,
    ):
        for number in range(ROUNDS * 2):
            service = services[number % 2]
            accepted = len(load.accepted)
            took_s = await service.stop()
            assert took_s < ENDS_WITHIN_S
            assert len(load.accepted) > accepted, "the other one went on"
            await service.start()
            assert load.failures == [], f"round {number}"
    assert load.failures == []
    assert servers.mongo()[mongo_database]["jobs"].count_documents({"batch": "stops"}) == len(load.accepted)


async def test_a_long_poll_answers_early_and_the_process_says_that_it_stops(
    mongo_url: str, amqp_url: str, mongo_database: str, tmp_path: Path
) -> None:
    async with two_of("acked_gateway", mongo_url, amqp_url, mongo_database, tmp_path) as (services, port):
        job_id = await _job(mongo_url, amqp_url, mongo_database, tmp_path)
        async with aiohttp.ClientSession() as session:
            polls = [asyncio.create_task(_poll(session, f"http://127.0.0.1:{port}/status/{job_id}")) for _ in range(40)]
            # Each has its own connection; what both processes have in hand is asked behind them.
            await asyncio.wait(polls, timeout=0.5)
            assert not any(poll.done() for poll in polls)
            stopping = [asyncio.create_task(service.stop()) for service in services]
            async with asyncio.timeout(5.0):
                answers = await asyncio.gather(*polls)
            assert {(status, state, connection) for status, state, connection in answers} == {
                (200, State.QUEUED.value, "close")
            }
            assert max(await asyncio.gather(*stopping)) < ENDS_WITHIN_S


async def _poll(session: aiohttp.ClientSession, url: str) -> tuple[int, str, str]:
    async with session.get(url, params={"wait_s": "50"}) as answer:
        return answer.status, (await answer.json())["state"], answer.headers.get("Connection", "")


async def _job(mongo_url: str, amqp_url: str, database: str, folder: Path) -> str:
    """The id of a job that nobody works at."""
    (folder / "intake").mkdir()
    async with (
        two_of("acked_intake", mongo_url, amqp_url, database, folder / "intake") as (_, port),
        aiohttp.ClientSession() as session,
        session.post(f"http://127.0.0.1:{port}/process", json={"kind": "noop"}) as answer,
    ):
        assert answer.status == 202
        return str((await answer.json())["id"])


async def test_a_process_that_stops_is_not_ready(
    mongo_url: str, amqp_url: str, mongo_database: str, tmp_path: Path
) -> None:
    async with two_of("acked_intake", mongo_url, amqp_url, mongo_database, tmp_path) as (services, port):
        assert services[0].readiness() == 200
        # An idle connection keeps each process for a moment.
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        stopping = asyncio.create_task(services[0].stop())
        # It answers until it is gone: the first answer that is not 200 is the one.
        found = 200
        async with asyncio.timeout(5.0):
            while found == 200:
                found = await asyncio.to_thread(services[0].readiness)
        assert found == 503
        assert services[1].readiness() == 200
        await stopping
        for _, writer in idle:
            writer.close()
