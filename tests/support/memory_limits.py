"""Limits of kinds in memory."""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from msgspec.structs import replace

from acked_common.model import lifecycle
from acked_common.model.lifecycle import Move, Seen, State
from acked_common.model.limits import KindLimit, Placement, TakenPlaces, WaitingJob
from acked_common.model.pauses import KindPauses
from acked_common.store.limits import HELD_COUNTED, PLACED_WITHIN_S, LimitUse, PlacedClaim, Places
from acked_common.store.mongo.documents import claimed_job_from, limit_document, limit_from, pauses_from
from acked_common.store.mongo.field_names import HELD, NEXT_CHECK_AT
from acked_common.store.records import ClaimedJob

if TYPE_CHECKING:
    from support.memory_store import MemoryStore


class MemoryLimits:
    """`LimitStore`, `LimitedClaimStore` and `LimitUseStore`, less turns."""

    async def limit_kind(self: "MemoryStore", kind: str, limit: KindLimit) -> KindPauses | None:
        from support.memory_store import _kept

        if (document := self._kinds.get(kind)) is None:
            return None
        document["limit"] = _kept(limit_document(limit))
        return pauses_from(document)

    async def read_places(self: "MemoryStore", kinds: Collection[str]) -> Places:
        limits = {kind: limit for kind in kinds if (limit := limit_from(self._kinds.get(kind, {}))) is not None}
        if not limits:
            return Places({}, {}, None)
        taken = {kind: taken for kind in limits if (taken := _taken(self, kind)).of_kind or taken.of_tenants}
        return Places(limits, taken, self._clock.now() + timedelta(seconds=PLACED_WITHIN_S))

    async def queued_jobs(self: "MemoryStore", ids: Sequence[UUID], *, kinds: Collection[str]) -> list[WaitingJob]:
        now = self._clock.now()
        return [
            _waiting(document)
            for document in self._existing(ids)
            if document["state"] == State.QUEUED.value and document["kind"] in kinds and document["expires_at"] > now
        ]

    async def held_jobs(self: "MemoryStore", kind: str, *, without: Collection[str], limit: int) -> list[WaitingJob]:
        found = [_waiting(d) for d in _held(self, kind) if d["tenant"] not in without]
        return sorted(found, key=lambda job: job.queued_at)[:limit]

    async def claim_placed(self: "MemoryStore", claim: PlacedClaim) -> list[ClaimedJob]:
        from support.memory_store import _moved, _nonce

        transition = lifecycle.claim(at=claim.at, owner=claim.owner, lease_s=claim.lease_s)
        for placement in claim.placements:
            document = self._jobs.get(placement.id)
            if document is None or document["state"] != State.QUEUED.value or document["expires_at"] <= claim.at:
                continue
            if (claim.until_at is not None and self._clock.now() >= claim.until_at) or _is_taken(
                self, document, placement
            ):
                continue
            state = State(document["state"])
            seen = Seen(document["_id"], state, document["rev"], document["attempt"], at=document.get("queued_at"))
            places = {"place": placement.place, "tenant_place": placement.tenant_place}
            placed = {name: place for name, place in places.items() if place is not None}
            owned = replace(transition, sets={**transition.sets, "owner": {**transition.sets["owner"], **placed}})
            lease = {NEXT_CHECK_AT: self._clock.now() + timedelta(milliseconds=int(claim.lease_s * 1000))}
            self._jobs[seen.id] = _moved(document, Move(seen, owned)) | lease
            self._tell(self._jobs[seen.id])
        return [
            claimed_job_from(document, claim.owner.nonce)
            for document in self._existing([placement.id for placement in claim.placements])
            if document["state"] == State.RUNNING.value and _nonce(document) == claim.owner.nonce
        ]

    async def hold_jobs(self: "MemoryStore", ids: Sequence[UUID]) -> None:
        for document in self._existing(ids):
            if document["state"] == State.QUEUED.value and document.get("reserved_by") != HELD:
                document["reserved_by"] = HELD
                document[NEXT_CHECK_AT] = document["expires_at"]

    async def unplaced_jobs(self: "MemoryStore", kinds: Collection[str]) -> list[WaitingJob]:
        return [
            _waiting(document)
            for document in self._jobs.values()
            if document["state"] == State.RUNNING.value
            and document["kind"] in kinds
            and "place" not in document["owner"]
        ]

    async def adopt_jobs(self: "MemoryStore", placements: Sequence[Placement]) -> None:
        for placement in placements:
            document = self._jobs.get(placement.id)
            if document is None or document["state"] != State.RUNNING.value or "place" in document["owner"]:
                continue
            if not _is_taken(self, document, placement):
                places = {"place": placement.place, "tenant_place": placement.tenant_place}
                document["owner"] = {**document["owner"], **places}

    async def limit_use(self: "MemoryStore", kind: str) -> LimitUse:
        of_tenants = Counter(d["tenant"] for d in _running(self, kind) if "tenant_place" in d["owner"])
        return LimitUse(of_tenants.total(), dict(of_tenants), min(HELD_COUNTED, len(_held(self, kind))))


def _running(store: "MemoryStore", kind: str) -> list[dict[str, Any]]:
    return [d for d in store._jobs.values() if d["state"] == State.RUNNING.value and d["kind"] == kind]


def _held(store: "MemoryStore", kind: str) -> list[dict[str, Any]]:
    return [
        d
        for d in store._jobs.values()
        if d.get("reserved_by") == HELD and d["kind"] == kind and d["state"] == State.QUEUED.value
    ]


def _taken(store: "MemoryStore", kind: str) -> TakenPlaces:
    of_kind: set[int] = set()
    of_tenants: dict[str, set[int]] = {}
    for document in _running(store, kind):
        owner = document["owner"]
        if "place" in owner:
            of_kind.add(owner["place"])
        if "tenant_place" in owner:
            of_tenants.setdefault(document["tenant"], set()).add(owner["tenant_place"])
    return TakenPlaces(of_kind, of_tenants)


def _is_taken(store: "MemoryStore", document: dict[str, Any], placement: Placement) -> bool:
    """Whether another job has the place, as the unique indexes decide."""
    taken = _taken(store, document["kind"])
    of_tenant = taken.of_tenants.get(document["tenant"], set())
    return placement.place in taken.of_kind or placement.tenant_place in of_tenant


def _waiting(document: dict[str, Any]) -> WaitingJob:
    at = document.get("queued_at") or document["started_at"]
    return WaitingJob(document["_id"], document["kind"], document["tenant"], at)
