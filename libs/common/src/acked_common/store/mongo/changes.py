"""The change stream of the jobs: every transition of any writer, in the order in which it became durable.

The stream is read with plain commands, one batch per reply, because the driver's cursor costs a thread switch per
event.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from bson.codec_options import CodecOptions
from bson.int64 import Int64
from bson.timestamp import Timestamp
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from acked_common.model.events import JobUpdate
from acked_common.model.topics import GONE, Origin
from acked_common.store.errors import HistoryLost, StoreUnavailable
from acked_common.store.mongo import schema
from acked_common.store.mongo.change_events import (
    GLIMPSE,
    ORIGIN_FIELDS,
    Change,
    event_at,
    origin_of,
    read_change,
    waits_of,
)
from acked_common.store.mongo.driver import Collection, Database, Session
from acked_common.store.mongo.errors import store_errors
from acked_common.store.mongo.find import find_by_ids
from acked_common.store.records import Changes

BATCH = 1000
WAIT_S = 0.5
ANSWER_WITHIN_S = 5.0
ORIGINS_KEPT = 100_000

_HISTORY_LOST = frozenset({280, 286, 260})
"""ChangeStreamFatalError, ChangeStreamHistoryLost, InvalidResumeToken."""

_PIPELINE: list[dict[str, Any]] = [
    {
        "$match": {
            "$or": [
                # The server logs a write that changed most of a document as a replacement.
                {"operationType": {"$in": ["insert", "replace"]}},
                {"operationType": "update", "updateDescription.updatedFields.rev": {"$exists": True}},
                {"operationType": "update", "updateDescription.updatedFields.progress": {"$exists": True}},
            ]
        }
    },
    {
        "$project": {
            "operationType": 1,
            "documentKey": 1,
            **{f"fullDocument.{name}": 1 for name in (*GLIMPSE, "_id")},
            "updateDescription.updatedFields": 1,
        }
    },
    # The result of a job can be large and is no part of its transition.
    {"$unset": ["updateDescription.updatedFields.result", "updateDescription.updatedFields.error"]},
]


def watching_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the watching client, whose calls wait for changes."""
    changed = {"maxPoolSize": 2, "minPoolSize": 0, "socketTimeoutMS": int(ANSWER_WITHIN_S * 1000)}
    return {name: value for name, value in options.items() if name != "timeoutMS"} | changed


