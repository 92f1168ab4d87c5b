"""The criteria of lists of jobs, and the index that each list walks. Pure: no driver, no I/O."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from acked_common.model.attempts import UNGROUPED
from acked_common.model.ids import first_id_at
from acked_common.model.lifecycle import State
from acked_common.model.lifecycle_waits import ANY_SIGNAL, NO_SIGNAL
from acked_common.store.mongo.documents import ATTENDED_TO, ERROR_GROUP, Document
from acked_common.store.mongo.field_names import WAITING_INDEX
from acked_common.store.mongo.schema import LIVE_INDEX
from acked_common.store.records import JobFilter

_LISTED_BYTES = 600
_HISTORY_BYTES = 110
OWNER_WORKER = "owner.worker"
AWAITED = "waits.signals"


def filter_fields(job_filter: JobFilter) -> Document:
    """Return the criteria of listed jobs; `tags` matches if it contains the value. See also `id_bounds`."""
    fields: Document = {"tenant": job_filter.tenant}
    if job_filter.batch is not None:
        fields["batch"] = job_filter.batch
    if job_filter.kind is not None:
        fields["kind"] = job_filter.kind
    if job_filter.tag is not None:
        fields["tags"] = job_filter.tag
    if job_filter.state is not None:
        fields["state"] = job_filter.state.value
    if job_filter.error_group is not None:
        fields.setdefault("state", State.FAILED.value)
        if job_filter.error_group == UNGROUPED:
            fields[ERROR_GROUP] = None
            fields["reason"] = {"$nin": ATTENDED_TO}
        else:
            fields[ERROR_GROUP] = job_filter.error_group
    if job_filter.waiting_for is not None:
        fields.setdefault("state", State.WAITING.value)
        fields[AWAITED] = awaited_criteria(job_filter.waiting_for)
    if job_filter.worker is not None:
        fields.setdefault("state", State.RUNNING.value)
        fields[OWNER_WORKER] = job_filter.worker
    return fields


def awaited_criteria(waiting_for: str) -> Document | None:
    """Return the criteria of the names of signals that wake a job, which is parked."""
    # A job without the field waits for no signal.
    return None if waiting_for == NO_SIGNAL else {"$in": [waiting_for, ANY_SIGNAL]}


def id_bounds(job_filter: JobFilter) -> tuple[UUID | None, UUID | None]:
    """Return the lowest id of listed jobs and the exclusive upper bound; None if unbounded."""
    return (
        None if job_filter.since_at is None else first_id_at(job_filter.since_at),
        None if job_filter.until_at is None else first_id_at(job_filter.until_at),
    )


def listed_bytes(document: Mapping[str, Any]) -> int:
    """Estimate the size of a job in a list."""
    error = document.get("error") or {}
    texts = (document.get("progress", b""), error.get("traceback", ""), error.get("message", ""))
    return _LISTED_BYTES + len(document.get("history", ())) * _HISTORY_BYTES + sum(map(len, texts))


def index_fields(job_filter: JobFilter) -> tuple[str, ...]:
    """Return the fields of the filter that one index serves in list order, newest first."""
    return list_index(job_filter)[1]


def list_index(job_filter: JobFilter) -> tuple[str, tuple[str, ...]]:
    """Return the index that a list walks, and the fields of the filter that it serves."""
    if job_filter.worker is not None:
        # Running jobs are few. MongoDB sorts the matching ones, since those among the newest jobs may be none of them.
        return LIVE_INDEX, tuple(filter_fields(job_filter))
    if job_filter.error_group is not None:
        return "failed_group", ("tenant", "state", ERROR_GROUP)
    if job_filter.waiting_for is not None:
        return WAITING_INDEX, ("tenant", "state", AWAITED)
    if job_filter.batch is not None:
        return "tenant_batch_state", ("tenant", "batch") if job_filter.state is None else ("tenant", "batch", "state")
    if job_filter.tag is not None:
        return "tenant_tags", ("tenant", "tags")
    if job_filter.kind is not None:
        return "tenant_kind", ("tenant", "kind")
    if job_filter.state is State.FAILED:
        return "tenant_failed", ("tenant", "state")
    return "tenant_newest", ("tenant",)
