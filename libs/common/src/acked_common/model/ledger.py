"""OWNER of the ledger of a job: the recorded outcomes of its durable calls, its inbox of signals, and its fence. Pure.

A job that makes a durable call, or receives a signal, has one ledger. Each attempt opens it once, under the nonce of
its claim, and writes under that nonce. So a later attempt fences an earlier one. `ledger_rules` has the rule of each
write; a store applies it as one compare-and-set on one document.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

from msgspec import Struct
from msgspec.structs import force_setattr

MAX_ENTRIES = 10_000
"""The maximum of entries of a ledger."""
MAX_BYTES = 16 * 1024 * 1024
"""The maximum of bytes that may be written to a ledger, by `ledger_rules.entry_bytes`."""
MAX_VALUE_BYTES = 1024 * 1024
"""The maximum size of one stored value."""
MAX_ERROR_CHARS = 4000
"""The maximum length of the message of a stored error."""
MAX_UNREAD = 1000
"""The maximum of signals in an inbox."""
MAX_UNREAD_BYTES = 1024 * 1024
"""The maximum size of all signals in an inbox, by `ledger_rules.signal_bytes`."""
MAX_SIGNAL_BYTES = 64 * 1024
"""The maximum size of the value of one signal."""
READ_IDS_KEPT = 1000
"""The newest ids of read signals, which a ledger remembers. A repetition of an older one is a new signal."""
DIGEST = re.compile(r"[0-9a-f]{32}")
"""The form of an entry's digest: 16 bytes in hexadecimal."""
MAX_EARLY_ENDS = 1000
"""The maximum of waits of a job that operators end early."""
TRY = "try"
"""The call of an entry that keeps when a failed step is tried again; it is no progress."""

NO_ENTRIES: "Mapping[str, LedgerEntry]" = MappingProxyType({})
NO_EARLY_ENDS: Mapping[str, datetime] = MappingProxyType({})


class EntryError(Struct, frozen=True):
    """The error of a step that failed permanently. Long messages are cut, and invalid Unicode is replaced."""

    type: str
    message: str

    def __post_init__(self) -> None:
        for name in ("type", "message"):
            text = getattr(self, name)
            if len(text) > MAX_ERROR_CHARS:
                text = text[: MAX_ERROR_CHARS - 1] + "…"
            force_setattr(self, name, text.encode("utf-8", "replace").decode())


