"""The documents of ledgers and their parts, and the commands that change them. Pure: no driver, no I/O.

A ledger's document stays below 1 MiB in any case. It contains the first entries and small signals. All others
are parts of their own: the document then has a stub with the last bytes of the part's id. The id is a hash of the part,
so a part that is inserted again is the same, and the part of a stale attempt is never another's. It begins with the id
of the job, so a range of ids is all parts of a job, also those that no ledger refers to.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from operator import attrgetter
from types import MappingProxyType
from typing import Any, TypeVar
from uuid import UUID

import bson
from bson.binary import Binary
from msgspec import Struct
from msgspec.structs import fields as struct_fields

from acked_common.model.ledger import (
    MAX_BYTES,
    MAX_ENTRIES,
    READ_IDS_KEPT,
    EntryError,
    JobLedger,
    LedgerEntry,
    LedgerWrite,
    Opening,
    PendingSignals,
    Signal,
)
from acked_common.model.ledger_rules import entry_bytes, is_progress, known_id
from acked_common.model.lifecycle_waits import ANY_SIGNAL, MOST_NAMES, Waits
from acked_common.store.ledgers import LOOKED_AT_AFTER
from acked_common.store.mongo.documents import Document
from acked_common.store.mongo.field_names import DELETE_AT

INLINE_TIERS = ((128, 1280), (384, 256))
"""An entry up to this number is stored inside the document, if it has at most so many bytes."""
INLINE_SIGNAL_BYTES = 192
"""A signal is stored inside the document, if it has at most so many bytes."""
TAIL_BYTES = 16
_TAILS = (b"\0" * TAIL_BYTES, b"\xff" * TAIL_BYTES)

TENANT, EDITION, RUN, ATTEMPT, BY, BEGAN_WITH = "t", "ed", "r", "a", "by", "v"
ENTRIES, COUNT, SIZE, PROGRESSED, PROGRESSED_CRASHES = "e", "c", "y", "p", "pc"
INBOX, IN_SEQ, READ_IDS, PENDING, LOOK_AT = "in", "q", "ids", "pend", "look_at"
PENDING_NAMES, PENDING_AT = "pend_n", "pend_at"
ENDED_EARLY = "early"

ENTRY_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "call": "c",
        "name": "n",
        "key": "k",
        "at": "at",
        "took_s": "t",
        "attempt": "a",
        "tries": "i",
        "arguments": "g",
        "value": "x",
        "error": "f",
        "due_at": "d",
        "is_open": "o",
        "timed_out": "z",
        "cancelled": "u",
        "version": "v",
        "seq": "s",
        "by": "b",
    }
)
"""The names of an entry's fields in documents. A document has at most 10,000 entries, so they are short."""
SIGNAL_NAMES: Mapping[str, str] = MappingProxyType(
    {"id": "i", "name": "n", "value": "x", "at": "at", "by": "b", "seq": "q"}
)
PART = "p"
"""In a stub: the last bytes of the part's id."""
OPEN, SEQ = ENTRY_NAMES["is_open"], ENTRY_NAMES["seq"]
SIGNAL_ID, SIGNAL_SEQ, WEIGHT = SIGNAL_NAMES["id"], SIGNAL_NAMES["seq"], "w"
BODY = "e"
"""In a part: the entry or the signal."""

_DEFAULTS = {struct: {field.name: field.default for field in struct_fields(struct)} for struct in (LedgerEntry, Signal)}
_PACKED = {
    struct: (attrgetter(*names), tuple(_DEFAULTS[struct][name] for name in names))
    for struct, names in ((LedgerEntry, ENTRY_NAMES), (Signal, SIGNAL_NAMES))
}
"""Reads all fields of a record at once, and their defaults, in the order of the names."""
S = TypeVar("S", LedgerEntry, Signal)


class Stored(Struct, frozen=True):
    """A value as a ledger's document stores it: whole, or a stub and the part that it refers to."""

    inside: Document
    part: Document | None = None


@lru_cache(maxsize=4096)
def entry_name(digest: str) -> str:
    """Return the name of an entry's field; no character of it has a meaning to MongoDB."""
    return urlsafe_b64encode(bytes.fromhex(digest)).decode()[:22]


def digest_from(name: str) -> str:
    """Return the digest of an entry from the name of its field."""
    return urlsafe_b64decode(name + "==").hex()