class MongoChanges:
    """`JobChanges` on MongoDB."""

    def __init__(self, watched: Database, jobs: Collection) -> None:
        """`watched` reads the stream, and its calls wait for changes; `jobs` reads documents."""
        self._database = watched
        self._jobs = jobs
        self._codec: CodecOptions[dict[str, Any]] = jobs.codec_options
        self._session: Session | None = None
        self._cursor = 0
        self._token: Mapping[str, Any] | None = None
        # These fields never change, and only the first change carries them.
        self._origins: OrderedDict[UUID, Origin] = OrderedDict()

    async def open(self) -> None:
        if self._cursor:
            return
        stream: dict[str, Any] = {} if self._token is None else {"resumeAfter": self._token}
        command = {
            "aggregate": schema.JOBS,
            "pipeline": [{"$changeStream": stream}, *_PIPELINE],
            "cursor": {"batchSize": 0},
            "readConcern": ReadConcern("majority").document,
        }
        try:
            with store_errors("opening the change stream"):
                self._session = await self._database.client.start_session()
                answer = await self._command(command)
                if self._token is None:
                    await self._until_seen(_cluster_time(answer))
        except BaseException as error:
            await self._drop(error)
            raise
        self._cursor = answer["cursor"]["id"]
        self._token = answer["cursor"].get("postBatchResumeToken", self._token)

    async def read(self) -> Changes:
        await self.open()
        command = {
            "getMore": Int64(self._cursor),
            "collection": schema.JOBS,
            "batchSize": BATCH,
            "maxTimeMS": int(WAIT_S * 1000),
        }
        try:
            with store_errors("reading the change stream"):
                answer = await self._command(command)
            cursor = answer["cursor"]
            batch = cursor["nextBatch"]
            updates = await self._updates([read_change(change) for change in batch])
        except BaseException as error:
            # Also if cancelled: the stream resumes from the token, which reads the lost reply again.
            await self._drop(error)
            raise
        self._token = cursor.get("postBatchResumeToken", batch[-1]["_id"] if batch else self._token)
        if not cursor["id"]:
            # The server ended the cursor (dropped collection, failover); the next call resumes.
            await self._drop(None)
        return Changes(updates, is_current=len(batch) < BATCH)

    async def close(self) -> None:
        cursor, session = self._cursor, self._session
        self._cursor, self._session, self._token = 0, None, None
        if session is None:
            return
        try:
            if cursor:
                await self._command({"killCursors": schema.JOBS, "cursors": [Int64(cursor)]}, session)
            await session.end_session()
        except PyMongoError:
            # The server closes an idle cursor after ten minutes.
            return

    async def _command(self, command: dict[str, Any], session: Session | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = await self._database.command(
            command, codec_options=self._codec, session=session or self._session
        )
        return answer

    async def _until_seen(self, at: Timestamp) -> None:
        """Wait until majority reads see all changes from before the new stream.

        A stream begins after the newest write, even if that is not durable yet. A read at once would miss that write.
        """
        concern = {**ReadConcern("majority").document, "afterClusterTime": at}
        await self._command({"find": schema.JOBS, "limit": 1, "projection": {"_id": 1}, "readConcern": concern})

    async def _drop(self, error: BaseException | None) -> None:
        session, self._cursor, self._session = self._session, 0, None
        if session is not None:
            try:
                await session.end_session()
            except PyMongoError:
                pass
        cause = error.__context__ if error is not None else None
        if isinstance(cause, OperationFailure) and cause.code in _HISTORY_LOST:
            self._token = None
            raise HistoryLost("the server no longer has the changes since the last read") from error

    async def _updates(self, changes: Sequence[Change]) -> list[JobUpdate]:  # noqa: C901 - one kind of change a branch
        wanted: dict[UUID, None] = {}
        for change in changes:
            if change.origin is not None:
                self._origins[change.id] = change.origin
            elif change.id not in self._origins or (change.event is None and change.progress is None):
                wanted[change.id] = None
            else:
                self._origins.move_to_end(change.id)
        looked = await self._look(list(wanted)) if wanted else {}
        for job_id in wanted:
            self._origins[job_id] = origin_of(looked[job_id]) if job_id in looked else GONE
        updates = []
        for change in changes:
            event, waits = change.event, change.waits
            if event is None and change.rev is not None:
                now = looked.get(change.id, {})
                event = event_at(change.id, change.rev, now.get("history", []))
                # The job may have moved since.
                waits = waits_of(now["state"], now) if now.get("rev") == change.rev else None
            if event is None and change.progress is None:
                continue
            origin = self._origins[change.id]
            if event is not None:
                updates.append(JobUpdate(change.id, origin, event, None, change.nonce, waits))
            if change.progress is not None:
                updates.append(JobUpdate(change.id, origin, None, change.progress, change.nonce, waits))
        while len(self._origins) > ORIGINS_KEPT:
            self._origins.popitem(last=False)
        return updates

    async def _look(self, ids: list[UUID]) -> dict[UUID, dict[str, Any]]:
        with store_errors("reading changed jobs"):
            documents = await find_by_ids(self._jobs, ids, fields=(*ORIGIN_FIELDS, "history", "rev", "state", "waits"))
        return {document["_id"]: document for document in documents}


def _cluster_time(reply: Mapping[str, Any]) -> Timestamp:
    """Return the newest time that the server knows of.

    Raises `StoreUnavailable` while it sends none: with access control, a server that has just started must read its
    signing keys first.
    """
    if "$clusterTime" not in reply:
        raise StoreUnavailable("MongoDB has just started and does not send a cluster time yet")
    found: Timestamp = reply["$clusterTime"]["clusterTime"]
    return found
