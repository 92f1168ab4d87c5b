"""`SignalStore` and `PendingSignalStore` on MongoDB: one compare-and-set stores, numbers and marks a signal."""

from datetime import datetime
from uuid import UUID

from pymongo import ASCENDING
from pymongo.errors import DuplicateKeyError

from acked_common.model.ledger import (
    MAX_UNREAD,
    MAX_UNREAD_BYTES,
    InboxFull,
    JobLedger,
    PendingSignals,
    Repeated,
    SignalPush,
)
from acked_common.model.ledger_rules import pushed, signal_bytes
from acked_common.store.errors import OutcomeUnknown, StoreError
from acked_common.store.ledgers import LOOKED_AT_AFTER
from acked_common.store.mongo import ledger_documents as documents
from acked_common.store.mongo import schema
from acked_common.store.mongo.documents import Document
from acked_common.store.mongo.errors import store_errors
from acked_common.store.mongo.ledger_ends import EndVerbs
from acked_common.store.mongo.ledger_reads import ReaderVerbs
from acked_common.store.mongo.ledger_waits import WaitVerbs
from acked_common.store.mongo.ledgers import LedgerVerbs, insert_parts, send_update

_TRIES = 5


class MongoLedgers(LedgerVerbs, ReaderVerbs, WaitVerbs, EndVerbs):
    """The ledgers of one database: `Ledgers`."""

    async def push_signal(self, push: SignalPush, *, at: datetime) -> PendingSignals | Repeated | InboxFull:
        signal = push.signal
        if isinstance(refused := pushed(None, push), InboxFull):
            # Its own size is against the rule, before a part of that size is kept.
            return refused
        stored = documents.stored_signal(push.id, signal, signal_bytes(signal))
        with store_errors("keeping a signal"):
            await insert_parts(self._parts, [] if stored.part is None else [stored.part])
            for _ in range(_TRIES):
                pending = await self._push(push, stored.inside)
                if pending is not None:
                    return pending
                found = (await self._read([push.id])).get(push.id)
                if found is None:
                    await self._make(push, at)
                elif not isinstance(outcome := pushed(found, push), JobLedger):
                    return outcome
        raise StoreError("keeping a signal: others changed the ledger at the same time")

    async def _push(self, push: SignalPush, inside: Document) -> PendingSignals | None:
        """Put the signal into a ledger that exists and has room. Return None if there is no such ledger."""
        known = documents.known_signal(push.signal.id)
        inbox: Document = {"$ifNull": [f"${documents.INBOX}", []]}
        sizes: Document = {"$sum": f"${documents.INBOX}.{documents.WEIGHT}"}
        command = {
            "findAndModify": self._ledgers.name,
            "query": {
                "_id": push.id,
                f"{documents.INBOX}.{documents.SIGNAL_ID}": {"$nin": [push.signal.id, known]},
                documents.READ_IDS: {"$nin": [known]},
                "$expr": {
                    "$and": [
                        {"$lt": [{"$size": inbox}, MAX_UNREAD]},
                        {"$lte": [sizes, MAX_UNREAD_BYTES - signal_bytes(push.signal)]},
                    ]
                },
            },
            "update": documents.push_statements(inside, push.signal.name),
            "new": True,
            "fields": documents.PENDING_FIELDS,
            "writeConcern": self._ledgers.write_concern.document,
        }
        reply = await self._ledgers.database.command(command, codec_options=self._ledgers.codec_options)
        if "writeConcernError" in reply:
            raise OutcomeUnknown("keeping a signal: MongoDB did not confirm (write concern)")
        document = reply.get("value")
        return None if document is None else documents.pending_from(document)

    async def _make(self, push: SignalPush, at: datetime) -> None:
        """Make the ledger of a job that no attempt has opened."""
        empty: Document = {
            "_id": push.id,
            documents.TENANT: push.tenant,
            documents.EDITION: 1,
            documents.RUN: 0,
            documents.ATTEMPT: 0,
            documents.COUNT: 0,
            documents.SIZE: 0,
            documents.LOOK_AT: at + LOOKED_AT_AFTER,
        }
        try:
            await self._ledgers.insert_one(empty)
        except DuplicateKeyError:
            # An attempt or another signal made it meanwhile.
            pass

    async def pending_signals(self, *, limit: int, older_than_s: float) -> list[PendingSignals]:
        before: Document = {"$subtract": ["$$NOW", int(older_than_s * 1000)]}
        due: Document = {
            documents.PENDING_AT: {"$exists": True},
            "$expr": {"$lte": [f"${documents.PENDING_AT}", before]},
        }
        with store_errors("looking for signals that are not announced"):
            found = await (
                self._ledgers.find(due, documents.PENDING_FIELDS)
                .sort(documents.PENDING_AT, ASCENDING)
                .hint(schema.PENDING_SIGNALS)
                .limit(limit)
                .to_list(None)
            )
        return [documents.pending_from(one) for one in found]

    async def unset_pending(self, job_id: UUID, *, in_seq: int) -> None:
        unset = {"$unset": dict.fromkeys((documents.PENDING, documents.PENDING_NAMES, documents.PENDING_AT), "")}
        with store_errors("unsetting the mark of a signal"):
            await send_update(self._ledgers, [{"q": {"_id": job_id, documents.PENDING: in_seq}, "u": unset}])