def _packed(value: LedgerEntry | Signal, names: Mapping[str, str]) -> Document:
    values, defaults = _PACKED[type(value)]
    document: Document = {}
    for stored, default, found in zip(names.values(), defaults, values(value), strict=True):
        if found is default or found == default:
            continue
        if isinstance(found, EntryError):
            document[stored] = {"t": found.type, "m": found.message}
        else:
            document[stored] = Binary(found) if isinstance(found, bytes) else found
    return document


def _unpacked(struct: type[S], document: Mapping[str, Any], names: Mapping[str, str]) -> S:
    found = {name: document[stored] for name, stored in names.items() if stored in document}
    if struct is Signal:
        # A read for a list leaves it away.
        found.setdefault("value", b"")
    if isinstance(found.get("value"), bytes):
        found["value"] = bytes(found["value"])
    if "error" in found:
        found["error"] = EntryError(found["error"]["t"], found["error"]["m"])
    return struct(**found)


def stored_entry(job_id: UUID, digest: str, entry: LedgerEntry) -> Stored:
    """Return an entry as its document stores it."""
    whole = _packed(entry, ENTRY_NAMES)
    body = bson.encode(whole)
    if any(entry.seq <= seq and len(body) <= size for seq, size in INLINE_TIERS):
        return Stored(whole)
    tail = _tail(b"entry", bytes.fromhex(digest), body)
    stub: Document = {SEQ: entry.seq, PART: Binary(tail)}
    if entry.is_open:
        stub[OPEN] = True
    return Stored(stub, {"_id": part_id(job_id, tail), BODY: whole})


def stored_signal(job_id: UUID, signal: Signal, weight: int) -> Stored:
    """Return a signal as its document stores it, without its number, which the ledger gives."""
    whole = {**_packed(signal, SIGNAL_NAMES), WEIGHT: weight}
    body = bson.encode(whole)
    if len(body) <= INLINE_SIGNAL_BYTES:
        return Stored(whole)
    tail = _tail(b"signal", body)
    return Stored(
        {SIGNAL_ID: known_signal(signal.id), PART: Binary(tail), WEIGHT: weight},
        {"_id": part_id(job_id, tail), BODY: whole},
    )


def known_signal(signal_id: str) -> Binary:
    """Return the short form of a signal's id in stubs and among the ids that were read."""
    return Binary(bytes.fromhex(known_id(signal_id)))


def _tail(*parts: bytes) -> bytes:
    return blake2b(b"\0".join(parts), digest_size=TAIL_BYTES).digest()


def part_id(job_id: UUID, tail: bytes) -> Binary:
    """Return the id of a part."""
    return Binary(job_id.bytes + bytes(tail))


def parts_of(job_id: UUID) -> Document:
    """Return the criteria of all parts of a job."""
    lowest, highest = (part_id(job_id, tail) for tail in _TAILS)
    return {"_id": {"$gte": lowest, "$lte": highest}}


def referred_parts(documents: Iterable[Mapping[str, Any]]) -> list[Binary]:
    """Return the ids of all parts to which ledgers refer."""
    return [
        part_id(document["_id"], one[PART])
        for document in documents
        for one in (*document.get(ENTRIES, {}).values(), *document.get(INBOX, ()))
        if PART in one
    ]


def parts_of_wait(ids: Iterable[bytes], waits: Waits) -> Document:
    """Return the criteria of those of these parts that are entries of a wait, as `ledger_rules.is_ended_by` has it."""
    fields = {"call": waits.call, "name": waits.name, "due_at": waits.until_at}
    return {"_id": {"$in": list(map(Binary, ids))}, **{f"{BODY}.{ENTRY_NAMES[name]}": v for name, v in fields.items()}}


Parts = Mapping[bytes, Mapping[str, Any]]
"""The entry or signal of each part, by the bytes of its id."""


