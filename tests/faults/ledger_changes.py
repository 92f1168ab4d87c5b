"""The rules that MongoDB's own log of the ledgers must never show broken. Pure.

Within one edition an entry is only added, completed if it was open, or moved unchanged into a part. Each change is that
of the attempt that has opened the ledger; an attempt behind whose open another has opened it changes nothing more. A
signal leaves the inbox only in the change that keeps it as an entry. A new edition drops failures alone.
"""

import copy
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from acked_common.model.ledger import TRY
from acked_common.store.mongo.ledger_documents import (
    ATTEMPT,
    BY,
    EDITION,
    ENTRIES,
    ENTRY_NAMES,
    INBOX,
    OPEN,
    PART,
    SEQ,
    SIGNAL_ID,
    known_signal,
)

Document = Mapping[str, Any]
Whole = Callable[[Document], Document]
"""Returns an entry whole, also one of which the ledger has a stub."""
WRITER, VALUE, CALL = ENTRY_NAMES["by"], ENTRY_NAMES["value"], ENTRY_NAMES["call"]
_FAILURES = (ENTRY_NAMES["error"], ENTRY_NAMES["timed_out"])


def updated(before: Document, description: Document) -> dict[str, Any]:
    """Return a document after an update, from the `updateDescription` of a change stream."""
    after = copy.deepcopy(dict(before))
    for one in description.get("truncatedArrays") or ():
        holder, last = _place(after, one["field"])
        del holder[last][one["newSize"] :]
    for path, value in description.get("updatedFields", {}).items():
        holder, last = _place(after, path)
        if isinstance(holder, list) and last == len(holder):
            holder.append(value)
        else:
            holder[last] = value
    for path in description.get("removedFields", ()):
        holder, last = _place(after, path)
        del holder[last]
    return after


def _place(document: dict[str, Any], path: str) -> tuple[Any, Any]:
    holder: Any = document
    *above, last = path.split(".")
    for name in above:
        holder = holder[int(name)] if isinstance(holder, list) else holder.setdefault(name, {})
    return holder, int(last) if isinstance(holder, list) else last


def breaches(before: Document, after: Document, whole: Whole) -> Iterator[str]:
    """Yield what one change of a ledger does that no change may do. `before` is empty for a new ledger."""
    was, now = before.get(ENTRIES, {}), after.get(ENTRIES, {})
    written = {name for name in now if name not in was or now[name] != was[name]}
    if (edition := before.get(EDITION, after[EDITION])) != after[EDITION]:
        yield from _new_edition(edition, after[EDITION], was, now, whole)
        return
    for name in sorted(was.keys() - now.keys()):
        yield f"entry {name} has left the ledger within edition {edition}"
    for name in sorted(written & was.keys()):
        if was[name].get(OPEN):
            if now[name].get(OPEN) or now[name][SEQ] != was[name][SEQ]:
                yield f"open entry {name} was changed and not completed"
        elif whole(now[name]) == whole(was[name]) and PART in now[name]:
            written.discard(name)
        else:
            yield f"kept entry {name} was changed"
    for name in sorted(written):
        writer = whole(now[name]).get(WRITER)
        if writer != after.get(BY):
            yield f"entry {name} is of {writer}, while {after.get(BY)} has the ledger"
    # The first write of a first attempt makes the ledger.
    if before.get(BY) != after.get(BY) and len(written) > (0 if before else 1):
        yield f"the open by {after.get(BY)} has written {len(written)} entries"
    yield from _taken(before, after, [whole(now[name]) for name in sorted(written)])


def _new_edition(edition: int, after: int, was: Document, now: Document, whole: Whole) -> Iterator[str]:
    if after != edition + 1:
        yield f"edition {after} follows edition {edition}"
    for name in sorted(now):
        if now[name] != was.get(name):
            yield f"a new edition has changed entry {name}"
    for name in sorted(was.keys() - now.keys()):
        entry = whole(was[name])
        if entry[CALL] != TRY and not any(failure in entry for failure in _FAILURES):
            yield f"a new edition has dropped entry {name}, which is no failure"


def _taken(before: Document, after: Document, written: list[Document]) -> Iterator[str]:
    left = Counter(_id(one) for one in before.get(INBOX, ()))
    left -= Counter(_id(one) for one in after.get(INBOX, ()))
    held = [_held(entry.get(VALUE)) for entry in written]
    kept = {one for signal in held if signal is not None for one in (signal, bytes(known_signal(signal)))}
    for signal in sorted(map(str, left.keys() - kept)):
        yield f"signal {signal} has left the inbox, and no entry of the same change holds it"


def _id(signal: Document) -> str | bytes:
    found: str | bytes = signal[SIGNAL_ID]
    return found


def _held(value: bytes | None) -> str | None:
    """Return the id of the signal in the value of a wait or a race."""
    found = json.loads(value or b"null")
    signal = (found.get("signal") or found) if isinstance(found, dict) else {}
    return signal.get("id") if isinstance(signal, dict) else None


class LedgerHistory:
    """All ledgers as a change stream shows them, and each breach that it has shown."""

    def __init__(self, whole: Callable[[Any, Document], Document]) -> None:
        """`whole` returns an entry of a ledger, named by its id, whole."""
        self._whole = whole
        self._replaced: defaultdict[Any, set[Any]] = defaultdict(set)
        self.ledgers: dict[Any, dict[str, Any]] = {}
        self.wrong: list[str] = []
        self.written = 0
        """Entries that were added or completed."""
        self.opened = 0

    def take(self, change: Document) -> None:
        """Take the next event of the stream. An event that raises changes nothing, and may be given again."""
        job_id, what = change["documentKey"]["_id"], change["operationType"]
        if what == "delete":
            self.ledgers.pop(job_id, None)
            return
        before: Document = self.ledgers.get(job_id, {})
        if what == "update":
            if not before:
                # A ledger of before the beginning: what it was is not known.
                return
            after = updated(before, change["updateDescription"])
        else:
            after = dict(change["fullDocument"])
        found = list(breaches(before, after, lambda entry: self._whole(job_id, entry)))
        opened = list(self._opens(job_id, before, after))
        entries, earlier = after.get(ENTRIES, {}), before.get(ENTRIES, {})
        self.ledgers[job_id] = after
        self.written += sum(entry != earlier.get(name) for name, entry in entries.items())
        self.wrong += [f"{job_id}: {text}" for text in (*found, *opened)]
        if before.get(BY) != after.get(BY):
            self.opened += 1
            self._replaced[job_id].add(before.get(BY))

    def _opens(self, job_id: Any, before: Document, after: Document) -> Iterator[str]:
        if before.get(BY) == after.get(BY):
            return
        if after.get(BY) in self._replaced[job_id]:
            yield f"{after.get(BY)} has opened the ledger again, behind another attempt"
        if after[ATTEMPT] <= before.get(ATTEMPT, 0):
            yield f"attempt {after[ATTEMPT]} has opened the ledger behind attempt {before.get(ATTEMPT)}"
