"""Do the ledger work of running attempts, on the plumbing loop.

An attempt opens its ledger at its first durable call, under the nonce of its claim. Then every write is refused as soon
as a later attempt has opened it. A refused write interrupts the attempt, as a lost lease does.

The first attempt of a job has nothing to read. So its first write makes the ledger and opens it, which saves a disk
wait, and an insert of many ledgers costs MongoDB less than as many opens. A ledger that is there all the same is opened
then, and the write is made again.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import NamedTuple, Protocol, TypeVar
from uuid import UUID

from prometheus_client import Counter

from acked.durable.errors import DurableError, LeaseLost, TooManySteps
from acked.durable.port import Call, InboxSignal, Kept, LedgerFound, Opened, Write
from acked_common.model.ledger import (
    AlreadyKept,
    Fenced,
    JobLedger,
    LedgerEntry,
    LedgerFull,
    LedgerWrite,
    Opening,
    SignalGone,
)
from acked_common.model.ledger_rules import entry_bytes, nearly_full
from acked_common.runtime import failpoints
from acked_common.runtime.clock import Clock
from acked_common.runtime.logs import get_log
from acked_common.store.errors import StoreError
from acked_common.store.ledgers import Inbox, LedgerStore, Written
from acked_worker.consume.in_flight import InFlight, InFlightAttempts
from acked_worker.durable.call_group import CallGroup
from acked_worker.durable.mapping import kept_of, opened_of, signals_of
from acked_worker.durable.open_ledger import OpenLedger

log = get_log(__name__)

Item = TypeVar("Item")
Reply = TypeVar("Reply")

Key = tuple[str, int]
"""The job's id, and the number of the attempt."""

MAX_CALLS = 10_000
"""The maximum of durable calls of one attempt that wait for their ledger at once: as many as a ledger keeps."""
MAX_CALL_BYTES = 32 * 2**20
"""The maximum size of their results, twice what a ledger keeps."""
IN_FLIGHT = 100
"""The writes of one attempt that may wait in the groups at once, so that one attempt does not delay the others."""

OPENED_AT_ONCE = 32
"""The maximum of ledgers in one read, each up to 16 MiB."""

_recorded = Counter(
    "acked_durable_calls_recorded_total", "Outcomes of durable calls that a majority has journaled.", ["call"]
)
_opened = Counter(
    "acked_ledgers_opened_total",
    "Attempts that made a durable call; resumed: earlier attempts had recorded outcomes.",
    ["resumed"],
)
_refused = Counter("acked_durable_calls_refused_total", "Durable calls of attempts that no longer owned their job.")


class LedgerWork(Protocol):
    """The ledger work of attempts: of this worker, or of the one that this isolated process belongs to."""

    @property
    def makes_ledgers(self) -> bool:
        """Whether the first attempt of a job may write without an open; its first write makes the ledger."""
        ...

    async def open(self, key: Key) -> Opened:
        """Open the ledger of an attempt. Raise `LeaseLost` if a later attempt has, or `DurableError`."""
        ...

    def write(self, key: Key, write: Write) -> Awaitable[Kept]:
        """Record an outcome in the journals of a majority; return the entry. Raise as `open` does, at once or when
        awaited, and `LedgerFound` if a write that should make the ledger has found one."""
        ...

    async def inbox(self, key: Key) -> tuple[Sequence[InboxSignal], int]:
        """Read the unread signals and the number of all signals, from a majority. Raise as `open` does."""
        ...


class _Attempt:
    """The calls of one attempt."""

    __slots__ = ("bytes", "calls", "in_flight", "ledger", "opens", "unsent")

    def __init__(self, ledger: OpenLedger) -> None:
        self.ledger = ledger
        self.opens: Opening | None = None
        """The open that the first write does too; None once the ledger is open."""
        self.calls = 0
        self.bytes = 0
        self.in_flight: set[str] = set()
        """Digests; two writes of one entry go out one after the other."""
        self.unsent: deque[_Call] = deque()
        """Writes that are not in flight yet, oldest first."""

    @property
    def may_begin(self) -> bool:
        """Whether the oldest waiting write may go out. Until the ledger is open, one goes at a time."""
        if self.opens is not None:
            return not self.in_flight
        return len(self.in_flight) < IN_FLIGHT and self.unsent[0].write.digest not in self.in_flight


