"""`LedgerStore` and `LedgerReader` on MongoDB.

Opens and writes are plain commands with many statements, each a compare-and-set on one document. The driver does not
repeat them, so a broken connection leaves their outcome unknown, and the caller repeats them: the nonce of an attempt
is in all that it wrote. Repeatable writes of the driver would cost MongoDB a record each.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from bson.binary import Binary

from acked_common.model.ledger import (
    MAX_BYTES,
    MAX_ENTRIES,
    AlreadyKept,
    Fenced,
    JobLedger,
    LedgerFull,
    LedgerWrite,
    Opening,
    SignalGone,
)
from acked_common.model.ledger_rules import entry_bytes, opened
from acked_common.model.lifecycle import State
from acked_common.store.errors import OutcomeUnknown, StoreError
from acked_common.store.ledgers import Inbox, LedgerProgress, Written
from acked_common.store.mongo import ledger_documents as documents
from acked_common.store.mongo.documents import Document
from acked_common.store.mongo.driver import Collection
from acked_common.store.mongo.errors import store_errors
from acked_common.store.mongo.find import find_by_ids

log = structlog.get_logger()

_TRIES = 5
"""How often a write is sent that another writer has made stale."""
_PARTS_READ = 1000
"""The maximum of parts that one read names."""
_DUPLICATE_KEY = 11000


class LedgerCollections:
    """The collections of ledgers, their parts, and jobs."""

    def __init__(self, ledgers: Collection, parts: Collection, jobs: Collection) -> None:
        """All three wait for the journals of a majority, and read what a majority has."""
        self._ledgers = ledgers
        self._parts = parts
        self._jobs = jobs


class LedgerVerbs(LedgerCollections):
    """The verbs of attempts and of readers."""

    async def open_ledgers(self, openings: Sequence[Opening], *, at: datetime) -> list[JobLedger | Fenced]:
        if not openings:
            return []
        with store_errors("opening ledgers"):
            await send_update(self._ledgers, [documents.open_statement(one, at) for one in openings])
            found = await self._read([one.id for one in openings])
            outcome: list[JobLedger | Fenced] = []
            for one in openings:
                ledger = found.get(one.id)
                is_ours = ledger is not None and ledger.by == one.nonce
                outcome.append(ledger if is_ours and ledger is not None else await self._reopen(one, ledger, at))
        return outcome

    async def _reopen(self, opening: Opening, found: JobLedger | None, at: datetime) -> JobLedger | Fenced:
        """Open a ledger of another run, of a signal, or of a later attempt."""
        for _ in range(_TRIES):
            if found is None:
                await send_update(self._ledgers, [documents.open_statement(opening, at)])
            else:
                after = opened(found, opening)
                if isinstance(after, Fenced):
                    if not await self._owns(opening):
                        return after
                    log.warning(
                        "the ledger of a job is ahead of the job, as after a restored backup; the owner takes it over",
                        job=str(opening.id),
                        attempt=opening.attempt,
                        ledger_attempt=found.attempt,
                    )
                    after = opened(found, opening, owns=True)
                if after is found:
                    return found
                if isinstance(after, JobLedger):
                    await send_update(self._ledgers, [documents.reopen_statement(found, after, at)])
            found = (await self._read([opening.id])).get(opening.id)
        raise StoreError("opening a ledger: others changed it at the same time")

    async def _owns(self, opening: Opening) -> bool:
        owned = {
            "_id": opening.id,
            "state": State.RUNNING.value,
            "attempt": opening.attempt,
            "owner.nonce": opening.nonce,
        }
        return await self._jobs.find_one(owned, {"_id": 1}) is not None

    async def write_entries(self, writes: Sequence[LedgerWrite]) -> list[Written]:
        outcome: dict[int, Written] = {}
        for is_first, send in ((True, self._write_firsts), (False, self._write_more)):
            # A worker sends each sort in commands of its own.
            places = [place for place, write in enumerate(writes) if (write.opens is not None) is is_first]
            if places:
                outcome |= zip(places, await send([writes[place] for place in places]), strict=True)
        return [outcome[place] for place in range(len(writes))]

    async def _write_firsts(self, writes: Sequence[LedgerWrite]) -> list[Written]:
        """Make ledgers, each with its first entry, as one insert: MongoDB inserts many for the price of few updates."""
        stored = [documents.stored_entry(write.id, write.digest, write.entry) for write in writes]
        firsts = [(write.opens, write) for write in writes if write.opens is not None]
        outcome: list[Written] = [write.entry for write in writes]
        with store_errors("making ledgers"):
            await insert_parts(self._parts, [one.part for one in stored if one.part is not None])
            made = [
                documents.first_document(opening, write, one)
                for (opening, write), one in zip(firsts, stored, strict=True)
            ]
            if there := await _insert(self._ledgers, made, "making ledgers"):
                found = await self._read([writes[place].id for place in there])
                for place in there:
                    outcome[place] = await self._first_outcome(*firsts[place], found.get(writes[place].id))
        return outcome

    async def _first_outcome(self, opening: Opening, write: LedgerWrite, found: JobLedger | None) -> Written:
        """Return the outcome of a write that should create a ledger, and has found one: an earlier try of its own made
        it, a signal, or another attempt."""
        entry = write.entry
        if found is None or found.by != opening.nonce:
            return await self._reopen(opening, found, entry.at)
        kept = found.entries.get(write.digest)
        is_kept = kept is not None and (kept.by, kept.seq, kept.is_open) == (entry.by, entry.seq, entry.is_open)
        return kept if kept is not None and is_kept else found

    async def _write_more(self, writes: Sequence[LedgerWrite]) -> list[Written]:
        stored = [documents.stored_entry(write.id, write.digest, write.entry) for write in writes]
        with store_errors("writing to ledgers"):
            await insert_parts(self._parts, [one.part for one in stored if one.part is not None])
            unkept = list(range(len(writes)))
            outcome: list[Written | None] = [None] * len(writes)
            for _ in range(_TRIES):
                statements = [documents.write_statement(writes[place], stored[place]) for place in unkept]
                if await send_update(self._ledgers, statements) == len(statements):
                    for place in unkept:
                        outcome[place] = writes[place].entry
                    break
                for place, found in zip(unkept, await self._read_back([writes[i] for i in unkept]), strict=True):
                    outcome[place] = found
                unkept = [place for place in unkept if outcome[place] is None]
                if not unkept:
                    break
        if None in outcome:
            raise StoreError("writing to ledgers: MongoDB kept entries back without a reason")
        return [one for one in outcome if one is not None]

    async def _read_back(self, writes: Sequence[LedgerWrite]) -> list[Written | None]:
        """Return the outcomes of writes, not all of which matched; None for one that may be sent again."""
        ids = list(dict.fromkeys(write.id for write in writes))
        fields = documents.read_back_fields(writes)
        found = {document["_id"]: document for document in await find_by_ids(self._ledgers, ids, fields=list(fields))}
        parts = await self._read_parts(found.values())
        return [_outcome(write, found.get(write.id), parts) for write in writes]

    async def read_inboxes(self, ids: Sequence[UUID]) -> dict[UUID, Inbox]:
        if not ids:
            return {}
        with store_errors("reading inboxes"):
            fields = (documents.INBOX, documents.IN_SEQ)
            found = await find_by_ids(self._ledgers, list(dict.fromkeys(ids)), fields=fields)
            parts = await self._read_parts(found)
        return {
            document["_id"]: Inbox(documents.signals_from(document, parts), document.get(documents.IN_SEQ, 0))
            for document in found
        }

    async def read_progress(self, ids: Sequence[UUID]) -> dict[UUID, LedgerProgress]:
        if not ids:
            return {}
        with store_errors("reading the progress of ledgers"):
            fields = (documents.RUN, documents.PROGRESSED, documents.PROGRESSED_CRASHES)
            found = await find_by_ids(self._ledgers, list(dict.fromkeys(ids)), fields=fields)
        return {
            document["_id"]: LedgerProgress(
                document[documents.RUN],
                document.get(documents.PROGRESSED, 0),
                document.get(documents.PROGRESSED_CRASHES, 0),
            )
            for document in found
        }

    async def read_ledger(self, job_id: UUID, *, tenant: str) -> JobLedger | None:
        with store_errors("reading a ledger"):
            ledger = (await self._read([job_id])).get(job_id)
        return ledger if ledger is not None and ledger.tenant == tenant else None

    async def _read(self, ids: Sequence[UUID]) -> dict[UUID, JobLedger]:
        found = await find_by_ids(self._ledgers, ids)
        parts = await self._read_parts(found)
        return {document["_id"]: documents.ledger_from(document, parts) for document in found}

    async def _read_parts(self, found: Iterable[Mapping[str, Any]]) -> documents.Parts:
        """Read the parts to which ledgers refer. A part is inserted ahead of its reference, and ends later."""
        wanted = documents.referred_parts(found)
        parts: dict[bytes, Mapping[str, Any]] = {}
        for begin in range(0, len(wanted), _PARTS_READ):
            page: list[Binary] = wanted[begin : begin + _PARTS_READ]
            async for part in self._parts.find({"_id": {"$in": page}}, {documents.BODY: 1}):
                parts[part["_id"]] = part[documents.BODY]
        if missing := len(wanted) - len(parts):
            raise StoreError(f"reading ledgers: {missing} of their parts are missing, as after a partial restore")
        return parts


def _outcome(write: LedgerWrite, document: Mapping[str, Any] | None, parts: documents.Parts) -> Written | None:
    """Return the outcome of a write by the rule `ledger_rules.written`, from the fields that were read back."""
    entry = write.entry
    if document is None or document.get(documents.BY) != entry.by:
        return Fenced(0 if document is None else document[documents.ATTEMPT])
    there = document.get(documents.ENTRIES, {}).get(documents.entry_name(write.digest))
    if there is not None:
        kept = documents.entry_from(write.id, there, parts)
        if (kept.by, kept.seq, kept.is_open) == (entry.by, entry.seq, entry.is_open):
            return kept
        if not (write.completes and kept.is_open):
            return AlreadyKept(kept)
    elif write.completes:
        return Fenced(document[documents.ATTEMPT])
    elif document[documents.COUNT] >= MAX_ENTRIES:
        return LedgerFull(f"a job keeps at most {MAX_ENTRIES:,} durable calls")
    if document[documents.SIZE] + entry_bytes(entry) > MAX_BYTES:
        return LedgerFull(f"a job keeps at most {MAX_BYTES:,} bytes of results")
    if write.takes is not None:
        ids = {one[documents.SIGNAL_ID] for one in document.get(documents.INBOX, ())}
        if not ids & {write.takes, bytes(documents.known_signal(write.takes))}:
            return SignalGone(write.takes)
    return None


async def send_update(collection: Collection, statements: Sequence[Document]) -> int:
    """Send statements of updates as one unordered command. Return how many matched or inserted a document.

    A statement that fails as a duplicate key counts as one that matched nothing. Raises `OutcomeUnknown` without a
    confirmation by the majority, `StoreError` for any other refusal, and the driver's errors.
    """
    command = {
        "update": collection.name,
        "updates": list(statements),
        "ordered": False,
        "writeConcern": collection.write_concern.document,
    }
    reply = await collection.database.command(command, codec_options=collection.codec_options)
    _confirmed(reply, "writing to ledgers")
    matched: int = reply["n"]
    return matched


async def insert_parts(collection: Collection, parts: Sequence[Document]) -> None:
    """Insert parts, of which some may exist already. Raises as `send_update`."""
    for page in _pages(parts):
        await _insert(collection, page, "writing parts of ledgers")


async def _insert(collection: Collection, made: Sequence[Document], doing: str) -> list[int]:
    """Insert documents as one unordered command. Return the places of those that exist. Raises as `send_update`."""
    command = {
        "insert": collection.name,
        "documents": list(made),
        "ordered": False,
        "writeConcern": collection.write_concern.document,
    }
    reply = await collection.database.command(command, codec_options=collection.codec_options)
    _confirmed(reply, doing)
    return [error["index"] for error in reply.get("writeErrors", ())]


_PAGE_BYTES = 8 * 1024 * 1024


def _pages(parts: Sequence[Document]) -> Iterable[list[Document]]:
    page: list[Document] = []
    size = 0
    for part in {bytes(part["_id"]): part for part in parts}.values():
        of_part = len(part[documents.BODY].get(documents.ENTRY_NAMES["value"], b"")) + 4096
        if page and size + of_part > _PAGE_BYTES:
            yield page
            page, size = [], 0
        page.append(part)
        size += of_part
    if page:
        yield page


def _confirmed(reply: Mapping[str, Any], doing: str) -> None:
    codes = sorted({error.get("code", 0) for error in reply.get("writeErrors", ())} - {_DUPLICATE_KEY})
    if "writeConcernError" in reply:
        raise OutcomeUnknown(f"{doing}: MongoDB did not confirm (write concern)")
    if codes:
        raise StoreError(f"{doing}: MongoDB refused (codes {codes})")
