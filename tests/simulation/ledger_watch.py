"""Sees each change of a ledger as the store makes it, and what must hold of it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING
from uuid import UUID

from acked_common.model.ledger import TRY, JobLedger, LedgerEntry
from acked_common.model.ledger_rules import is_progress
from acked_common.model.lifecycle import State
from acked_gateway.jobs.signals import taken_signal
from simulation.scale import CLOCK_MARGIN

if TYPE_CHECKING:
    from simulation.checks import Document
    from simulation.simulator import Simulator

_MOVED = ("call", "name", "key", "seq", "due_at")
"""What stays of an entry that is completed."""


class WatchedLedgers(dict[UUID, JobLedger]):
    """The ledgers of a store in memory; tells each change."""

    def __init__(self, simulator: "Simulator") -> None:
        super().__init__()
        self._simulator = simulator

    def __setitem__(self, job_id: UUID, after: JobLedger) -> None:
        before = self.get(job_id)
        super().__setitem__(job_id, after)
        self._simulator.long.watch.changed(before or JobLedger(id=job_id, tenant=after.tenant), after)


class LedgerWatch:
    """What happened to the ledgers of one simulation."""

    def __init__(self, simulator: "Simulator") -> None:
        self._simulator = simulator
        self.nonces: dict[tuple[UUID, int], str] = {}
        """By job and attempt, the nonce of its claim."""
        self._counts: dict[tuple[UUID, str], tuple[int, int, int]] = {}
        """By job and nonce, the run, its failures and its crashes at the claim."""
        self._progress: dict[UUID, tuple[int, int, int]] = {}
        """By job, the same when a call last had a new outcome."""
        self._pushed: set[tuple[UUID, str]] = set()

    @property
    def ledgers(self) -> Mapping[UUID, JobLedger]:
        """The ledgers as they are now."""
        return self._simulator.store.ledgers()._ledgers

    def claimed(self, document: "Document") -> None:
        """An attempt owns its job from now on."""
        job_id, nonce = document["_id"], document["owner"]["nonce"]
        self.nonces[job_id, document["attempt"]] = nonce
        self._counts[job_id, nonce] = document["run"], document.get("failures", 0), document.get("crashes", 0)

    def stalled(self, job_id: UUID, run: int, failures: int) -> int:
        """How many failures of a run came since its newest progress."""
        of_run, at, _ = self._progress.get(job_id, (run, 0, 0))
        return failures - (at if of_run == run else 0)

    def crashed(self, job_id: UUID, run: int, crashes: int) -> int:
        """How many crashes of a run came since its newest progress."""
        of_run, _, at = self._progress.get(job_id, (run, 0, 0))
        return crashes - (at if of_run == run else 0)

    def changed(self, before: JobLedger, after: JobLedger) -> None:
        """A ledger has changed."""
        job_id = after.id
        if after.by != before.by:
            self._check_open(before, after)
        if after.edition == before.edition:
            lost = before.entries.keys() - after.entries.keys()
        else:
            lost = {digest for digest, entry in before.entries.items() if not _is_failure(entry)} - after.entries.keys()
            if after.edition != before.edition + 1 or after.run == before.run:
                self._broken("edition", f"edition {before.edition} is followed by {after.edition}", job_id)
            if kept := [entry.name for entry in after.entries.values() if _is_failure(entry)]:
                self._broken("edition", f"failures of {kept} are in the new edition", job_id)
        if lost:
            self._broken("ledger", f"entries of {[before.entries[digest].name for digest in lost]} are gone", job_id)
        written = [
            self._check_entry(before.entries.get(digest), entry, after)
            for digest, entry in after.entries.items()
            if entry is not before.entries.get(digest)
        ]
        self._check_inbox(before, after, [one for one in written if one is not None])
        self._simulator.long.check_stranded(job_id)

    def _check_open(self, before: JobLedger, after: JobLedger) -> None:
        """An attempt opens a ledger behind all earlier attempts, and changes nothing else."""
        if after.by is None or self.nonces.get((after.id, after.attempt)) != after.by:
            self._broken("fence", f"attempt {after.attempt} has opened it under {after.by}", after.id)
        if after.attempt <= before.attempt and not self._owns(after):
            text = f"attempt {after.attempt} has opened it behind attempt {before.attempt}, and does not own the job"
            self._broken("fence", text, after.id)
        self._simulator.note(self._author(), f"attempt {after.attempt} opens", after.id)

    def _owns(self, ledger: JobLedger) -> bool:
        document = self._simulator.observer.jobs[ledger.id].document
        owner = document.get("owner") or {}
        return document["state"] == State.RUNNING.value and owner.get("nonce") == ledger.by

    def _check_entry(self, before: LedgerEntry | None, entry: LedgerEntry, ledger: JobLedger) -> str | None:
        """An entry was added or completed, by the attempt that has the ledger. Return the signal that it took."""
        what = f"{entry.call} {entry.name} {entry.key or ''}"
        self._simulator.note(self._author(), f"{'begun' if entry.is_open else 'kept'}: {what}", ledger.id)
        if before is not None and not before.is_open:
            self._broken("ledger", f"{what} was kept and has changed", ledger.id)
        if before is not None and any(getattr(before, name) != getattr(entry, name) for name in _MOVED):
            self._broken("ledger", f"{what} was begun as {before} and is kept as {entry}", ledger.id)
        if entry.by != ledger.by:
            self._broken(
                "fence", f"{what} was written under {entry.by}, and {ledger.by} has opened the ledger", ledger.id
            )
        if entry.timed_out and entry.due_at is not None and self._simulator.time() < entry.due_at - CLOCK_MARGIN:
            self._broken("time", f"{what} has timed out before {entry.due_at}", ledger.id)
        if is_progress(entry):
            self._progress[ledger.id] = self._counts.get((ledger.id, entry.by), (0, 0, 0))
        return taken_id(entry)

    def _check_inbox(self, before: JobLedger, after: JobLedger, taken: list[str]) -> None:
        """A signal leaves the inbox in the write of the entry that takes it, and comes once."""
        was, now = {one.id for one in before.inbox}, {one.id for one in after.inbox}
        if sorted(was - now) != sorted(taken):
            self._broken("signals", f"{sorted(was - now)} have left the inbox, and {taken} are kept", after.id)
        for one in after.inbox:
            if one.id in now - was:
                self._simulator.note(self._author(), f"signal {one.id} ({one.name}) pushed", after.id)
                if (after.id, one.id) in self._pushed:
                    self._broken("signals", f"signal {one.id} has come twice", after.id)
                self._pushed.add((after.id, one.id))

    def _author(self) -> str:
        acting = self._simulator.acting
        return "?" if acting is None else acting.name

    def _broken(self, rule: str, text: str, job_id: UUID) -> None:
        self._simulator.broken(rule, text, job_id)


def taken_id(entry: LedgerEntry) -> str | None:
    """The id of the signal that an entry has taken."""
    signal = taken_signal(entry.value) if entry.call in ("wait", "first") else None
    return None if signal is None else signal.id


def _is_failure(entry: LedgerEntry) -> bool:
    return entry.error is not None or entry.timed_out or entry.call == TRY
