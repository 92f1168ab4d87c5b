"""Both shells of the worker channel over real WebSockets: nothing is lost on the way, and bad peers hurt nobody."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from starlette.applications import Starlette
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from acked_common.channel import frames
from acked_common.channel.frames import Cancel, CloseCode, Drain, JobAttempt
from acked_common.channel.worker_end import Command, hello_of
from acked_common.model.events import JobEvent, ProgressEvent
from acked_common.model.lifecycle import State
from acked_gateway.workers.channel import WorkerChannel
from acked_worker.report import reporter as reporter_module
from acked_worker.report.reporter import Reporter
from acked_worker.settings import GatewayUrl
from support.tcp_proxy import proxy_to
from support.web_server import HOST, WebServer, web_server

SECRET = "0123456789abcdef0123456789abcdef"
WITHIN_S = 15.0
GONE_WITHIN_S = 15.0
AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)


class Kept:
    """Keeps what workers report, and wakes whoever waits for it."""

    def __init__(self) -> None:
        self.events: list[tuple[str, JobEvent]] = []
        self.reports: list[ProgressEvent] = []
        self.changed = asyncio.Event()

    def report(self, boot: str, events: Sequence[JobEvent]) -> None:
        self.events += [(boot, event) for event in events]
        self.changed.set()

    def progress(self, boot: str, reports: Sequence[ProgressEvent]) -> None:
        self.reports += reports
        self.changed.set()


class Gateway:
    """The gateway's side: one channel behind one server, which can be stopped and started again on its port."""

    def __init__(self, secret: str | None = SECRET, boot: str = "gateway-1") -> None:
        self.kept = Kept()
        self.channel = WorkerChannel(self.kept, boot=boot, secret=secret)
        self.app = Starlette(routes=self.channel.routes())
        self.port = 0
        self.server: WebServer | None = None
        self._running = AsyncExitStack()

    async def start(self, host: str = HOST) -> None:
        self.server = await self._running.enter_async_context(web_server(self.app, port=self.port, host=host))
        self.port = self.server.port

    async def stop(self) -> None:
        await self._running.aclose()

    def forget(self) -> None:
        """As a new process: it knows nothing of before."""
        self.channel = WorkerChannel(self.kept, boot=uuid4().hex, secret=SECRET)
        self.app = Starlette(routes=self.channel.routes())


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    made = Gateway()
    await made.start()
    yield made
    await made.stop()


class Worker:
    """The worker's side."""

    def __init__(self, *urls: GatewayUrl, boot: str = "boot-1", secret: str | None = SECRET) -> None:
        self.commands: asyncio.Queue[Command] = asyncio.Queue()
        self.boot = boot
        self.reporter = Reporter(urls, secret, hello=self._hello, on_command=self.commands.put_nowait)
        self.made = 0

    def _hello(self, stream: int) -> frames.Hello:
        return hello_of(boot=self.boot, worker="w", kinds=["demo"], version="1", slots=8, stream=stream)

    def happen(self, count: int) -> None:
        """So many transitions."""
        self.reporter.report(event(self.made + n) for n in range(count))
        self.made += count

    @property
    def lines(self) -> list[str | None]:
        return [line.end.gateway_boot for line in self.reporter._lines.values()]

    @property
    def is_heard(self) -> bool | None:
        """Whether its line is listened to; None before the welcome."""
        return next((line.end.is_heard for line in self.reporter._lines.values() if line.is_connected), None)


def event(n: int) -> JobEvent:
    return JobEvent(UUID(int=n), 2, State.RUNNING, "claimed", 1, AT)


@asynccontextmanager
async def worker(
    *ports: int, boot: str = "boot-1", host: str = HOST, secret: str | None = SECRET
) -> AsyncIterator[Worker]:
    made = Worker(*(GatewayUrl("ws", host, port) for port in ports), boot=boot, secret=secret)
    await made.reporter.start()
    try:
        yield made
    finally:
        await made.reporter.stop()


