"""The ledger behind the durable calls of an attempt under test, in memory and in virtual time.

It applies the rules of `acked_common.model.ledger_rules`, and is killed at the points of its attempt.
"""

import asyncio
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from acked.durable.errors import LeaseLost, TooManySteps
from acked.durable.port import Call, InboxSignal, Kept, KeptError, Opened, Write
from acked.durable.reply import Reply
from acked.testing.kit_job import JOB_ID
from acked_common.model.ledger import AlreadyKept, EntryError, JobLedger, LedgerEntry, LedgerFull, LedgerWrite

if TYPE_CHECKING:
    from acked.testing.life import Life

IDLE_ROUNDS = 50
"""Rounds of the loop without a durable call, after which the handler counts as idle."""


class KitPort:
    """The `LedgerPort` of one attempt under test."""

    opens_with_first_write = False
    """The kit also kills before and behind the open, as a later attempt of a worker may die there."""

    def __init__(self, life: "Life") -> None:
        self._life = life
        self._seq = 0

    @property
    def attempt(self) -> int:
        """The number of the attempt."""
        return self._life.attempt

    @property
    def park_over_s(self) -> float:
        """As the world says."""
        return self._life.world.park_over_s

    @property
    def deadline_at(self) -> datetime:
        """The end of the timeout by the virtual clock."""
        return self._life.started_at + timedelta(seconds=self._life.world.kind.options.timeout_s)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop of the test."""
        return self._life.loop

    @property
    def is_stopping(self) -> bool:
        """Whether the attempt has timed out, or the test is over."""
        return self._life.asked_to_stop

    def now(self) -> datetime:
        """Return the instant of the virtual clock."""
        return self._life.world.clock.now()

    def in_main(self) -> bool:
        """Return whether the caller is the handler's own task or thread."""
        if self._life.world.kind.is_async:
            try:
                return asyncio.current_task() is self._life.main
            except RuntimeError:
                # A thread without a loop, in which a step's plain function runs.
                return False
        return threading.get_ident() == self._life.thread_id

    async def open(self) -> Opened:
        """Open the job's ledger."""
        await self._life.reach("opening")
        found = self._life.world.job.ledger.open(self._life.job, self._life.world.kind.options.version)
        if not isinstance(found, JobLedger):
            raise LeaseLost
        self._seq = found.seq
        opened = Opened(
            {digest: kept_of(entry) for digest, entry in found.entries.items()},
            _inbox_of(found),
            found.in_seq,
            found.began_with or "",
        )
        await self._life.reach("opened")
        return opened

    def write(self, write: Write) -> Reply[Kept]:
        """Keep an entry, and reach the points between the effect and the record, and behind it."""
        return Reply.of(self.loop.create_task(self._write_alive(write)))

    async def _write_alive(self, write: Write) -> Kept:
        kept = write.kept
        text = kept.name if kept.key is None else f"{kept.name}[{kept.key}]"
        ends_step = kept.call is Call.STEP and not kept.is_open
        if ends_step and not self._life.is_dead and not kept.cancelled:
            self._life.world.effects[text] += 1
        what = f"{kept.call} {text}" + (" (begun)" if kept.is_open else "")
        await self._life.reach(f"recording {what}")
        stored = self._write(write)
        for happens in self._life.world.after.pop(text, ()) if ends_step else ():
            happens()
        await self._life.reach(f"recorded {what}")
        return stored

    def _write(self, write: Write) -> Kept:
        ledger = self._life.world.job.ledger.now
        open_entry = None if ledger is None else ledger.entries.get(write.digest)
        completes = open_entry is not None and open_entry.is_open
        if completes and open_entry is not None:
            seq = open_entry.seq
        else:
            self._seq += 1
            seq = self._seq
        entry = entry_of(write.kept, seq, self._life.job.nonce)
        found = self._life.world.job.ledger.write(
            LedgerWrite(
                JOB_ID,
                write.digest,
                entry,
                self._life.job.failures,
                self._life.job.crashes,
                completes=completes,
                takes=write.takes,
            )
        )
        if isinstance(found, JobLedger):
            return write.kept
        if isinstance(found, AlreadyKept):
            return kept_of(found.entry)
        if isinstance(found, LedgerFull):
            raise TooManySteps(found.limit)
        raise LeaseLost

    async def inbox(self) -> tuple[Sequence[InboxSignal], int]:
        """Read the unread signals."""
        await self._life.reach("reading signals")
        ledger = self._life.world.job.ledger.now
        return ((), 0) if ledger is None else (_inbox_of(ledger), ledger.in_seq)

    async def wait(self, until_at: datetime | None, *, for_signals: bool) -> None:
        """Wait by the virtual clock; with `for_signals` at most until a signal arrives."""
        await self._life.world.clock.wait(until_at, for_signals=for_signals)

    async def settle(self) -> None:
        """Return when the handler is idle, after moving the clock to the end of a short wait."""
        for _ in range(IDLE_ROUNDS):
            await asyncio.sleep(0)
        waits, clock = self._life.engine.turns.waits, self._life.world.clock
        if self._life.is_dead or not waits or clock.earliest is None:
            return
        if (clock.earliest - clock.now()).total_seconds() <= self.park_over_s and clock.earliest < self.deadline_at:
            clock.move_to(clock.earliest)


def kept_of(entry: LedgerEntry) -> Kept:
    """Return a stored entry as durable calls see it."""
    fields = {name: getattr(entry, name) for name in Kept.__struct_fields__}
    error = entry.error
    return Kept(
        **{**fields, "call": Call(entry.call), "error": None if error is None else KeptError(error.type, error.message)}
    )


def entry_of(kept: Kept, seq: int, nonce: str) -> LedgerEntry:
    """Return an entry as it is stored."""
    fields = {name: getattr(kept, name) for name in Kept.__struct_fields__}
    error = kept.error
    return LedgerEntry(
        **{
            **fields,
            "call": kept.call.value,
            "error": None if error is None else EntryError(error.type, error.message),
            "seq": seq,
            "by": nonce,
        }
    )


def _inbox_of(ledger: JobLedger) -> list[InboxSignal]:
    return [
        InboxSignal(**{name: getattr(signal, name) for name in InboxSignal.__struct_fields__})
        for signal in ledger.inbox
    ]
