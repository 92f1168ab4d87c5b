"""Translate between the records of a handler's durable calls and the entries of a ledger. Pure.

The fields of both are derived from the structs, so a field that one side lacks fails at import.
"""

from collections.abc import Mapping, Sequence
from operator import attrgetter

from msgspec import Struct

from acked.durable.port import Call, InboxSignal, Kept, KeptError, Opened
from acked_common.model.ledger import EntryError, JobLedger, LedgerEntry, Signal
from acked_common.model.ledger_rules import replayed

_OF_STORE = {"seq", "by"}
"""Fields of an entry that handlers do not see."""


def _shared(kept: type[Struct], stored: type[Struct], *, own: set[str]) -> tuple[str, ...]:
    names = set(kept.__struct_fields__)
    if names != set(stored.__struct_fields__) - own:
        raise TypeError(
            f"{kept.__name__} and {stored.__name__} differ in {names ^ set(stored.__struct_fields__) - own}"
        )
    return kept.__struct_fields__


_KEPT = tuple(name for name in _shared(Kept, LedgerEntry, own=_OF_STORE) if name not in ("call", "error"))
_SIGNAL = _shared(InboxSignal, Signal, own=set())
_ERROR = _shared(KeptError, EntryError, own=set())


_kept_values, _signal_values, _error_values = (attrgetter(*names) for names in (_KEPT, _SIGNAL, _ERROR))


def entry_of(kept: Kept, *, seq: int, by: str) -> LedgerEntry:
    """Return the entry that stores an outcome, written under the nonce `by`."""
    error = None if kept.error is None else EntryError(*_error_values(kept.error))
    return LedgerEntry(
        call=kept.call.value, error=error, seq=seq, by=by, **dict(zip(_KEPT, _kept_values(kept), strict=True))
    )


def kept_of(entry: LedgerEntry) -> Kept:
    """Return the outcome that an entry stores. Raise `ValueError` for a call of a newer version."""
    error = None if entry.error is None else KeptError(*_error_values(entry.error))
    return Kept(call=Call(entry.call), error=error, **dict(zip(_KEPT, _kept_values(entry), strict=True)))


def signals_of(inbox: Sequence[Signal]) -> tuple[InboxSignal, ...]:
    """Return the unread signals of an inbox, oldest first."""
    return tuple(InboxSignal(**dict(zip(_SIGNAL, _signal_values(signal), strict=True))) for signal in inbox)


def opened_of(ledger: JobLedger, version: str) -> Opened:
    """Return what an attempt reads when it opens its ledger; `version` is that of the kind."""
    kept: Mapping[str, Kept] = {digest: kept_of(entry) for digest, entry in replayed(ledger).items()}
    return Opened(kept, signals_of(ledger.inbox), ledger.in_seq, ledger.began_with or version)