async def until(holds: Callable[[], bool], within_s: float = WITHIN_S) -> None:
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110 - what is waited for sets no event of ours
            await asyncio.sleep(0.005)


async def connected(made: Worker) -> None:
    await until(lambda: made.reporter.problem is None)


async def test_reports_arrive_in_order_and_once(gateway: Gateway) -> None:
    async with worker(gateway.port) as made:
        await until(lambda: len(made.lines) == 1)
        made.happen(10)
        await connected(made)
        made.happen(3000)
        report = ProgressEvent(UUID(int=1), 1, b'{"value":0.5}')
        made.reporter.progress([report])
        await until(lambda: len(gateway.kept.events) == 3010 and bool(gateway.kept.reports))
    assert gateway.kept.events == [("boot-1", event(n)) for n in range(3010)]
    assert gateway.kept.reports == [report]


async def test_while_nobody_listens_workers_are_silent(gateway: Gateway) -> None:
    gateway.channel.listen(False)
    async with worker(gateway.port, boot="a") as made, worker(gateway.port, boot="b") as other:
        await until(lambda: made.is_heard is other.is_heard is False)
        made.happen(5)
        gateway.channel.listen(True)
        await until(lambda: made.is_heard is other.is_heard is True)
        made.happen(1)
        other.happen(1)
        await until(lambda: len(gateway.kept.events) == 2)
    assert dict(gateway.kept.events) == {"a": event(5), "b": event(0)}


async def test_what_is_left_is_sent_before_the_worker_leaves(gateway: Gateway) -> None:
    async with worker(gateway.port) as made:
        await connected(made)
        made.happen(5000)
    assert len(gateway.kept.events) == 5000
    await until(lambda: not gateway.channel.connected)


async def test_a_line_that_is_cut_again_and_again_loses_nothing(gateway: Gateway) -> None:
    async with proxy_to(HOST, gateway.port) as proxy, worker(proxy.port) as made:
        await connected(made)
        for _ in range(8):
            for _ in range(20):
                made.happen(7)
                await asyncio.sleep(0)
            proxy.cut()
            made.happen(5)
            await connected(made)
        await until(lambda: len(gateway.kept.events) == made.made)
    assert gateway.kept.events == [("boot-1", event(n)) for n in range(made.made)]


async def test_a_gateway_that_restarts_is_found_again_soon(gateway: Gateway) -> None:
    async with worker(gateway.port) as made:
        await connected(made)
        made.happen(10)
        await until(lambda: len(gateway.kept.events) == 10)
        await gateway.stop()
        assert made.reporter.problem is not None
        made.happen(10)
        gateway.forget()
        await gateway.start()
        await connected(made)
        await until(lambda: len(gateway.kept.events) >= 20)
    assert gateway.kept.events == [("boot-1", event(n)) for n in range(20)]


async def test_a_worker_that_finds_no_gateway_works_on() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        async with worker(taken.getsockname()[1]) as made:
            await until(lambda: len(made.lines) == 1)
            made.happen(30_000)
            (line,) = made.reporter._lines.values()
            assert line.end.dropped == 20_000, "what waits is bounded"
            assert made.reporter.problem is not None


async def test_commands_come_down(gateway: Gateway) -> None:
    jobs = [JobAttempt(UUID(int=n), 1) for n in range(frames.MAX_CANCELS + 1)]
    async with worker(gateway.port, boot="a") as one, worker(gateway.port, boot="b") as other:
        await connected(one)
        await connected(other)
        assert gateway.channel.connected == {"a", "b"}
        assert gateway.channel.cancel("b", jobs)
        assert gateway.channel.drain("a")
        assert not gateway.channel.cancel("c", jobs)
        assert not gateway.channel.drain("c")
        async with asyncio.timeout(WITHIN_S):
            assert await one.commands.get() == Drain()
            assert await other.commands.get() == Cancel(jobs[:-1])
            assert await other.commands.get() == Cancel(jobs[-1:])
        assert one.commands.empty()


