"""Inserts of new jobs into MongoDB, including inserts whose outcome is unknown.

Intake generates the ids, so sending the same documents again can't store a job twice. Finally the documents are read
with majority read concern. A document that is not found may still arrive, so its outcome stays unknown.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import pymongo
from bson.raw_bson import RawBSONDocument
from pymongo.errors import PyMongoError, ServerSelectionTimeoutError

from acked_common.store.mongo.connections import Verbs
from acked_common.store.mongo.documents import KEY_HOLDER_FIELDS, key_holder_from
from acked_common.store.mongo.driver import Collection
from acked_common.store.mongo.errors import store_errors
from acked_common.store.mongo.id_bytes import in_ids
from acked_common.store.mongo.new_job_bytes import encode_new_jobs
from acked_common.store.records import Insertion, KeyHolder, NewJob

SENDING_SHARE = 0.8
"""The share of the time for sending; the rest is for reading back."""
_PAUSES_S = (0.0, 0.05, 0.2)
"""The pause before each repetition."""
_DUPLICATE_KEY = 11000


class NewJobVerbs(Verbs):
    """`TransitionStore.insert` and `KeyStore`."""

    async def insert(self, jobs: Sequence[NewJob]) -> list[Insertion]:
        return await insert_jobs(self._connections.jobs, jobs, within_s=self._connections.timeout_s)

    async def key_holder(self, tenant: str, key: str) -> KeyHolder | None:
        with store_errors("reading the holder of a key"):
            document = await self._connections.jobs.find_one({"tenant": tenant, "key": key}, KEY_HOLDER_FIELDS)
        return key_holder_from(document) if document is not None else None


async def insert_jobs(collection: Collection, jobs: Sequence[NewJob], *, within_s: float) -> list[Insertion]:
    """Insert as `TransitionStore.insert` does, into a collection with majority concerns. Never raises."""
    documents = encode_new_jobs(jobs)
    outcome = [Insertion.NOT_STORED if document is None else Insertion.UNKNOWN for document in documents]
    # A document that no server accepts would fail the command for all others.
    storable = [document for document in documents if document is not None]
    ids = [job.id for job, document in zip(jobs, documents, strict=True) if document is not None]
    if storable:
        found = iter(await _insert(collection, ids, storable, within_s=within_s))
        outcome = [next(found) if told is Insertion.UNKNOWN else told for told in outcome]
    return outcome


async def _insert(
    collection: Collection, ids: Sequence[UUID], documents: list[RawBSONDocument], *, within_s: float
) -> list[Insertion]:
    sending_s = within_s * SENDING_SHARE
    sends_until = asyncio.get_running_loop().time() + sending_s
    # One time limit for all attempts, because a client waits.
    with pymongo.timeout(within_s):
        with pymongo.timeout(sending_s):
            outcome = await _send(collection, documents)
            if Insertion.UNKNOWN not in outcome:
                return outcome
            await _send_again(collection, documents, outcome, sends_until)
        unknown = _unknown(outcome)
        there = await _read_back(collection, [ids[i] for i in unknown])
    for i in unknown:
        if ids[i] in there:
            outcome[i] = Insertion.STORED
    return outcome


async def _send_again(
    collection: Collection, documents: Sequence[RawBSONDocument], outcome: list[Insertion], until: float
) -> None:
    """Send documents with an unknown outcome again, a few times; update `outcome`."""
    for pause_s in _PAUSES_S:
        unknown = _unknown(outcome)
        if not unknown or asyncio.get_running_loop().time() + pause_s >= until:
            return
        await asyncio.sleep(pause_s)
        for i, found in zip(unknown, await _send(collection, [documents[i] for i in unknown]), strict=True):
            # That this repetition stored nothing proves nothing about the earlier ones.
            if found is not Insertion.NOT_STORED:
                outcome[i] = found


def _unknown(outcome: Sequence[Insertion]) -> list[int]:
    return [i for i, found in enumerate(outcome) if found is Insertion.UNKNOWN]


async def _send(collection: Collection, documents: list[RawBSONDocument]) -> list[Insertion]:
    # A plain command: the driver's bulk insert would inspect each document, and make MongoDB record the command for
    # retries, which the ids make unnecessary.
    command = {
        "insert": collection.name,
        "documents": documents,
        "ordered": False,
        "writeConcern": collection.write_concern.document,
    }
    try:
        reply = await collection.database.command(command, codec_options=collection.codec_options)
    except ServerSelectionTimeoutError:
        # Raised only if nothing was sent, because the driver does not resend this command.
        return [Insertion.NOT_STORED] * len(documents)
    except PyMongoError:
        return [Insertion.UNKNOWN] * len(documents)
    return _of_each(reply, len(documents))


def _of_each(reply: Mapping[str, Any], count: int) -> list[Insertion]:
    """Return the outcome of each document from the reply to the command."""
    # The reply, including duplicates, holds for a majority only without a write concern error.
    is_kept = "writeConcernError" not in reply
    outcome = [Insertion.STORED if is_kept else Insertion.UNKNOWN] * count
    for refused in reply.get("writeErrors", ()):
        if refused.get("code") != _DUPLICATE_KEY:
            outcome[refused["index"]] = Insertion.NOT_STORED
        elif is_kept and "key" in refused.get("keyPattern", {}):
            outcome[refused["index"]] = Insertion.KEY_TAKEN
    return outcome


async def _read_back(collection: Collection, ids: Sequence[UUID]) -> set[UUID]:
    """Return the documents that a majority has; empty if no server responds."""
    try:
        return {document["_id"] async for document in collection.find({"_id": in_ids(ids)}, {"_id": 1})}
    except PyMongoError:
        return set()
