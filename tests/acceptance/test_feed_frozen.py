"""A thousand clients that stop reading beside a thousand that read: nobody is disturbed, the frozen are gone soon."""

import asyncio
import base64
import json
import os
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from support.contract import instant
from support.feed import connected, next_frame
from support.stacks import TestStack, eventually

pytestmark = pytest.mark.alone

CLIENTS = 1000
GONE_WITHIN_S = 15.0
FROZEN_ROUNDS = max(2, int(os.environ.get("ACKED_TEST_ROUNDS", "1")))
"""How often a thousand freeze."""
ROUNDS = 30
FLOOD = 3000
FROZEN_KIB = 192.0
"""What a frozen client may cost: its connection, 35 KiB, a full write buffer, 80, the frame that waits behind it, 32,
and what the allocator adds. Each thousand uses again what the one before it took. One flood is 1,300 KiB."""


def memory_kib(stack: TestStack, line: str) -> int:
    """Memory of the gateway: `VmRSS`, what is resident, or `VmHWM`, the most that ever was."""
    text = Path(f"/proc/{stack.stack.parts.pid('gateway-1')}/status").read_text()
    return int(text.split(f"{line}:")[1].split()[0])


def open_files(stack: TestStack) -> int:
    return len(os.listdir(f"/proc/{stack.stack.parts.pid('gateway-1')}/fd"))  # noqa: PTH208 - names only


def frozen(stack: TestStack) -> socket.socket:
    """A client that subscribes to everything and never reads again; its window is as small as the kernel allows."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", stack.gateway_port))
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(
        "GET /ws/feed HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += sock.recv(1024)
    assert answer.startswith(b"HTTP/1.1 101")
    text = json.dumps({"type": "subscribe", "sub": "s", "scope": {"all": True}}).encode()
    assert len(text) < 126
    # A mask of zeros leaves the text as it is.
    sock.sendall(bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text)
    return sock


class Healthy:
    """A client that reads all it is told, and how late it was."""

    def __init__(self, websocket: ClientConnection) -> None:
        self._websocket = websocket
        self.told = 0
        self.late_s: list[float] = []
        self._heard = asyncio.Event()

    async def heard(self, wanted: int) -> None:
        """Returns when it was told so many events."""
        while self.told < wanted:
            self._heard.clear()
            await self._heard.wait()

    async def run(self) -> None:
        async for message in self._websocket:
            at = datetime.now(UTC)
            frame: dict[str, Any] = json.loads(message)
            assert frame["type"] != "resync"
            for event in frame.get("events", ()):
                self.told += 1
                self.late_s.append((at - instant(event["at"])).total_seconds())
            self._heard.set()


async def p99_in_a_flood(stack: TestStack, clients: list[Healthy]) -> float:
    """Sends jobs one after another while many others come in; how late the healthy hear of theirs, at the 99th
    percentile."""
    flood = asyncio.create_task(asyncio.to_thread(stack.call, "POST", f"/load-test?count={FLOOD}&kind=noop"))
    for client in clients:
        client.late_s.clear()
    before = clients[0].told
    for number in range(1, ROUNDS + 1):
        await asyncio.to_thread(stack.process, "noop", batch="quiet")
        wanted = before + 3 * number
        async with asyncio.timeout(30):
            for client in clients:
                await client.heard(wanted)
    assert (await flood).body["persisted"] == FLOOD
    late = sorted(late for client in clients for late in client.late_s)
    assert len(late) == 3 * ROUNDS * len(clients)
    return quantiles(late, n=100)[98]


@pytest.mark.long
async def test_frozen_clients_disturb_nobody_and_are_gone_soon(stack: TestStack) -> None:
    websockets = []
    for _ in range(CLIENTS):
        websocket = await connected(stack, ping_interval=None)
        await websocket.send(json.dumps({"type": "subscribe", "sub": "s", "scope": {"batch": "quiet"}}))
        await next_frame(websocket, "snapshot")
        websockets.append(websocket)
    clients = [Healthy(websocket) for websocket in websockets]
    async with asyncio.TaskGroup() as group:
        readers = [group.create_task(client.run()) for client in clients]
        alone_s = await p99_in_a_flood(stack, clients)
        files = open_files(stack)
        before_kib = memory_kib(stack, "VmRSS")
        found = []
        for _ in range(FROZEN_ROUNDS):
            stuck = await asyncio.to_thread(lambda: [frozen(stack) for _ in range(CLIENTS)])
            frozen_at = time.monotonic()
            beside_s = await p99_in_a_flood(stack, clients)
            await asyncio.to_thread(
                eventually,
                lambda: stack.metric("acked_feed_clients") == CLIENTS,
                within_s=GONE_WITHIN_S + 15,
                what="the frozen clients are gone",
            )
            gone_s = time.monotonic() - frozen_at
            await asyncio.to_thread(
                eventually, lambda: open_files(stack) < files + 20, within_s=5, what="their sockets are closed"
            )
            frozen_kib = (memory_kib(stack, "VmHWM") - before_kib) / CLIENTS
            found.append((beside_s, gone_s, frozen_kib))
            for sock in stuck:
                sock.close()
        print(f"p99 alone {alone_s:.3f} s; p99 beside, gone after, KiB each: {found}")  # noqa: T201 - for whoever reads it
        for websocket in websockets:
            await websocket.close()
        await asyncio.wait(readers)
    assert max(gone_s for _, gone_s, _ in found) <= GONE_WITHIN_S, found
    # They follow everything in a flood, so they cost what as many readers would until they are gone. What else runs on
    # the machine only ever adds.
    quiet = sorted(beside_s for beside_s, _, _ in found)[: (FROZEN_ROUNDS + 1) // 2]
    assert max(quiet) <= max(3 * alone_s, 1.0), found
    assert found[-1][2] <= FROZEN_KIB, found