async def test_a_worker_has_a_line_to_each_gateway() -> None:
    gateways = [Gateway(boot="g1"), Gateway(boot="g2")]
    for one in gateways:
        await one.start()
    async with worker(*(one.port for one in gateways)) as made:
        await until(lambda: sorted(map(str, made.lines)) == ["g1", "g2"])
        made.happen(100)
        for one in gateways:
            await until(lambda one=one: len(one.kept.events) == 100)  # type: ignore[misc]
        await gateways[0].stop()
        made.happen(100)
        await until(lambda: len(gateways[1].kept.events) == 200)
    await gateways[1].stop()


async def test_two_ways_to_one_gateway_need_one_line(gateway: Gateway) -> None:
    async with proxy_to(HOST, gateway.port) as proxy, worker(gateway.port, proxy.port) as made:
        await until(lambda: [line.is_parked for line in made.reporter._lines.values()].count(True) == 1)
        await until(lambda: sum(boot is not None for boot in made.lines) == 1)
        made.happen(10)
        await until(lambda: len(gateway.kept.events) == 10)
        await until(lambda: gateway.channel.connected == {"boot-1"})
        assert gateway.channel.drain("boot-1")
        async with asyncio.timeout(WITHIN_S):
            assert await made.commands.get() == Drain()


async def test_a_name_is_looked_up_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporter_module, "RESOLVE_EVERY_S", 0.02)
    gateways = [Gateway(boot="g1"), Gateway(boot="g2")]
    await gateways[0].start("127.0.0.1")
    gateways[1].port = gateways[0].port
    await gateways[1].start("127.0.0.2")
    behind: list[str] = []

    async def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        assert host == "localhost"
        if not behind:
            raise socket.gaierror("no such name")
        return [(0, 0, 0, "", (address, port)) for address in behind]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    async with worker(gateways[0].port, host="localhost") as made:
        await until(lambda: bool(made.reporter._unresolved))
        made.happen(5)
        assert made.lines == []
        behind[:] = ["127.0.0.1"]
        await until(lambda: made.lines == ["g1"])
        behind[:] = ["127.0.0.1", "127.0.0.2"]
        await until(lambda: made.lines == ["g1", "g2"])
        behind[:] = ["127.0.0.2"]
        made.happen(5)
        await until(lambda: all(len(one.kept.events) == 5 for one in gateways))
        assert made.lines == ["g1", "g2"], "a line that works is kept"
        await gateways[0].stop()
        await until(lambda: made.lines == ["g2"])
        made.happen(5)
        await until(lambda: len(gateways[1].kept.events) == 10)
    await gateways[1].stop()


