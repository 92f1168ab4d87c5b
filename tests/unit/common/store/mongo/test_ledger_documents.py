"""The documents of ledgers: what stands inside, what is a part, and how large a document can become."""

from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from acked_common.model.ids import new_id
from acked_common.model.ledger import (
    MAX_BYTES,
    MAX_ENTRIES,
    MAX_ERROR_CHARS,
    MAX_UNREAD,
    READ_IDS_KEPT,
    EntryError,
    JobLedger,
    LedgerEntry,
    Signal,
)
from acked_common.model.ledger_rules import known_id, opened, retried, signal_bytes
from acked_common.store.mongo import ledger_documents as documents
from acked_common.store.mongo import schema
from acked_common.store.mongo.documents import Document
from acked_common.store.mongo.field_names import DELETE_AT
from support.ledgers import digest, entry, opening, push, write

AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True, uuid_representation=UuidRepresentation.STANDARD)
JOB = new_id()
LARGE = b"x" * 2000


def size_of(document: Document) -> int:
    return len(bson.encode(document, codec_options=OPTIONS))


def document_of(*entries: LedgerEntry, signals: tuple[Signal, ...] = ()) -> tuple[Document, documents.Parts]:
    """A ledger's document as its commands make it, and its parts."""
    stored = {digest(n): documents.stored_entry(JOB, digest(n), one) for n, one in enumerate(entries)}
    pushed = [documents.stored_signal(JOB, one, signal_bytes(one)) for one in signals]
    document: Document = {
        "_id": JOB,
        documents.TENANT: "default",
        documents.EDITION: 1,
        documents.RUN: 1,
        documents.ATTEMPT: 1,
        documents.BY: "n" * 36,
        documents.BEGAN_WITH: "7",
        documents.ENTRIES: {documents.entry_name(name): one.inside for name, one in stored.items()},
        documents.COUNT: len(entries),
        documents.SIZE: MAX_BYTES,
        documents.INBOX: [{**one.inside, documents.SIGNAL_SEQ: n} for n, one in enumerate(pushed, 1)],
        documents.IN_SEQ: len(signals),
        documents.READ_IDS: [documents.known_signal(f"s{n}") for n in range(READ_IDS_KEPT)],
        documents.PENDING: len(signals),
        documents.LOOK_AT: AT,
        DELETE_AT: AT,
    }
    parts = {
        bytes(one.part["_id"]): one.part[documents.BODY] for one in (*stored.values(), *pushed) if one.part is not None
    }
    return document, parts


def test_each_field_of_an_entry_and_a_signal_has_a_name_of_its_own() -> None:
    for struct, names in ((LedgerEntry, documents.ENTRY_NAMES), (Signal, documents.SIGNAL_NAMES)):
        assert list(names) == list(struct.__struct_fields__)
        assert len(set(names.values())) == len(names)
        assert not {documents.PART, documents.WEIGHT} & set(names.values())


def test_the_validator_knows_the_names_of_a_document() -> None:
    document, _ = document_of(entry())
    properties = schema.LEDGER_VALIDATOR["$jsonSchema"]["properties"]
    assert set(properties) - set(document) == set()
    assert set(schema.LEDGER_VALIDATOR["$jsonSchema"]["required"]) <= set(
        documents.open_statement(opening(), AT)["u"]["$setOnInsert"]
    ) | {"_id", documents.ATTEMPT, documents.RUN}


@given(
    st.builds(
        LedgerEntry,
        call=st.sampled_from(["step", "wait", "newer"]),
        name=st.text(st.characters(codec="utf-8"), max_size=20),
        key=st.none() | st.text(st.characters(codec="utf-8"), max_size=20),
        at=st.just(AT),
        took_s=st.floats(0, 1e6),
        attempt=st.integers(0, 1000),
        tries=st.integers(1, 1000),
        arguments=st.none() | st.just("ab"),
        value=st.none() | st.binary(max_size=50) | st.just(LARGE),
        error=st.none() | st.builds(EntryError, type=st.just("E"), message=st.text(max_size=20)),
        due_at=st.none() | st.just(AT),
        is_open=st.booleans(),
        timed_out=st.booleans(),
        cancelled=st.booleans(),
        version=st.integers(1, 9),
        seq=st.integers(1, 20_000),
        by=st.just("n1"),
    )
)
def test_an_entry_survives_its_document(given_entry: LedgerEntry) -> None:
    document, parts = document_of(given_entry)
    read = bson.decode(bson.encode(document, codec_options=OPTIONS), OPTIONS)
    assert documents.ledger_from(read, parts).entries == {digest(0): given_entry}


