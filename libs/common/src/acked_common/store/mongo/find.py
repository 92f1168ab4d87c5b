"""Read documents by ids, with one command."""

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
    """Return the documents that match, in no order; whole, or these fields and the id. Raises the driver's errors."""
    wanted = {"_id": in_ids(ids), **(criteria or {})}
    # By default the first reply has 101 documents. With room for one more than all, the cursor ends with it.
    found = collection.find(wanted, list(fields) or None, batch_size=len(ids) + 1)
    documents: list[Document] = await found.to_list(None)
    return documents
