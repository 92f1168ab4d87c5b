"""Quotas of the jobs that wait for workers, in total and per tenant. Pure: time and counts are arguments.

Between two counts, a process knows only the jobs that it has admitted itself. So the number of waiting jobs may exceed
a quota by the jobs that other processes admit until their next counts, and by requests that were not yet stored when a
count began. Tenants are counted separately only above half a quota. A tenant that grows from less than that to its
quota within one pause may exceed the quota by half.
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
    """Why a request is refused, and after how many whole seconds there should be room."""

    waiting: int
    quota: int
    is_of_tenant: bool
    retry_after_s: int
    is_of_parked: bool = False


class _Leaving:
    """The rate at which jobs have left recently."""

    def __init__(self) -> None:
        self.per_s = 0.0

    def note(self, left: int, within_s: float) -> None:
        if within_s > 0:
            # If other processes admitted more jobs than have left, the rate is unknown; assume a low one.
            newest = max(0, left) / within_s
            self.per_s += (newest - self.per_s) * _NEWEST_WEIGHT

    def retry_after_s(self, excess: int) -> int:
        if self.per_s <= 0:
            return LONGEST_RETRY_S
        return max(1, min(LONGEST_RETRY_S, math.ceil((excess + 1) / self.per_s)))


class Quota:
    """The number of waiting jobs, as far as this process knows."""

    def __init__(self, quotas: Quotas) -> None:
        self.quotas = quotas
        self._counted_in_all = 0
        self._counted: Mapping[str, int] = {}
        self._before: Counter[str] = Counter()
        """Jobs admitted before the current count began."""
        self._since: Counter[str] = Counter()
        self._admitted_in_all = 0
        """The sum of both; summing for each request would take longer the more tenants there are."""
        self._counted_at: float | None = None
        self._began_at = 0.0
        self._leaving = _Leaving()
        self._leaving_of: dict[str, _Leaving] = {}
        self._crowds_parked: Mapping[str, int] = {}
        """The parked jobs of tenants that have as many as they may."""

    def needs_tenants(self, in_all: int) -> bool:
        """Return whether a count of `in_all` must be split by tenant; below that, no tenant can be near its quota."""
        return 0 < self.quotas.of_tenant <= in_all * 2

    def admit(self, tenant: str) -> Refusal | None:
        """Count one more job of the tenant, or return the refusal."""
        quotas = self.quotas
        if tenant in self._crowds_parked:
            # Parks are never refused, so only new jobs can be.
            parked = self._crowds_parked[tenant]
            return Refusal(parked, quotas.parked_of_tenant, True, LONGEST_RETRY_S, is_of_parked=True)
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
        """Begin a count, which does not include jobs admitted from now on."""
        self._before += self._since
        self._since = Counter()
        self._began_at = now

    def counted_parked(self, crowds: Mapping[str, int]) -> None:
        """Note the tenants that have as many parked jobs as they may."""
        self._crowds_parked = crowds

    def failed(self) -> None:
        """End the newest count without a result. Forget the jobs admitted before it: otherwise, while MongoDB can't
        count in time, intake would eventually refuse every request."""
        self._forget_before()

    def counted(self, in_all: int, by_tenant: Mapping[str, int]) -> None:
        """End the newest count with its result. `by_tenant` may be empty if `needs_tenants` was false."""
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
