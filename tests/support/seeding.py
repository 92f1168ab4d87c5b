"""Ended jobs in large numbers, written past the store as it would have stored them."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from bson import encode
from bson.binary import Binary, UuidRepresentation
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database

from acked_common.model.ids import first_id_at, numbered_id
from acked_common.model.lifecycle import Reason, State
from acked_common.model.principal import DEFAULT_TENANT
from acked_common.store.mongo import schema
from acked_common.store.mongo.documents import Document
from acked_common.store.mongo.field_names import DELETE_AT

_PER_INSERT = 10_000
_VERSION_AND_VARIANT = (7 << 76) + (2 << 62)
_OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True, uuid_representation=UuidRepresentation.STANDARD)


@dataclass(frozen=True, slots=True)
class Seed:
    """Jobs that ended one after the other until `end`; `fields` gives the n-th one its own fields."""

    count: int
    state: State
    end: datetime
    apart: timedelta
    fields: Callable[[int], Document] = field(default=lambda n: {})
    tenant: str = DEFAULT_TENANT
    first_number: int = 0

    def documents(self) -> Iterator[Document]:
        """Yield the documents, oldest first."""
        for n in range(self.count):
            at = self.end - self.apart * (self.count - n)
            is_failed = self.state is State.FAILED
            yield {
                "_id": id_at(at, self.first_number + n),
                "state": self.state.value,
                "tenant": self.tenant,
                "kind": "demo",
                "rev": 3,
                "attempt": 1,
                "accepted_at": at,
                "first_state": State.QUEUED.value,
                "reason": (Reason.ATTEMPTS_EXHAUSTED if is_failed else Reason.COMPLETED).value,
                "run": 1,
                "failures": int(is_failed),
                "history": [],
                "payload": Binary(b"{}"),
                "started_at": at,
                "finished_at": at,
                DELETE_AT: self.end + timedelta(days=30),
                **self.fields(n),
            }


def id_at(at: datetime, number: int) -> UUID:
    """Return the id of this number that was made at an instant; ids of one instant sort by their numbers."""
    return numbered_id(first_id_at(at).int + _VERSION_AND_VARIANT + number)


def error_of(group: str | None, number: int) -> Document:
    """Return the error of a failed job."""
    error = {"type": "Boom", "message": f"it broke for the {number}. time", "retryable": True, "attempt": 1}
    return error if group is None else {**error, "group": group, "culprit": f"handlers:work:{group}"}


def seed(database: Database[dict[str, Any]], *seeds: Seed) -> int:
    """Insert what the seeds describe and return how many documents that were."""
    jobs = database[schema.JOBS]
    inserted = 0
    documents = itertools.chain.from_iterable(one.documents() for one in seeds)
    while batch := [
        RawBSONDocument(encode(one, codec_options=_OPTIONS)) for one in itertools.islice(documents, _PER_INSERT)
    ]:
        jobs.insert_many(batch, ordered=False, bypass_document_validation=True)  # type: ignore[arg-type]
        inserted += len(batch)
    return inserted
