"""`ScheduleStore` and `DueScheduleStore` on MongoDB.

The id is tenant and name, so lists and counts of a tenant read a range of ids. Every write compares `rev`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from pymongo import ASCENDING, UpdateOne
from pymongo.errors import DuplicateKeyError

from acked_common.model.ids import new_id
from acked_common.model.schedules import MOST_IN_ALL, MOST_OF_TENANT, Schedule
from acked_common.store.mongo.documents import Document
from acked_common.store.mongo.driver import Collection
from acked_common.store.mongo.errors import store_errors
from acked_common.store.schedules import ScheduleAdded, ScheduleKey, SchedulePage

_AS_THEY_ARE = (datetime, bytes, UUID)
_SEPARATOR, _BEHIND_SEPARATOR = "/", "0"
"""No tenant and no name contains the separator; the other is the next character."""
_PROGRESS = ("progress", "rev", "look_at")
_LISTED: Document = {"order.work.payload": 0, "progress.firings": {"$slice": -1}}
"""Lists show neither payloads nor more than the newest firing, which would be megabytes in a page."""


def schedule_id(tenant: str, name: str) -> str:
    """Return the id of the document."""
    return f"{tenant}{_SEPARATOR}{name}"


def schedule_document(schedule: Schedule) -> Document:
    """Return the document, without the nonce of its writer."""
    document: Document = msgspec.to_builtins(schedule, builtin_types=_AS_THEY_ARE)
    if schedule.look_at is None:
        del document["look_at"]
    return {"_id": schedule_id(schedule.tenant, schedule.name), **document}


def schedule_from(document: Document) -> Schedule:
    """Return the schedule; fields of a newer version are ignored."""
    return msgspec.convert(document, Schedule, builtin_types=_AS_THEY_ARE)


class MongoSchedules:
    """The schedules of one database."""

    def __init__(self, schedules: Collection) -> None:
        """`schedules` is the collection; its writes wait for a majority, its reads see one."""
        self._schedules = schedules

    async def add(self, schedule: Schedule) -> ScheduleAdded:
        with store_errors("storing a schedule"):
            own = _of(schedule.tenant)
            if await self._schedules.count_documents(own, limit=MOST_OF_TENANT) >= MOST_OF_TENANT:
                return ScheduleAdded.TENANT_FULL
            if await self._schedules.estimated_document_count() >= MOST_IN_ALL:
                return ScheduleAdded.ALL_FULL
            try:
                await self._schedules.insert_one(schedule_document(schedule))
            except DuplicateKeyError:
                return ScheduleAdded.EXISTS
        return ScheduleAdded.ADDED

    async def get(self, name: str, *, tenant: str) -> Schedule | None:
        with store_errors("reading a schedule"):
            found = await self._schedules.find_one({"_id": schedule_id(tenant, name)})
        return None if found is None else schedule_from(found)

    async def list(self, tenant: str, *, page_size: int, after: str | None = None) -> SchedulePage:
        with store_errors("listing schedules"):
            found = self._schedules.find(_of(tenant, after=after or ""), _LISTED).sort("_id", ASCENDING)
            documents = await found.limit(page_size + 1).batch_size(page_size + 2).to_list(None)
        schedules = [schedule_from(one) for one in documents[:page_size]]
        return SchedulePage(schedules, schedules[-1].name if len(documents) > page_size else None)

    async def replace(self, schedule: Schedule) -> bool:
        return bool(await self._write([schedule], list(Schedule.__struct_fields__), new_id()))

    async def remove(self, name: str, *, tenant: str) -> bool:
        with store_errors("deleting a schedule"):
            done = await self._schedules.delete_one({"_id": schedule_id(tenant, name)})
        return done.deleted_count > 0

    async def due(self, *, limit: int) -> Sequence[Schedule]:
        due: Document = {"look_at": {"$exists": True}, "$expr": {"$lte": ["$look_at", "$$NOW"]}}
        with store_errors("reading due schedules"):
            found = self._schedules.find(due).sort("look_at", ASCENDING)
            documents = await found.limit(limit).batch_size(limit + 1).to_list(None)
        return [schedule_from(one) for one in documents]

    async def save_progress(self, schedules: Sequence[Schedule], *, nonce: UUID) -> set[ScheduleKey]:
        return await self._write(schedules, _PROGRESS, nonce)

    async def _write(self, schedules: Sequence[Schedule], fields: Sequence[str], nonce: UUID) -> set[ScheduleKey]:
        if not schedules:
            return set()
        updates = [_update(schedule, fields, nonce) for schedule in schedules]
        ids = [schedule_id(schedule.tenant, schedule.name) for schedule in schedules]
        with store_errors("writing schedules"):
            await self._schedules.bulk_write(updates, ordered=False)
            ours = self._schedules.find({"_id": {"$in": ids}, "by": nonce}, {"tenant": 1, "name": 1})
            documents = await ours.batch_size(len(ids) + 1).to_list(None)
        return {(one["tenant"], one["name"]) for one in documents}


def _of(tenant: str, *, after: str = "") -> dict[str, Any]:
    return {"_id": {"$gt": schedule_id(tenant, after), "$lt": f"{tenant}{_BEHIND_SEPARATOR}"}}


def _update(schedule: Schedule, fields: Sequence[str], nonce: UUID) -> UpdateOne:
    document = schedule_document(schedule)
    values = {name: document[name] for name in fields if name in document}
    update: Document = {"$set": {**values, "by": nonce}}
    if schedule.look_at is None:
        update["$unset"] = {"look_at": ""}
    return UpdateOne({"_id": document["_id"], "rev": schedule.rev - 1}, update)
