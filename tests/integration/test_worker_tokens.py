"""Workers that show a token, over real WebSockets: let in while it holds, and speaking for themselves alone."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import pytest
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from acked_common.api.authenticator import CLOSE_CODE, Authenticator
from acked_common.background.token_cache import TokenCache
from acked_common.channel import frames
from acked_common.channel.worker_end import hello_of
from acked_common.model.events import JobEvent, ProgressEvent
from acked_common.model.principal import Permission
from acked_common.model.tokens import TokenRecord, mint
from acked_common.runtime.clock import SharedClock
from acked_common.store.tokens import MemoryTokens
from acked_gateway.workers.channel import WorkerChannel
from support.parts import running_tasks
from support.web_server import web_server

SECRET = "0123456789abcdef0123456789abcdef"
WITHIN_S = 15.0


class Gateway:
    """A channel behind a gate that asks for tokens."""

    def __init__(self) -> None:
        self.clock = SharedClock()
        self.tokens = MemoryTokens()
        self.table = TokenCache(self.tokens, self.clock)
        self.events: list[tuple[str, int]] = []
        self.channel = WorkerChannel(self, boot="gateway-1", secret=SECRET, authenticator=Authenticator(self.table))
        self.app = Starlette(routes=self.channel.routes())
        self.port = 0

    def report(self, boot: str, events: Sequence[JobEvent]) -> None:
        self.events += [(boot, event.id.int) for event in events]

    def progress(self, boot: str, reports: Sequence[ProgressEvent]) -> None:
        raise AssertionError("nobody reports progress here")

    async def token(self, *may: Permission, client: str = "w") -> tuple[str, TokenRecord]:
        token, record = mint(tenant="default", client=client, may=may or (Permission.WORKER,), at=self.clock.now())
        assert await self.tokens.add(record)
        return token, record

    def line(self, shown: str, query: str = "") -> connect:
        headers = {"Authorization": f"Bearer {shown}"} if shown else {}
        url = f"ws://127.0.0.1:{self.port}{frames.PATH}{query}"
        return connect(url, additional_headers=headers, proxy=None, compression=None)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    made = Gateway()
    async with web_server(made.app) as server, running_tasks() as tasks:
        made.port = server.port
        made.channel.start(tasks)
        yield made


async def say_hello(line: ClientConnection, boot: str) -> dict[str, Any]:
    """The answer to a hello."""
    await line.send(frames.encode(hello_of(boot=boot, worker="w", kinds=["k"], version="1", slots=1)))
    return await answer(line)


async def answer(line: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(WITHIN_S):
        found: dict[str, Any] = json.loads(await line.recv())
    return found


async def close_code(line: ClientConnection) -> int:
    async with asyncio.timeout(WITHIN_S):
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                await line.recv()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


def report(seq: int, job: int) -> str:
    at = "2026-01-02T03:04:05Z"
    event = {"id": str(UUID(int=job)), "rev": 2, "state": "running", "reason": "claimed", "attempt": 1, "at": at}
    return json.dumps({"type": "events", "seq": seq, "events": [event]})


async def refused(gateway: Gateway, shown: str, query: str = "") -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as found:
        async with gateway.line(shown, query):
            pass
    response = found.value.response
    return response.status_code, json.loads(response.body or b"{}")["type"].rpartition("/")[2]


async def test_a_token_or_the_secret_lets_a_worker_in(gateway: Gateway) -> None:
    token, _ = await gateway.token()
    for boot, shown in (("a", token), ("b", SECRET)):
        async with gateway.line(shown) as line:
            assert (await say_hello(line, boot))["type"] == "welcome"


async def test_nothing_else_does(gateway: Gateway) -> None:
    reader, _ = await gateway.token(Permission.READ, client="r")
    worker, _ = await gateway.token()
    assert await refused(gateway, "") == (401, "wrong-worker-secret")
    assert await refused(gateway, SECRET[:-1]) == (401, "wrong-worker-secret")
    assert await refused(gateway, worker[:-1] + ("a" if worker[-1] != "a" else "b")) == (401, "unknown-token")
    assert await refused(gateway, reader) == (403, "missing-permission")
    assert await refused(gateway, worker, f"?token={worker}") == (400, "token-in-url")
    assert await refused(gateway, SECRET, f"?access_token={SECRET}") == (400, "token-in-url")


async def test_a_line_ends_with_its_token_and_no_other_line_does(gateway: Gateway) -> None:
    token, record = await gateway.token()
    other, _ = await gateway.token(client="other")
    async with gateway.line(token) as line, gateway.line(other) as stays, gateway.line(SECRET) as too:
        for number, each in enumerate((line, stays, too)):
            assert (await say_hello(each, f"boot-{number}"))["type"] == "welcome"
        await gateway.tokens.revoke(record.id, gateway.clock.now())
        await gateway.table.refresh()
        assert await close_code(line) == CLOSE_CODE
        for each in (stays, too):
            await each.send(report(1, 1))
            assert (await answer(each))["type"] == "ack"
    assert await refused(gateway, token) == (401, "unknown-token")


async def test_nobody_takes_over_a_boot_that_another_token_has_named(gateway: Gateway) -> None:
    mine, other = (await gateway.token())[0], (await gateway.token(client="other"))[0]
    async with gateway.line(mine) as line:
        assert (await say_hello(line, "boot"))["type"] == "welcome"
        for shown in (other, SECRET):
            async with gateway.line(shown) as intruder:
                await intruder.send(frames.encode(hello_of(boot="boot", worker="x", kinds=["k"], version="1", slots=1)))
                assert await close_code(intruder) == CLOSE_CODE
        await line.send(report(1, 7))
        assert (await answer(line))["type"] == "ack"
        assert gateway.channel.connected == {"boot"}
        async with gateway.line(mine) as newer:
            assert (await say_hello(newer, "boot"))["type"] == "welcome", "its own newer connection does"
            assert await close_code(line) == frames.CloseCode.REPLACED
    assert gateway.events == [("boot", 7)]


async def test_what_another_token_has_sent_of_a_boot_hides_nothing(gateway: Gateway) -> None:
    mine, other = (await gateway.token())[0], (await gateway.token(client="other"))[0]
    async with gateway.line(other) as intruder:
        assert (await say_hello(intruder, "boot"))["last_seq"] == 0
        await intruder.send(report(2**40, 1))
        assert (await answer(intruder))["type"] == "ack"
    # The gateway notices a moment later that the intruder has left.
    async with asyncio.timeout(WITHIN_S):
        while gateway.channel.connected:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
    async with gateway.line(mine) as line:
        assert (await say_hello(line, "boot"))["last_seq"] == 0
        await line.send(report(1, 7))
        assert (await answer(line))["type"] == "ack"
    assert gateway.events[-1] == ("boot", 7)
