"""The port to where tokens are kept, and the one in memory. All verbs may raise `StoreError`."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from acked_common.model.tokens import MOST_ACTIVE, TokenRecord

MAX_TOKENS = 10_000
"""Active tokens that a service reads; each keeps all of them in memory."""


class TokenStore(Protocol):
    """Where tokens are kept, as hashes."""

    async def add(self, record: TokenRecord) -> bool:
        """Keeps a new token; False where the client has `MOST_ACTIVE` active ones already."""
        ...

    async def active(self, at: datetime) -> list[TokenRecord]:
        """All tokens that hold at this instant."""
        ...

    async def all(self) -> list[TokenRecord]:
        """All that are still remembered, the oldest first."""
        ...

    async def revoke(self, token_id: str, at: datetime) -> bool:
        """Ends a token; False where there is none. A second time changes nothing."""
        ...

    async def revoke_all(self, tenant: str, client: str, at: datetime) -> int:
        """Ends the active tokens of a client; answers how many."""
        ...


class MemoryTokens:
    """`TokenStore` in this process's memory."""

    def __init__(self) -> None:
        self._records: dict[str, TokenRecord] = {}

    async def add(self, record: TokenRecord) -> bool:
        whose = record.principal.tenant, record.principal.client
        if len(self._of(*whose, record.made_at)) >= MOST_ACTIVE:
            return False
        self._records[record.id] = record
        return True

    async def active(self, at: datetime) -> list[TokenRecord]:
        return [record for record in self._records.values() if record.holds(at)]

    async def all(self) -> list[TokenRecord]:
        return sorted(self._records.values(), key=lambda record: (record.made_at, record.id))

    async def revoke(self, token_id: str, at: datetime) -> bool:
        record = self._records.get(token_id)
        if record is not None and record.revoked_at is None:
            self._records[token_id] = replace(record, revoked_at=at)
        return record is not None

    async def revoke_all(self, tenant: str, client: str, at: datetime) -> int:
        found = self._of(tenant, client, at)
        for record in found:
            await self.revoke(record.id, at)
        return len(found)

    def _of(self, tenant: str, client: str, at: datetime) -> Sequence[TokenRecord]:
        whose = tenant, client
        return [
            record
            for record in self._records.values()
            if (record.principal.tenant, record.principal.client) == whose and record.holds(at)
        ]
