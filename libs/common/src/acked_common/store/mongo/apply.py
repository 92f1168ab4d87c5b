"""The writes of workers: leases, progress, outcomes. Commands of operators move jobs by the same verb."""

from collections.abc import Sequence
from uuid import UUID

from bson.binary import Binary
from pymongo import UpdateOne

from acked_common.model.lifecycle import Move, State
from acked_common.store.errors import OutcomeUnknown
from acked_common.store.mongo.connections import Verbs
from acked_common.store.mongo.documents import Document, is_behind, is_recorded
from acked_common.store.mongo.errors import store_errors
from acked_common.store.mongo.field_names import NEXT_CHECK_AT
from acked_common.store.mongo.find import find_by_ids
from acked_common.store.mongo.id_bytes import in_ids
from acked_common.store.mongo.moves import lease_from_now, move_updates
from acked_common.store.records import Applied, Lease, ProgressReport


class AttemptVerbs(Verbs):
    """`TransitionStore.apply`, `LeaseStore.renew` and `ProgressStore`."""

    async def apply(self, moves: Sequence[Move]) -> list[Applied]:
        if not moves:
            return []
        jobs = self._connections.jobs
        with store_errors("moving jobs"):
            result = await jobs.bulk_write(move_updates(moves), ordered=False)
        if result.matched_count == len(moves):
            return [Applied.APPLIED] * len(moves)
        with store_errors("reading moved jobs"):
            fields = ("history", "state", "rev", "attempt", "owner.nonce")
            documents = await find_by_ids(jobs, [move.seen.id for move in moves], fields=fields)
        found = {document["_id"]: document for document in documents}
        return [_outcome(move, found.get(move.seen.id, {})) for move in moves]

    async def renew(self, ids: Sequence[UUID], *, boot: str, lease_s: float) -> dict[UUID, Lease]:
        ours = {"state": State.RUNNING.value, "owner.boot": boot}
        lease = [{"$set": {NEXT_CHECK_AT: lease_from_now(lease_s)}}]
        with store_errors("renewing leases"):
            # A renewal that is rolled back only brings an early second attempt, which the attempt number fences.
            await self._connections.quick_renewed_jobs.update_many({"_id": in_ids(ids), **ours}, lease)
            fields = ("attempt", "owner.nonce", "rev", "cancel_requested_at", "signals")
            documents = await find_by_ids(self._connections.renewed_jobs, ids, ours, fields=fields)
        return {
            d["_id"]: Lease(
                d["_id"],
                d["attempt"],
                d["owner"]["nonce"],
                d["rev"],
                "cancel_requested_at" in d,
                d.get("signals", 0),
            )
            for d in documents
        }

    async def report_progress(self, reports: Sequence[ProgressReport]) -> None:
        if not reports:
            return
        updates = [
            UpdateOne(
                {"_id": r.id, "state": State.RUNNING.value, "attempt": r.attempt, "owner.nonce": r.nonce},
                {"$set": {"progress": Binary(r.progress)}},
            )
            for r in reports
        ]
        with store_errors("writing progress"):
            await self._connections.quick_jobs.bulk_write(updates, ordered=False)


def _outcome(move: Move, document: Document) -> Applied:
    """Return the outcome of a move, from its job as it was read afterwards."""
    if is_recorded(move, document):
        return Applied.APPLIED
    if is_behind(move, document):
        raise OutcomeUnknown("moving jobs: MongoDB shows a job as it was before a move that it has")
    return Applied.STALE
