"""Send signals to jobs.

A signal is in the inbox of its job once the journals of a majority have it; from then on its announcement is certain
(see `background/signal_sweeper`). Its id makes it repeatable: a ledger remembers the newest 1,000 ids that were read.
"""

import json
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import msgspec

from acked_common.api.status_route import stored_job
from acked_common.background.signal_sweeper import SignalAnnouncer
from acked_common.http import fair_thread
from acked_common.http.limits import Client
from acked_common.http.problems import ProblemError, json_problem, problem
from acked_common.model import strict_json
from acked_common.model.ids import new_id
from acked_common.model.ledger import (
    MAX_SIGNAL_BYTES,
    InboxFull,
    JobLedger,
    PendingSignals,
    Repeated,
    Signal,
    SignalPush,
)
from acked_common.model.ledger_rules import known_id, pending_of
from acked_common.model.names import SIGNAL_NAME
from acked_common.model.principal import Principal
from acked_common.model.strict_json import StrictJsonError
from acked_common.runtime import failpoints
from acked_common.runtime.clock import Clock
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.logs import get_log
from acked_common.store.errors import StoreError
from acked_common.store.ledgers import LedgerReader, SignalStore
from acked_common.store.ports import JobReader
from acked_common.store.records import Job
from acked_gateway.jobs.commands import wrong_state
from acked_gateway.workers.command_router import CommandRouter

log = get_log(__name__)

MAX_UNSETTING = 1000
"""The maximum of marks that are unset in the background; the sweeper unsets the others."""
_TAKING = ("wait", "first")
"""The durable calls whose entries hold a signal that they have taken."""

# Values are compared as intake compares payloads: the order of members does not matter, the kind of a number does.
_text_of = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Sent:
    """A signal that is stored; `seq` is None for one whose entry is gone."""

    id: str
    job_id: UUID
    name: str
    seq: int | None
    is_repeated: bool


@dataclass(frozen=True, slots=True)
class SignalRequest:
    """A signal as it was sent; `value` is a JSON text. Without an id, the gateway generates one."""

    name: str
    value: bytes
    id: str | None = None


class SignalLedgers(SignalStore, LedgerReader, Protocol):
    """The verbs of ledgers that a sender needs."""


class Signals:
    """Sends signals for clients. Jobs of other tenants are treated as nonexistent."""

    def __init__(
        self,
        store: JobReader,
        ledgers: SignalLedgers,
        announcer: SignalAnnouncer,
        router: CommandRouter,
        clock: Clock,
    ) -> None:
        self._store = store
        self._ledgers = ledgers
        self._announcer = announcer
        self._router = router
        self._clock = clock
        self._tasks = Tasks()
        self._unsetting = 0

    async def stop(self) -> None:
        """Cancel what is left in the background; the sweeper does it."""
        await self._tasks.cancel_all()

    async def send(self, id_text: str, request: SignalRequest, *, sender: Principal) -> Sent:
        """Store a signal, and announce it to its job. Raise `ProblemError` or `StoreError`."""
        job = await stored_job(self._store, id_text, tenant=sender.tenant)
        signal_id = request.id or str(new_id())
        signal = Signal(signal_id, request.name, request.value, self._clock.now(), sender.client)
        if job.state.is_terminal:
            ledger = await self._ledgers.read_ledger(job.id, tenant=job.tenant)
            known = None if ledger is None else find_known(ledger, signal_id)
            if known is None:
                raise wrong_state(job, f"a job that is {job.state.value} receives no signals")
            return _repeated(job, signal, known)
        found = await self._ledgers.push_signal(SignalPush(job.id, job.tenant, signal), at=self._clock.now())
        match found:
            case InboxFull(limit):
                raise ProblemError(problem("inbox-full", limit, extra={"state": job.state.value}))
            case Repeated():
                return await self._repeat(job, signal)
            case PendingSignals():
                failpoints.reach("gateway.signal-pushed")
                await self._announce(found)
                return Sent(signal_id, job.id, request.name, found.in_seq, is_repeated=False)

    async def _repeat(self, job: Job, signal: Signal) -> Sent:
        """Return the first response, and announce what is pending: the first gateway may have died after the push."""
        ledger = await self._ledgers.read_ledger(job.id, tenant=job.tenant)
        known = None if ledger is None else find_known(ledger, signal.id)
        sent = _repeated(job, signal, known or Known(None))
        if ledger is not None and (pending := pending_of(ledger)) is not None:
            await self._announce(pending)
        return sent

    async def _announce(self, pending: PendingSignals) -> None:
        try:
            announced = await self._announcer.announce(pending)
        except StoreError as error:
            # The signal is stored and marked: the sweeper announces it.
            log.warning("signal not announced yet", job_id=str(pending.id), error=str(error))
            return
        failpoints.reach("gateway.signal-woke")
        if announced is not None and announced.boot is not None:
            self._router.signalled(announced.boot, announced.id, announced.attempt)
        if self._unsetting < MAX_UNSETTING:
            self._unsetting += 1
            self._tasks.spawn(self._unset(pending), "unset the mark of a signal")

    async def _unset(self, pending: PendingSignals) -> None:
        try:
            await self._announcer.unset(pending)
        except StoreError as error:
            log.info("mark of a signal not unset; the sweeper does it", job_id=str(pending.id), error=str(error))
        finally:
            self._unsetting -= 1


