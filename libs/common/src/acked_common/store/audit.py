"""The storage port of the audit, and an implementation in memory. All verbs may raise `StoreError`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from acked_common.model.audit import AuditEntry, AuditFilter
from acked_common.model.ids import first_id_at


@dataclass(frozen=True, slots=True)
class AuditPage:
    """One page of entries, newest first; `next_before` continues it, None ends it."""

    entries: Sequence[AuditEntry]
    next_before: UUID | None


class AuditStore(Protocol):
    """Stores entries. No verb changes or removes one."""

    async def note(self, entry: AuditEntry) -> None:
        """Store an entry, in the journals of a majority."""
        ...

    async def list(self, wanted: AuditFilter, *, page_size: int, before: UUID | None = None) -> AuditPage:
        """Read a page of the tenant's entries, newest first. Scans only the entries that it returns."""
        ...


class MemoryAudit:
    """`AuditStore` in this process's memory."""

    def __init__(self) -> None:
        self.entries: list[AuditEntry] = []

    async def note(self, entry: AuditEntry) -> None:
        self.entries.append(entry)

    async def list(self, wanted: AuditFilter, *, page_size: int, before: UUID | None = None) -> AuditPage:
        found = sorted((entry for entry in self.entries if _fits(entry, wanted, before)), key=lambda entry: entry.id)
        return page_of(found[::-1][: page_size + 1], page_size)


def page_of(found: Sequence[AuditEntry], page_size: int) -> AuditPage:
    """Return the page of these entries, which have one more than the page if the list continues."""
    entries = found[:page_size]
    return AuditPage(entries, entries[-1].id if len(found) > page_size else None)


def _fits(entry: AuditEntry, wanted: AuditFilter, before: UUID | None) -> bool:
    return (
        entry.tenant == wanted.tenant
        and wanted.action in (None, entry.action)
        and wanted.client in (None, entry.client)
        and (wanted.target is None or entry.target.get(wanted.target[0]) == wanted.target[1])
        and (wanted.since_at is None or entry.id >= first_id_at(wanted.since_at))
        and (wanted.until_at is None or entry.id < first_id_at(wanted.until_at))
        and (before is None or entry.id < before)
    )
