"""`BulkStore` on MongoDB.

An active action takes one place of its tenant and one of all, enforced by unique indexes, so a race can't exceed the
maximum. MongoDB's clock decides who holds a lease.
"""

from collections.abc import Mapping, Sequence
from uuid import UUID

from pymongo import ASCENDING, DESCENDING, ReturnDocument, WriteConcern
from pymongo.errors import DuplicateKeyError

from acked_common.model.bulk_actions import MOST_ACTIVE, MOST_ACTIVE_OF_TENANT, Abort, BulkAction
from acked_common.store.bulk_actions import Added, BulkPage, RenewedLease, TakenAction
from acked_common.store.errors import StoreError
from acked_common.store.mongo.bulk_documents import (
    abort_document,
    action_from,
    new_document,
    save_update,
    unpacked,
)
from acked_common.store.mongo.documents import Document
from acked_common.store.mongo.driver import Collection
from acked_common.store.mongo.errors import store_errors
from acked_common.store.mongo.moves import lease_from_now

_TRIES = 2 * MOST_ACTIVE
_WITHOUT_IDS = {"ids": 0}
_ACTIVE: Document = {"place": {"$exists": True}}


class MongoBulkActions:
    """The bulk actions of one database."""

    def __init__(self, actions: Collection) -> None:
        """`actions` is the collection; its writes wait for a majority, its reads see one."""
        self._actions = actions
        # A rolled-back lease only lets another owner in, and each job still moves once.
        self._quick = actions.with_options(write_concern=WriteConcern(w=1))

    async def add(self, action: BulkAction, ids: Sequence[UUID]) -> Added:
        document = new_document(action, ids)
        tenant = action.order.tenant
        with store_errors("keeping a bulk action"):
            for _ in range(_TRIES):
                found = self._actions.find(_ACTIVE, {"tenant": 1, "place": 1, "tenant_place": 1})
                active: list[Document] = await found.to_list(None)
                place = _free(MOST_ACTIVE, active, "place")
                of_tenant = [other for other in active if other["tenant"] == tenant]
                tenant_place = _free(MOST_ACTIVE_OF_TENANT, of_tenant, "tenant_place")
                if any(other["_id"] == action.id for other in active):
                    return Added.ADDED
                if tenant_place is None:
                    return Added.TENANT_FULL
                if place is None:
                    return Added.ALL_FULL
                try:
                    await self._actions.insert_one({**document, "place": place, "tenant_place": tenant_place})
                except DuplicateKeyError as error:
                    if "_id" in (error.details or {}).get("keyPattern", {}):
                        return Added.ADDED
                    # Another process took the place meanwhile.
                    continue
                return Added.ADDED
        raise StoreError("keeping a bulk action: others took each place that was free")

    async def get(self, action_id: UUID, *, tenant: str) -> BulkAction | None:
        with store_errors("reading a bulk action"):
            document = await self._actions.find_one({"_id": action_id, "tenant": tenant}, _WITHOUT_IDS)
        return None if document is None else action_from(document)

    async def list(self, tenant: str, *, page_size: int, before: UUID | None = None) -> BulkPage:
        criteria: Document = {"tenant": tenant} | ({} if before is None else {"_id": {"$lt": before}})
        with store_errors("listing bulk actions"):
            found = self._actions.find(criteria, _WITHOUT_IDS, hint="tenant_newest").sort("_id", DESCENDING)
            documents = await found.limit(page_size + 1).batch_size(page_size + 2).to_list(None)
        actions = [action_from(document) for document in documents[:page_size]]
        return BulkPage(actions, actions[-1].id if len(documents) > page_size else None)

    async def ids_of(self, action_id: UUID) -> Sequence[UUID]:
        with store_errors("reading the ids of a bulk action"):
            document = await self._actions.find_one({"_id": action_id}, {"ids": 1})
        return [] if document is None or "ids" not in document else unpacked(bytes(document["ids"]))

    async def take(self, owner: str, *, lease_s: float, but: Sequence[UUID]) -> TakenAction | None:
        # A missing value sorts first, so an action that was never taken is free.
        free: Document = {**_ACTIVE, "_id": {"$nin": list(but)}, "$expr": {"$lte": ["$lease_until", "$$NOW"]}}
        taken: list[Document] = [{"$set": {"owner": {"$literal": owner}, "lease_until": lease_from_now(lease_s)}}]
        with store_errors("taking a bulk action"):
            document = await self._actions.find_one_and_update(
                free,
                taken,
                projection=_WITHOUT_IDS,
                sort=[("_id", ASCENDING)],
                return_document=ReturnDocument.AFTER,
            )
        return None if document is None else TakenAction(action_from(document), document["lease_until"])

    async def renew(self, ids: Sequence[UUID], *, owner: str, lease_s: float) -> Mapping[UUID, RenewedLease]:
        ours: Document = {**_ACTIVE, "_id": {"$in": list(ids)}, "owner": owner}
        lease: list[Document] = [{"$set": {"lease_until": lease_from_now(lease_s)}}]
        with store_errors("renewing bulk actions"):
            await self._quick.update_many(ours, lease)
            # This sees a majority: of a renewal that only one member has, the lease before.
            documents = await self._actions.find(ours, {"abort.at": 1, "lease_until": 1}).to_list(None)
        return {document["_id"]: RenewedLease(document["lease_until"], "abort" in document) for document in documents}

    async def give_back(self, owner: str) -> None:
        with store_errors("giving bulk actions back"):
            await self._actions.update_many({**_ACTIVE, "owner": owner}, {"$unset": {"owner": "", "lease_until": ""}})

    async def save(self, action: BulkAction, *, owner: str) -> BulkAction | None:
        ours: Document = {"_id": action.id, "owner": owner, "position.number": action.position.number - 1}
        with store_errors("writing a bulk action"):
            document: Document | None = await self._actions.find_one_and_update(
                ours, save_update(action), projection=_WITHOUT_IDS, return_document=ReturnDocument.AFTER
            )
            if document is None:
                # An earlier attempt of this write may have taken effect without a reply.
                document = await self._actions.find_one({"_id": action.id}, _WITHOUT_IDS)
        if document is None:
            return None
        found = action_from(document)
        is_ours = document.get("owner") == owner or found.ended_at is not None
        return found if is_ours and _stands_alike(found, action) else None

    async def request_abort(self, action_id: UUID, abort: Abort, *, tenant: str) -> BulkAction | None:
        active: Document = {"_id": action_id, "tenant": tenant, **_ACTIVE, "abort": {"$exists": False}}
        with store_errors("aborting a bulk action"):
            document = await self._actions.find_one_and_update(
                active,
                {"$set": {"abort": abort_document(abort)}},
                projection=_WITHOUT_IDS,
                return_document=ReturnDocument.AFTER,
            )
        return action_from(document) if document is not None else await self.get(action_id, tenant=tenant)


def _free(most: int, active: Sequence[Document], name: str) -> int | None:
    """Return the lowest place that no action has."""
    taken = {document[name] for document in active}
    return next((place for place in range(1, most + 1) if place not in taken), None)


def _stands_alike(found: BulkAction, action: BulkAction) -> bool:
    return (found.position, found.state, found.tally) == (action.position, action.state, action.tally)
