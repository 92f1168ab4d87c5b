"""Limits of kinds on MongoDB. The unique indexes over places enforce them (see `model/limits`).

All reads of places and of held jobs use keys of these indexes. So they cost as much as jobs run, or tenants wait, and
never as much as jobs wait.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from msgspec.structs import replace
from pymongo import ReturnDocument, UpdateOne
from pymongo.errors import BulkWriteError

from acked_common.model import lifecycle
from acked_common.model.lifecycle import State, Transition
from acked_common.model.limits import KindLimit, Placement, TakenPlaces, WaitingJob
from acked_common.model.pauses import KindPauses
from acked_common.store.errors import OutcomeUnknown
from acked_common.store.limits import (
    HELD_COUNTED,
    PLACED_WITHIN_S,
    TENANTS_AT_ONCE,
    LimitUse,
    PlacedClaim,
    Places,
)
from acked_common.store.mongo import schema
from acked_common.store.mongo.connections import Verbs
from acked_common.store.mongo.documents import (
    CLAIMED_FIELDS,
    Document,
    claimed_job_from,
    limit_document,
    limit_from,
    pauses_from,
)
from acked_common.store.mongo.errors import store_errors
from acked_common.store.mongo.field_names import HELD, NEXT_CHECK_AT, PLACE, TENANT_PLACE
from acked_common.store.mongo.find import find_by_ids
from acked_common.store.mongo.id_bytes import in_ids
from acked_common.store.mongo.moves import claim_pipeline
from acked_common.store.records import ClaimedJob

_DUPLICATE_KEY = 11000
_WAITING = {"kind": 1, "tenant": 1, "queued_at": 1, "started_at": 1}


class LimitVerbs(Verbs):
    """`LimitStore`, `LimitedClaimStore` and `LimitUseStore`, less turns."""

    async def limit_kind(self, kind: str, limit: KindLimit) -> KindPauses | None:
        with store_errors("limiting a kind"):
            document: Document | None = await self._connections.kinds.find_one_and_update(
                {"_id": kind},
                {"$set": {"limit": limit_document(limit)}},
                projection={"paused": 1, "pauses": 1, "limit": 1},
                return_document=ReturnDocument.AFTER,
            )
        return None if document is None else pauses_from(document)

    async def read_places(self, kinds: Collection[str]) -> Places:
        found = self._connections
        limited: list[Document] = [
            {"$match": {"_id": {"$in": list(kinds)}, "limit": {"$exists": True}}},
            {"$project": {"limit": 1, "now": "$$NOW"}},
        ]
        with store_errors("reading limits"):
            documents = await found.kinds.aggregate(limited).to_list(None)
            limits = {one["_id"]: limit for one in documents if (limit := limit_from(one)) is not None}
            if not limits:
                return Places({}, {}, None)
            of_kinds, of_tenants = await asyncio.gather(
                self._place_keys(schema.PLACES_INDEX, PLACE, limits),
                self._place_keys(schema.TENANT_PLACES_INDEX, TENANT_PLACE, limits),
            )
        until_at = min(one["now"] for one in documents) + timedelta(seconds=PLACED_WITHIN_S)
        return Places(limits, _taken(of_kinds, of_tenants), until_at)

    async def _place_keys(self, index: str, place: str, kinds: Collection[str]) -> list[Document]:
        """Read the keys of an index over places."""
        wanted: Document = {"kind": {"$in": list(kinds)}, place: {"$gte": 0}}
        fields: Document = {"_id": 0, "kind": 1, place: 1}
        if index == schema.TENANT_PLACES_INDEX:
            # A name is never empty. Without a bound on the tenant, MongoDB could not use the next field.
            wanted["tenant"], fields["tenant"] = {"$gt": ""}, 1
        found = self._connections.jobs.find(wanted, fields, hint=index, batch_size=1000)
        documents: list[Document] = await found.to_list(None)
        return documents

    async def queued_jobs(self, ids: Sequence[UUID], *, kinds: Collection[str]) -> list[WaitingJob]:
        if not ids:
            return []
        queued: Document = {
            "state": State.QUEUED.value,
            "kind": {"$in": list(kinds)},
            "$expr": {"$gt": ["$expires_at", "$$NOW"]},
        }
        with store_errors("reading queued jobs"):
            found = await find_by_ids(self._connections.jobs, ids, queued, fields=tuple(_WAITING))
        return [_waiting(one) for one in found]

    async def held_jobs(self, kind: str, *, without: Collection[str], limit: int) -> list[WaitingJob]:
        held: Document = {"reserved_by": HELD, "kind": kind}
        tenants: list[Document] = [
            # As in the search for waits that have ended: MongoDB jumps from tenant to tenant.
            {"$match": {**held, "tenant": {"$gt": ""}}},
            {"$sort": {"reserved_by": 1, "kind": 1, "tenant": 1, "queued_at": 1}},
            {"$group": {"_id": "$tenant", "queued_at": {"$first": "$queued_at"}}},
            {"$match": {"_id": {"$nin": list(without)}}},
            {"$sort": {"queued_at": 1, "_id": 1}},
            {"$limit": TENANTS_AT_ONCE},
        ]
        jobs = self._connections.jobs
        with store_errors("reading held jobs"):
            found = await jobs.aggregate(tenants, hint=schema.HELD_INDEX).to_list(None)
            if not found:
                return []
            wanted: Document = {**held, "tenant": {"$in": [one["_id"] for one in found]}, "state": State.QUEUED.value}
            oldest = jobs.find(wanted, _WAITING, hint=schema.HELD_INDEX, batch_size=limit + 1)
            documents = await oldest.sort("queued_at", 1).limit(limit).to_list(None)
        return [_waiting(one) for one in documents]

    async def claim_placed(self, claim: PlacedClaim) -> list[ClaimedJob]:
        if not claim.placements:
            return []
        found = self._connections
        transition = lifecycle.claim(at=claim.at, owner=claim.owner, lease_s=claim.lease_s)
        updates = [_claim_update(claim, transition, placement) for placement in claim.placements]
        unknown: OutcomeUnknown | None = None
        try:
            with store_errors("claiming jobs of a limited kind"):
                try:
                    await found.jobs.bulk_write(updates, ordered=False)
                except BulkWriteError as error:
                    if not _only_taken_places(error):
                        raise
        except OutcomeUnknown as error:
            unknown = error
        ids = [placement.id for placement in claim.placements]
        fields = CLAIMED_FIELDS if not found.claims_tenants else (*CLAIMED_FIELDS, "tenant")
        with store_errors("reading claimed jobs"):
            ours = {"owner.nonce": claim.owner.nonce, "state": State.RUNNING.value}
            documents = await find_by_ids(found.jobs, ids, ours, fields=fields)
        if unknown is not None and len(documents) < len(ids):
            # The write may still take effect, until `until_at`.
            raise unknown
        return [claimed_job_from(document, claim.owner.nonce) for document in documents]

    async def hold_jobs(self, ids: Sequence[UUID]) -> None:
        if not ids:
            return
        queued: Document = {"_id": in_ids(ids), "state": State.QUEUED.value, "reserved_by": {"$ne": HELD}}
        held: list[Document] = [{"$set": {"reserved_by": HELD, NEXT_CHECK_AT: "$expires_at"}}]
        with store_errors("holding jobs"):
            await self._connections.jobs.update_many(queued, held)

    async def unplaced_jobs(self, kinds: Collection[str]) -> list[WaitingJob]:
        running: Document = {
            "state": State.RUNNING.value,
            NEXT_CHECK_AT: {"$exists": True},
            "kind": {"$in": list(kinds)},
            PLACE: {"$exists": False},
        }
        with store_errors("looking for running jobs without a place"):
            found = await self._connections.jobs.find(running, _WAITING, hint=schema.LIVE_INDEX).to_list(None)
        return [_waiting(one) for one in found]

    async def adopt_jobs(self, placements: Sequence[Placement]) -> None:
        if not placements:
            return
        updates = [
            UpdateOne(
                {"_id": one.id, "state": State.RUNNING.value, PLACE: {"$exists": False}},
                {"$set": {PLACE: one.place, TENANT_PLACE: one.tenant_place}},
            )
            for one in placements
        ]
        with store_errors("giving places to running jobs"):
            try:
                await self._connections.jobs.bulk_write(updates, ordered=False)
            except BulkWriteError as error:
                # Another gateway has adopted them.
                if not _only_taken_places(error):
                    raise

    async def limit_use(self, kind: str) -> LimitUse:
        held: list[Document] = [
            {"$match": {"reserved_by": HELD, "kind": kind, "tenant": {"$gt": ""}}},
            {"$limit": HELD_COUNTED},
            {"$count": "count"},
        ]
        with store_errors("counting jobs of a limited kind"):
            places, counts = await asyncio.gather(
                self._place_keys(schema.TENANT_PLACES_INDEX, TENANT_PLACE, [kind]),
                self._connections.jobs.aggregate(held, hint=schema.HELD_INDEX).to_list(None),
            )
        of_tenants: dict[str, int] = {}
        for one in places:
            of_tenants[one["tenant"]] = of_tenants.get(one["tenant"], 0) + 1
        return LimitUse(len(places), of_tenants, counts[0]["count"] if counts else 0)


def _claim_update(claim: PlacedClaim, transition: Transition, placement: Placement) -> UpdateOne:
    criteria: Document = {
        "_id": placement.id,
        "state": State.QUEUED.value,
        "expires_at": {"$gt": claim.at},
    }
    if claim.until_at is not None:
        criteria["$expr"] = {"$lt": ["$$NOW", claim.until_at]}
    places = {"place": placement.place, "tenant_place": placement.tenant_place}
    placed = {name: place for name, place in places.items() if place is not None}
    owned = replace(transition, sets={**transition.sets, "owner": {**transition.sets["owner"], **placed}})
    return UpdateOne(criteria, claim_pipeline(owned, claim.lease_s))


def _only_taken_places(error: BulkWriteError) -> bool:
    """Return whether the write failed only for jobs whose places are taken."""
    details: Mapping[str, Any] = error.details
    if details.get("writeConcernErrors"):
        return False
    return all(one.get("code") == _DUPLICATE_KEY for one in details.get("writeErrors", ()))


def _taken(of_kinds: Sequence[Document], of_tenants: Sequence[Document]) -> dict[str, TakenPlaces]:
    places: dict[str, set[int]] = {}
    tenants: dict[str, dict[str, set[int]]] = {}
    for one in of_kinds:
        places.setdefault(one["kind"], set()).add(one["owner"]["place"])
    for one in of_tenants:
        tenants.setdefault(one["kind"], {}).setdefault(one["tenant"], set()).add(one["owner"]["tenant_place"])
    return {
        kind: TakenPlaces(places.get(kind, set()), tenants.get(kind, {})) for kind in places.keys() | tenants.keys()
    }


def _waiting(document: Document) -> WaitingJob:
    """Return a queued or running job; the latter has no `queued_at`."""
    at = document.get("queued_at") or document["started_at"]
    return WaitingJob(document["_id"], document["kind"], document["tenant"], at)
