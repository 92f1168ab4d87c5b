"""How an answer leaves: in one write, framed as HTTP wants it, and with nothing in its head that is no header."""

import asyncio
import logging
from typing import Any

import pytest
from uvicorn.protocols.http.flow_control import FlowControl

from acked_common.http.server.response_cycle import ResponseCycle

LENGTH_2 = [(b"content-length", b"2")]


class Wire(asyncio.Transport):
    """What would be sent, write by write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


class Bench:
    """One request and its answer."""

    def __init__(self, *, method: str = "GET", keep_alive: bool = True) -> None:
        self.wire = Wire()
        self.completed = 0
        log = logging.getLogger(__name__)
        self.cycle = ResponseCycle(
            scope={"type": "http", "method": method},  # type: ignore[typeddict-item]
            transport=self.wire,
            flow=FlowControl(self.wire),
            logger=log,
            access_logger=log,
            access_log=False,
            default_headers=[(b"date", b"now")],
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=keep_alive,
            on_response=self._complete,
        )

    def _complete(self) -> None:
        self.completed += 1

    async def start(self, headers: Any = (), status: int = 200) -> None:
        await self.cycle.send({"type": "http.response.start", "status": status, "headers": headers})

    async def body(self, data: bytes = b"", *, more: bool = False) -> None:
        await self.cycle.send({"type": "http.response.body", "body": data, "more_body": more})


async def test_head_and_body_leave_in_one_write() -> None:
    bench = Bench()
    await bench.start([(b"Content-Length", b"2"), (b"x-a", b"1")])
    assert (bench.wire.writes, bench.cycle.response_started) == ([], True)
    await bench.body(b"ok")
    assert bench.wire.writes == [b"HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 2\r\nx-a: 1\r\n\r\nok"]
    assert (bench.completed, bench.cycle.response_complete, bench.wire.closed) == (1, True, False)


async def test_without_a_length_the_body_comes_in_chunks() -> None:
    bench = Bench()
    await bench.start()
    await bench.body(b"one", more=True)
    await bench.body(more=True)
    await bench.body(b"two")
    assert bench.wire.writes == [
        b"HTTP/1.1 200 OK\r\ndate: now\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n",
        b"3\r\ntwo\r\n0\r\n\r\n",
    ]
    assert bench.completed == 1


async def test_a_body_in_parts_is_counted_against_its_length() -> None:
    bench = Bench()
    await bench.start(LENGTH_2)
    await bench.body(b"o", more=True)
    assert bench.wire.writes[0].endswith(b"\r\n\r\no")
    await bench.body(b"k")
    assert (bench.wire.writes[1:], bench.completed) == ([b"k"], 1)


@pytest.mark.parametrize(("method", "status", "headers"), [("HEAD", 200, LENGTH_2), ("GET", 304, []), ("GET", 204, [])])
async def test_some_answers_have_no_body(method: str, status: int, headers: Any) -> None:
    bench = Bench(method=method)
    await bench.start(headers, status)
    await bench.body(b"ok" if method == "HEAD" else b"")
    (written,) = bench.wire.writes
    assert written.endswith(b"\r\n\r\n") and b"chunked" not in written
    assert bench.completed == 1


@pytest.mark.parametrize("headers", [[], [(b"connection", b"keep-alive, Close")]])
async def test_the_last_answer_of_a_connection_says_so_once(headers: Any) -> None:
    bench = Bench(keep_alive=bool(headers))
    await bench.start([*LENGTH_2, *headers])
    await bench.body(b"ok")
    (written,) = bench.wire.writes
    assert written.lower().count(b"close") == 1
    assert (bench.wire.closed, bench.completed) == (True, 1)


async def test_a_connection_that_is_to_end_while_the_answer_is_made_is_told_so() -> None:
    bench = Bench()
    await bench.start(LENGTH_2)
    bench.cycle.keep_alive = False
    await bench.body(b"ok")
    assert b"connection: close\r\n" in bench.wire.writes[0]
    assert bench.wire.closed


@pytest.mark.parametrize(
    "header",
    [
        (b"x-a", b"1\r\nset-cookie: a"),
        (b"x-a", b"1\n"),
        (b"x-a", b"\x00"),
        (b"x-a", b"\x7f"),
        (b"x a", b"1"),
        (b"x-a:", b"1"),
        (b"x-a\r\n", b"1"),
    ],
)
async def test_what_is_no_header_is_never_sent(header: tuple[bytes, bytes]) -> None:
    for _ in range(2):
        bench = Bench()
        await bench.start([*LENGTH_2, header])
        with pytest.raises(RuntimeError, match="header"):
            await bench.body(b"ok")
        assert bench.wire.writes == []


async def test_a_body_of_another_length_than_was_said_is_a_fault() -> None:
    longer, shorter = Bench(), Bench()
    for bench in (longer, shorter):
        await bench.start(LENGTH_2)
    with pytest.raises(RuntimeError, match="longer"):
        await longer.body(b"long")
    with pytest.raises(RuntimeError, match="shorter"):
        await shorter.body(b"s")
    assert (longer.completed, shorter.completed) == (0, 0)


async def test_messages_come_in_order() -> None:
    bench = Bench()
    with pytest.raises(RuntimeError, match=r"http\.response\.start"):
        await bench.body(b"ok")
    await bench.start(LENGTH_2)
    with pytest.raises(RuntimeError, match=r"http\.response\.body"):
        await bench.start(LENGTH_2)
    await bench.body(b"ok")
    with pytest.raises(RuntimeError, match="complete"):
        await bench.body(b"ok")


async def test_who_has_left_is_sent_nothing() -> None:
    bench = Bench()
    await bench.start(LENGTH_2)
    bench.cycle.disconnected = True
    await bench.body(b"ok")
    assert (bench.wire.writes, bench.completed) == ([], 0)


async def test_an_answer_waits_while_the_client_takes_nothing() -> None:
    bench = Bench()
    await bench.start(LENGTH_2)
    bench.cycle.flow.pause_writing()
    sending = asyncio.create_task(bench.body(b"ok"))
    await asyncio.sleep(0)
    assert bench.wire.writes == []
    bench.cycle.flow.resume_writing()
    await sending
    assert len(bench.wire.writes) == 1
