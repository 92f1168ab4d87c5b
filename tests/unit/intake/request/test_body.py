"""Reading a body: quick where it is here already, bounded in size, and clear to the client where not."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, MutableMapping
from typing import Any

import pytest
import uvicorn

from acked_common.http.problems import MEDIA_TYPE, Problem, ProblemError
from acked_intake.request.body import (
    ClientLeft,
    curl_line,
    read_body,
)
from support.web_server import serving

Message = MutableMapping[str, Any]
JSON_TYPE = (b"content-type", b"application/json")


def chunk(body: bytes, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


def scope(*headers: tuple[bytes, bytes]) -> Message:
    return {"type": "http", "headers": [(b"host", b"localhost:8081"), *headers]}


class Client:
    """Gives messages one by one, each after a turn of the loop where `late`; then stays silent."""

    def __init__(self, *messages: Message, late: bool = False) -> None:
        self.messages = list(messages)
        self.late = late
        self.cancelled = False

    async def receive(self) -> Message:
        if self.late:
            await asyncio.sleep(0)
        if self.messages:
            return self.messages.pop(0)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        raise AssertionError


async def read(client: Client, *headers: tuple[bytes, bytes], **limits: Any) -> bytes:
    async with asyncio.timeout(5):
        return await read_body(scope(*headers), client.receive, **limits)


async def refusal(client: Client, *headers: tuple[bytes, bytes], **limits: Any) -> Problem:
    with pytest.raises(ProblemError) as caught:
        await read(client, *headers, **limits)
    return caught.value.problem


def test_a_body_that_is_here_needs_no_timer_no_task_and_no_loop() -> None:
    reading = read_body(scope(JSON_TYPE), Client(chunk(b"{}")).receive)
    with pytest.raises(StopIteration) as done:
        reading.send(None)
    assert done.value.value == b"{}"


@pytest.mark.parametrize("late", [False, True])
async def test_a_body_in_parts_is_joined(late: bool) -> None:
    client = Client(chunk(b'{"a"', True), chunk(b"", True), chunk(b": 1", True), chunk(b"}"), late=late)
    assert await read(client, JSON_TYPE) == b'{"a": 1}'


async def test_a_late_body_is_waited_for() -> None:
    assert await read(Client(chunk(b"{}"), late=True), JSON_TYPE) == b"{}"


async def test_a_server_that_gives_a_future_is_served_too() -> None:
    future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_result, chunk(b"{}"))

    def receive() -> Awaitable[Message]:
        return future

    assert await read_body(scope(JSON_TYPE), receive) == b"{}"


async def test_an_error_of_the_server_comes_through() -> None:
    async def receive() -> Message:
        await asyncio.sleep(0)
        raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        await read_body(scope(JSON_TYPE), receive)


@pytest.mark.parametrize("before", [(), (chunk(b"{", True),)])
async def test_cancelling_ends_the_wait(before: tuple[Message, ...]) -> None:
    client = Client(*before)
    reading = asyncio.create_task(read_body(scope(JSON_TYPE), client.receive))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert client.cancelled


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("before", [(), (chunk(b"{", True),)])
async def test_a_client_that_leaves_is_told_from_one_that_is_wrong(before: tuple[Message, ...], late: bool) -> None:
    with pytest.raises(ClientLeft):
        await read(Client(*before, {"type": "http.disconnect"}, late=late), JSON_TYPE)


async def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    client = Client(chunk(b"x" * 11))
    for length in (b"11", b"9" * 30, b"9" * 5000):
        problem = await refusal(client, JSON_TYPE, (b"content-length", length), max_bytes=10)
        assert (problem.name, problem.status) == ("body-too-large", 413)
        assert problem.headers["Connection"] == "close"
    assert len(client.messages) == 1


@pytest.mark.parametrize("late", [False, True])
async def test_an_undeclared_length_is_bounded_while_it_comes(late: bool) -> None:
    client = Client(*[chunk(b"x" * 4, True)] * 100, late=late)
    problem = await refusal(client, JSON_TYPE, max_bytes=10)
    assert problem.status == 413
    assert len(client.messages) == 97
    assert (await refusal(Client(chunk(b"x" * 11), late=late), JSON_TYPE, max_bytes=10)).status == 413


async def test_a_body_as_large_as_the_limit_is_read() -> None:
    for client in (Client(chunk(b"x" * 10)), Client(chunk(b"x" * 6, True), chunk(b"x" * 4))):
        assert await read(client, JSON_TYPE, (b"content-length", b"10"), max_bytes=10) == b"x" * 10


@pytest.mark.parametrize(
    "media_type",
    [
        b"application/json",
        b"Application/JSON",
        b"application/json; charset=utf-8",
        b'application/json;charset="UTF-8"; profile=x',
        b" application/json ;",
    ],
)
async def test_json_is_accepted_as_clients_declare_it(media_type: bytes) -> None:
    assert await read(Client(chunk(b"{}")), (b"content-type", media_type)) == b"{}"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"content-type", b"")],
        [(b"content-type", b"text/plain")],
        [(b"content-type", b"text/plain; application/json")],
        [(b"content-type", b"application/x-www-form-urlencoded")],
        [(b"content-type", b"multipart/form-data; boundary=x")],
        [(b"content-type", b"application/jsonp")],
        [(b"content-type", b"application/problem+json")],
        [(b"content-type", b"application/json, text/plain")],
        [(b"content-type", b"application/json; charset=latin-1")],
        [(b"content-type", b"application/json; charset=utf-16")],
        [JSON_TYPE, (b"content-type", b"text/plain")],
        [JSON_TYPE, JSON_TYPE],
        [JSON_TYPE, (b"content-encoding", b"gzip")],
        [JSON_TYPE, (b"content-encoding", b"br, gzip")],
        [JSON_TYPE, (b"content-encoding", b"gzip"), (b"content-encoding", b"identity")],
    ],
)
async def test_another_declaration_is_a_415_with_a_line_that_works(headers: list[tuple[bytes, bytes]]) -> None:
    for length in ([], [(b"content-length", b"2")]):
        problem = await refusal(Client(chunk(b"{}")), *headers, *length)
        assert (problem.name, problem.status) == ("unsupported-media-type", 415)
        line = curl_line(scope())
        assert line in problem.detail
        assert json.loads(problem.to_bytes())["example"] == line


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"content-length", b"0")],
        [(b"content-type", b"application/x-www-form-urlencoded")],
        [(b"content-type", b"")],
        [(b"content-type", b"text/plain"), (b"content-encoding", b"gzip")],
    ],
)
async def test_no_body_needs_no_declaration(headers: list[tuple[bytes, bytes]]) -> None:
    assert await read(Client(chunk(b"")), *headers) == b""
    assert await read(Client(chunk(b"", True), chunk(b""), late=True), *headers) == b""


@pytest.mark.parametrize(
    "headers",
    [
        [JSON_TYPE],
        [JSON_TYPE, (b"content-length", b"0")],
        [(b"content-type", b"Application/JSON; charset=utf-8")],
        [(b"content-type", b"application/cloudevents+json")],
        [(b"content-type", b"application/json; charset=latin-1")],
        [(b"content-type", b"text/plain"), JSON_TYPE],
        [JSON_TYPE, (b"content-encoding", b"gzip")],
        [(b"idempotency-key", b"a")],
        [(b"idempotency-key", b"a"), (b"content-type", b"application/x-www-form-urlencoded")],
    ],
)
async def test_an_empty_body_that_was_lost_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    for client in (Client(chunk(b"")), Client(chunk(b"", True), chunk(b""), late=True)):
        problem = await refusal(client, *headers)
        assert (problem.name, problem.status) == ("empty-body", 400)
        assert curl_line(scope()) in problem.detail


@pytest.mark.parametrize("blank", [b" ", b"\r\n\t "])
async def test_a_blank_body_is_refused_as_empty(blank: bytes) -> None:
    assert (await refusal(Client(chunk(blank)), JSON_TYPE)).name == "empty-body"
    assert (await refusal(Client(chunk(blank)))).name == "unsupported-media-type"


async def test_a_wrong_declaration_is_refused_before_the_body_is_read() -> None:
    client = Client()
    problem = await refusal(client, (b"content-type", b"text/xml"), (b"content-length", b"2"))
    assert problem.status == 415
    assert not client.cancelled


async def test_an_encoding_that_changes_nothing_is_accepted() -> None:
    assert await read(Client(chunk(b"{}")), JSON_TYPE, (b"content-encoding", b"Identity")) == b"{}"


def test_the_line_to_copy_names_the_server_that_was_called() -> None:
    assert curl_line({"headers": [(b"host", b"127.0.0.1:9000")]}) == (
        "curl -H 'Content-Type: application/json' -d '{\"kind\": \"demo\"}' http://127.0.0.1:9000/process"
    )


# On a real server.


async def application(scope: Message, receive: Any, send: Any) -> None:
    headers: list[tuple[bytes, bytes]] = []
    try:
        body = await read_body(scope, receive, max_bytes=100_000)
        status, answer = 200, str(len(body)).encode()
    except ProblemError as error:
        status, answer = error.problem.status, error.problem.to_bytes()
        headers = [(name.lower().encode(), value.encode()) for name, value in error.problem.headers.items()]
        headers.append((b"content-type", MEDIA_TYPE.encode()))
    headers.append((b"content-length", str(len(answer)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with serving(uvicorn.Config(application, lifespan="off", log_config=None, http="httptools")) as web:
        yield web.port


async def exchange(port: int, *parts: bytes, until_closed: bool = False) -> tuple[str, bool]:
    """The answer to what is sent, and whether the server closed the connection after it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionError):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
            answer = head + await reader.readexactly(length)
            closed = until_closed and await reader.read() == b""
        return answer.decode(), closed
    finally:
        writer.close()


