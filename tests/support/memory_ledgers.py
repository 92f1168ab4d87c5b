"""Ledgers in memory for tests: the pure rules, and the ends that MongoDB would act on."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from acked_common.model.instants import whole_ms
from acked_common.model.ledger import (
    Fenced,
    InboxFull,
    JobLedger,
    LedgerEntry,
    LedgerFull,
    LedgerWrite,
    Opening,
    PendingSignals,
    Repeated,
    SignalPush,
)
from acked_common.model.ledger_rules import (
    announced,
    ended_early,
    is_ended_by,
    nearly_full,
    opened,
    pending_of,
    pushed,
    written,
)
from acked_common.model.lifecycle import State
from acked_common.model.lifecycle_waits import Waits
from acked_common.runtime.clock import Clock
from acked_common.store.ledgers import (
    LOOKED_AT_AFTER,
    NAMES_READ,
    Collected,
    EntryPage,
    Inbox,
    LedgerProgress,
    LedgerSummary,
    Written,
    deletion_of,
)
from acked_common.store.mongo.field_names import DELETE_AT


class _Reads:
    """The reads of clients."""

    _ledgers: dict[UUID, JobLedger]

    async def read_ledger(self, job_id: UUID, *, tenant: str) -> JobLedger | None:
        ledger = self._ledgers.get(job_id)
        return ledger if ledger is not None and ledger.tenant == tenant else None

    async def read_entries(
        self, job_id: UUID, *, tenant: str, after: int, limit: int, newest_first: bool = False
    ) -> EntryPage | None:
        ledger = await self.read_ledger(job_id, tenant=tenant)
        if ledger is None:
            return None
        found = _in_order(ledger)[::-1] if newest_first else _in_order(ledger)
        behind = [one for one in found if not after or (one.seq < after if newest_first else one.seq > after)]
        early = {ledger.entries[digest].seq: at for digest, at in ledger.ended_early.items()}
        page = [replace(one, value=None) for one in behind[:limit]]
        shown = {one.seq for one in page}
        return EntryPage(page, len(behind) <= limit, {seq: at for seq, at in early.items() if seq in shown})

    async def read_newest(self, job_id: UUID, *, tenant: str, limit: int) -> list[LedgerEntry] | None:
        ledger = await self.read_ledger(job_id, tenant=tenant)
        return None if ledger is None else _in_order(ledger)[::-1][:limit]

    async def read_unread(self, job_id: UUID, *, tenant: str) -> Inbox | None:
        ledger = await self.read_ledger(job_id, tenant=tenant)
        if ledger is None:
            return None
        return Inbox(tuple(replace(signal, value=b"") for signal in ledger.inbox), ledger.in_seq)

    async def read_summary(self, job_id: UUID, *, tenant: str) -> LedgerSummary | None:
        ledger = await self.read_ledger(job_id, tenant=tenant)
        if ledger is None:
            return None
        names = sorted({signal.name for signal in ledger.inbox[:NAMES_READ]})
        newest = [replace(one, value=None) for one in _in_order(ledger)[-1:]]
        return LedgerSummary(
            len(ledger.entries), len(ledger.inbox), names, nearly_full(ledger), newest[0] if newest else None
        )


class MemoryLedgers(_Reads):
    """`Ledgers` over the jobs of a store in memory. No verb awaits, so each is atomic."""

    def __init__(self, jobs: Mapping[UUID, Mapping[str, Any]], clock: Clock) -> None:
        self._jobs = jobs
        self._clock = clock
        self._ledgers: dict[UUID, JobLedger] = {}
        self._looks: dict[UUID, datetime] = {}
        self._pending_since: dict[UUID, datetime] = {}
        self.ends: dict[UUID, datetime] = {}
        """The ends of ledgers, for tests."""

    async def open_ledgers(self, openings: Sequence[Opening], *, at: datetime) -> list[JobLedger | Fenced]:
        return [self._open(one, at) for one in openings]

    def _open(self, opening: Opening, at: datetime) -> JobLedger | Fenced:
        found = opened(self._ledgers.get(opening.id), opening, owns=self._owns(opening))
        if isinstance(found, JobLedger):
            self._ledgers[opening.id] = found
            self._looks[opening.id] = whole_ms(at + LOOKED_AT_AFTER)
            self.ends.pop(opening.id, None)
        return found

    def _owns(self, opening: Opening) -> bool:
        job = self._jobs.get(opening.id, {})
        owner = job.get("owner") or {}
        return (job.get("state"), job.get("attempt"), owner.get("nonce")) == (
            State.RUNNING.value,
            opening.attempt,
            opening.nonce,
        )

    async def write_entries(self, writes: Sequence[LedgerWrite]) -> list[Written]:
        return [self._write(one) for one in writes]

    def _write(self, write: LedgerWrite) -> Written:
        before, opens = self._ledgers.get(write.id), write.opens
        if opens is not None and (before is None or write.digest not in before.entries or before.by != opens.nonce):
            there = self._open(opens, write.entry.at)
            if before is not None or isinstance(there, Fenced):
                return there
        found = written(self._ledgers.get(write.id), write)
        if not isinstance(found, JobLedger):
            return found
        self._ledgers[write.id] = found
        return found.entries[write.digest]

    async def read_inboxes(self, ids: Sequence[UUID]) -> dict[UUID, Inbox]:
        found = {job_id: self._ledgers[job_id] for job_id in ids if job_id in self._ledgers}
        return {job_id: Inbox(ledger.inbox, ledger.in_seq) for job_id, ledger in found.items()}

    async def read_progress(self, ids: Sequence[UUID]) -> dict[UUID, LedgerProgress]:
        found = {job_id: self._ledgers[job_id] for job_id in ids if job_id in self._ledgers}
        return {
            job_id: LedgerProgress(one.run, one.progressed_at_failures, one.progressed_at_crashes)
            for job_id, one in found.items()
        }

    async def push_signal(self, push: SignalPush, *, at: datetime) -> PendingSignals | Repeated | InboxFull:
        found = pushed(self._ledgers.get(push.id), push)
        if not isinstance(found, JobLedger):
            return found
        self._ledgers[push.id] = found
        self._looks.setdefault(push.id, whole_ms(at + LOOKED_AT_AFTER))
        self._pending_since.setdefault(push.id, whole_ms(self._clock.now()))
        pending = pending_of(found)
        assert pending is not None
        return pending

    async def end_wait(self, job_id: UUID, *, tenant: str, waits: Waits, at: datetime) -> int | LedgerFull:
        ledger = await self.read_ledger(job_id, tenant=tenant)
        found = ended_early(ledger, waits, whole_ms(at))
        if not isinstance(found, JobLedger):
            return found or 0
        self._ledgers[job_id] = found
        return sum(is_ended_by(entry, waits) for entry in found.entries.values())

    async def unset_pending(self, job_id: UUID, *, in_seq: int) -> None:
        if job_id in self._ledgers:
            self._ledgers[job_id] = announced(self._ledgers[job_id], in_seq)
            if self._ledgers[job_id].pending is None:
                self._pending_since.pop(job_id, None)

    async def pending_signals(self, *, limit: int, older_than_s: float) -> list[PendingSignals]:
        before = self._clock.now() - timedelta(seconds=older_than_s)
        due = sorted((since, job_id) for job_id, since in self._pending_since.items() if since <= before)
        found = [pending_of(self._ledgers[job_id]) for _, job_id in due[:limit]]
        return [one for one in found if one is not None]

    async def keep_ledgers(self, ids: Sequence[UUID], *, at: datetime) -> None:
        for job_id in ids:
            if job_id in self._ledgers:
                self.ends.pop(job_id, None)
                self._looks[job_id] = whole_ms(at + LOOKED_AT_AFTER)

    async def collect_ledgers(self, *, limit: int, at: datetime) -> Collected:
        now = self._clock.now()
        due = sorted((look, job_id) for job_id, look in self._looks.items() if look <= now)[:limit]
        ended = 0
        for _, job_id in due:
            job = self._jobs.get(job_id)
            if job is not None and DELETE_AT not in job:
                self._looks[job_id] = whole_ms(at + LOOKED_AT_AFTER)
                continue
            del self._looks[job_id]
            self.ends[job_id] = whole_ms(deletion_of(None if job is None else job[DELETE_AT], at))
            ended += 1
        return Collected(len(due), ended)


def _in_order(ledger: JobLedger) -> list[LedgerEntry]:
    return sorted(ledger.entries.values(), key=lambda entry: entry.seq)
