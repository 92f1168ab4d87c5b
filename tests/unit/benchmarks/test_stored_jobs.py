"""Ended jobs in great numbers look as those that the store writes."""

from datetime import UTC, datetime
from typing import Any

import pytest

from acked_common.model.lifecycle import State
from acked_common.store.mongo.documents import job_from
from benchmarks.processes import ChildError
from benchmarks.stored_jobs import check_shape, done_document, fill


def test_the_document_is_that_of_a_job_that_has_succeeded() -> None:
    job = job_from(done_document(datetime(2026, 11, 1, tzinfo=UTC)))
    assert (job.state, job.rev, job.attempt, job.next_check_at, job.owner) == (State.SUCCEEDED, 3, 1, None, None)
    assert [entry.state for entry in job.history] == [State.QUEUED, State.RUNNING, State.SUCCEEDED]
    assert [entry.rev for entry in job.history] == [1, 2, 3]


def test_another_shape_is_told() -> None:
    real: dict[str, Any] = done_document(datetime(2026, 11, 1, tzinfo=UTC))
    check_shape(real)
    with pytest.raises(ChildError, match="out of date"):
        check_shape({**real, "new_field": 1})
    with pytest.raises(ChildError, match="out of date"):
        check_shape({**real, "history": real["history"][:1]})


def test_all_are_inserted_and_some_ids_are_kept() -> None:
    class Collection:
        def __init__(self) -> None:
            self.documents: list[dict[str, Any]] = []

        def insert_many(self, documents: list[dict[str, Any]], *, ordered: bool) -> None:
            self.documents += documents

    jobs = Collection()
    ids = fill(jobs, 2500, chunk=1000)
    assert len({document["_id"] for document in jobs.documents}) == 2500
    assert len(ids) >= 1000
    assert set(ids) <= {document["_id"] for document in jobs.documents}
    ends = [document["finished_at"] for document in jobs.documents]
    assert ends == sorted(ends)
    assert ends[-1] < datetime.now(UTC)