@dataclass(frozen=True, slots=True)
class Known:
    """A signal that was received before: `signal` is None where its entry is gone."""

    signal: Signal | None


def find_known(ledger: JobLedger, signal_id: str) -> Known | None:
    """Return the signal of an id that the ledger knows: unread, or taken by a durable call. None for a new id."""
    for unread in ledger.inbox:
        if unread.id == signal_id:
            return Known(unread)
    if known_id(signal_id) not in ledger.read_ids:
        return None
    for entry in ledger.entries.values():
        if entry.call in _TAKING and (taken := taken_signal(entry.value)) is not None and taken.id == signal_id:
            return Known(taken)
    return Known(None)


def taken_signal(value: bytes | None) -> Signal | None:
    """Return the signal in the kept outcome of a wait or a race, as `acked.durable` keeps it; None for another one."""
    try:
        found: Any = msgspec.json.decode(value or b"null")
        found = found.get("signal", found)
        text = msgspec.json.encode(found["value"])
        return msgspec.convert({**found, "value": text}, Signal)
    except (AttributeError, KeyError, TypeError, msgspec.MsgspecError):
        return None


def _repeated(job: Job, signal: Signal, known: Known) -> Sent:
    """Return the first response to a repeated signal. Raise the problem 422 if it differs from the first one."""
    first = known.signal
    if first is not None and (first.name != signal.name or _canonical(first.value) != _canonical(signal.value)):
        detail = (
            f"the job has received another signal with this id, named {first.name!r}: use a new id for a new signal"
        )
        raise ProblemError(problem("idempotency-key-reused", detail, extra={"id": str(job.id)}))
    return Sent(signal.id, job.id, signal.name, None if first is None else first.seq or None, is_repeated=True)


def _canonical(value: bytes) -> str:
    return _text_of(json.loads(value))


def checked_name(name: str) -> str:
    """Return a valid name of a signal. Raise the problem `invalid-field`."""
    if SIGNAL_NAME.fullmatch(name) is None:
        detail = "the name of a signal has 1 to 64 of the characters a-z, 0-9, '.', '_' and '-'"
        raise ProblemError(problem("invalid-field", detail))
    return name


async def read_value(body: bytes, *, client: Client) -> bytes:
    """Return the value of a signal as JSON text. Raise `ProblemError` for a body that is not strict JSON."""

    def parse(may_scan: bool) -> bytes:
        try:
            strict_json.parse(body, max_bytes=MAX_SIGNAL_BYTES, may_scan=may_scan)
        except StrictJsonError as error:
            raise ProblemError(json_problem(error)) from None
        return body.strip()

    return await fair_thread.read(client, len(body), parse)
