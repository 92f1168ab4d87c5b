"""The port of a handler's durable calls: from the handlers' loop to the plumbing loop, and back.

Neither loop waits for the other. The engine of an attempt runs on the handlers' loop, also for a plain handler in a
thread. Ledger work that has begun runs to its end, even if the handler's call was cancelled meanwhile: the engine may
write again what it does not know.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from acked.durable.errors import DurableError, LeaseLost
from acked.durable.port import InboxSignal, Kept, Opened, Write
from acked.durable.reply import Reply
from acked_common.runtime.clock import Clock
from acked_worker.durable.attempt_ledgers import LedgerWork
from acked_worker.durable.mailbox import Mailbox
from acked_worker.execute.attempt import RunningAttempt
from acked_worker.process import forks

PARK_OVER_S = 10.0
"""Longer waits of an `async def` handler park the job."""
THREAD_PARK_OVER_S = 1.0
"""The same of a plain handler, whose wait holds a thread."""
SETTLE_S = 30.0
"""An attempt whose own task is in a raw wait parks after this time in which no step ran."""
_TIMER_MARGIN_S = 0.001
"""A loop's timer may fire a moment early."""

Outcome = TypeVar("Outcome")
_Loop = asyncio.AbstractEventLoop


class LedgerBridge:
    """The `LedgerPort` of one attempt. Await its methods on the handlers' loop."""

    def __init__(
        self,
        work: LedgerWork,
        clock: Clock,
        running: RunningAttempt,
        loops: tuple[_Loop, _Loop],
        mailboxes: tuple[Mailbox, Mailbox],
        *,
        settle_s: float,
    ) -> None:
        """`loops`: that of the handlers, and the plumbing loop; `mailboxes`: the ones to them."""
        self._work = work
        self._clock = clock
        self._running = running
        self._key = (running.id, running.attempt)
        self._loop, self._plumbing = loops
        self._to_handlers, self._to_plumbing = mailboxes
        self._settle_s = settle_s
        self.attempt = running.attempt
        # The first attempt of a job has nothing to read.
        self.opens_with_first_write = self.attempt == 1 and work.makes_ledgers
        self.park_over_s = PARK_OVER_S if running.kind_spec.is_async else THREAD_PARK_OVER_S
        self.deadline_at = clock.now() + timedelta(seconds=running.deadline - clock.monotonic())
        self._came = asyncio.Event()
        self._working: set[asyncio.Future[Any]] = set()
        """On the plumbing loop, which itself refers to tasks only weakly."""

    @property
    def loop(self) -> _Loop:
        """The loop of the handlers. Raise `DurableError` in a forked child, where it does not run."""
        if forks.in_child:
            raise DurableError("durable calls can't be made in a process that the handler forked")
        return self._loop

    @property
    def is_stopping(self) -> bool:
        """Whether a cancelled call is not the handler's own doing: it was asked to stop, or has ended."""
        running = self._running
        return running.is_stopping or running.ended or running.settled

    def now(self) -> datetime:
        """Return MongoDB's time."""
        return self._clock.now()

    def in_main(self) -> bool:
        """Return whether the caller is the handler's own task or thread."""
        return self._running.in_main()

    async def open(self) -> Opened:
        """Open the ledger. Raise `LeaseLost` if the attempt is over, `CancelledError` if it was asked to stop before.

        A handler in a thread whose calls had not begun could not be told by `AttemptCalls.stop`.
        """
        if self._running.is_stopping:
            raise asyncio.CancelledError
        return await self._across(lambda: self._work.open(self._key))

    def write(self, write: Write) -> Reply[Kept]:
        """Begin to keep an outcome; the reply is what is kept, or `LeaseLost` if the attempt is over."""
        return self._across(lambda: self._work.write(self._key, write))

    async def inbox(self) -> tuple[Sequence[InboxSignal], int]:
        """Read the unread signals, and the number of all."""
        # Before the read: a signal that comes during it ends the next wait.
        self._came.clear()
        return await self._across(lambda: self._work.inbox(self._key))

    async def wait(self, until_at: datetime | None, *, for_signals: bool) -> None:
        """Return at that instant; with `for_signals` also when one may have come since the inbox was read."""
        came = self._came if for_signals else asyncio.Event()
        while not came.is_set():
            left_s = None if until_at is None else (until_at - self._clock.now()).total_seconds()
            if left_s is not None and left_s <= 0:
                return
            try:
                async with asyncio.timeout(None if left_s is None else left_s + _TIMER_MARGIN_S):
                    await came.wait()
            except TimeoutError:
                continue

    async def settle(self) -> None:
        """Wait until tasks that the handler started would have gone on."""
        await asyncio.sleep(self._settle_s)
        # The engine decides next. Its waits end then, but other tasks of the handler would not.
        self._loop.call_soon(self._running.calls.end_tasks_if_parked)

    def signal_came(self) -> None:
        """End the waits of the attempt, because a signal may have come. From any thread."""
        try:
            self._loop.call_soon_threadsafe(self._came.set)
        except RuntimeError:
            # The handlers' loop is closed: nothing waits any more.
            return

    def _across(self, work: Callable[[], Awaitable[Outcome]]) -> Reply[Outcome]:
        """Begin work on the plumbing loop; it goes on when an await of its reply is cancelled."""
        reply: Reply[Outcome] = Reply(self._loop)

        def begin() -> None:
            try:
                done = asyncio.ensure_future(work(), loop=self._plumbing)
            except (Exception, LeaseLost) as error:
                self._reply_with(partial(reply.fail, error))
                return
            self._working.add(done)
            done.add_done_callback(settle)

        def settle(done: asyncio.Future[Outcome]) -> None:
            self._working.discard(done)
            self._reply_with(partial(_settle, reply, done))

        try:
            self._to_plumbing.post(begin)
        except RuntimeError:
            reply.fail(LeaseLost())
        return reply

    def _reply_with(self, settle: Callable[[], None]) -> None:
        try:
            self._to_handlers.post(settle)
        except RuntimeError:
            # The handlers' loop is closed: the reply has no receiver.
            return


@dataclass(frozen=True, slots=True)
class LedgerAccess:
    """The ledger work, the clock and the mailboxes of one process, from which each attempt gets its port."""

    work: LedgerWork
    clock: Clock
    settle_s: float = SETTLE_S
    _mailboxes: dict[tuple[_Loop, _Loop], tuple[Mailbox, Mailbox]] = field(default_factory=dict)

    def port(self, running: RunningAttempt, handlers: _Loop, plumbing: _Loop) -> LedgerBridge:
        """Return the port of an attempt, which is called on the first loop and does its work on the second one."""
        loops = handlers, plumbing
        if loops not in self._mailboxes:
            # A process has one pair of loops, and its attempts cross together.
            self._mailboxes[loops] = Mailbox(handlers), Mailbox(plumbing)
        return LedgerBridge(self.work, self.clock, running, loops, self._mailboxes[loops], settle_s=self.settle_s)


def _settle(reply: Reply[Outcome], done: "asyncio.Future[Outcome]") -> None:
    """Pass on an outcome, on the loop of the reply. Ledger work is cancelled only when the worker stops."""
    if done.cancelled():
        reply.fail(LeaseLost())
    else:
        reply.settle_as(done)
