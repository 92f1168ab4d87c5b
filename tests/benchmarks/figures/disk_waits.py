"""How long MongoDB takes to have a write in its journal: by the plain driver, with the bytes of a kept step."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from pymongo import MongoClient, WriteConcern

from acked_common.model.ids import new_id
from acked_common.model.ledger import LedgerEntry, LedgerWrite
from acked_common.store.mongo import ledger_documents as documents

_DATABASE = "bench_waits"


@contextmanager
def disk_waits(url: str) -> Iterator[Callable[[int], float]]:
    """Gives a function that makes so many writes, one after the other, and tells the milliseconds."""
    # A write that the driver may repeat costs MongoDB a second document.
    client: MongoClient[dict[str, Any]] = MongoClient(url, uuidRepresentation="standard", retryWrites=False)
    concern = WriteConcern(w="majority", j=True)
    ledgers = client[_DATABASE].get_collection("ledgers", write_concern=concern)
    try:
        yield lambda count: _writes(ledgers, count)
    finally:
        client.drop_database(_DATABASE)
        client.close()


def _writes(ledgers: Any, count: int) -> float:
    job_id, nonce, at = new_id(), str(new_id()), datetime.now(UTC)
    ledgers.insert_one({"_id": job_id, documents.BY: nonce, documents.COUNT: 0, documents.SIZE: 0})
    statements = []
    for number in range(count):
        entry = LedgerEntry(call="step", name="link", key=str(number), at=at, value=b"0", seq=number + 1, by=nonce)
        write = LedgerWrite(job_id, f"{number:032x}", entry)
        statements.append(documents.write_statement(write, documents.stored_entry(job_id, write.digest, entry)))
    began = time.perf_counter()
    for statement in statements:
        done = ledgers.update_one(statement["q"], statement["u"])
        assert done.modified_count == 1
    return (time.perf_counter() - began) * 1e3