@pytest.mark.parametrize(
    ("seq", "size", "is_inside"),
    [(1, 1000, True), (128, 1000, True), (129, 1000, False), (384, 100, True), (385, 1, False), (1, 1300, False)],
)
def test_small_entries_stand_inside_until_there_are_many(seq: int, size: int, is_inside: bool) -> None:
    stored = documents.stored_entry(JOB, digest(1), entry(seq, value=b"x" * size))
    assert (stored.part is None) is is_inside
    assert (documents.PART in stored.inside) is not is_inside


def test_no_document_reaches_a_mebibyte() -> None:
    (first_until, first_size), (second_until, second_size) = documents.INLINE_TIERS
    longest = []
    for seq in range(1, MAX_ENTRIES + 1):
        limit = first_size if seq <= first_until else second_size if seq <= second_until else 0
        made = entry(seq, by="n" * 36, at=AT, value=LARGE)
        if limit:
            room = limit - size_of(documents._packed(replace(made, value=b""), documents.ENTRY_NAMES))
            made = replace(made, value=b"x" * room)
        longest.append(made)
    signal = push(JOB, "i" * 36, "n" * 20).signal
    room = documents.INLINE_SIGNAL_BYTES - size_of(documents.stored_signal(JOB, replace(signal, value=b""), 1).inside)
    inbox = tuple(replace(signal, value=b"x" * room) for _ in range(MAX_UNREAD))
    document, parts = document_of(*longest, signals=inbox)

    assert len(parts) == MAX_ENTRIES - second_until, "the entries are the largest that stand inside"
    assert 900 * 1024 < size_of(document) < 1024 * 1024


def test_a_part_is_named_by_its_contents_and_its_job() -> None:
    made = entry(1, value=LARGE)
    parts = [
        documents.stored_entry(JOB, digest(1), made),
        documents.stored_entry(JOB, digest(2), made),
        documents.stored_entry(JOB, digest(1), replace(made, by="n2")),
        documents.stored_entry(JOB, digest(1), replace(made, value=LARGE + b"x")),
        documents.stored_entry(new_id(), digest(1), made),
    ]
    ids = [one.part["_id"] for one in parts if one.part is not None]
    assert len({bytes(one) for one in ids}) == len(parts)
    again = documents.stored_entry(JOB, digest(1), made).part
    assert again is not None and again["_id"] == ids[0]
    between = documents.parts_of(JOB)["_id"]
    assert [between["$gte"] <= one <= between["$lte"] for one in ids] == [True] * 4 + [False]


def test_names_of_entries_have_no_meaning_to_mongodb_and_are_reversible() -> None:
    for made in ("0" * 32, "f" * 32, digest(255), "fbefbe" + "0" * 26):
        name = documents.entry_name(made)
        assert len(name) == 22 and not set(name) & set(".$\0=")
        assert documents.digest_from(name) == made


def test_a_long_error_is_cut_and_made_unicode() -> None:
    error = EntryError("E\udc80", "m" * (MAX_ERROR_CHARS + 1))
    assert (error.type, len(error.message), error.message[-1]) == ("E?", MAX_ERROR_CHARS, "…")


def test_a_new_edition_drops_entries_by_name() -> None:
    ledger = JobLedger(
        id=JOB,
        tenant="default",
        run=1,
        attempt=1,
        by="n1",
        began_with="7",
        entries={digest(1): entry(1), digest(2): entry(2, value=None, timed_out=True)},
        size_bytes=5,
    )
    after = opened(ledger, opening(JOB, 2, run=2))
    assert isinstance(after, JobLedger) and after.edition == 2
    statement = documents.reopen_statement(ledger, after, AT)
    assert statement["q"] == {"_id": JOB, "by": "n1", "ed": 1, "y": 5}
    assert statement["u"]["$unset"] == {DELETE_AT: "", f"e.{documents.entry_name(digest(2))}": ""}
    assert (statement["u"]["$set"]["c"], statement["u"]["$set"]["y"]) == (1, retried(ledger).size_bytes)


def test_a_write_takes_its_signal_by_id_or_by_its_short_form() -> None:
    statement = documents.write_statement(write(JOB, 1, takes="s1"), documents.stored_entry(JOB, digest(1), entry(1)))
    either = {"$in": ["s1", documents.known_signal("s1")]}
    assert statement["q"]["in.i"] == either
    assert statement["u"]["$pull"] == {"in": {"i": either}}
    assert bytes(documents.known_signal("s1")).hex() == known_id("s1")
