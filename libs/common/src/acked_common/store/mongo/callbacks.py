"""Callbacks on MongoDB: ends of jobs that need a delivery, over two partial indexes, and the secrets of tenants.

The secrets of a tenant are one document, so that a rotation is one write.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from pymongo import UpdateOne
from pymongo.errors import DuplicateKeyError

from acked_common.model.callbacks import ROTATION, JobEnd, ends_document
from acked_common.store.callbacks import CallbackSecret, SettledEnds
from acked_common.store.mongo import schema
from acked_common.store.mongo.connections import Verbs
from acked_common.store.mongo.documents import Document, job_from
from acked_common.store.mongo.driver import Collection
from acked_common.store.mongo.errors import store_errors
from acked_common.store.mongo.field_names import DELETE_AT
from acked_common.store.records import Job

_OPEN: Document = {"callback_open": True, DELETE_AT: {"$exists": True}}
_SEARCHES = ((_OPEN, schema.CALLBACK_OPEN_INDEX), (schema.CALLBACK_ENDS, schema.CALLBACK_ENDS_INDEX))
_WITHOUT = dict.fromkeys(("payload", "result", "error", "progress", "history", "attempts", "tracebacks"), 0)


class CallbackVerbs(Verbs):
    """`CallbackStore` and `CallbackRequests`."""

    async def next_tenant_with_ends(self, after: str) -> str | None:
        found: list[str] = []
        with store_errors("looking for ends of jobs with callbacks"):
            for criteria, index in _SEARCHES:
                cursor = self._connections.jobs.find({**criteria, "tenant": {"$gt": after}}, {"tenant": 1}, hint=index)
                found += [one["tenant"] for one in await cursor.sort([("tenant", 1)]).limit(1).to_list(None)]
        return min(found, default=None)

    async def jobs_with_ends(self, tenant: str, *, limit: int) -> list[Job]:
        found: list[Document] = []
        with store_errors("reading ends of jobs with callbacks"):
            for criteria, index in _SEARCHES:
                cursor = self._connections.jobs.find({**criteria, "tenant": tenant}, _WITHOUT, hint=index)
                found += await cursor.limit(limit).to_list(None)
        return [job_from(document) for document in found]

    async def settle_ends(self, settled: Sequence[SettledEnds]) -> None:
        updates = [
            UpdateOne({"_id": one.id, "rev": one.rev, "callback_open": True}, {"$unset": {"callback_open": ""}})
            for one in settled
            if one.was_open
        ]
        updates += [
            UpdateOne({"_id": one.id}, {"$unset": {f"callback_ends.{key}": "" for key in one.keys}})
            for one in settled
            if one.keys
        ]
        if updates:
            with store_errors("removing the marks of ended jobs"):
                await self._connections.jobs.bulk_write(updates, ordered=False)

    async def ask_again(self, job_id: UUID, end: JobEnd, *, tenant: str) -> bool:
        asked: Document = {"callback_endpoints": end.endpoint} if end.endpoint else {"callback": {"$exists": True}}
        ours: Document = {"_id": job_id, "tenant": tenant, **asked}
        with store_errors("asking for another delivery"):
            done = await self._connections.jobs.update_one(
                ours, {"$set": {f"callback_ends.{end.key}": ends_document(end)}}
            )
        return bool(done.matched_count)


class MongoCallbackSecrets:
    """`CallbackSecretStore` on MongoDB."""

    def __init__(self, collection: Collection) -> None:
        """Take the collection of the secrets, whose writes wait for a majority and whose reads see one."""
        self._secrets = collection

    async def secrets(self, tenant: str, at: datetime) -> list[CallbackSecret]:
        with store_errors("reading the secrets of callbacks"):
            document = await self._secrets.find_one({"_id": tenant})
        found = [_secret_from(one) for one in document["secrets"]] if document is not None else []
        return [one for one in found if one.signs(at)]

    async def add_secret(self, tenant: str, secret: CallbackSecret) -> bool:
        at = secret.made_at
        # The newest is the first; with a second one that still signs, a rotation is in progress.
        is_free: Document = {"$or": [{"secrets.1": {"$exists": False}}, {"secrets.1.ends_at": {"$lte": at}}]}
        before: Document = {"$filter": {"input": {"$ifNull": ["$secrets", []]}, "cond": _signs(at)}}
        ending: Document = {
            "$map": {
                "input": {"$slice": [before, 1]},
                "in": {"$mergeObjects": ["$$this", {"ends_at": at + ROTATION}]},
            }
        }
        made: Document = {"id": secret.id, "secret": secret.secret, "made_at": at}
        change = [{"$set": {"secrets": {"$concatArrays": [[{"$literal": made}], ending]}}}]
        with store_errors("keeping a secret of callbacks"):
            try:
                await self._secrets.update_one({"_id": tenant, **is_free}, change, upsert=True)
            except DuplicateKeyError:
                return False
        return True

    async def end_secret(self, tenant: str, secret_id: str, at: datetime) -> bool:
        left: Document = {
            "$filter": {
                "input": "$secrets",
                "cond": {"$and": [_signs(at), {"$ne": ["$$this.id", {"$literal": secret_id}]}]},
            }
        }
        ours: Document = {
            "_id": tenant,
            "secrets": {
                "$elemMatch": {"id": secret_id, "$or": [{"ends_at": {"$exists": False}}, {"ends_at": {"$gt": at}}]}
            },
        }
        with store_errors("ending a secret of callbacks"):
            done = await self._secrets.update_one(ours, [{"$set": {"secrets": left}}])
        return bool(done.matched_count)


def _signs(at: datetime) -> Document:
    """Return whether the secret `this` signs at an instant, as an expression; one without an end does."""
    return {"$or": [{"$eq": [{"$type": "$$this.ends_at"}, "missing"]}, {"$gt": ["$$this.ends_at", at]}]}


def _secret_from(document: dict[str, Any]) -> CallbackSecret:
    return CallbackSecret(document["id"], document["secret"], document["made_at"], document.get("ends_at"))
