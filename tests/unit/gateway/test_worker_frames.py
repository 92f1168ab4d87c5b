"""Frames of workers: large and doubtful ones are parsed in a thread, and the frames of one worker keep their order."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from starlette.websockets import WebSocket

from acked_common.channel import frames
from acked_common.channel.frames import CloseCode, Events, Hello
from acked_common.http.fair_thread import ON_LOOP_BYTES
from acked_common.model.events import JobEvent, ProgressEvent
from acked_common.model.lifecycle import State
from acked_gateway.workers import connection as connection_module
from acked_gateway.workers.channel import WorkerChannel
from support.parts import BOUND_S

SECRET = "0123456789abcdef0123456789abcdef"
AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
HELLO = frames.encode(Hello(protocol=1, boot="boot-1", worker="w", kinds=["demo"], version="1", slots=8))


class Reported:
    """What reached the gateway, in order."""

    def __init__(self) -> None:
        self.attempts: list[int] = []
        self.values: list[bytes] = []

    def report(self, boot: str, events: Sequence[JobEvent]) -> None:
        self.attempts += [event.attempt for event in events]

    def progress(self, boot: str, reports: Sequence[ProgressEvent]) -> None:
        self.values += [report.progress for report in reports]


class Line:
    """A worker's end of a WebSocket."""

    def __init__(self, channel: WorkerChannel) -> None:
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._messages.put_nowait({"type": "websocket.connect"})
        scope: dict[str, Any] = {
            "type": "websocket",
            "path": frames.PATH,
            "query_string": b"",
            "headers": [(b"authorization", f"Bearer {SECRET}".encode())],
            "client": ("127.0.0.1", 1),
            "extensions": {"websocket.http.response": {}},
        }
        self.serving = asyncio.create_task(channel.serve(WebSocket(scope, self._messages.get, self._send)))

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] != "websocket.accept":
            self.sent.put_nowait(message)

    def send(self, text: str) -> None:
        self._messages.put_nowait({"type": "websocket.receive", "text": text})

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(BOUND_S):
            return await self.sent.get()

    async def next_frame(self) -> Any:
        return json.loads((await self.next())["text"])


@pytest.fixture
def reported() -> Reported:
    return Reported()


@asynccontextmanager
async def line_to(channel: WorkerChannel) -> AsyncIterator[Line]:
    line = Line(channel)
    line.send(HELLO)
    assert (await line.next_frame())["type"] == "welcome"
    try:
        yield line
    finally:
        line.serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await line.serving


def large_frame(seq: int) -> str:
    """Above what the loop parses; the attempts of its events follow each other."""
    events = [JobEvent(UUID(int=n), 2, State.RUNNING, "claimed", seq * 1000 + n, AT) for n in range(1, 401)]
    text = frames.events_frame(seq, [frames.event_part(event) for event in events], [])
    assert len(text) > ON_LOOP_BYTES
    return text


def small_frame(seq: int, progress: bytes = b'{"value":1}') -> str:
    event = JobEvent(UUID(int=1), 2, State.RUNNING, "claimed", seq * 1000 + 1, AT)
    report = ProgressEvent(UUID(int=1), 1, progress, "nonce")
    return frames.events_frame(seq, [frames.event_part(event)], [frames.progress_part(report)])


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """Where frames were parsed."""
    found: list[threading.Thread] = []
    parse = frames.parse_from_worker

    def noting(text: str, **options: Any) -> Hello | Events:
        found.append(threading.current_thread())
        return parse(text, **options)

    # Wherever it is called from.
    monkeypatch.setattr(frames, "parse_from_worker", noting)
    monkeypatch.setattr(connection_module, "parse_from_worker", noting)
    return found


async def test_large_frame_is_parsed_in_a_thread_and_the_order_stays(
    reported: Reported, threads: list[threading.Thread]
) -> None:
    async with line_to(WorkerChannel(reported, boot="g", secret=SECRET)) as line:
        for seq in (1, 2, 3, 4):
            line.send(large_frame(seq) if seq % 2 else small_frame(seq))
        for seq in (1, 2, 3, 4):
            assert await line.next_frame() == {"type": "ack", "seq": seq}
    assert reported.attempts == sorted(reported.attempts)
    assert len(reported.attempts) == 802
    assert [thread is threading.main_thread() for thread in threads] == [True, False, True, False, True]


async def test_doubtful_progress_is_scanned_in_a_thread(reported: Reported, threads: list[threading.Thread]) -> None:
    # An escaped colon: the quick part can't tell whether a key stands twice.
    progress = b'{"value":"\\u003a","more":[' + b",".join([b"1"] * 5_000) + b"]}"
    assert len(small_frame(1, progress)) < ON_LOOP_BYTES
    async with line_to(WorkerChannel(reported, boot="g", secret=SECRET)) as line:
        line.send(small_frame(1, progress))
        assert await line.next_frame() == {"type": "ack", "seq": 1}
    assert reported.values == [progress]
    assert [thread is threading.main_thread() for thread in threads] == [True, True, False]


async def test_large_frame_that_breaks_the_protocol_closes_its_line(reported: Reported) -> None:
    async with line_to(WorkerChannel(reported, boot="g", secret=SECRET)) as line:
        line.send(large_frame(1).replace('"claimed"', "1", 1))
        message = await line.next()
        assert (message["type"], message["code"]) == ("websocket.close", CloseCode.BAD_FRAME)
    assert not reported.attempts


async def test_frame_that_is_parsed_while_another_line_takes_over_reports_nothing(
    reported: Reported, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsing, go_on = threading.Event(), threading.Event()
    parse = frames.parse_from_worker

    def held(text: str, **options: Any) -> Hello | Events:
        if threading.current_thread() is not threading.main_thread():
            parsing.set()
            assert go_on.wait(BOUND_S)
        return parse(text, **options)

    monkeypatch.setattr(connection_module, "parse_from_worker", held)
    channel = WorkerChannel(reported, boot="g", secret=SECRET)
    async with line_to(channel) as older:
        older.send(large_frame(1))
        assert await asyncio.to_thread(parsing.wait, BOUND_S)
        async with line_to(channel) as newer:
            go_on.set()
            message = await older.next()
            assert (message["type"], message["code"]) == ("websocket.close", CloseCode.REPLACED)
            newer.send(large_frame(1))
            assert await newer.next_frame() == {"type": "ack", "seq": 1}
    assert len(reported.attempts) == 400
