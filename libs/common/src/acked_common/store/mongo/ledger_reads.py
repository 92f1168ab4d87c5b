"""`LedgerReader` on MongoDB. Each read is of one document below 1 MiB, and of the parts of what it returns."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from acked_common.model.ledger import LedgerEntry
from acked_common.model.ledger_rules import near_limit
from acked_common.store.ledgers import NAMES_READ, EntryPage, Inbox, LedgerSummary
from acked_common.store.mongo import ledger_documents as documents
from acked_common.store.mongo.documents import Document
from acked_common.store.mongo.errors import store_errors
from acked_common.store.mongo.ledgers import LedgerCollections

_VALUE = documents.ENTRY_NAMES["value"]
_WITHOUT_VALUE = {f"{documents.BODY}.{_VALUE}": 0}
"""Entries and signals have the same name for it."""
_NEWEST = "newest"
_Stored = Sequence[Mapping[str, Any]]


class ReaderVerbs(LedgerCollections):
    """The reads of clients."""

    async def read_entries(
        self, job_id: UUID, *, tenant: str, after: int, limit: int, newest_first: bool = False
    ) -> EntryPage | None:
        with store_errors("reading entries of a ledger"):
            document = await self._document(job_id, tenant)
            if document is None:
                return None
            found = _in_order(document)
            for one in found:
                one.pop(_VALUE, None)
            if newest_first:
                behind = [one for one in found[::-1] if not after or one[documents.SEQ] < after]
            else:
                behind = [one for one in found if one[documents.SEQ] > after]
            page = behind[:limit]
            stored = document.get(documents.ENTRIES, {})
            ended = document.get(documents.ENDED_EARLY, {})
            early = {stored[name][documents.SEQ]: at for name, at in ended.items() if name in stored}
            entries = await self._whole(job_id, page, _WITHOUT_VALUE)
        shown = {one.seq for one in entries}
        return EntryPage(entries, len(page) == len(behind), {seq: early[seq] for seq in sorted(early.keys() & shown)})

    async def read_newest(self, job_id: UUID, *, tenant: str, limit: int) -> list[LedgerEntry] | None:
        with store_errors("reading entries of a ledger"):
            document = await self._document(job_id, tenant)
            return None if document is None else await self._whole(job_id, _in_order(document)[::-1][:limit], None)

    async def read_unread(self, job_id: UUID, *, tenant: str) -> Inbox | None:
        with store_errors("reading an inbox"):
            fields = (documents.INBOX, documents.IN_SEQ)
            document = await self._ledgers.find_one({"_id": job_id, documents.TENANT: tenant}, dict.fromkeys(fields, 1))
            if document is None:
                return None
            parts = await self._parts_of(job_id, document.get(documents.INBOX, ()), _WITHOUT_VALUE)
        signals = [replace(signal, value=b"") for signal in documents.signals_from(document, parts)]
        return Inbox(tuple(signals), document.get(documents.IN_SEQ, 0))

    async def read_summary(self, job_id: UUID, *, tenant: str) -> LedgerSummary | None:
        fields: Document = dict.fromkeys((documents.COUNT, documents.SIZE, documents.INBOX), 1)
        # MongoDB returns one entry of up to 10,000.
        fields[_NEWEST] = documents.NEWEST_ENTRY
        with store_errors("reading the figures of a ledger"):
            document = await self._ledgers.find_one({"_id": job_id, documents.TENANT: tenant}, fields)
            if document is None:
                return None
            newest = [one["v"]] if (one := document.get(_NEWEST)) else []
            entries = await self._whole(job_id, newest, _WITHOUT_VALUE)
            inbox = document.get(documents.INBOX, [])
            named = {"_id": job_id, documents.INBOX: inbox[:NAMES_READ]}
            signals = documents.signals_from(named, await self._parts_of(job_id, inbox[:NAMES_READ], _WITHOUT_VALUE))
        weight = sum(one[documents.WEIGHT] for one in inbox)
        return LedgerSummary(
            kept=document[documents.COUNT],
            unread=len(inbox),
            unread_names=sorted({signal.name for signal in signals}),
            warned=near_limit(document[documents.COUNT], document[documents.SIZE], len(inbox), weight),
            newest=replace(entries[0], value=None) if entries else None,
        )

    async def _document(self, job_id: UUID, tenant: str) -> Document | None:
        fields = dict.fromkeys((documents.ENTRIES, documents.ENDED_EARLY), 1)
        document: Document | None = await self._ledgers.find_one({"_id": job_id, documents.TENANT: tenant}, fields)
        return document

    async def _whole(self, job_id: UUID, stored: _Stored, fields: Mapping[str, int] | None) -> list[LedgerEntry]:
        parts = await self._parts_of(job_id, stored, fields)
        return [documents.entry_from(job_id, one, parts) for one in stored]

    async def _parts_of(self, job_id: UUID, stored: _Stored, fields: Mapping[str, int] | None) -> documents.Parts:
        wanted = [documents.part_id(job_id, one[documents.PART]) for one in stored if documents.PART in one]
        if not wanted:
            return {}
        found = self._parts.find({"_id": {"$in": wanted}}, fields, batch_size=len(wanted) + 1)
        return {part["_id"]: part[documents.BODY] for part in await found.to_list(None)}


def _in_order(document: Mapping[str, Any]) -> list[Document]:
    """Return the entries as the ledger stores them, in order."""
    return sorted(document.get(documents.ENTRIES, {}).values(), key=lambda one: one[documents.SEQ])
