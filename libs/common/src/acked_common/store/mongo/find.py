"""Reads documents of which the ids are known, with one command."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from acked_common.store.mongo.documents import Document
from acked_common.store.mongo.driver import Collection
from acked_common.store.mongo.id_bytes import in_ids


async def find_by_ids(
    collection: Collection,
    ids: Sequence[UUID],
    criteria: Mapping[str, Any] | None = None,
    *,
    fields: Sequence[str] = (),
) -> list[Document]:
    """Those of the documents that fit, in no order; whole, or these fields and the id. Raises the driver's errors."""
    wanted = {"_id": in_ids(ids), **(criteria or {})}
    # By itself MongoDB answers 101 documents and waits to be asked for more; with room for one more the cursor ends.
    found = collection.find(wanted, list(fields) or None, batch_size=len(ids) + 1)
    documents: list[Document] = await found.to_list(None)
    return documents
