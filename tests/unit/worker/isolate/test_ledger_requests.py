"""Ledger work over frames: pages of replies come together, and errors arrive as what they were."""

import asyncio
from datetime import UTC, datetime
from itertools import chain, zip_longest
from typing import Any

import msgspec
import pytest

from acked import Permanent
from acked.durable.errors import DurableError, LeaseLost, TooManySteps
from acked.durable.port import Call, InboxSignal, Kept, KeptError, Opened, Write
from acked_worker.isolate.frames import (
    LENGTH_BYTES,
    MAX_FRAME_BYTES,
    Ask,
    AskInbox,
    AskOpen,
    AskWrite,
    InboxReply,
    KeptReply,
    OpenedReply,
    Reply,
    Told,
    ToWorker,
    decode_to_process,
    decode_to_worker,
    framed,
    paged,
)
from acked_worker.isolate.ledger_requests import RemoteLedgers, error_of, refusal_of
from acked_worker.isolate.process_line import open_line
from support.fields import filled
from support.parts import BOUND_S, settle

AT = datetime(2026, 1, 2, tzinfo=UTC)
KEY = ("job", 1)
SIGNAL = InboxSignal("s1", "go", b"1", AT, None, 3)


def kept(size: int = 1) -> Kept:
    return Kept(Call.STEP, "a", "7", AT, value=b"1" * size, error=KeptError("E", "m"), attempt=3)


def sent(frame: Any) -> Any:
    """A frame as the other side reads it."""
    body = framed(frame)
    assert len(body) <= MAX_FRAME_BYTES
    decode = decode_to_worker if isinstance(frame, ToWorker) else decode_to_process
    return decode(body[LENGTH_BYTES:])


class Bench:
    def __init__(self) -> None:
        self.asked: list[Ask] = []
        self.desk = RemoteLedgers(lambda ask: self.asked.append(sent(ask)))

    def tell(self, number: int, reply: Reply) -> None:
        for page in paged(number, reply):
            self.desk.receive(sent(page))


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_each_call_gets_its_reply(bench: Bench) -> None:
    write = Write("d" * 32, kept(), "s1")
    calls = [bench.desk.open(KEY), bench.desk.write(KEY, write), bench.desk.inbox(KEY)]
    tasks = [asyncio.ensure_future(call) for call in calls]
    await settle()
    assert [ask.work for ask in bench.asked] == [AskOpen(), AskWrite(write), AskInbox()]
    opened = Opened({"d" * 32: kept()}, (SIGNAL,), 3, "7")
    bench.tell(3, InboxReply((SIGNAL,), 3))
    bench.tell(2, KeptReply(kept()))
    bench.tell(1, OpenedReply(opened))
    async with asyncio.timeout(BOUND_S):
        found = await asyncio.gather(*tasks)
    assert msgspec.json.encode(found[0]) == msgspec.json.encode(opened)
    assert found[1:] == [kept(), ((SIGNAL,), 3)]


async def test_large_ledger_comes_in_pages_between_those_of_others(bench: Bench) -> None:
    tasks = [asyncio.ensure_future(bench.desk.open(KEY)) for _ in range(2)]
    await settle()
    replies = [
        OpenedReply(Opened({f"{n:032x}": kept(900_000) for n in range(count)}, (), count, "7")) for count in (17, 5)
    ]
    pages = [list(paged(number, reply)) for number, reply in enumerate(replies, 1)]
    assert len(pages[0]) > 4
    for page in chain.from_iterable(zip_longest(*pages)):
        if page is not None:
            bench.desk.receive(sent(page))
    async with asyncio.timeout(BOUND_S):
        assert [len((await task).kept) for task in tasks] == [17, 5]


@pytest.mark.parametrize(
    "error", [LeaseLost(), TooManySteps("at most 7"), DurableError("call it later")], ids=lambda one: type(one).__name__
)
async def test_error_arrives_as_what_it_was(bench: Bench, error: BaseException) -> None:
    call = asyncio.ensure_future(bench.desk.open(KEY))
    await settle()
    bench.tell(1, refusal_of(error))
    with pytest.raises(type(error)) as raised:
        await call
    assert type(raised.value) is type(error) and str(raised.value) == str(error)
    assert isinstance(raised.value, Permanent) is isinstance(error, Permanent)
    if isinstance(raised.value, Permanent):
        assert raised.value.message == str(error)


def test_unknown_error_is_a_failure_of_the_call() -> None:
    assert type(error_of(refusal_of(ValueError("?")))) is DurableError


async def test_reply_to_a_call_that_was_given_up_is_dropped(bench: Bench) -> None:
    call = asyncio.ensure_future(bench.desk.inbox(KEY))
    await settle()
    call.cancel()
    await settle()
    bench.tell(1, InboxReply((), 0))
    bench.tell(9, InboxReply((), 0))
    assert bench.desk._pages == {} and bench.desk._waiting == {}


async def test_line_delivers_all_pages_to_a_slow_process() -> None:
    line, theirs = open_line()
    with theirs:
        theirs.setblocking(False)
        await line.open()
        pages = [Told(n, bytes(500_000), n == 19) for n in range(20)]
        delivering = asyncio.ensure_future(line.deliver(pages))
        await settle()
        assert not delivering.done(), "the process has read nothing yet"
        assert line.unread_bytes < 2 * 500_100, "one page at a time"
        loop, received = asyncio.get_running_loop(), bytearray()
        async with asyncio.timeout(BOUND_S):
            while len(received) < sum(len(framed(page)) for page in pages):
                received += await loop.sock_recv(theirs, 1 << 20)
            await delivering
        assert bytes(received) == b"".join(map(framed, pages))
        line.close()


async def test_line_that_is_closed_delivers_nothing() -> None:
    line, theirs = open_line()
    with pytest.raises(OSError, match="not open"):
        await line.deliver([filled(Told)])
    theirs.close()
    line.close()
