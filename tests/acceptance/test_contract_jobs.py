"""Lists, batches and what a person may do to a job: cancel, retry, resolve."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from acked_common.model.lifecycle import Reason, State
from support.contract import assert_problem, instant
from support.stacks import TestStack, eventually

UNKNOWN = "01890000-0000-7000-8000-000000000000"


def command(stack: TestStack, job_id: str, verb: str, body: Any = None) -> Any:
    """The job as an allowed command answers it."""
    answer = stack.call("POST", f"/jobs/{job_id}/{verb}", body)
    assert answer.status == 200, answer.raw
    return answer.body


def failed_job(stack: TestStack, **fields: Any) -> str:
    job_id = stack.process("test.fails", max_attempts=1, **fields)
    assert stack.finished(job_id)["state"] == State.FAILED
    return job_id


def running_job(stack: TestStack, kind: str = "demo", **fields: Any) -> str:
    job_id = stack.process(kind, **{"payload": {"seconds": 60}, **fields})
    assert stack.status(job_id, "?wait_s=20&after_rev=1")["state"] == State.RUNNING
    return job_id


def pages(stack: TestStack, query: str) -> Iterator[list[Any]]:
    token = ""
    while True:
        answer = stack.call("GET", f"/jobs?{query}&page_token={token}")
        assert answer.status == 200, answer.raw
        assert answer.body.keys() == {"jobs", "next_page_token"}
        yield answer.body["jobs"]
        token = answer.body["next_page_token"]
        if not token:
            return


def test_a_batch_is_counted(stack: TestStack) -> None:
    batch = f"B.{uuid4().hex}_-"
    ids = [stack.process("noop", batch=batch) for _ in range(5)]
    ids += [stack.process("test.permanent", batch=batch), stack.process("noop", batch=batch, delay_s=600)]
    done = [stack.finished(job_id) for job_id in ids[:-1]]

    answer = stack.call("GET", f"/batches/{batch}")

    assert answer.status == 200
    counted = answer.body
    assert counted.keys() == {"batch", "total", "total_is_exact", "states", "first_at", "last_at", "duration_s"}
    assert (counted["batch"], counted["total"], counted["total_is_exact"]) == (batch, 7, True)
    assert counted["states"] == {State.SUCCEEDED: 5, State.FAILED: 1, State.SCHEDULED: 1}
    first_at, last_at = instant(counted["first_at"]), instant(counted["last_at"])
    assert first_at == min(instant(job["accepted_at"]) for job in done)
    assert last_at >= max(instant(job["finished_at"]) for job in done)
    assert counted["duration_s"] == pytest.approx((last_at - first_at).total_seconds())


def test_unknown_and_impossible_batches(stack: TestStack) -> None:
    assert_problem(stack, stack.call("GET", f"/batches/{uuid4().hex}"), 404, "not-found")
    for name in ("a%20b", "x" * 65, "$where", "a%0A"):
        assert_problem(stack, stack.call("GET", f"/batches/{name}"), 422, "bad-batch")


def test_jobs_are_listed_page_by_page(stack: TestStack) -> None:
    batch = f"p-{uuid4().hex}"
    sent = [stack.process("noop", batch=batch, payload={"n": n}) for n in range(23)]

    found = list(pages(stack, f"batch={batch}&page_size=5"))

    assert [len(page) for page in found[:4]] == [5, 5, 5, 5]
    listed = [job["id"] for page in found for job in page]
    assert listed == sent[::-1], "each once, newest first"
    # A page that ends with the last job names no further page.
    assert [len(page) for page in pages(stack, f"batch={batch}&page_size=23")] == [23]
    assert [len(page) for page in pages(stack, f"batch={batch}&page_size=5000")] == [23]
    newest = stack.call("GET", "/jobs?page_size=1").body["jobs"]
    assert [job["id"] for job in newest] == [sent[-1]]
    assert "payload" not in newest[0]


def test_a_page_stays_what_it_was_while_jobs_arrive(stack: TestStack) -> None:
    batch = f"q-{uuid4().hex}"
    sent = [stack.process("noop", batch=batch) for _ in range(4)]
    first = stack.call("GET", f"/jobs?batch={batch}&page_size=2").body
    stack.process("noop", batch=batch)
    second = stack.call("GET", f"/jobs?batch={batch}&page_size=2&page_token={first['next_page_token']}").body
    assert [job["id"] for job in first["jobs"] + second["jobs"]] == sent[::-1]


def test_filters(stack: TestStack) -> None:
    batch, tag = f"f-{uuid4().hex}", f"tag {uuid4().hex}"
    good = stack.process("noop", batch=batch, tags=[tag, "x"])
    bad = stack.process("test.permanent", batch=batch, tags=[tag])
    other = stack.process("noop", batch=batch)
    for job_id in (good, bad, other):
        stack.finished(job_id)

    def ids(query: str) -> set[str]:
        return {job["id"] for page in pages(stack, query) for job in page}

    quoted = tag.replace(" ", "%20")
    assert ids(f"batch={batch}") == {good, bad, other}
    assert ids(f"tag={quoted}") == {good, bad}
    assert ids(f"tag={quoted}&kind=noop") == {good}
    assert ids(f"batch={batch}&state={State.FAILED}") == {bad}
    assert ids(f"batch={batch}&state={State.SUCCEEDED}&kind=noop") == {good, other}
    assert ids(f"batch={batch}&state={State.WAITING}") == set()
    assert ids(f"batch={batch}&tag=x&kind=test.permanent") == set()
    assert {good, other} <= ids("kind=noop&page_size=1000")
    assert bad in ids(f"state={State.FAILED}&page_size=1000")


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("state=done", "?state"),
        ("state=%7B%22$ne%22:1%7D", "?state"),
        ("page_size=x", "?page_size"),
        ("page_size=-1", "?page_size"),
        ("page_token=x", "?page_token"),
        ("page_token=%7B%7D", "?page_token"),
    ],
)
def test_bad_filters_are_refused(stack: TestStack, query: str, pointer: str) -> None:
    assert_problem(stack, stack.call("GET", f"/jobs?{query}"), 422, "invalid-field", pointers=[pointer])


def test_a_job_is_its_status_and_its_payload(stack: TestStack) -> None:
    job_id = stack.process("noop", payload={"$a.b": [1, None]})
    status = stack.finished(job_id)
    answer = stack.call("GET", f"/jobs/{job_id}")
    assert answer.status == 200
    assert answer.body == {**status, "payload": {"$a.b": [1, None]}}


@pytest.mark.parametrize("delay_s", [0, 600])
def test_cancel_of_what_nobody_runs(stack: TestStack, delay_s: float) -> None:
    if delay_s:
        job_id = stack.process("noop", delay_s=delay_s)
    else:
        stack.stack.scale({"worker": 0})
        job_id = stack.process("noop")
    assert stack.status(job_id)["state"] == (State.SCHEDULED if delay_s else State.QUEUED)

    cancelled = command(stack, job_id, "cancel")

    assert (cancelled["state"], cancelled["reason"], cancelled["rev"]) == (State.CANCELLED, Reason.CANCELLED, 2)
    assert instant(cancelled["finished_at"])
    assert "cancel_requested" not in cancelled
    again = command(stack, job_id, "cancel")
    assert again == cancelled, "a second cancel changes nothing"
    if not delay_s:
        # Its bundle still waits: the worker that takes it must not run it.
        stack.stack.scale({"worker": 1})
        stack.finished(stack.process("noop"))
        assert stack.status(job_id) == cancelled


def test_cancel_of_a_running_job(stack: TestStack) -> None:
    job_id = running_job(stack)

    asked = command(stack, job_id, "cancel")

    assert (asked["state"], asked["reason"]) == (State.RUNNING, Reason.CANCEL_REQUESTED)
    assert asked["cancel_requested"] is True
    again = command(stack, job_id, "cancel")
    assert again["finished_at"] is not None or again["rev"] == asked["rev"]
    done = stack.finished(job_id, wait_s=10)
    assert (done["state"], done["reason"]) == (State.CANCELLED, Reason.CANCELLED)
    assert (done["failures"], done["error"], done["result"]) == (0, None, None)
    assert [entry["reason"] for entry in done["history"]] == [
        *(Reason.ACCEPTED, Reason.CLAIMED, Reason.CANCEL_REQUESTED, Reason.CANCELLED)
    ]


def test_cancel_of_a_plain_function(stack: TestStack, tmp_path: Path) -> None:
    told = tmp_path / "told"
    job_id = running_job(stack, "test.looks", payload={"file": str(told)})
    command(stack, job_id, "cancel")
    done = stack.finished(job_id, wait_s=10)
    assert (done["state"], done["result"]) == (State.CANCELLED, None)
    eventually(told.exists, within_s=5, what="the function reads ctx.cancelled")


def test_what_ended_otherwise_cannot_be_cancelled(stack: TestStack) -> None:
    done = stack.process("noop")
    stack.finished(done)
    for job_id, state in ((done, State.SUCCEEDED), (failed_job(stack), State.FAILED)):
        before = stack.status(job_id)
        answer = stack.call("POST", f"/jobs/{job_id}/cancel")
        document = assert_problem(stack, answer, 409, "wrong-state", says=state)
        assert document["state"] == state
        assert stack.status(job_id) == before


def test_retry_starts_a_new_run(stack: TestStack) -> None:
    job_id = stack.process("test.fails", max_attempts=2, payload={"keep": "me"})
    first = stack.finished(job_id)

    retried = command(stack, job_id, "retry")

    assert (retried["run"], retried["failures"], retried["reason"]) == (2, 0, Reason.RETRIED)
    assert retried["state"] == State.QUEUED
    assert (retried["error"], retried["finished_at"]) == (None, None)
    second = stack.finished(job_id)
    assert (second["run"], second["failures"], second["attempt"]) == (2, 2, 4)
    assert (second["state"], second["error"]["attempt"]) == (State.FAILED, 4)
    assert second["history"][: len(first["history"])] == first["history"]
    assert [entry["rev"] for entry in second["history"]] == list(range(1, 2 * len(first["history"]) + 1))
    assert stack.call("GET", f"/jobs/{job_id}").body["payload"] == {"keep": "me"}


def test_a_retried_job_can_succeed(stack: TestStack) -> None:
    job_id = stack.process("flaky", payload={"failures": 1}, max_attempts=1)
    assert stack.finished(job_id)["state"] == State.FAILED
    command(stack, job_id, "retry")
    # A new run counts its failures anew, so it fails once more.
    assert stack.finished(job_id)["state"] == State.FAILED
    assert command(stack, job_id, "resolve", {"state": State.SUCCEEDED})["run"] == 3


@pytest.mark.parametrize("verb", ["retry", "resolve"])
def test_only_an_ended_job_starts_a_new_run(stack: TestStack, verb: str) -> None:
    succeeded, scheduled = stack.process("noop"), stack.process("noop", delay_s=600)
    stack.finished(succeeded)
    cancelled = stack.process("noop", delay_s=600)
    command(stack, cancelled, "cancel")
    running = running_job(stack)
    body = {"state": State.SUCCEEDED} if verb == "resolve" else None
    cases = {
        succeeded: State.SUCCEEDED,
        scheduled: State.SCHEDULED,
        cancelled: State.CANCELLED,
        running: State.RUNNING,
    }
    if verb == "retry":
        del cases[cancelled]
        assert command(stack, cancelled, "retry")["run"] == 2
    for job_id, state in cases.items():
        answer = stack.call("POST", f"/jobs/{job_id}/{verb}", body)
        assert assert_problem(stack, answer, 409, "wrong-state", says=state)["state"] == state
        assert stack.status(job_id)["run"] == 1
    command(stack, running, "cancel")


def test_resolve_as_succeeded(stack: TestStack) -> None:
    job_id = failed_job(stack)
    body = {"state": State.SUCCEEDED, "result": {"$by": ["hand", None]}, "note": "paid by bank transfer"}

    resolved = command(stack, job_id, "resolve", body)

    assert (resolved["state"], resolved["reason"]) == (State.SUCCEEDED, Reason.RESOLVED)
    assert (resolved["run"], resolved["failures"], resolved["attempt"]) == (2, 0, 1)
    assert (resolved["result"], resolved["note"]) == (body["result"], body["note"])
    assert resolved["error"] is None
    assert stack.status(job_id) == resolved
    assert_problem(stack, stack.call("POST", f"/jobs/{job_id}/resolve", body), 409, "wrong-state")


def test_resolve_as_failed(stack: TestStack) -> None:
    job_id = failed_job(stack)
    before = stack.status(job_id)
    resolved = command(stack, job_id, "resolve", {"state": State.FAILED, "note": "the customer is gone"})
    assert (resolved["state"], resolved["reason"]) == (State.FAILED, Reason.RESOLVED)
    # It no longer needs attention, so it is in no group.
    ungrouped = {name: value for name, value in before["error"].items() if name != "group"}
    assert (resolved["note"], resolved["error"]) == ("the customer is gone", ungrouped)
    # A person may think again.
    assert command(stack, job_id, "retry")["run"] == 3
    assert "note" not in stack.finished(job_id)


@pytest.mark.parametrize(
    ("body", "status", "name", "pointers"),
    [
        (b"", 400, "bad-json", [""]),
        (b"[]", 422, "invalid-field", [""]),
        (b"{}", 422, "invalid-field", ["/state"]),
        (json.dumps({"state": State.CANCELLED}).encode(), 422, "invalid-field", ["/state"]),
        (b'{"state": {"$ne": 1}}', 422, "invalid-field", ["/state"]),
        (b'{"state": ["x"]}', 422, "invalid-field", ["/state"]),
        (json.dumps({"state": State.FAILED, "note": 1}).encode(), 422, "invalid-field", ["/note"]),
        (json.dumps({"state": State.FAILED, "note": "x" * 1001}).encode(), 422, "invalid-field", ["/note"]),
        (json.dumps({"state": State.FAILED, "$set": {}}).encode(), 422, "invalid-field", ["/$set"]),
        (b'{"state": "x", "state": "x"}', 400, "duplicate-key", ["/state"]),
    ],
)
def test_bad_resolutions_are_refused(
    stack: TestStack, body: bytes, status: int, name: str, pointers: list[str]
) -> None:
    answer = stack.call("POST", f"/jobs/{UNKNOWN}/resolve", body)
    assert_problem(stack, answer, status, name, pointers=pointers)


def test_commands_on_unknown_jobs_and_wrong_methods(stack: TestStack) -> None:
    for verb, body in (("cancel", None), ("retry", None), ("resolve", {"state": State.FAILED})):
        for unknown in (UNKNOWN, "7"):
            assert_problem(stack, stack.call("POST", f"/jobs/{unknown}/{verb}", body), 404, "not-found")
        answer = stack.call("GET", f"/jobs/{UNKNOWN}/{verb}")
        assert_problem(stack, answer, 405, "method-not-allowed")
        assert answer.headers["allow"] == "POST"
    for unknown in (UNKNOWN, "7"):
        assert_problem(stack, stack.call("GET", f"/jobs/{unknown}"), 404, "not-found")