@pytest.mark.parametrize(
    ("given", "status", "says"),
    [("f" * 32, 401, "ACKED_WORKER_SECRET_FILE"), (None, 503, "rejects workers")],
)
async def test_a_worker_that_is_refused_says_once_what_to_do(
    given: str | None, status: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made_gateway = Gateway(secret=given)
    await made_gateway.start()
    try:
        async with worker(made_gateway.port) as made:
            await until(lambda: any(line._complaint for line in made.reporter._lines.values()))
            (line,) = made.reporter._lines.values()
            assert says in line._complaint
            with pytest.raises(InvalidStatus) as caught:
                await connect(
                    f"ws://{HOST}:{made_gateway.port}{frames.PATH}",
                    additional_headers={"Authorization": f"Bearer {SECRET}"},
                    proxy=None,
                )
            assert caught.value.response.status_code == status
    finally:
        await made_gateway.stop()


# Peers that stop reading.


async def raw_peer(port: int, boot: str) -> socket.socket:
    """A worker that has said hello and reads nothing from then on, in the smallest of buffers."""
    loop = asyncio.get_running_loop()
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.setblocking(False)
    await loop.sock_connect(peer, (HOST, port))
    request = (
        f"GET {frames.PATH} HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"Authorization: Bearer {SECRET}\r\n\r\n"
    )
    await loop.sock_sendall(peer, request.encode())
    assert b" 101 " in await loop.sock_recv(peer, 1000)
    hello = frames.encode(hello_of(boot=boot, worker=boot, kinds=[], version="1", slots=1)).encode()
    # A masked text frame of 126 bytes and more; the mask is zero.
    await loop.sock_sendall(peer, b"\x81\xfe" + len(hello).to_bytes(2, "big") + bytes(4) + hello)
    return peer


async def test_a_peer_that_stops_reading_is_gone_in_time_and_others_work_on(gateway: Gateway) -> None:
    assert gateway.server is not None
    jobs = [JobAttempt(UUID(int=n), 1) for n in range(frames.MAX_CANCELS)]
    flooded, silent = await raw_peer(gateway.port, "flooded" * 9), await raw_peer(gateway.port, "silent" * 9)
    async with worker(gateway.port) as made:
        await connected(made)
        await until(lambda: len(gateway.channel.connected) == 3)
        started = asyncio.get_running_loop().time()
        for _ in range(300):
            gateway.channel.cancel("flooded" * 9, jobs)
        while gateway.server.sockets > 1:
            made.happen(1)
            await asyncio.sleep(0.05)
            assert asyncio.get_running_loop().time() - started < GONE_WITHIN_S + 1.0, "its memory is not free"
        await until(lambda: gateway.channel.connected == {"boot-1"})
        await until(lambda: len(gateway.kept.events) == made.made)
        (line,) = made.reporter._lines.values()
        assert line.connections == 1
    flooded.close()
    silent.close()


async def test_a_peer_for_whom_too_much_waits_is_sent_away(gateway: Gateway) -> None:
    peer = await raw_peer(gateway.port, "flooded" * 9)
    await until(lambda: bool(gateway.channel.connected))
    jobs = [JobAttempt(UUID(int=n), 1) for n in range(frames.MAX_CANCELS)]
    for _ in range(1500):
        gateway.channel.cancel("flooded" * 9, jobs)
    await until(lambda: not gateway.channel.connected, within_s=5.0)
    peer.close()


async def test_a_flood_of_frames_is_slowed_down_and_hurts_nobody(gateway: Gateway) -> None:
    headers = {"Authorization": f"Bearer {SECRET}"}
    loop = asyncio.get_running_loop()
    async with worker(gateway.port) as made:
        await connected(made)
        async with connect(f"ws://{HOST}:{gateway.port}{frames.PATH}", additional_headers=headers, proxy=None) as peer:
            await peer.send(frames.encode(hello_of(boot="flood", worker="w", kinds=[], version="1", slots=1)))
            await peer.recv()
            started = loop.time()
            for seq in range(1, 201):
                await peer.send(frames.events_frame(seq, [], []))
            made.happen(10)
            await until(lambda: len(gateway.kept.events) == 10, within_s=2.0)
            while frames.parse_from_gateway(str(await peer.recv())) != frames.Ack(200):
                pass
            # 50 at once, then 200 a second.
            assert loop.time() - started > 0.7


async def test_a_fault_ends_one_line_with_its_code(gateway: Gateway) -> None:
    headers = {"Authorization": f"Bearer {SECRET}"}
    async with worker(gateway.port) as made:
        await connected(made)
        for text, code in (("x", CloseCode.BAD_FRAME), ('{"type":"hello","protocol":0}', CloseCode.UNKNOWN_PROTOCOL)):
            async with connect(f"ws://{HOST}:{gateway.port}{frames.PATH}", additional_headers=headers, proxy=None) as p:
                await p.send(text)
                with pytest.raises(ConnectionClosed):
                    await p.recv()
                assert p.close_code == code
        made.happen(1)
        await until(lambda: len(gateway.kept.events) == 1)
        (line,) = made.reporter._lines.values()
        assert line.connections == 1
