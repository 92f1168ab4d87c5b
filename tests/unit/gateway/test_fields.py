"""No field of what happened to a job, of a worker or of a load test is hidden. Every test walks the fields."""

import json
from typing import Any

import pytest

from acked_common.model.events import JobEvent, JobUpdate, ProgressEvent
from acked_common.model.lifecycle import State
from acked_common.store.records import WorkerRecord
from acked_gateway.feed.frames import event_text, jobs_snapshot_text
from acked_gateway.feed.seen_transitions import SeenTransitions
from acked_gateway.load_test.routes import _figures
from acked_gateway.load_test.runner import LoadTestResult
from acked_gateway.workers.routes import worker_fields
from support.fields import changed, fields_of, filled, variants

PROGRESS = b'{"value":1,"message":null,"at":"2026-03-29T12:30:00.000Z"}'
EVENT = filled(JobEvent)
UPDATE = filled(JobUpdate, progress=PROGRESS)


def told(event: JobEvent) -> Any:
    return json.loads(event_text(event))


@pytest.mark.parametrize("name", fields_of(JobEvent))
def test_the_feed_tells_each_field_of_an_event(name: str) -> None:
    assert set(told(EVENT)) == set(fields_of(JobEvent))
    other = told(dict(variants(EVENT))[name])
    assert {part for part in other if other[part] != told(EVENT)[part]} == {name}


# The tenant decides which clients receive an update; the nonce of a claim is a secret.
NOT_IN_SNAPSHOTS = {"tenant", "nonce"}
UPDATES = dict(variants(UPDATE, but={"origin"})) | {
    name: changed(UPDATE, origin=origin) for name, origin in variants(UPDATE.origin)
}
"""An update for each field, and for each property of its origin, in which that alone differs."""


@pytest.mark.parametrize("name", sorted(set(UPDATES) - {"progress", "id"}))
def test_a_snapshot_has_each_field_of_an_update(name: str) -> None:
    is_shown = jobs_snapshot_text([UPDATES[name]]) != jobs_snapshot_text([UPDATE])
    assert is_shown != (name in NOT_IN_SNAPSHOTS)


# For intake, as digests; GET /kinds/{kind} shows the schemas.
NOT_LISTED = {"schemas"}


@pytest.mark.parametrize("name", sorted(set(fields_of(WorkerRecord)) - NOT_LISTED))
def test_each_field_of_a_worker_is_listed(name: str) -> None:
    worker = filled(WorkerRecord)
    tenant = worker.running_jobs[0].tenant
    other = dict(variants(worker))[name]
    assert worker_fields(other, tenant) != worker_fields(worker, tenant)


@pytest.mark.parametrize("name", fields_of(LoadTestResult))
def test_each_figure_of_a_load_test_is_shown(name: str) -> None:
    result = filled(LoadTestResult)
    assert _figures(dict(variants(result))[name]) != _figures(result)


def test_report_carries_the_origin_of_the_stream() -> None:
    seen = SeenTransitions()
    update = changed(UPDATE, event=changed(EVENT, id=UPDATE.id, state=State.RUNNING, attempt=3))
    seen.seed(update)
    assert update.event is not None and update.nonce is not None
    report = seen.report_progress(ProgressEvent(update.id, update.event.attempt, PROGRESS, update.nonce))
    assert report is not None and report.origin == update.origin
