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
from acked_gateway.workers.routes import _worker_fields
from support.fields import changed, fields_of, filled, variants

PROGRESS = b'{"value":1,"message":null,"at":"2026-03-29T12:30:00.000Z"}'
EVENT = filled(JobEvent)
NEWS = filled(JobUpdate, progress=PROGRESS)


def told(event: JobEvent) -> Any:
    return json.loads(event_text(event))


@pytest.mark.parametrize("name", fields_of(JobEvent))
def test_the_feed_tells_each_field_of_an_event(name: str) -> None:
    assert set(told(EVENT)) == set(fields_of(JobEvent))
    other = told(dict(variants(EVENT))[name])
    assert {part for part in other if other[part] != told(EVENT)[part]} == {name}


# Whose a job is decides who is told; the nonce of a claim is a secret.
NOT_TOLD = {"tenant", "nonce"}


@pytest.mark.parametrize("name", sorted(set(fields_of(JobUpdate)) - {"progress", "id"}))
def test_a_snapshot_tells_each_field_of_the_news(name: str) -> None:
    is_told = jobs_snapshot_text([dict(variants(NEWS))[name]]) != jobs_snapshot_text([NEWS])
    assert is_told != (name in NOT_TOLD)


@pytest.mark.parametrize("name", fields_of(WorkerRecord))
def test_each_field_of_a_worker_is_listed(name: str) -> None:
    worker = filled(WorkerRecord)
    is_shown = _worker_fields(dict(variants(worker))[name]) != _worker_fields(worker)
    assert is_shown


@pytest.mark.parametrize("name", fields_of(LoadTestResult))
def test_each_figure_of_a_load_test_is_shown(name: str) -> None:
    result = filled(LoadTestResult)
    assert _figures(dict(variants(result))[name]) != _figures(result)


@pytest.mark.parametrize("name", ["kind", "batch", "tenant"])
def test_report_carries_the_origin_of_the_stream(name: str) -> None:
    table = SeenTransitions()
    news = changed(NEWS, event=changed(EVENT, id=NEWS.id, state=State.RUNNING, attempt=3))
    table.seed(news)
    assert news.event is not None and news.nonce is not None
    report = table.report_progress(ProgressEvent(news.id, news.event.attempt, PROGRESS, news.nonce))
    assert report is not None and getattr(report, name) == getattr(news, name)
