"""OWNER of the rules of the ledger: what each write does, and when it is refused. Pure.

Each function is the rule of one compare-and-set. A store that can't run it in one step must give the same results.
A write that is repeated, because its outcome was unknown, changes nothing and succeeds.
"""

from collections.abc import Mapping
from datetime import datetime
from hashlib import blake2b
from types import MappingProxyType

from msgspec.structs import replace

from acked_common.model.instants import whole_ms
from acked_common.model.ledger import (
    MAX_BYTES,
    MAX_EARLY_ENDS,
    MAX_ENTRIES,
    MAX_SIGNAL_BYTES,
    MAX_UNREAD,
    MAX_UNREAD_BYTES,
    READ_IDS_KEPT,
    TRY,
    AlreadyKept,
    Fenced,
    InboxFull,
    JobLedger,
    LedgerEntry,
    LedgerFull,
    LedgerWrite,
    Opening,
    PendingSignals,
    Repeated,
    Signal,
    SignalGone,
    SignalPush,
)
from acked_common.model.lifecycle_waits import ANY_SIGNAL, ENDABLE, MOST_NAMES, Waits

_ENTRY_BYTES = 200
_SIGNAL_BYTES = 100
_KNOWN_ID_BYTES = 12
_WARNED_SHARE = 0.8


def entry_bytes(entry: LedgerEntry) -> int:
    """Return the bytes that an entry counts in its ledger: its texts, and a fixed number for the rest."""
    error = entry.error
    # Counted twice for each step, so it makes no generator.
    size = _ENTRY_BYTES + len(entry.value or b"") + len(entry.name.encode())
    if entry.key is not None:
        size += len(entry.key.encode())
    return size if error is None else size + len(error.type.encode()) + len(error.message.encode())


def signal_bytes(signal: Signal) -> int:
    """Return the bytes that a signal counts in an inbox."""
    return (
        _SIGNAL_BYTES
        + len(signal.value)
        + sum(len(text.encode()) for text in (signal.id, signal.name, signal.by or ""))
    )


def known_id(signal_id: str) -> str:
    """Return the short form in which a ledger remembers the id of a signal that was read."""
    return blake2b(signal_id.encode(), digest_size=_KNOWN_ID_BYTES).hexdigest()


def is_progress(entry: LedgerEntry) -> bool:
    """Return whether an entry is progress of its job: a recorded outcome, not a begun call or a failed try."""
    return not entry.is_open and entry.call != TRY


def nearly_full(ledger: JobLedger) -> str | None:
    """Return a sentence about a limit that the ledger has nearly reached; None if it is far from all."""
    return near_limit(len(ledger.entries), ledger.size_bytes, len(ledger.inbox), sum(map(signal_bytes, ledger.inbox)))


def near_limit(entries: int, size_bytes: int, unread: int, unread_bytes: int) -> str | None:
    """Return the same from the figures of a ledger."""
    if entries >= MAX_ENTRIES * _WARNED_SHARE:
        return f"its ledger has {entries:,} of at most {MAX_ENTRIES:,} entries"
    if size_bytes >= MAX_BYTES * _WARNED_SHARE:
        return f"its ledger has {size_bytes:,} of at most {MAX_BYTES:,} bytes"
    if unread >= MAX_UNREAD * _WARNED_SHARE:
        return f"{unread:,} of at most {MAX_UNREAD:,} signals are unread"
    if unread_bytes >= MAX_UNREAD_BYTES * _WARNED_SHARE:
        return f"unread signals have {unread_bytes:,} of at most {MAX_UNREAD_BYTES:,} bytes"
    return None


def opened(ledger: JobLedger | None, opening: Opening, *, owns: bool = False) -> JobLedger | Fenced:
    """Open the ledger for an attempt. The first attempt of a new run drops errors and time-outs (`retried`).

    A ledger that a later attempt opened is ahead of its job: the attempt is stale, or the jobs were restored from a
    backup. `owns`: the job was read after the ledger, and this attempt owns it; then the ledger is
    taken over.
    """
    if ledger is None:
        ledger = JobLedger(id=opening.id, tenant=opening.tenant)
    elif ledger.by == opening.nonce:
        return ledger
    elif ledger.attempt >= opening.attempt and not owns:
        return Fenced(ledger.attempt)
    elif ledger.run not in (0, opening.run):
        ledger = retried(ledger)
    return replace(
        ledger,
        run=opening.run,
        attempt=opening.attempt,
        by=opening.nonce,
        began_with=opening.version if ledger.began_with is None else ledger.began_with,
    )


def written(ledger: JobLedger | None, write: LedgerWrite) -> JobLedger | Fenced | AlreadyKept | SignalGone | LedgerFull:
    """Keep one entry under the nonce that is its `by`."""
    entry, nonce = write.entry, write.entry.by
    if ledger is None or ledger.by != nonce:
        return Fenced(0 if ledger is None else ledger.attempt)
    kept = ledger.entries.get(write.digest)
    if kept is not None and kept.by == nonce and (kept.seq, kept.is_open) == (entry.seq, entry.is_open):
        return ledger
    if kept is not None and not (write.completes and kept.is_open):
        return AlreadyKept(kept)
    if kept is None and write.completes:
        # The open entry is lost, as after a restored backup. The next attempt goes on from what is there.
        return Fenced(ledger.attempt)
    if kept is None and len(ledger.entries) >= MAX_ENTRIES:
        return LedgerFull(f"a job keeps at most {MAX_ENTRIES:,} durable calls")
    size_bytes = ledger.size_bytes + entry_bytes(entry)
    if size_bytes > MAX_BYTES:
        return LedgerFull(f"a job keeps at most {MAX_BYTES:,} bytes of results")
    inbox, read_ids = ledger.inbox, ledger.read_ids
    if write.takes is not None:
        inbox = tuple(signal for signal in inbox if signal.id != write.takes)
        if len(inbox) == len(ledger.inbox):
            return SignalGone(write.takes)
        read_ids = (*read_ids, known_id(write.takes))[-READ_IDS_KEPT:]
    return replace(
        ledger,
        entries=MappingProxyType({**ledger.entries, write.digest: entry}),
        size_bytes=size_bytes,
        progressed_at_failures=write.failures if is_progress(entry) else ledger.progressed_at_failures,
        progressed_at_crashes=write.crashes if is_progress(entry) else ledger.progressed_at_crashes,
        inbox=inbox,
        read_ids=read_ids,
    )


