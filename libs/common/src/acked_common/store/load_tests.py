"""The port to the stored figures of load tests, and an implementation in memory. All verbs may raise `StoreError`.

A tenant has `SLOTS` places. The name of the batch chooses the place, so a later test may replace an earlier one with
another name, and no tenant can store more.
"""

from datetime import datetime
from typing import Protocol
from zlib import crc32

from msgspec import Struct

KEPT_DAYS = 30
"""How long figures are stored."""
SLOTS = 10_000
"""Load tests of one tenant whose figures are stored at once."""
MAX_FIGURES_BYTES = 8 * 1024
"""Largest stored document of figures."""


class LoadTestRecord(Struct, frozen=True):
    """The figures of one load test; `figures` is JSON, as the request was answered."""

    tenant: str
    batch: str
    at: datetime
    figures: bytes

    def __post_init__(self) -> None:
        if len(self.figures) > MAX_FIGURES_BYTES:
            raise ValueError(f"figures of a load test have {MAX_FIGURES_BYTES:,} bytes at most")


class LoadTestStore(Protocol):
    """The store of figures."""

    async def keep(self, record: LoadTestRecord) -> None:
        """Store figures for `KEPT_DAYS`; those of an earlier test in the same place are replaced."""
        ...

    async def find(self, batch: str, *, tenant: str) -> LoadTestRecord | None:
        """Return the figures of a batch; None where it is no load test, or they are gone."""
        ...


class MemoryLoadTests:
    """`LoadTestStore` in this process's memory; it forgets nothing."""

    def __init__(self) -> None:
        self._records: dict[str, LoadTestRecord] = {}

    async def keep(self, record: LoadTestRecord) -> None:
        self._records[place_of(record.batch, record.tenant)] = record

    async def find(self, batch: str, *, tenant: str) -> LoadTestRecord | None:
        found = self._records.get(place_of(batch, tenant))
        return found if found is not None and found.batch == batch else None


def place_of(batch: str, tenant: str) -> str:
    """Return the place of a batch among those of its tenant: the id of its document."""
    return f"{crc32(batch.encode()) % SLOTS} {tenant}"
