"""What one party could read in another way than the next: a request means what was sent, or is refused."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from acked_common.http.edge import Edge
from acked_common.http.request_guards import RequestGuards
from acked_common.http.server.serve import server_config
from support.web_server import serving

WITHIN_S = 10.0
BODY = b'{"kind":"noop"}'
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"%x\r\n%s\r\n0\r\n" % (len(BODY), BODY)
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQ\r\n"
WS = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)

Parts = Sequence[bytes]
Ask = Callable[..., Awaitable["Said"]]


class Said:
    """What came back on one connection, until it ended or until as many responses as were wanted."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.is_closed = False

    @property
    def problem(self) -> str:
        """The name of the only response's problem; the connection has ended."""
        assert self.is_closed
        (body,) = self.bodies
        return str(body["type"]).removeprefix("/problems/")


async def echo(request: Request) -> Response:
    return JSONResponse(
        {
            "method": request.method,
            "path": request.url.path,
            "query": request.url.query,
            "body": (await request.body()).decode(),
            "headers": [[name.decode(), value.decode("latin-1")] for name, value in request.headers.raw],
        }
    )


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.receive()


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    methods = ["GET", "POST", "PUT"]
    app = Starlette(routes=[WebSocketRoute("/ws", socket), Route("/{rest:path}", echo, methods=methods)])
    app.middleware_stack = Edge(app.build_middleware_stack(), checks=[RequestGuards().check])
    async with serving(server_config(app)) as web:

        async def exchange(*parts: bytes, responses: int = 1) -> Said:
            """Sends the parts, each one as a read of the server of its own."""
            said = Said()
            async with asyncio.timeout(WITHIN_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
                while not (connections := web.server.server_state.connections):  # noqa: ASYNC110 - as below
                    await asyncio.sleep(0)
                (protocol,) = connections
                for part in parts:
                    # As the transport does, which alone decides how much it reads at once.
                    protocol.data_received(part)
                    await asyncio.sleep(0)
                while len(said.statuses) < responses:
                    await read_one(reader, said)
                    if said.statuses[-1] >= 400:
                        said.is_closed = await reader.read() == b""
                writer.close()
                while web.server.server_state.connections:  # noqa: ASYNC110 - uvicorn sets no event of ours
                    await asyncio.sleep(0)
            return said

        yield exchange


async def read_one(reader: asyncio.StreamReader, said: Said) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    said.statuses.append(int(head[0].split()[1]))
    said.headers.append(headers)
    said.bodies.append(json.loads(body) if body else None)


def post(
    headers: bytes = LENGTH, *, target: bytes = b"/process", method: bytes = b"POST", version: bytes = b"1.1"
) -> bytes:
    return b"%s %s HTTP/%s\r\nHost: localhost\r\n%s\r\n" % (method, target, version, headers)


UPGRADES = {
    "h2c": H2C,
    "tls": b"Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
    "websocket": WS,
    "list": b"Connection: upgrade\r\nUpgrade: h2c, websocket\r\n",
    "twice": b"Connection: keep-alive\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n",
    "h2c behind white space": b"Connection:\t Upgrade \t\r\nUpgrade: h2c \r\n",
}
BODIES = {"length": (LENGTH, BODY), "chunked": (CHUNKED, CHUNKS + b"\r\n")}


@pytest.mark.parametrize("framing", BODIES)
@pytest.mark.parametrize("method", [b"POST", b"PUT", b"GET"])
@pytest.mark.parametrize("upgrade", UPGRADES)
async def test_a_declined_upgrade_keeps_method_and_body(ask: Ask, upgrade: str, method: bytes, framing: str) -> None:
    header, body = BODIES[framing]
    head = post(UPGRADES[upgrade] + header, method=method, target=b"/ws?a=b")
    for parts in ([head + body], [head, body], [head[:70], head[70:] + body[:3], body[3:]]):
        said = await ask(*parts)
        assert said.statuses == [200]
        assert said.bodies[0]["method"] == method.decode()
        assert said.bodies[0]["body"] == BODY.decode()
        assert (said.bodies[0]["path"], said.bodies[0]["query"]) == ("/ws", "a=b")
        assert "upgrade" not in dict(said.bodies[0]["headers"])


async def test_a_declined_upgrade_byte_by_byte_keeps_its_body(ask: Ask) -> None:
    sent = post(H2C + CHUNKED) + CHUNKS + b"\r\n"
    said = await ask(*(sent[at : at + 1] for at in range(len(sent))))
    assert said.bodies[0]["body"] == BODY.decode()


async def test_a_connection_goes_on_after_declined_upgrades(ask: Ask) -> None:
    one = post(H2C + LENGTH) + BODY
    plain = post(target=b"/plain") + BODY
    many = await ask((one + plain) * 5 + one, responses=11)
    assert [body["body"] for body in many.bodies] == [BODY.decode()] * 11
    assert [body["path"] for body in many.bodies] == ["/process", "/plain"] * 5 + ["/process"]
    apart = await ask(one, plain, one[:80], one[80:], plain, responses=4)
    assert [body["body"] for body in apart.bodies] == [BODY.decode()] * 4


async def test_a_declined_upgrade_that_expects_a_go_gets_it(ask: Ask) -> None:
    said = await ask(post(H2C + LENGTH + b"Expect: 100-continue\r\n"), BODY, responses=2)
    assert said.statuses == [100, 200]
    assert said.bodies[1]["body"] == BODY.decode()


async def test_a_declined_upgrade_with_close_ends_after_its_answer(ask: Ask) -> None:
    said = await ask(post(b"Connection: Upgrade, close\r\nUpgrade: h2c\r\n" + LENGTH) + BODY)
    assert said.bodies[0]["body"] == BODY.decode()
    assert said.headers[0]["connection"] == "close"


async def test_http_1_0_offers_no_upgrade(ask: Ask) -> None:
    said = await ask(post(WS, method=b"GET", target=b"/ws", version=b"1.0"))
    assert said.statuses == [200]


@pytest.mark.parametrize("target", [b"/ws", b"http://localhost/ws"])
async def test_a_websocket_still_opens(ask: Ask, target: bytes) -> None:
    assert (await ask(post(WS, method=b"GET", target=target))).statuses == [101]


async def test_a_websocket_opens_where_one_is_served_alone(ask: Ask) -> None:
    assert (await ask(post(WS, method=b"GET", target=b"/status/1"))).bodies[0]["path"] == "/status/1"


async def test_a_websocket_behind_a_running_request_is_declined(ask: Ask) -> None:
    said = await ask(post() + BODY + post(WS, method=b"GET", target=b"/ws"), responses=2)
    assert said.statuses == [200, 200]
    assert [body["path"] for body in said.bodies] == ["/process", "/ws"]


TRAILERS = [
    b"Content-Type: application/json",
    b"Authorization: Bearer x",
    b"Host: evil.example",
    b"Origin: http://evil.example",
    b"Idempotency-Key: !",
    b"Expect: 100-continue",
    b"Connection: Upgrade\r\nUpgrade: h2c",
]


@pytest.mark.parametrize("trailer", TRAILERS)
@pytest.mark.parametrize("upgrade", [b"", H2C])
async def test_a_trailer_is_no_header(ask: Ask, trailer: bytes, upgrade: bytes) -> None:
    head, rest = post(upgrade + CHUNKED), CHUNKS + trailer + b"\r\n\r\n"
    without = (await ask(head + CHUNKS + b"\r\n")).bodies[0]["headers"]
    for parts in ([head + rest], [head, rest], [head + CHUNKS, trailer + b"\r\n\r\n"]):
        said = await ask(*parts)
        assert said.bodies[0]["body"] == BODY.decode()
        assert said.bodies[0]["headers"] == without


async def test_a_trailer_that_says_close_loses_no_request_silently(ask: Ask) -> None:
    said = await ask(post(CHUNKED) + CHUNKS + b"Connection: close\r\n\r\n" + post() + BODY)
    assert said.bodies[0]["body"] == BODY.decode()
    assert said.headers[0]["connection"] == "close"


@pytest.mark.parametrize(
    "codings",
    [
        b"gzip, chunked",
        b"gzip\r\nTransfer-Encoding: chunked",
        b"identity",
        b"chunked;q=1",
        b"xchunked",
        b"chunked \t",
        b"deflate",
    ],
)
@pytest.mark.parametrize("method", [b"POST", b"GET"])
async def test_other_transfer_codings_are_refused(ask: Ask, codings: bytes, method: bytes) -> None:
    said = await ask(post(b"Transfer-Encoding: " + codings + b"\r\n", method=method) + CHUNKS + b"\r\n" + post() + BODY)
    assert said.statuses == [501]
    assert said.problem == "unsupported-transfer-coding"


@pytest.mark.parametrize(
    "head",
    [
        post(b"Transfer-Encoding: chunked, chunked\r\n"),
        post(CHUNKED * 2),
        post(b"Transfer-Encoding: chunked, identity\r\n"),
        post(b"Transfer-Encoding:\r\n"),
        post(b"Transfer-Encoding: \x0bchunked\r\n"),
        post(b"Transfer-Encoding:\r\n chunked\r\n"),
        post(b"Transfer-Encoding : chunked\r\n"),
        post(CHUNKED, version=b"1.0"),
        post(CHUNKED + LENGTH),
        post(LENGTH + CHUNKED),
        post(LENGTH * 2),
        post(b"Content-Length: 5\r\nContent-Length: 15\r\n"),
        post(b"Content-Length: 15, 15\r\n"),
        post(b"Content-Length: +15\r\n"),
        post(b"Content-Length: -15\r\n"),
        post(b"Content-Length: 0xf\r\n"),
        post(b"Content-Length: 1 5\r\n"),
        post(b"Content-Length:\r\n"),
        post(b"Content-Length: 99999999999999999999999\r\n"),
        post(b"Content-Length : 15\r\n"),
        post(b"X: a\r\n folded\r\n" + LENGTH),
        b"POST /process HTTP/1.1\r\n Host: localhost\r\n" + LENGTH + b"\r\n",
        post(b"X: a\rb\r\n" + LENGTH),
        post(b"X: a\nContent-Length: 5\r\n" + LENGTH),
        post(b"X: a\0b\r\n" + LENGTH),
        post(b"X\0: a\r\n" + LENGTH),
        post(b": a\r\n" + LENGTH),
        post(LENGTH).replace(b"\r\n", b"\n"),
        post(LENGTH, version=b"2.0"),
        post(LENGTH, version=b"0.9"),
        post(LENGTH, version=b"1.2"),
        post(LENGTH, method=b"CONNECT", target=b"localhost:80"),
        post(LENGTH, method=b"CONNECT", target=b"/process"),
        post(LENGTH, method=b"post"),
        post(LENGTH, target=b"/process#fragment"),
        post(LENGTH, target=b"/pro cess"),
        post(LENGTH, target=b"ftp://localhost/process"),
        post(LENGTH, target=b"http://user@localhost/process"),
        post(LENGTH, target=b"http:///process"),
        post(LENGTH, target=b"localhost:80"),
    ],
)
async def test_a_head_that_can_be_read_in_two_ways_is_refused(ask: Ask, head: bytes) -> None:
    said = await ask(head + BODY)
    assert said.statuses == [400]
    assert said.problem == "bad-http"


@pytest.mark.parametrize(
    ("target", "host"),
    [
        (b"http://localhost/process?a", "localhost"),
        (b"HTTP://127.0.0.1:8081/process?a", "127.0.0.1:8081"),
        (b"https://[::1]:80/process?a", "[::1]:80"),
    ],
)
async def test_an_absolute_target_names_the_host(ask: Ask, target: bytes, host: str) -> None:
    sent = post(target=target).replace(b"Host: localhost", b"Host: evil.example") + BODY
    said = await ask(sent)
    assert (said.bodies[0]["path"], said.bodies[0]["query"]) == ("/process", "a")
    assert [value for name, value in said.bodies[0]["headers"] if name == "host"] == [host]
    upgraded = await ask(sent.replace(LENGTH, LENGTH + H2C))
    assert [value for name, value in upgraded.bodies[0]["headers"] if name == "host"] == [host]


@pytest.mark.parametrize(
    "target", [b"http://evil.example/process", b"http://evil.example", b"http://localhost@evil.example?/"]
)
async def test_an_absolute_target_of_a_foreign_host_is_refused(ask: Ask, target: bytes) -> None:
    async with asyncio.timeout(WITHIN_S):
        said = await ask(post(b"Connection: close\r\n" + LENGTH, target=target) + BODY)
    assert said.statuses == [400 if b"@" in target else 421]


@pytest.mark.parametrize("hosts", [b"", b"Host: localhost\r\nHost: localhost\r\n"])
async def test_an_absolute_target_does_not_replace_one_host(ask: Ask, hosts: bytes) -> None:
    head = b"POST http://localhost/process HTTP/1.1\r\nConnection: close\r\n" + hosts + LENGTH + b"\r\n"
    assert (await ask(head + BODY)).problem == "bad-host"


async def test_http_1_0_gets_no_interim_response(ask: Ask) -> None:
    said = await ask(post(LENGTH + b"Expect: 100-continue\r\n", version=b"1.0"), BODY)
    assert said.statuses == [200]
    assert said.bodies[0]["body"] == BODY.decode()


async def test_white_space_behind_a_value_is_not_part_of_it(ask: Ask) -> None:
    head = b"POST /process HTTP/1.1\r\nHost: localhost \t\r\nX: a b \t \r\nContent-Length: 15 \r\n\r\n"
    headers = dict((await ask(head + BODY)).bodies[0]["headers"])
    assert (headers["host"], headers["x"], headers["content-length"]) == ("localhost", "a b", "15")
