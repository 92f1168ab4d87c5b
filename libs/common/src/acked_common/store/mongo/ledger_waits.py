"""`WaitStore` on MongoDB: one compare-and-set on the edition of a ledger."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from acked_common.model.ledger import MAX_EARLY_ENDS, LedgerFull
from acked_common.model.ledger_rules import is_ended_by
from acked_common.model.lifecycle_waits import Waits
from acked_common.store.errors import StoreError
from acked_common.store.mongo import ledger_documents as documents
from acked_common.store.mongo.errors import store_errors
from acked_common.store.mongo.ledgers import LedgerCollections, send_update

_TRIES = 5
_PARTS_READ = 1000
"""The maximum of parts that one read names."""


class WaitVerbs(LedgerCollections):
    """The verbs of operators."""

    async def end_wait(self, job_id: UUID, *, tenant: str, waits: Waits, at: datetime) -> int | LedgerFull:
        fields = dict.fromkeys((documents.ENTRIES, documents.EDITION, documents.ENDED_EARLY), 1)
        with store_errors("ending a wait early"):
            for _ in range(_TRIES):
                document = await self._ledgers.find_one({"_id": job_id, documents.TENANT: tenant}, fields)
                ends = [] if document is None else await self._ended_by(document, waits)
                if document is None or not ends:
                    return 0
                before = document.get(documents.ENDED_EARLY, {})
                fresh = [name for name in ends if name not in before]
                if len(before) + len(fresh) > MAX_EARLY_ENDS:
                    return LedgerFull(f"at most {MAX_EARLY_ENDS:,} waits of a job are ended early")
                statement = documents.end_wait_statement(document, tenant, fresh, at)
                if not fresh or await send_update(self._ledgers, [statement]):
                    return len(ends)
        raise StoreError("ending a wait early: others changed the ledger at the same time")

    async def _ended_by(self, document: Mapping[str, Any], waits: Waits) -> list[str]:
        """Return the names of the entries of a wait. Of entries that are parts, MongoDB compares the fields."""
        job_id, found = document["_id"], []
        stubs: dict[bytes, str] = {}
        for name, one in document.get(documents.ENTRIES, {}).items():
            if documents.PART in one:
                stubs[bytes(documents.part_id(job_id, one[documents.PART]))] = name
            elif is_ended_by(documents.entry_from(job_id, one, {}), waits):
                found.append(name)
        ids = list(stubs)
        for begin in range(0, len(ids), _PARTS_READ):
            wanted = documents.parts_of_wait(ids[begin : begin + _PARTS_READ], waits)
            async for part in self._parts.find(wanted, {"_id": 1}):
                found.append(stubs[bytes(part["_id"])])
        return found