HEAD = b"POST /process HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


async def test_on_a_real_server_bodies_are_read_however_they_come(port: int) -> None:
    answer, _ = await exchange(port, HEAD + b"Content-Length: 2\r\n\r\n{}")
    assert answer.startswith("HTTP/1.1 200")
    answer, _ = await exchange(port, HEAD + b"Content-Length: 90000\r\n\r\n", b"x" * 45_000, b"x" * 45_000)
    assert answer.endswith("90000")
    answer, _ = await exchange(port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b"1\r\n}\r\n0\r\n\r\n")
    assert answer.endswith("2")


async def test_on_a_real_server_a_large_body_is_refused_before_it_is_sent(port: int) -> None:
    answer, closed = await exchange(port, HEAD + b"Content-Length: 100001\r\n\r\n", until_closed=True)
    assert answer.startswith("HTTP/1.1 413")
    assert closed


@pytest.mark.parametrize("size", [100_001, 400_000])
async def test_on_a_real_server_the_client_reads_the_413_although_it_sends_all(port: int, size: int) -> None:
    for _ in range(20):
        answer, _ = await exchange(port, HEAD + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)
        assert answer.startswith("HTTP/1.1 413")
        assert "/problems/body-too-large" in answer


async def test_on_a_real_server_an_endless_body_is_cut_off(port: int) -> None:
    piece = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    answer, _ = await exchange(port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[piece] * 10)
    assert answer.startswith("HTTP/1.1 413")
