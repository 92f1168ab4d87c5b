"""The ledger work of an isolated attempt, which its worker does: the process has no connection to the database."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import NoReturn

from acked import Permanent
from acked.durable.errors import DurableError, LeaseLost, TooManySteps
from acked.durable.port import InboxSignal, Kept, Opened, Write
from acked_worker.durable.attempt_ledgers import Key
from acked_worker.isolate.frames import (
    Ask,
    AskInbox,
    AskOpen,
    AskWrite,
    CallRefusal,
    InboxReply,
    KeptReply,
    OpenedReply,
    Reply,
    Told,
    decode_reply,
)

_KNOWN: tuple[type[BaseException], ...] = (LeaseLost, TooManySteps, DurableError)


def refusal_of(error: BaseException) -> CallRefusal:
    """Return the reply that carries an error of ledger work to the process."""
    known = next((one for one in _KNOWN if isinstance(error, one)), DurableError)
    return CallRefusal(known.__name__, str(error))


def error_of(refusal: CallRefusal) -> BaseException:
    """Return the error that a reply carries."""
    known = next((one for one in _KNOWN if one.__name__ == refusal.error), DurableError)
    # Their messages are complete already, so they are not made by their own parameters.
    error = known.__new__(known, refusal.message)
    if isinstance(error, Permanent):
        Permanent.__init__(error, refusal.message)
    return error


class RemoteLedgers:
    """The `LedgerWork` of an isolated process. On its main loop."""

    def __init__(self, send: Callable[[Ask], None]) -> None:
        self._send = send
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._pages: dict[int, list[bytes]] = {}

    @property
    def makes_ledgers(self) -> bool:
        """Whether first attempts may write without an open. No frame carries a ledger that a write has found."""
        return False

    async def open(self, key: Key) -> Opened:
        """Have the worker open the ledger."""
        reply = await self._ask(AskOpen())
        return reply.opened if isinstance(reply, OpenedReply) else _unexpected(reply)

    async def write(self, key: Key, write: Write) -> Kept:
        """Have the worker keep an outcome."""
        reply = await self._ask(AskWrite(write))
        return reply.kept if isinstance(reply, KeptReply) else _unexpected(reply)

    async def inbox(self, key: Key) -> tuple[Sequence[InboxSignal], int]:
        """Have the worker read the unread signals."""
        reply = await self._ask(AskInbox())
        return (reply.signals, reply.in_seq) if isinstance(reply, InboxReply) else _unexpected(reply)

    def receive(self, page: Told) -> None:
        """Receive a page of a reply."""
        pages = self._pages.setdefault(page.number, [])
        pages.append(page.page)
        if page.is_last:
            reply = decode_reply(b"".join(self._pages.pop(page.number)))
            waiting = self._waiting.pop(page.number, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(reply)

    async def _ask(self, work: AskOpen | AskWrite | AskInbox) -> Reply:
        number = next(self._numbers)
        waiting: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        self._send(Ask(number, work))
        reply = await waiting
        if isinstance(reply, CallRefusal):
            raise error_of(reply)
        return reply


def _unexpected(reply: Reply) -> NoReturn:
    raise TypeError(f"the worker replied with {type(reply).__name__}")
