"""The storage port of tokens, and an implementation in memory. All verbs may raise `StoreError`."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from acked_common.model.tokens import MOST_ACTIVE, TokenRecord

MAX_TOKENS = 10_000
"""Maximum of active tokens; each service caches all of them in memory."""


class TokenStore(Protocol):
    """Stores tokens as hashes."""

    async def add(self, record: TokenRecord) -> bool:
        """Store a new token. Return False if the client already has `MOST_ACTIVE` active ones."""
        ...

    async def active(self, at: datetime) -> list[TokenRecord]:
        """Read all tokens that are valid at this instant."""
        ...

    async def all(self) -> list[TokenRecord]:
        """Read all stored tokens, oldest first."""
        ...

    async def revoke(self, token_id: str, at: datetime) -> bool:
        """Revoke a token. Return False if there is none. A repetition changes nothing."""
        ...

    async def revoke_all(self, tenant: str, client: str, at: datetime) -> int:
        """Revoke the active tokens of a client. Return their number."""
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
