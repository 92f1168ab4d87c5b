"""How many jobs may wait for workers: in all and of one tenant. Pure: it is told the time and what MongoDB counts.

Between two counts a process knows only what it has admitted itself. So the number that waits may exceed a quota by what
the other processes admit until their next counts, and by requests that were not stored yet when a count began. Tenants
are told apart from half a quota on; one that grows from less to all of it within one pause may have half as much more.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from acked_intake.settings import Quotas

LONGEST_RETRY_S = 60
_NEWEST_WEIGHT = 0.5


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not admitted, and in how many whole seconds there should be room."""

    waiting: int
    quota: int
    is_of_tenant: bool
    retry_after_s: int


class _Leaving:
    """At which rate jobs have left of late."""

    def __init__(self) -> None:
        self.per_s = 0.0

    def note(self, left: int, within_s: float) -> None:
        if within_s > 0:
            # Where others have admitted more than has left, nothing is known but that it is slow.
            newest = max(0, left) / within_s
            self.per_s += (newest - self.per_s) * _NEWEST_WEIGHT

    def retry_after_s(self, excess: int) -> int:
        if self.per_s <= 0:
            return LONGEST_RETRY_S
        return max(1, min(LONGEST_RETRY_S, math.ceil((excess + 1) / self.per_s)))


class Quota:
    """What waits, as far as this process knows."""

    def __init__(self, quotas: Quotas) -> None:
        self.quotas = quotas
        self._counted_in_all = 0
        self._counted: Mapping[str, int] = {}
        self._before: Counter[str] = Counter()
        """Admitted before the count that is under way began."""
        self._since: Counter[str] = Counter()
        self._admitted_in_all = 0
        """The sum of both: to add it up for each request would take longer the more tenants there are."""
        self._counted_at: float | None = None
        self._began_at = 0.0
        self._leaving = _Leaving()
        self._leaving_of: dict[str, _Leaving] = {}

    def needs_tenants(self, in_all: int) -> bool:
        """Whether a count that found `in_all` has to tell tenants apart: with fewer none can be near its quota."""
        return 0 < self.quotas.of_tenant <= in_all * 2

    def admit(self, tenant: str) -> Refusal | None:
        """Counts one more job of the tenant, or says why not."""
        quotas = self.quotas
        if quotas.in_all:
            waiting = self._counted_in_all + self._admitted_in_all
            if waiting >= quotas.in_all:
                excess = waiting - quotas.in_all
                return Refusal(waiting, quotas.in_all, False, self._leaving.retry_after_s(excess))
        if quotas.of_tenant:
            waiting = self._counted.get(tenant, 0) + self._before[tenant] + self._since[tenant]
            if waiting >= quotas.of_tenant:
                leaving = self._leaving_of.get(tenant, _Leaving())
                excess = waiting - quotas.of_tenant
                return Refusal(waiting, quotas.of_tenant, True, leaving.retry_after_s(excess))
        self._since[tenant] += 1
        self._admitted_in_all += 1
        return None

    def begin(self, now: float) -> None:
        """A count begins. What is admitted from now on is not in it."""
        self._before += self._since
        self._since = Counter()
        self._began_at = now

    def failed(self) -> None:
        """The count that began last has failed. What was admitted before it is forgotten: else a database that can't
        count in time would in the end refuse everything."""
        self._forget_before()

    def counted(self, in_all: int, by_tenant: Mapping[str, int]) -> None:
        """The count that began last has ended. `by_tenant` may be empty where `needs_tenants` was false."""
        if self._counted_at is not None:
            within_s = self._began_at - self._counted_at
            self._leaving.note(self._counted_in_all + self._before.total() - in_all, within_s)
            for tenant in by_tenant:
                if tenant in self._counted:
                    left = self._counted[tenant] + self._before[tenant] - by_tenant[tenant]
                    self._leaving_of.setdefault(tenant, _Leaving()).note(left, within_s)
        self._leaving_of = {tenant: leaving for tenant, leaving in self._leaving_of.items() if tenant in by_tenant}
        self._counted_at = self._began_at
        self._counted_in_all = in_all
        self._counted = by_tenant
        self._forget_before()

    def _forget_before(self) -> None:
        self._before = Counter()
        self._admitted_in_all = self._since.total()
