"""Many ended jobs at once, as documents of the very shape that the product writes."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from acked_common.model import lifecycle
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import Move, Owner, Seen, State, Transition
from acked_common.store.mongo.documents import Document, history_document, job_document, transition_fields
from acked_common.store.mongo.field_names import stored_name
from acked_common.store.records import NewJob
from benchmarks.ours import TENANT
from benchmarks.processes import ChildError

_DAY_S = 86_400.0
_RETENTION_S = 30 * _DAY_S
_OWNER = Owner("worker-1", "01a20d05-adf2-7315-9ee6-8162dae54aa3", "9ee68162dae54aa3")


def done_document(at: datetime) -> Document:
    """A no-op that was accepted, claimed and has succeeded, built by the product's own builders."""
    job = NewJob(
        id=new_id(),
        kind="noop",
        payload=b'{"number": 1}',
        accepted_at=at,
        lifecycle=lifecycle.accept_fields(at=at, delay_s=0, grace_s=10, expires_in_s=_RETENTION_S),
        tenant=TENANT,
    )
    document = job_document(job)
    claimed_at = at + timedelta(milliseconds=4)
    _apply(document, lifecycle.claim(at=claimed_at, owner=_OWNER, lease_s=30), rev=1, attempt=0)
    ended = lifecycle.succeed(at=claimed_at + timedelta(milliseconds=1), result=b"null", retention_s=_RETENTION_S)
    _apply(document, ended, rev=2, attempt=1)
    return document


def _apply(document: Document, transition: Transition, *, rev: int, attempt: int) -> None:
    move = Move(Seen(document["_id"], State(document["state"]), rev, attempt), transition)
    document.update(transition_fields(transition))
    for name in transition.clears:
        document.pop(stored_name(name), None)
    for name, by in transition.adds.items():
        document[name] += by
    document["rev"] = rev + 1
    document["history"] = [*document["history"], history_document(move.history_entry)]


def check_shape(real: Mapping[str, Any]) -> None:
    """Raises `ChildError` where a document of a job that a worker has done looks otherwise."""
    wanted, found = _shape(real), _shape(done_document(datetime.now(UTC)))
    if wanted != found:
        raise ChildError(f"the store writes {wanted}, the benchmark makes {found}: stored_jobs.py is out of date")


def _shape(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _shape(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [_shape(part) for part in value]
    # MongoDB gives binaries back as bytes.
    return "bytes" if isinstance(value, bytes) else type(value).__name__


def fill(jobs: Any, number: int, *, chunk: int = 1_000) -> list[UUID]:
    """Inserts so many, over the 20 days before now; the ids of one in each hundred, at least of a thousand."""
    ids: list[UUID] = []
    every = max(1, min(100, number // 1000))
    first_at = datetime.now(UTC) - timedelta(days=20)
    step = timedelta(days=20) / max(1, number)
    for documents in _chunks(number, chunk, first_at, step):
        jobs.insert_many(documents, ordered=False)
        ids += [document["_id"] for document in documents[::every]]
    return ids


def _chunks(number: int, chunk: int, first_at: datetime, step: timedelta) -> Iterator[list[Document]]:
    for start in range(0, number, chunk):
        # Those of one chunk differ in their ids alone: to build each would take longer than to keep it.
        like = done_document(first_at + step * start)
        yield [{**like, "_id": new_id()} for _ in range(min(chunk, number - start))]
