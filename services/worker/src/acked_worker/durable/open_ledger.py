"""The ledger of one running attempt, as its worker knows it. Pure.

The worker gives each entry its number, so that a repeated write is known as the same, and remembers which entries are
open, so that a later write completes them.
"""

from acked.durable.port import Write
from acked_common.model.ledger import JobLedger, LedgerEntry, LedgerWrite, Opening
from acked_common.model.ledger_rules import is_progress
from acked_worker.consume.in_flight import InFlight
from acked_worker.durable.mapping import entry_of


class OpenLedger:
    """What an attempt has opened. The progress in its `InFlight` follows the ledger."""

    __slots__ = ("_open", "_seq", "held")

    def __init__(self, held: InFlight) -> None:
        """Without `read`, the ledger is empty."""
        self.held = held
        self._seq = 0
        self._open: dict[str, int] = {}
        """The numbers of the open entries, by digest."""
        held.progressed_at_failures = 0

    def read(self, ledger: JobLedger) -> None:
        """Record the ledger as the attempt has opened it. No number that was given before is given again."""
        self._seq = max(self._seq, ledger.seq)
        self._open |= {digest: entry.seq for digest, entry in ledger.entries.items() if entry.is_open}
        self.held.progressed_at_failures = ledger.progressed_at_failures
        self.held.progressed_at_crashes = ledger.progressed_at_crashes

    def bind(self, write: Write, opens: Opening | None = None) -> LedgerWrite:
        """Return the write to the ledger of one outcome, which also `opens` it. A write that completes an entry has its
        number."""
        completes = write.digest in self._open
        if completes:
            seq = self._open[write.digest]
        else:
            self._seq += 1
            seq = self._seq
        job = self.held.job
        return LedgerWrite(
            job.id,
            write.digest,
            entry_of(write.kept, seq=seq, by=job.nonce),
            failures=job.failures,
            crashes=job.crashes,
            completes=completes,
            takes=write.takes,
            opens=opens,
        )

    def note(self, digest: str, entry: LedgerEntry, *, is_ours: bool) -> None:
        """Record what the ledger has now; `is_ours`: this attempt has written it."""
        if entry.is_open:
            self._open[digest] = entry.seq
        else:
            self._open.pop(digest, None)
        if is_ours and is_progress(entry):
            self.held.progressed_at_failures = self.held.job.failures
            self.held.progressed_at_crashes = self.held.job.crashes