def ledger_from(document: Mapping[str, Any], parts: Parts) -> JobLedger:
    """Return a ledger from its document and the parts to which that refers."""
    get, job_id = document.get, document["_id"]
    return JobLedger(
        id=job_id,
        tenant=document[TENANT],
        edition=document[EDITION],
        run=document[RUN],
        attempt=document[ATTEMPT],
        by=get(BY),
        began_with=get(BEGAN_WITH),
        entries=MappingProxyType(
            {digest_from(name): entry_from(job_id, one, parts) for name, one in get(ENTRIES, {}).items()}
        ),
        size_bytes=document[SIZE],
        progressed_at_failures=get(PROGRESSED, 0),
        progressed_at_crashes=get(PROGRESSED_CRASHES, 0),
        inbox=signals_from(document, parts),
        in_seq=get(IN_SEQ, 0),
        read_ids=tuple(bytes(one).hex() for one in get(READ_IDS, ())),
        pending=get(PENDING),
        pending_names=tuple(sorted(get(PENDING_NAMES, ()))),
        ended_early=MappingProxyType({digest_from(name): at for name, at in get(ENDED_EARLY, {}).items()}),
    )


def entry_from(job_id: UUID, document: Mapping[str, Any], parts: Parts) -> LedgerEntry:
    """Return an entry from its place in a ledger's document."""
    whole = parts[job_id.bytes + document[PART]] if PART in document else document
    return _unpacked(LedgerEntry, whole, ENTRY_NAMES)


def signals_from(document: Mapping[str, Any], parts: Parts) -> tuple[Signal, ...]:
    """Return the unread signals of a ledger's document, oldest first."""
    found: list[Signal] = []
    for one in document.get(INBOX, ()):
        whole = {**parts[document["_id"].bytes + one[PART]], SIGNAL_SEQ: one[SIGNAL_SEQ]} if PART in one else one
        found.append(_unpacked(Signal, whole, SIGNAL_NAMES))
    return tuple(found)


def open_statement(opening: Opening, at: datetime) -> Document:
    """Return the open of a ledger that is missing, or that an earlier attempt of the same run opened. For any other one
    the statement fails as a duplicate key."""
    return {
        "q": {"_id": opening.id, ATTEMPT: {"$lt": opening.attempt}, RUN: opening.run},
        "u": {
            "$set": {ATTEMPT: opening.attempt, BY: opening.nonce, LOOK_AT: at + LOOKED_AT_AFTER},
            "$unset": {DELETE_AT: ""},
            "$setOnInsert": {TENANT: opening.tenant, EDITION: 1, BEGAN_WITH: opening.version, COUNT: 0, SIZE: 0},
        },
        "upsert": True,
    }


def first_document(opening: Opening, write: LedgerWrite, stored: Stored) -> Document:
    """Return the ledger that the first write of a first attempt makes: opened, and with one entry."""
    entry = write.entry
    document: Document = {
        "_id": opening.id,
        TENANT: opening.tenant,
        EDITION: 1,
        RUN: opening.run,
        ATTEMPT: opening.attempt,
        BY: opening.nonce,
        BEGAN_WITH: opening.version,
        LOOK_AT: entry.at + LOOKED_AT_AFTER,
        ENTRIES: {entry_name(write.digest): stored.inside},
        COUNT: 1,
        SIZE: entry_bytes(entry),
    }
    if is_progress(entry):
        document[PROGRESSED] = write.failures
        if write.crashes:
            document[PROGRESSED_CRASHES] = write.crashes
    return document


def reopen_statement(before: JobLedger, after: JobLedger, at: datetime) -> Document:
    """Return the compare-and-set of an open that the rules have computed from the ledger that was read. Each entry
    raises the size, so a write in between makes it stale; signals in between do not matter."""
    sets: Document = {
        RUN: after.run,
        ATTEMPT: after.attempt,
        BY: after.by,
        BEGAN_WITH: after.began_with,
        LOOK_AT: at + LOOKED_AT_AFTER,
    }
    unsets = {DELETE_AT: ""}
    if after.edition != before.edition:
        sets |= {EDITION: after.edition, COUNT: len(after.entries), SIZE: after.size_bytes, PROGRESSED: 0}
        unsets |= {f"{ENTRIES}.{entry_name(one)}": "" for one in before.entries.keys() - after.entries.keys()}
        if before.progressed_at_crashes:
            unsets[PROGRESSED_CRASHES] = ""
        gone = before.ended_early.keys() - after.ended_early.keys()
        unsets |= {f"{ENDED_EARLY}.{entry_name(one)}": "" for one in gone}
    return {
        "q": {"_id": before.id, BY: before.by, EDITION: before.edition, SIZE: before.size_bytes},
        "u": {"$set": sets, "$unset": unsets},
    }


