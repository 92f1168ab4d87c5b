"""Follows MongoDB's change stream on the ledgers through every fault, past all proxies."""

import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Any
from uuid import UUID

from bson.binary import Binary
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from acked_common.store.mongo.ledger_documents import BODY, BY, ENTRIES, INBOX, PART, part_id
from acked_common.store.mongo.schema import LEDGER_PARTS, LEDGERS
from deploy.native.processes import wait_until
from faults.ledger_changes import Document, LedgerHistory
from support.stacks import eventually

OPENS_WITHIN_S = 20.0
CATCHES_UP_WITHIN_S = 20.0
AGAIN_AFTER_S = 0.1
_WAITS_MS = 200


class LedgerWatch:
    """A reader of the stream, in a thread of its own from the beginning until `close`."""

    def __init__(self, database: Any) -> None:
        """Begin to follow; return when the stream is open. `database` is past all proxies."""
        majority = ReadConcern("majority")
        self._ledgers = database.get_collection(LEDGERS, read_concern=majority)
        self._parts = database.get_collection(LEDGER_PARTS, read_concern=majority)
        self._is_open = threading.Event()
        self._is_over = threading.Event()
        self._token: Any = None
        self._failed: BaseException | None = None
        self.history = LedgerHistory(self._whole)
        self._thread = threading.Thread(target=self._follow, name="ledger watch", daemon=True)
        self._thread.start()
        eventually(self._is_open.is_set, within_s=OPENS_WITHIN_S, what="the stream of the ledgers is open")

    def behind(self, ids: Iterable[UUID]) -> list[str]:
        """Wait until the stream has shown these ledgers as they are; return what it has not shown in time."""
        wanted = list(ids)

        def missing() -> list[str]:
            found = self._ledgers.find({"_id": {"$in": wanted}})
            return [
                f"{one['_id']}: the stream shows another ledger than MongoDB has" for one in found if self._lags(one)
            ]

        wait_until(lambda: not missing(), CATCHES_UP_WITHIN_S)
        ended = [] if self._failed is None else [f"the reader of the stream has ended: {self._failed!r}"]
        return [*missing(), *ended]

    def close(self) -> None:
        """End the reader."""
        self._is_over.set()
        self._thread.join(10)

    def _lags(self, ledger: Document) -> bool:
        shown = self.history.ledgers.get(ledger["_id"], {})
        return any(shown.get(name) != ledger.get(name) for name in (BY, ENTRIES, INBOX))

    def _follow(self) -> None:
        try:
            while not self._is_over.is_set():
                # MongoDB is killed in some experiments; the stream goes on behind the event that was read last.
                with suppress(PyMongoError):
                    self._read()
                self._is_over.wait(AGAIN_AFTER_S)
        except BaseException as error:
            self._failed = error
            raise

    def _read(self) -> None:
        with self._ledgers.watch(resume_after=self._token, max_await_time_ms=_WAITS_MS) as stream:
            self._token = self._token or stream.resume_token
            self._is_open.set()
            while not self._is_over.is_set():
                change = stream.try_next()
                if change is not None:
                    self.history.take(change)
                    self._token = change["_id"]

    def _whole(self, job_id: UUID, entry: Document) -> Document:
        if PART not in entry:
            return entry
        found: Document | None = self._parts.find_one({"_id": Binary(part_id(job_id, entry[PART]))})
        return {} if found is None else found[BODY]
