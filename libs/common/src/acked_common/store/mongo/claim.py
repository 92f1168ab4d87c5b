"""Claims of jobs on MongoDB, including claims whose outcome is unknown.

Claimed jobs carry the nonce of their claim. So a claim may be repeated at will, and is read back with majority read
concern before any job runs.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from acked_common.model import lifecycle
from acked_common.model.lifecycle import Owner
from acked_common.store.errors import OutcomeUnknown
from acked_common.store.mongo.connections import Verbs
from acked_common.store.mongo.documents import CLAIMED_FIELDS, Document, claimed_job_from
from acked_common.store.mongo.driver import Collection
from acked_common.store.mongo.errors import store_errors
from acked_common.store.mongo.find import find_by_ids
from acked_common.store.mongo.id_bytes import in_ids
from acked_common.store.mongo.moves import claim_pipeline
from acked_common.store.records import ClaimedJob


class ClaimVerbs(Verbs):
    """`ClaimStore`."""

    async def claim(
        self, ids: Sequence[UUID], *, kinds: Sequence[str], owner: Owner, lease_s: float, at: datetime
    ) -> list[ClaimedJob]:
        found = self._connections
        fields = CLAIMED_FIELDS if not found.claims_tenants else (*CLAIMED_FIELDS, "tenant")
        return await claim_jobs(found.jobs, ids, kinds=kinds, owner=owner, lease_s=lease_s, at=at, fields=fields)


async def claim_jobs(
    collection: Collection,
    ids: Sequence[UUID],
    *,
    kinds: Sequence[str],
    owner: Owner,
    lease_s: float,
    at: datetime,
    fields: Sequence[str] = CLAIMED_FIELDS,
) -> list[ClaimedJob]:
    """Claim as `ClaimStore.claim` does, in a collection with majority concerns; read these fields back."""
    if not ids:
        return []
    transition = lifecycle.claim(at=at, owner=owner, lease_s=lease_s)
    criteria: Document = {
        "_id": in_ids(ids) if len(ids) > 1 else ids[0],
        "state": {"$in": [state.value for state in transition.leaves]},
        "kind": {"$in": list(kinds)},
        "expires_at": {"$gt": at},
    }
    pipeline = claim_pipeline(transition, lease_s)
    unknown: OutcomeUnknown | None = None
    try:
        with store_errors("claiming jobs"):
            if len(ids) > 1:
                await collection.update_many(criteria, pipeline)
            elif (document := await _claim_one(collection, criteria, pipeline, fields)) is not None:
                return [claimed_job_from(document, owner.nonce)]
    except OutcomeUnknown as error:
        unknown = error
    with store_errors("reading claimed jobs"):
        ours = {"owner.nonce": owner.nonce, "state": transition.to.value}
        documents = await find_by_ids(collection, ids, ours, fields=fields)
    if unknown is not None and len(documents) < len(ids):
        # The claim may still take effect. A repetition claims the rest, and then all claimed jobs are read.
        raise unknown
    return [claimed_job_from(document, owner.nonce) for document in documents]


async def _claim_one(
    collection: Collection, criteria: Document, pipeline: list[Document], fields: Sequence[str]
) -> Document | None:
    """Claim one job. Return its document, or None if it must be read back.

    This sends a plain command. For the driver's retryable one, MongoDB would store a copy of the document, which costs
    as much as the claim.
    """
    command = {
        "findAndModify": collection.name,
        "query": criteria,
        "update": pipeline,
        "new": True,
        "fields": dict.fromkeys(fields, 1),
        "writeConcern": collection.write_concern.document,
    }
    reply = await collection.database.command(command, codec_options=collection.codec_options)
    if "writeConcernError" in reply:
        raise OutcomeUnknown("claiming a job: MongoDB did not confirm (write concern)")
    document: Document | None = reply.get("value")
    return document
