"""The verbs of the resumer in memory."""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from acked_common.model.lifecycle import Move, Seen, State
from acked_common.store.mongo.field_names import NEXT_CHECK_AT
from acked_common.store.parked import ResumedJob, ResumeOrder
from acked_common.store.records import SweepPosition

if TYPE_CHECKING:
    from support.memory_store import MemoryStore


class MemoryParked:
    """`ParkedStore`, less turns and revisions, and `TransitionStore.resume`."""

    async def tenants_to_resume(self: "MemoryStore", *, limit: int) -> list[str]:
        first: dict[str, datetime] = {}
        for document in _ended(self):
            tenant, at = document["tenant"], document[NEXT_CHECK_AT]
            first[tenant] = min(at, first.get(tenant, at))
        return sorted(first, key=lambda tenant: (first[tenant], tenant))[:limit]

    async def waits_ended(
        self: "MemoryStore", tenant: str, *, limit: int, after: SweepPosition | None = None
    ) -> list[SweepPosition]:
        found = sorted((d[NEXT_CHECK_AT], d["_id"]) for d in _ended(self) if d["tenant"] == tenant)
        behind = [one for one in found if after is None or one > (after.next_check_at, after.id)]
        return [SweepPosition(*one) for one in behind[:limit]]

    async def of_other_kinds(self: "MemoryStore", ids: Sequence[UUID], kinds: Collection[str]) -> set[UUID]:
        return {document["_id"] for document in self._existing(ids) if document["kind"] not in kinds}

    async def crowds_parked(self: "MemoryStore", *, at_least: int) -> dict[str, int]:
        parked = Counter(d["tenant"] for d in self._jobs.values() if d["state"] == State.WAITING.value)
        return {tenant: count for tenant, count in parked.items() if count >= at_least}

    async def resume(self: "MemoryStore", ids: Sequence[UUID], order: ResumeOrder) -> list[ResumedJob]:
        from support.memory_store import _moved

        ended = {document["_id"] for document in _ended(self)}
        for document in self._existing(ids):
            if document["_id"] in ended:
                seen = Seen(
                    document["_id"],
                    State(document["state"]),
                    document["rev"],
                    document["attempt"],
                    at=document["history"][-1]["at"],
                )
                after = _moved(document, Move(seen, order.transition))
                own_s = document.get("expires_in_s", order.expires_in_s)
                after["expires_at"] = after["queued_at"] + timedelta(milliseconds=int(own_s * 1000))
                grace = timedelta(milliseconds=int(order.grace_s * 1000))
                after[NEXT_CHECK_AT] = min(after["queued_at"] + grace, after["expires_at"])
                after["reserved_by"] = order.nonce
                self._jobs[seen.id] = after
                self._tell(after)
        return [
            ResumedJob(document["_id"], document["kind"], document["queued_at"], document["rev"])
            for document in self._existing(ids)
            if document.get("reserved_by") == order.nonce and document["state"] == State.QUEUED.value
        ]


def _ended(store: "MemoryStore") -> list[dict[str, Any]]:
    now = store._clock.now()
    return [
        document
        for document in store._jobs.values()
        if document["state"] == State.WAITING.value and document[NEXT_CHECK_AT] <= now
    ]
