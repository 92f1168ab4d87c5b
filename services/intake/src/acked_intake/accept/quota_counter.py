"""Count the waiting jobs periodically, and refuse requests that would exceed a quota.

A count walks the index of live jobs, so its time grows with their number. The pause after a count grows with that time,
so a backlog costs MongoDB at most a twentieth of a core for each intake.
"""

import asyncio
import time

from acked_common.http.problems import ProblemError, problem
from acked_common.runtime.lifetime import Tasks
from acked_common.store.errors import StoreError
from acked_common.store.ports import BacklogStore
from acked_intake.accept.quota import Quota
from acked_intake.settings import Quotas

COUNT_EVERY_S = 1.0
PAUSE_TO_COUNT = 20.0
LONGEST_PAUSE_S = 60.0
UNLIMITED_COUNT = 1_000_000
"""The maximum of jobs of one state that a count visits if only tenants have a quota."""


class QuotaCounter:
    """The quotas of one intake."""

    def __init__(self, store: BacklogStore, quotas: Quotas) -> None:
        self._store = store
        self._quota = Quota(quotas)
        # Count beyond the quota too, because the rate comes from how fast an excess shrinks.
        self._at_most = quotas.in_all + max(1000, quotas.in_all // 4) if quotas.in_all else UNLIMITED_COUNT
        self._is_off = not (quotas.in_all or quotas.of_tenant or quotas.parked_of_tenant)

    def start(self, tasks: Tasks) -> None:
        """Start counting if there is a quota."""
        if not self._is_off:
            tasks.repeat("waiting jobs", self._count_and_rest, every_s=COUNT_EVERY_S)

    def admit(self, tenant: str) -> None:
        """Count one more job of the tenant. Raises `ProblemError` if a quota is reached."""
        if self._is_off:
            return
        refusal = self._quota.admit(tenant)
        if refusal is not None:
            of = "of this tenant " if refusal.is_of_tenant else ""
            what = "are parked" if refusal.is_of_parked else "wait for workers"
            detail = f"{refusal.waiting:,} jobs {of}{what}, {refusal.quota:,} may; nothing was stored"
            headers = {"Retry-After": str(refusal.retry_after_s)}
            raise ProblemError(problem("quota-exceeded", detail, headers=headers))

    async def count(self) -> float:
        """Count once. Return how long that took. Raises `StoreError`."""
        began = time.monotonic()
        self._quota.begin(began)
        try:
            in_all = await self._store.count_waiting(at_most=self._at_most)
            by_tenant: dict[str, int] = {}
            if self._quota.needs_tenants(in_all):
                by_tenant = await self._store.count_waiting_by_tenant(at_most=self._at_most)
        except StoreError:
            self._quota.failed()
            raise
        self._quota.counted(in_all, by_tenant)
        await self._count_parked()
        return time.monotonic() - began

    async def _count_parked(self) -> None:
        if not (most := self._quota.quotas.parked_of_tenant):
            return
        try:
            crowds = await self._store.crowds_parked(at_least=most)
        except StoreError:
            # Without a result no tenant is refused, as with the other quotas.
            self._quota.counted_parked({})
            raise
        self._quota.counted_parked(crowds)

    async def _count_and_rest(self) -> None:
        took_s = await self.count()
        await asyncio.sleep(min(LONGEST_PAUSE_S, took_s * PAUSE_TO_COUNT))
