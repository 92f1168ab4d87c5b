"""The engine of one attempt's durable calls: its ledger, who may use it, and how a call begins and ends.

It runs on the loop of its port. `steps`, `waits` and `gather` have the calls themselves.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import structlog
from msgspec import Struct

from acked.durable import rules
from acked.durable.calls import DurableCall
from acked.durable.errors import AttemptParked, DuplicateStep, InsideStep, LeaseLost, ResultChanged
from acked.durable.identity import Identity
from acked.durable.port import Call, InboxSignal, Kept, LedgerFound, LedgerPort, Opened, ParkedFor, Write
from acked.durable.rules import Meaning
from acked.durable.turns import Turn, Turns

if TYPE_CHECKING:
    from acked.context import Attempt

T = TypeVar("T")

LATE_CALLS = 1000
"""Durable calls of a parked attempt that raise; a later one only waits, so that a loop that catches all ends."""


class StepScope(Struct, frozen=True):
    """The try of a step in whose function the caller is."""

    engine: "Engine"
    identity: Identity
    tries: int
    """The number of this try, from 1."""
    checkpoint: bytes | None
    """The newest checkpoint when the try began."""


SCOPE: ContextVar[StepScope | None] = ContextVar("acked_step", default=None)


class Engine:
    """The durable calls of one attempt. `parked` says why it parks, once it does."""

    def __init__(self, port: LedgerPort, attempt: "Attempt") -> None:
        self.port = port
        self.turns = Turns(port, lambda: self._in_seq)
        self.log = structlog.get_logger("acked.handler").bind(job_id=attempt.id, kind=attempt.kind)
        self._opening: asyncio.Task[Opened] | None = None
        self._is_begun = False
        self._began_with: str | None = None
        """None while the ledger was not read."""
        self._kept: dict[str, Kept] = {}
        self.has_replay = False
        """Whether an earlier attempt kept something. Without it, a call has nothing of its own before it begins."""
        self._inbox: list[InboxSignal] = []
        self._taken: set[str] = set()
        self._in_seq = 0
        self._is_read = False
        self._used: set[str] = set()
        self._is_lost = False
        self._late = 0

    @property
    def parked(self) -> ParkedFor | None:
        """Why the attempt parks; None while it does not. It then ends as parked, whatever its handler does."""
        return self.turns.parked

    @property
    def is_lost(self) -> bool:
        """Whether another attempt owns the job."""
        return self._is_lost

    @property
    def is_stopping(self) -> bool:
        """Whether the attempt should end, so that a cancelled call is not the handler's own doing."""
        return self.port.is_stopping

    @property
    def kept(self) -> Mapping[str, Kept]:
        """What is kept, by digest. Read it after `begin`."""
        return self._kept

    async def drive(
        self, call: "DurableCall[T]", body: Callable[[Turn], Coroutine[Any, Any, T]], turn: Turn | None
    ) -> T:
        """Run a durable call from its begin to its outcome. Who passes a turn releases it."""
        if turn is None:
            turn = self.turns.hold(is_exact=self.port.in_main())
            try:
                return await self.drive(call, body, turn)
            finally:
                self.turns.release(turn)
        inside = SCOPE.get()
        if inside is not None and inside.engine is self:
            raise InsideStep(call.label, inside.identity.text)
        if self._is_lost or self.parked is not None:
            await self._refuse_late()
        self.turns.refuse(turn)
        if call.identity is None or call.kind is None:
            await self.begin()
            return await body(turn)
        self.claim(call.identity)
        try:
            await self.begin()
            self._refuse_other(call.identity, call.kind)
            if self.has_replay and self._is_cancelled(call.identity):
                await _until_cancelled_again(self.port.loop)
            return await body(turn)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            # A step's function may also raise it by itself; then no replay would be cancelled again.
            if task is not None and task.cancelling():
                await self._keep_cancelled(call.identity, call.kind)
            raise

    def claim(self, identity: Identity) -> None:
        """Note that the attempt has made this call. Raise `DuplicateStep` the second time."""
        if identity.text in self._used:
            raise DuplicateStep(identity.text)
        self._used.add(identity.text)

    async def begin(self) -> None:
        """Open the ledger, unless the first write of this attempt does. Whatever earlier attempts kept is known then,
        but for signals and the version with which the job began: read these behind `open`."""
        if self._is_begun:
            return
        if not self.port.opens_with_first_write:
            await self.open()
        elif self.port.is_stopping:
            # A handler in a thread whose calls had not begun was not told.
            raise asyncio.CancelledError
        self._is_begun = True

    async def open(self) -> str:
        """Open and read the ledger once, and return the version of the kind with which the job began."""
        while self._began_with is None:
            if self._opening is None:
                self._opening = self.port.loop.create_task(self._open())
                self._opening.add_done_callback(_retrieved)
            opening = self._opening
            try:
                opened = await asyncio.shield(opening)
            except Exception:
                # The next call tries again.
                self._opening = None
                raise
            self._read(opened)
        return self._began_with

    async def keep(self, digest: str, kept: Kept, takes: str | None = None) -> Kept:
        """Write an entry and return what is kept now.

        A cancel from inside that comes while it is written does not undo the outcome: the call ends with it.
        """
        writing = self.port.write(Write(digest, kept, takes))
        while True:
            try:
                stored = await writing
            except asyncio.CancelledError:
                if writing.is_cancelled or self.is_stopping:
                    raise
                continue
            except LeaseLost:
                self._is_lost = True
                raise
            except LedgerFound as found:
                # A signal has made it, or a restored backup is behind it: what it has counts.
                self._read(found.opened)
                if digest in self._kept:
                    return self._kept[digest]
                writing = self.port.write(Write(digest, kept, takes))
                continue
            self._kept[digest] = stored
            self._is_read = False
            return stored

    def entry(self, identity: Identity, call: Call, **fields: Any) -> Kept:
        """Return a new entry of a call, as of now."""
        return Kept(
            call=call,
            name=identity.name,
            key=identity.key,
            at=self.port.now(),
            attempt=self.port.attempt,
            **fields,
        )

    def take_oldest(self, names: Collection[str]) -> InboxSignal | None:
        """Take the oldest signal with one of the names out of what was read, for one caller."""
        signal = rules.oldest(self._inbox, names)
        if signal is not None:
            self._inbox.remove(signal)
            self._taken.add(signal.id)
        return signal

    async def read_inbox(self, *, once: bool = False) -> bool:
        """Read the unread signals again, and return whether it did; with `once`, only if something was kept since.

        A park that has missed a signal is refused, which costs an attempt. A read before it costs less.
        """
        if once and self._is_read:
            return False
        self._is_read = True
        signals, self._in_seq = await self.port.inbox()
        self._inbox = [signal for signal in signals if signal.id not in self._taken]
        # A park applies if all signals were read: no wait may stay that has not looked for its own among them.
        self.turns.end_waits_for({signal.name for signal in self._inbox})
        return True

    def _refuse_other(self, identity: Identity, call: Call) -> None:
        entry = self._kept.get(identity.digest)
        if entry is not None and entry.call is not call:
            raise ResultChanged(
                identity.text, f"that of a {entry.call.value}", f"a {call.value}", "the call is another one"
            )

    def _is_cancelled(self, identity: Identity) -> bool:
        entry = self._kept.get(identity.digest)
        return rules.meaning(entry) is Meaning.CANCELLED or identity.part("!", 1) in self._kept

    async def _keep_cancelled(self, identity: Identity, call: Call) -> None:
        """Record that the handler cancelled a call, unless the attempt stops."""
        if self.is_stopping or self.parked is not None or self._is_lost:
            return
        await self.begin()
        entry = self._kept.get(identity.digest)
        if entry is None or entry.is_open:
            digest = identity.digest
        elif call is Call.SLEEP and not self._is_cancelled(identity):
            # The entry of a sleep is complete when it begins, so the cancel is an entry of its own.
            digest = identity.part("!", 1)
        else:
            return
        await self.keep(digest, self.entry(identity, call, cancelled=True))

    def _read(self, opened: Opened) -> None:
        """Take over what the ledger had, once. What this attempt has kept meanwhile is newer."""
        if self._began_with is not None:
            return
        self._began_with = opened.began_with
        self._kept = {**opened.kept, **self._kept}
        self.has_replay = bool(self._kept)
        self._inbox = list(opened.inbox)
        self._in_seq = opened.in_seq
        self._is_read = True

    async def _open(self) -> Opened:
        try:
            return await self.port.open()
        except LeaseLost:
            self._is_lost = True
            raise

    async def _refuse_late(self) -> None:
        self._late += 1
        await (asyncio.sleep(0) if self._late <= LATE_CALLS else self.port.loop.create_future())
        raise LeaseLost if self._is_lost else AttemptParked


async def _until_cancelled_again(loop: asyncio.AbstractEventLoop) -> NoReturn:
    """Wait until the handler cancels the call, as it did in an earlier attempt."""
    await loop.create_future()
    raise AssertionError("nothing completes a cancelled call")


def _retrieved(task: "asyncio.Task[Any]") -> None:
    """Note the error of a task, which its callers have raised or no longer await."""
    if not task.cancelled():
        task.exception()
