"""What clients read of a job."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from acked_common.api.representations import job_fields, status_fields, summary_fields
from acked_common.http.responses import encode
from acked_common.model import interventions, lifecycle
from acked_common.model.lifecycle import Owner, State
from acked_common.model.principal import Permission, Principal
from acked_common.store.records import Job
from support.factories import ERROR, MAKERS, ManualClock, again, cancelling, failed, moved, now, owner, queued, running
from support.memory_store import MemoryStore

FIELDS = [
    *("id", "kind", "state", "reason", "rev", "run", "attempt", "failures"),
    *("accepted_at", "due_at", "started_at", "finished_at"),
    *("progress", "result", "error", "batch", "tags", "history", "attempts"),
]
OF_STATES = {State.RUNNING: ["worker"], State.WAITING: ["waits"]}


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(ManualClock())


def read(fields: dict[str, Any]) -> Any:
    return json.loads(encode(fields))


@pytest.mark.parametrize("state", MAKERS)
async def test_a_status_has_every_field_in_every_state(store: MemoryStore, state: State) -> None:
    job = await MAKERS[state](store, batch="b", tags=("x", "y"))
    found = read(status_fields(job))
    assert list(found) == [*FIELDS, *OF_STATES.get(state, ())]
    assert (found["id"], found["state"], found["rev"]) == (str(job.id), state.value, job.rev)
    assert (found["batch"], found["tags"]) == ("b", ["x", "y"])
    assert (found["finished_at"] is not None) == state.is_terminal
    assert (found["due_at"] is not None) == (state is State.SCHEDULED)
    assert [entry["rev"] for entry in found["history"]] == list(range(1, job.rev + 1))
    assert list(found["history"][-1]) == ["rev", "state", "reason", "attempt", "at"]
    assert (found["history"][-1]["state"], found["history"][-1]["reason"]) == (state.value, job.reason)


async def test_instants_are_utc_with_milliseconds(store: MemoryStore) -> None:
    at = ManualClock().now()
    found = read(status_fields(await queued(store, at=at)))
    assert found["accepted_at"] == "2026-01-02T03:04:05.678Z"


async def test_json_texts_stay_as_they_are(store: MemoryStore) -> None:
    text = b'{"n":1.10,"s":"\xc3\xa9"}'
    job = await running(store, payload=text, by=Owner("w", "b", "n"))
    job = await moved(store, job, lifecycle.succeed(at=now(), result=text, retention_s=60.0))
    body = encode(job_fields(job))
    assert b'"result":' + text in body
    assert b'"payload":' + text in body


async def test_a_result_of_null_and_none_both_read_as_null(store: MemoryStore) -> None:
    job = await running(store)
    assert read(status_fields(job))["result"] is None
    job = await moved(store, job, lifecycle.succeed(at=now(), result=b"null", retention_s=60.0))
    assert read(status_fields(job))["result"] is None


async def test_a_status_has_no_payload_and_a_job_has(store: MemoryStore) -> None:
    job = await queued(store, payload=b'{"a":1}')
    assert "payload" not in status_fields(job)
    assert read(job_fields(job, hint="h")) == {**read(status_fields(job, hint="h")), "payload": {"a": 1}}


async def test_what_is_rarely_there_is_only_shown_where_it_is(store: MemoryStore) -> None:
    job = await queued(store)
    assert not {"cancel_requested", "note", "hint", "worker"} & set(status_fields(job))
    assert status_fields(job, hint="why")["hint"] == "why"
    assert status_fields(await cancelling(store))["cancel_requested"] is True
    end = interventions.resolve(at=now(), to=State.FAILED, result=None, note="seen", retention_s=60.0)
    assert status_fields(await moved(store, await failed(store), end))["note"] == "seen"


async def test_the_worker_is_shown_while_it_runs_the_job(store: MemoryStore) -> None:
    job = await running(store, by=owner("worker-7"))
    assert (status_fields(job)["worker"], summary_fields(job)["worker"]) == ("worker-7", "worker-7")
    ended = await moved(store, job, lifecycle.succeed(at=now(), result=None, retention_s=60.0))
    assert "worker" not in status_fields(ended)


async def test_an_error_is_shown_whole_and_as_a_copy(store: MemoryStore) -> None:
    job: Job = await again(store, await failed(store))
    fields = status_fields(job)
    assert fields["error"] == job.error
    assert fields["error"] is not job.error


@pytest.mark.parametrize("permission", [None, *Permission])
async def test_a_traceback_is_shown_to_operators_alone(store: MemoryStore, permission: Permission | None) -> None:
    job = await failed(store)
    shown = replace(job, error={**ERROR, "traceback": 'File "/srv/handlers/a.py", line 1'})
    reader = None if permission is None else Principal("default", "c", frozenset({permission}))
    for fields in (
        status_fields(shown, reader=reader),
        summary_fields(shown, reader=reader),
        job_fields(shown, reader=reader),
    ):
        error = fields["error"]
        assert error is not None
        assert error["message"] == ERROR["message"]
        assert ("traceback" in error) is (permission is Permission.OPERATE)
        assert ("/srv" in encode(fields).decode()) is (permission is Permission.OPERATE)