def write_statement(write: LedgerWrite, stored: Stored) -> Document:
    """Return the compare-and-set that stores one entry, and takes a signal."""
    name = f"{ENTRIES}.{entry_name(write.digest)}"
    weight = entry_bytes(write.entry)
    criteria: Document = {"_id": write.id, BY: write.entry.by, SIZE: {"$lte": MAX_BYTES - weight}}
    change: Document = {"$set": {name: stored.inside}, "$inc": {SIZE: weight}}
    if write.completes:
        criteria[f"{name}.{OPEN}"] = True
    else:
        criteria |= {name: {"$exists": False}, COUNT: {"$lt": MAX_ENTRIES}}
        change["$inc"][COUNT] = 1
    if is_progress(write.entry):
        change["$set"][PROGRESSED] = write.failures
        # Crashes are rare, and grow within a run, so jobs without any cost nothing.
        if write.crashes:
            change["$set"][PROGRESSED_CRASHES] = write.crashes
    if write.takes is not None:
        either = {"$in": [write.takes, known_signal(write.takes)]}
        criteria[f"{INBOX}.{SIGNAL_ID}"] = either
        change["$pull"] = {INBOX: {SIGNAL_ID: either}}
        change["$push"] = {READ_IDS: {"$each": [known_signal(write.takes)], "$slice": -READ_IDS_KEPT}}
    return {"q": criteria, "u": change}


def read_back_fields(writes: Sequence[LedgerWrite]) -> Document:
    """Return the projection that shows the outcomes of writes."""
    names = {f"{ENTRIES}.{entry_name(write.digest)}": 1 for write in writes}
    return {ATTEMPT: 1, BY: 1, COUNT: 1, SIZE: 1, f"{INBOX}.{SIGNAL_ID}": 1, **names}


def push_statements(inside: Document, name: str) -> list[Document]:
    """Return the update that puts a signal of this name into the inbox, numbers it, and marks it as pending."""
    inbox: Document = {"$ifNull": [f"${INBOX}", []]}
    numbered: Document = {"$mergeObjects": [{"$literal": inside}, {SIGNAL_SEQ: f"${IN_SEQ}"}]}
    names: Document = {"$setUnion": [{"$ifNull": [f"${PENDING_NAMES}", []]}, [{"$literal": name}]]}
    return [
        {"$set": {IN_SEQ: {"$add": [{"$ifNull": [f"${IN_SEQ}", 0]}, 1]}, PENDING_NAMES: names}},
        {
            "$set": {
                INBOX: {"$concatArrays": [inbox, [numbered]]},
                PENDING: f"${IN_SEQ}",
                PENDING_AT: {"$ifNull": [f"${PENDING_AT}", "$$NOW"]},
                PENDING_NAMES: {
                    "$cond": [{"$gt": [{"$size": f"${PENDING_NAMES}"}, MOST_NAMES]}, [ANY_SIGNAL], f"${PENDING_NAMES}"]
                },
            }
        },
    ]


def end_wait_statement(document: Mapping[str, Any], tenant: str, names: Iterable[str], at: datetime) -> Document:
    """Return the early end of waits, by the names of their entries. Within an edition no entry vanishes."""
    criteria = {"_id": document["_id"], TENANT: tenant, EDITION: document[EDITION]}
    return {"q": criteria, "u": {"$set": {f"{ENDED_EARLY}.{name}": at for name in names}}}


NEWEST_ENTRY: Document = {
    "$reduce": {
        "input": {"$objectToArray": f"${ENTRIES}"},
        "initialValue": None,
        "in": {"$cond": [{"$gt": [f"$$this.v.{SEQ}", f"$$value.v.{SEQ}"]}, "$$this", "$$value"]},
    }
}
"""The entry with the highest number, as an expression: its name `k` and its body `v`; null without entries."""

PENDING_FIELDS: Document = {PENDING: 1, PENDING_NAMES: 1}
"""The projection that `pending_from` reads."""


def pending_from(document: Mapping[str, Any]) -> PendingSignals:
    """Return the pending signals of a ledger's document."""
    return PendingSignals(document["_id"], document[PENDING], tuple(sorted(document.get(PENDING_NAMES, ()))))