class LedgerEntry(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The recorded outcome of one durable call. While `is_open`, the call has begun and has no outcome.

    `acked.durable.port.Kept` has the same fields on purpose, without `seq` and `by`: handlers depend on no other
    package of Acked. The worker maps one to the other, and refuses to start if their fields differ.
    """

    call: str
    """A `acked.durable.Call`, or a call of a newer version."""
    name: str
    key: str | None = None
    """The key as JSON text."""
    at: datetime
    took_s: float = 0.0
    attempt: int = 0
    tries: int = 1
    arguments: str | None = None
    """The digest of a step's arguments."""
    value: bytes | None = None
    """A JSON text."""
    error: EntryError | None = None
    due_at: datetime | None = None
    """The end of a sleep, of a wait, or of the delay of a try."""
    is_open: bool = False
    timed_out: bool = False
    cancelled: bool = False
    version: int = 1
    seq: int
    """The order of entries: one above `JobLedger.seq`. An entry that completes another has the number of that one."""
    by: str
    """The nonce of the claim whose attempt wrote the entry."""


class Signal(Struct, frozen=True):
    """A signal of an inbox; `value` is a JSON text. `seq` counts the signals of its job from 1."""

    id: str
    name: str
    value: bytes
    at: datetime
    by: str | None = None
    """The client that sent it."""
    seq: int = 0


class JobLedger(Struct, frozen=True, kw_only=True):
    """The ledger of a job. A signal may make it before any attempt opens it: then `attempt` is 0 and `by` is None."""

    id: UUID
    """The id of the job."""
    tenant: str
    edition: int = 1
    """Within one edition an entry is only added, or completed if it was open."""
    run: int = 0
    """The run of the job whose attempt opened the ledger last."""
    attempt: int = 0
    by: str | None = None
    """The nonce of the claim whose attempt opened the ledger last."""
    began_with: str | None = None
    """The version of the kind at the first open."""
    entries: Mapping[str, LedgerEntry] = NO_ENTRIES
    """By the digest of the identity of the call."""
    size_bytes: int = 0
    """The bytes that were written to the ledger in this edition."""
    progressed_at_failures: int = 0
    """The failures of the job's run when the newest outcome was recorded."""
    progressed_at_crashes: int = 0
    """The crashes of the job's run then."""
    inbox: tuple[Signal, ...] = ()
    """Unread signals, oldest first."""
    in_seq: int = 0
    """The number of signals ever received."""
    read_ids: tuple[str, ...] = ()
    """`ledger_rules.known_id` of the newest signals that were read."""
    pending: int | None = None
    """The `in_seq` of the newest signal that its sender has not announced to the job."""
    pending_names: tuple[str, ...] = ()
    """The names of all signals that may not be announced yet, in order: also those of senders that died."""
    ended_early: Mapping[str, datetime] = NO_EARLY_ENDS
    """The sleeps and delays of tries that an operator ended, by the digest of their entry, and when. The entries
    themselves stay as they are."""

    @property
    def seq(self) -> int:
        """The highest number of an entry."""
        return max((entry.seq for entry in self.entries.values()), default=0)


class Opening(Struct, frozen=True):
    """The open of a ledger by an attempt, which owns its job by the claim with this nonce."""

    id: UUID
    """The id of the job."""
    tenant: str
    run: int
    attempt: int
    nonce: str
    version: str
    """The version of the kind."""


class LedgerWrite(Struct, frozen=True):
    """One entry to keep. `entry.by` is the nonce under which the ledger was opened."""

    id: UUID
    """The id of the job."""
    digest: str
    entry: LedgerEntry
    failures: int = 0
    """The failures of the job's run."""
    crashes: int = 0
    """The crashes of the job's run."""
    completes: bool = False
    """Whether the ledger has this entry as open, so that it is replaced."""
    takes: str | None = None
    """The id of the signal that leaves the inbox in the same write."""
    opens: Opening | None = None
    """The open that this write does too, if the job has no ledger: it is the first write of a first attempt."""

    def __post_init__(self) -> None:
        if self.opens is not None and (self.completes or self.takes is not None):
            raise ValueError("a write that opens a ledger completes no entry and takes no signal")
        if DIGEST.fullmatch(self.digest) is None:
            raise ValueError(f"{self.digest!r} is no digest of a durable call")
        if self.entry.value is not None and len(self.entry.value) > MAX_VALUE_BYTES:
            raise ValueError(f"a kept value has at most {MAX_VALUE_BYTES:,} bytes")


class SignalPush(Struct, frozen=True):
    """A signal for a job; the ledger gives its number."""

    id: UUID
    """The id of the job."""
    tenant: str
    signal: Signal


class PendingSignals(Struct, frozen=True):
    """Signals of a job, up to the number `in_seq`, that must be announced to it."""

    id: UUID
    """The id of the job."""
    in_seq: int
    names: tuple[str, ...]
    """Their names; `lifecycle_waits.ANY_SIGNAL` stands for all names."""


class Fenced(Struct, frozen=True):
    """The write is refused: another attempt has opened the ledger, or the attempt no longer owns its job."""

    attempt: int = 0
    """The attempt that opened the ledger; 0 for none."""


class AlreadyKept(Struct, frozen=True):
    """The write is refused, because the ledger has an entry of this digest that was not written by this write."""

    entry: LedgerEntry


class SignalGone(Struct, frozen=True):
    """The write is refused, because the signal that it takes is not in the inbox."""

    id: str


class LedgerFull(Struct, frozen=True):
    """The write is refused, because a limit of the ledger is reached; `limit` names it for people."""

    limit: str


class Repeated(Struct, frozen=True):
    """A signal of this id was received before; `signal` is that one while it is unread."""

    signal: Signal | None


class InboxFull(Struct, frozen=True):
    """The signal is refused, because a limit of the inbox is reached; `limit` names it for people."""

    limit: str