def pushed(ledger: JobLedger | None, push: SignalPush) -> JobLedger | Repeated | InboxFull:
    """Put a signal into the inbox under the next number, and mark it as not announced."""
    signal = push.signal
    if len(signal.value) > MAX_SIGNAL_BYTES:
        return InboxFull(f"the value of a signal has at most {MAX_SIGNAL_BYTES:,} bytes")
    if ledger is None:
        ledger = JobLedger(id=push.id, tenant=push.tenant)
    for unread in ledger.inbox:
        if unread.id == signal.id:
            return Repeated(unread)
    if known_id(signal.id) in ledger.read_ids:
        return Repeated(None)
    if len(ledger.inbox) >= MAX_UNREAD:
        return InboxFull(f"a job has at most {MAX_UNREAD:,} unread signals")
    if sum(map(signal_bytes, ledger.inbox)) + signal_bytes(signal) > MAX_UNREAD_BYTES:
        return InboxFull(f"the unread signals of a job have at most {MAX_UNREAD_BYTES:,} bytes")
    in_seq = ledger.in_seq + 1
    names = {*ledger.pending_names, signal.name}
    return replace(
        ledger,
        inbox=(*ledger.inbox, replace(signal, seq=in_seq)),
        in_seq=in_seq,
        pending=in_seq,
        pending_names=tuple(sorted(names)) if len(names) <= MOST_NAMES else (ANY_SIGNAL,),
    )


def announced(ledger: JobLedger, in_seq: int) -> JobLedger:
    """Unset the mark of a signal that was announced to its job, unless a newer signal has set it again."""
    return replace(ledger, pending=None, pending_names=()) if ledger.pending == in_seq else ledger


def pending_of(ledger: JobLedger) -> PendingSignals | None:
    """Return what must be announced to the job of a ledger; None if all is."""
    return None if ledger.pending is None else PendingSignals(ledger.id, ledger.pending, ledger.pending_names)


def ended_early(ledger: JobLedger | None, waits: Waits, at: datetime) -> JobLedger | LedgerFull | None:
    """End the wait for which a job is parked, as of `at`. Return None if the ledger has no such wait.

    `waits` names no key. So all sleeps, or delays of tries, of its name end that end at its instant. Others wait on.
    A wait that was ended before retains its instant.
    """
    ends = [digest for digest, entry in ledger.entries.items() if is_ended_by(entry, waits)] if ledger else []
    if ledger is None or not ends:
        return None
    early = {**dict.fromkeys(ends, at), **ledger.ended_early}
    if len(early) > MAX_EARLY_ENDS:
        return LedgerFull(f"at most {MAX_EARLY_ENDS:,} waits of a job are ended early")
    return replace(ledger, ended_early=MappingProxyType(early))


def is_ended_by(entry: LedgerEntry, waits: Waits) -> bool:
    """Return whether an entry is a wait for which a job is parked, and that only an instant ends."""
    if entry.due_at is None or waits.until_at is None or waits.call not in ENDABLE:
        return False
    # Stores keep instants in milliseconds.
    is_due_then = whole_ms(entry.due_at) == whole_ms(waits.until_at)
    return is_due_then and (entry.call, entry.name) == (waits.call, waits.name)


def replayed(ledger: JobLedger) -> Mapping[str, LedgerEntry]:
    """Return the entries as a replay sees them: a wait that was ended early has ended when it began.

    That is in the past of every later attempt, whatever its clock. So the replay never waits for it again.
    """
    early = ledger.ended_early
    if not early:
        return ledger.entries
    return {
        digest: replace(entry, due_at=entry.at) if digest in early else entry
        for digest, entry in ledger.entries.items()
    }


def retried(ledger: JobLedger) -> JobLedger:
    """Begin a new edition for a new run: errors, time-outs and delays of tries go, so that their calls run again.

    The early end of a delay goes with it: the next run may delay the same try anew.
    """
    entries = {digest: entry for digest, entry in ledger.entries.items() if not _is_failure(entry)}
    early = {digest: at for digest, at in ledger.ended_early.items() if digest in entries}
    return replace(
        ledger,
        edition=ledger.edition + 1,
        entries=MappingProxyType(entries),
        size_bytes=total_bytes(entries),
        progressed_at_failures=0,
        progressed_at_crashes=0,
        ended_early=MappingProxyType(early),
    )


def total_bytes(entries: Mapping[str, LedgerEntry]) -> int:
    """Return the bytes of all entries."""
    return sum(map(entry_bytes, entries.values()))


def _is_failure(entry: LedgerEntry) -> bool:
    return entry.error is not None or entry.timed_out or entry.call == TRY
