"""Schedules in memory: `ScheduleStore` and `DueScheduleStore` with the semantics of those on MongoDB."""

from collections.abc import Sequence
from uuid import UUID

from msgspec.structs import replace

from acked_common.model.schedules import MOST_IN_ALL, MOST_OF_TENANT, Schedule
from acked_common.runtime.clock import Clock
from acked_common.store.mongo.documents import Document
from acked_common.store.mongo.schedules import schedule_document, schedule_from
from acked_common.store.schedules import ScheduleAdded, ScheduleKey, SchedulePage


class MemorySchedules:
    """The schedules of a store in memory; `clock` is its server's clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._schedules: dict[ScheduleKey, Document] = {}

    async def add(self, schedule: Schedule) -> ScheduleAdded:
        key = (schedule.tenant, schedule.name)
        if sum(tenant == schedule.tenant for tenant, _ in self._schedules) >= MOST_OF_TENANT:
            return ScheduleAdded.TENANT_FULL
        if len(self._schedules) >= MOST_IN_ALL:
            return ScheduleAdded.ALL_FULL
        if key in self._schedules:
            return ScheduleAdded.EXISTS
        self._schedules[key] = schedule_document(schedule)
        return ScheduleAdded.ADDED

    async def get(self, name: str, *, tenant: str) -> Schedule | None:
        found = self._schedules.get((tenant, name))
        return None if found is None else schedule_from(found)

    async def list(self, tenant: str, *, page_size: int, after: str | None = None) -> SchedulePage:
        names = sorted(name for of, name in self._schedules if of == tenant and name > (after or ""))
        page = [_listed(schedule_from(self._schedules[tenant, name])) for name in names[:page_size]]
        return SchedulePage(page, page[-1].name if len(names) > page_size else None)

    async def replace(self, schedule: Schedule) -> bool:
        return self._write(schedule, schedule)

    async def remove(self, name: str, *, tenant: str) -> bool:
        return self._schedules.pop((tenant, name), None) is not None

    async def due(self, *, limit: int) -> Sequence[Schedule]:
        now = self._clock.now()
        found = (one for one in self._schedules.values() if "look_at" in one and one["look_at"] <= now)
        return [schedule_from(one) for one in sorted(found, key=lambda one: one["look_at"])[:limit]]

    async def save_progress(self, schedules: Sequence[Schedule], *, nonce: UUID) -> set[ScheduleKey]:
        written = set()
        for schedule in schedules:
            stored = self._schedules.get((schedule.tenant, schedule.name))
            if stored is None:
                continue
            changed = replace(
                schedule_from(stored), progress=schedule.progress, rev=schedule.rev, look_at=schedule.look_at
            )
            if self._write(schedule, changed):
                written.add((schedule.tenant, schedule.name))
        return written

    def _write(self, schedule: Schedule, changed: Schedule) -> bool:
        key = (schedule.tenant, schedule.name)
        stored = self._schedules.get(key)
        if stored is None or stored["rev"] != schedule.rev - 1:
            return False
        self._schedules[key] = schedule_document(changed)
        return True


def _listed(schedule: Schedule) -> Schedule:
    order = replace(schedule.order, work=replace(schedule.order.work, payload=b"{}"))
    progress = replace(schedule.progress, firings=schedule.progress.firings[-1:])
    return replace(schedule, order=order, progress=progress)
