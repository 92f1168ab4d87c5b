"""`AuditStore` on MongoDB. Each list has an index in its order, so a page scans only its entries."""

from typing import Any
from uuid import UUID

from pymongo import DESCENDING

from acked_common.model.audit import AuditEntry, AuditFilter
from acked_common.model.ids import first_id_at
from acked_common.store.audit import AuditPage, page_of
from acked_common.store.mongo import schema
from acked_common.store.mongo.documents import Document
from acked_common.store.mongo.driver import Collection
from acked_common.store.mongo.errors import store_errors

_OPTIONAL = ("reason", "count")


class MongoAudit:
    """The audit of one database."""

    def __init__(self, entries: Collection) -> None:
        """`entries` is the collection; its writes wait for a majority, its reads see one."""
        self._entries = entries

    async def note(self, entry: AuditEntry) -> None:
        with store_errors("writing the audit"):
            await self._entries.insert_one(audit_document(entry))

    async def list(self, wanted: AuditFilter, *, page_size: int, before: UUID | None = None) -> AuditPage:
        criteria = audit_criteria(wanted, before)
        with store_errors("reading the audit"):
            # With room for one more document, the cursor ends with its first reply.
            found = (
                self._entries.find(criteria, hint=index_for(wanted))
                .sort("_id", DESCENDING)
                .limit(page_size + 1)
                .batch_size(page_size + 2)
            )
            documents = await found.to_list(None)
        return page_of([audit_from(document) for document in documents], page_size)


def audit_document(entry: AuditEntry) -> Document:
    """Return the document of an entry."""
    document: Document = {
        "_id": entry.id,
        "at": entry.at,
        "tenant": entry.tenant,
        "client": entry.client,
        "token_id": entry.token_id,
        "action": entry.action,
        "target": dict(entry.target),
    }
    return document | {name: value for name in _OPTIONAL if (value := getattr(entry, name)) is not None}


def audit_from(document: Document) -> AuditEntry:
    """Return the entry of a document."""
    named = {name: value for name, value in document.items() if name in AuditEntry.__struct_fields__}
    return AuditEntry(id=document["_id"], **named)


def audit_criteria(wanted: AuditFilter, before: UUID | None) -> Document:
    """Return the criteria of listed entries; instants bound their ids."""
    criteria: Document = {"tenant": wanted.tenant}
    if wanted.client is not None:
        criteria["client"] = wanted.client
    if wanted.action is not None:
        criteria["action"] = wanted.action
    if wanted.target is not None:
        criteria[f"target.{wanted.target[0]}"] = wanted.target[1]
    ids: dict[str, Any] = {}
    if wanted.since_at is not None:
        ids["$gte"] = first_id_at(wanted.since_at)
    bounds = [before] if before is not None else []
    if wanted.until_at is not None:
        bounds.append(first_id_at(wanted.until_at))
    if bounds:
        ids["$lt"] = min(bounds)
    return criteria | ({"_id": ids} if ids else {})


def index_for(wanted: AuditFilter) -> str:
    """Return the name of the index that serves filter and order."""
    if wanted.target is not None:
        return schema.audit_target_index(wanted.target[0])
    return schema.audit_index(has_client=wanted.client is not None, has_action=wanted.action is not None)