class _Call(NamedTuple):
    """A write of an attempt, and the reply to it."""

    write: Write
    reply: "asyncio.Future[Kept]"


class AttemptLedgers:
    """The ledgers of one worker process; its `LedgerWork`. All on the plumbing loop."""

    def __init__(
        self,
        store: LedgerStore,
        running: InFlightAttempts,
        version_of: Callable[[str], str],
        on_lost: Callable[[InFlight], None],
        clock: Clock,
    ) -> None:
        """`version_of` returns the version of a kind; `on_lost` interrupts an attempt that no longer owns its job."""
        self._running = running
        self._version_of = version_of
        self._on_lost = on_lost
        self._attempts: dict[Key, _Attempt] = {}
        self._store = store
        self._clock = clock
        self._opens: CallGroup[Opening, JobLedger | Fenced] = CallGroup(
            "open ledgers", self._open_all, batch=OPENED_AT_ONCE, key=lambda opening: opening.id
        )
        self._firsts: CallGroup[LedgerWrite, Written] = CallGroup("make ledgers", store.write_entries, weigh=_weight)
        self._writes: CallGroup[LedgerWrite, Written] = CallGroup("write ledgers", store.write_entries, weigh=_weight)
        self._inboxes: CallGroup[UUID, Inbox] = CallGroup("read inboxes", self._read_all, key=lambda job_id: job_id)

    @property
    def makes_ledgers(self) -> bool:
        return True

    async def open(self, key: Key) -> Opened:
        held = self._held(key)
        job = held.job
        opening = self._opening(held)
        found = await self._call(self._opens, opening)
        if isinstance(found, Fenced):
            raise self._lost(held)
        self._held(key)
        attempt = self._attempts.get(key)
        if attempt is None:
            attempt = self._attempts[key] = _Attempt(OpenLedger(held))
            _opened.labels("yes" if found.entries else "no").inc()
        attempt.ledger.read(found)
        attempt.opens = None
        if (limit := nearly_full(found)) is not None:
            log.warning("a ledger is nearly full", job_id=held.id, kind=job.kind, why=limit)
        self._send_more(attempt)
        return opened_of(found, opening.version)

    def write(self, key: Key, write: Write) -> "asyncio.Future[Kept]":
        attempt = self._attempts.get(key) or self._begun(key)
        weight = len(write.kept.value or b"")
        if attempt.calls >= MAX_CALLS or attempt.bytes + weight > MAX_CALL_BYTES:
            raise DurableError(
                f"more than {MAX_CALLS:,} durable calls or {MAX_CALL_BYTES >> 20} MiB of their results wait to be kept "
                "at once; await them in smaller groups"
            )
        attempt.calls += 1
        attempt.bytes += weight
        call = _Call(write, asyncio.get_running_loop().create_future())
        attempt.unsent.append(call)
        self._send_more(attempt)
        return call.reply

    async def inbox(self, key: Key) -> tuple[Sequence[InboxSignal], int]:
        held = self._attempt(key).ledger.held
        found = await self._call(self._inboxes, held.job.id)
        return signals_of(found.signals), found.in_seq

    def end(self, key: Key) -> None:
        """Forget an attempt that has ended. Its calls raise `LeaseLost` from now on."""
        self._attempts.pop(key, None)

    async def stop(self) -> None:
        """Cancel all calls."""
        for group in (self._opens, self._firsts, self._writes, self._inboxes):
            await group.stop()

    def _send_more(self, attempt: _Attempt) -> None:
        """Send the writes that may go out. No task: an attempt makes one write after the other, and many make one."""
        while attempt.unsent and attempt.may_begin:
            call = attempt.unsent.popleft()
            if call.reply.cancelled():
                self._count_out(attempt, call.write)
            elif self._owns(attempt):
                self._begin(attempt, call)
            else:
                self._count_out(attempt, call.write)
                call.reply.set_exception(LeaseLost())

    def _begin(self, attempt: _Attempt, call: _Call) -> None:
        bound = attempt.ledger.bind(call.write, attempt.opens)
        failpoints.reach("worker.step-recording")
        attempt.in_flight.add(call.write.digest)
        group = self._writes if attempt.opens is None else self._firsts
        group.begin(bound).add_done_callback(partial(self._end, attempt, call, bound))

    def _end(self, attempt: _Attempt, call: _Call, bound: LedgerWrite, written: "asyncio.Future[Written]") -> None:
        """Pass on the outcome of a write that was in flight."""
        write, reply = call
        attempt.in_flight.discard(write.digest)
        self._count_out(attempt, write)
        try:
            if written.cancelled():
                reply.cancel()
            else:
                kept = self._kept(attempt, write, bound, written)
                if not reply.done():
                    reply.set_result(kept)
        except (Exception, LeaseLost) as error:
            if not reply.done():
                reply.set_exception(error)
        self._send_more(attempt)

    def _count_out(self, attempt: _Attempt, write: Write) -> None:
        attempt.calls -= 1
        attempt.bytes -= len(write.kept.value or b"")

    def _kept(self, attempt: _Attempt, write: Write, bound: LedgerWrite, written: "asyncio.Future[Written]") -> Kept:
        """Return the recorded entry of a write, or raise the reason why there is none."""
        ledger = attempt.ledger
        with _durable_errors():
            found = written.result()
        failpoints.reach("worker.step-recorded")
        attempt.opens = None
        match found:
            case LedgerEntry():
                _recorded_of(write.kept.call).inc()
                ledger.note(write.digest, found, is_ours=True)
                # Usually the very entry: then the handler gets what it wrote, without a translation back.
                return write.kept if found is bound.entry else kept_of(found)
            case AlreadyKept(entry):
                ledger.note(write.digest, entry, is_ours=False)
                return kept_of(entry)
            case JobLedger():
                ledger.read(found)
                raise LedgerFound(opened_of(found, self._version_of(ledger.held.job.kind)))
            case Fenced():
                raise self._lost(ledger.held)
            case SignalGone():
                raise DurableError(f"signal {write.takes!r} has left the inbox since it was read; the attempt ends")
            case LedgerFull(limit):
                raise TooManySteps(limit)

    async def _open_all(self, openings: Sequence[Opening]) -> Sequence[JobLedger | Fenced]:
        return await self._store.open_ledgers(openings, at=self._clock.now())

    async def _read_all(self, ids: Sequence[UUID]) -> Sequence[Inbox]:
        found = await self._store.read_inboxes(ids)
        return [found.get(job_id, _EMPTY) for job_id in ids]

    async def _call(self, group: CallGroup[Item, Reply], item: Item) -> Reply:
        with _durable_errors():
            return await group.call(item)

    def _held(self, key: Key) -> InFlight:
        held = self._running.get(*key)
        if held is None or held.ended:
            raise LeaseLost
        return held

    def _opening(self, held: InFlight) -> Opening:
        job = held.job
        return Opening(job.id, job.tenant, job.run, job.attempt, job.nonce, self._version_of(job.kind))

    def _begun(self, key: Key) -> _Attempt:
        """Begin an attempt whose first write makes its ledger. Raise `LeaseLost` for one that had to open it."""
        held = self._held(key)
        if held.job.attempt != 1:
            raise LeaseLost
        attempt = self._attempts[key] = _Attempt(OpenLedger(held))
        attempt.opens = self._opening(held)
        _opened.labels("no").inc()
        return attempt

    def _attempt(self, key: Key) -> _Attempt:
        self._held(key)
        attempt = self._attempts.get(key)
        if attempt is None:
            raise LeaseLost
        return attempt

    def _owns(self, attempt: _Attempt) -> bool:
        held = attempt.ledger.held
        return not held.ended and self._attempts.get((held.id, held.job.attempt)) is attempt

    def _lost(self, held: InFlight) -> LeaseLost:
        _refused.inc()
        log.warning("lease lost: another attempt has the ledger", job_id=held.id, attempt=held.job.attempt)
        self._on_lost(held)
        return LeaseLost()


@contextmanager
def _durable_errors() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise DurableError(f"the database refused a durable call: {error}") from error


@cache
def _recorded_of(call: Call) -> Counter:
    return _recorded.labels(call.value)


_EMPTY = Inbox()


def _weight(write: LedgerWrite) -> int:
    return entry_bytes(write.entry)
