"""Minute buckets on MongoDB: one command per write, and reads along one index.

The document of a bucket belongs to one process and stores the number of the newest write to it. A repeated write finds
its number there and changes nothing, so every count is added once.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

from bson.binary import Binary

from acked_common.model.minute_buckets import COUNTED, KEPT_S, MOST_READ, SKETCHES, Bucket
from acked_common.store.errors import OutcomeUnknown, StoreError
from acked_common.store.mongo.connections import Verbs
from acked_common.store.mongo.documents import Document
from acked_common.store.mongo.errors import store_errors

SERIES_INDEX = "series"
_BATCH = 500
_DUPLICATE_KEY = 11000
_ID_BYTES = 16
_READ = {"_id": 0, "write": 0, "forget_at": 0}


class MinuteVerbs(Verbs):
    """`MinuteStore`."""

    async def add_minutes(self, boot: str, number: int, buckets: Sequence[Bucket]) -> None:
        if not buckets:
            return
        minutes = self._connections.minutes
        # A plain command: for the driver's retryable one, MongoDB would record each document.
        command = {
            "update": minutes.name,
            "updates": [minute_update(boot, number, bucket) for bucket in buckets],
            "ordered": False,
            "writeConcern": minutes.write_concern.document,
        }
        with store_errors("writing minute buckets"):
            reply = await minutes.database.command(command, codec_options=minutes.codec_options)
        # A bucket that already has this write does not match, and can't be inserted again.
        refused = [error for error in reply.get("writeErrors", ()) if error.get("code") != _DUPLICATE_KEY]
        if refused:
            codes = sorted({error.get("code", 0) for error in refused})
            raise StoreError(f"writing minute buckets: MongoDB refused {len(refused)} (codes {codes})")
        if "writeConcernError" in reply:
            raise OutcomeUnknown("writing minute buckets: MongoDB did not confirm (write concern)")

    async def minutes(self, tenant: str | None, kind: str | None, *, step_s: int, since_at: datetime) -> list[Bucket]:
        criteria = minute_criteria(tenant, kind, step_s=step_s, since_at=since_at)
        found: list[Bucket] = []
        with store_errors("reading minute buckets"):
            cursor = self._connections.minutes.find(criteria, _READ).sort("at", -1).limit(MOST_READ).batch_size(_BATCH)
            # In parts, so that other tasks run in between.
            while documents := await cursor.to_list(_BATCH):
                found += [bucket_from(document) for document in documents]
        return found

    async def kind_totals(
        self, tenant: str, kinds: Sequence[str], *, step_s: int, since_at: datetime
    ) -> dict[str, dict[str, int]]:
        pipeline = totals_pipeline(tenant, kinds, step_s=step_s, since_at=since_at)
        with store_errors("adding up minute buckets"):
            found = await self._connections.minutes.aggregate(pipeline, hint=SERIES_INDEX).to_list(None)
        return {document["_id"]: {name: document[name] for name in COUNTED if document[name]} for document in found}


def totals_pipeline(tenant: str, kinds: Sequence[str], *, step_s: int, since_at: datetime) -> list[Document]:
    """Return the aggregation that adds up the buckets of several kinds; each is one span of the index `series`."""
    sums: Document = {name: {"$sum": f"${name}"} for name in COUNTED}
    return [
        {"$match": {"tenant": tenant, "kind": {"$in": list(kinds)}, "step_s": step_s, "at": {"$gte": since_at}}},
        {"$limit": MOST_READ},
        {"$group": {"_id": "$kind", **sums}},
    ]


def minute_criteria(tenant: str | None, kind: str | None, *, step_s: int, since_at: datetime) -> Document:
    """Return the filter of one series; the index `series` has its fields in this order."""
    return {"tenant": tenant, "kind": kind, "step_s": step_s, "at": {"$gte": since_at}}


def minute_update(boot: str, number: int, bucket: Bucket) -> Document:
    """Return the upsert that adds a bucket to its document, unless this write has already done so."""
    names = (boot, bucket.tenant, bucket.kind, bucket.step_s, bucket.at.timestamp())
    digest = blake2b(repr(names).encode(), digest_size=_ID_BYTES).digest()
    made = {
        "tenant": bucket.tenant,
        "kind": bucket.kind,
        "step_s": bucket.step_s,
        "at": bucket.at,
        "forget_at": bucket.at + timedelta(seconds=KEPT_S[bucket.step_s]),
    }
    change = {"$inc": dict(bucket.counts), "$set": {"write": number}, "$setOnInsert": made}
    return {"q": {"_id": Binary(digest), "write": {"$lt": number}}, "u": change, "upsert": True}


def bucket_from(document: Mapping[str, Any]) -> Bucket:
    """Return a bucket from its document."""
    counts = {name: document[name] for name in COUNTED if name in document}
    for sketch in SKETCHES:
        counts |= {f"{sketch}.{span}": count for span, count in document.get(sketch, {}).items()}
    return Bucket(
        tenant=document["tenant"],
        kind=document["kind"],
        step_s=document["step_s"],
        at=document["at"],
        counts=counts,
    )
