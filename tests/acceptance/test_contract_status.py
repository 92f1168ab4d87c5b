"""`GET /status/{id}` on both services: every field in every state, and waiting for a job to move."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import pytest

from acked_common.model.lifecycle import Reason, State
from support.contract import CLOCKS_DIFFER, assert_problem, instant
from support.stacks import TestStack, eventually

SERVICES = ("gateway", "intake")
FIELDS = {
    *("id", "kind", "state", "reason", "rev", "run", "attempt", "failures", "accepted_at", "due_at", "started_at"),
    *("finished_at", "progress", "result", "error", "batch", "tags", "history", "attempts"),
}


def both(stack: TestStack, job_id: str) -> Any:
    """The status of a job that stands still: the same on both services."""
    ours, theirs = (stack.status(job_id, to=service) for service in SERVICES)
    assert ours == theirs
    return ours


def moves(status: Any) -> list[tuple[int, str, str, int]]:
    """The history without its instants, which must never fall."""
    history = status["history"]
    assert all(entry.keys() == {"rev", "state", "reason", "attempt", "at"} for entry in history)
    times = [instant(entry["at"]) for entry in history]
    assert all(later >= earlier - CLOCKS_DIFFER for earlier, later in pairwise(times)), history
    return [(entry["rev"], entry["state"], entry["reason"], entry["attempt"]) for entry in history]


def hinted(stack: TestStack, job_id: str, service: str) -> Any:
    found = stack.status(job_id, to=service)
    return found if "no worker that serves" in found.get("hint", "") else None


def test_a_job_that_succeeded(stack: TestStack) -> None:
    batch = f"s-{uuid4().hex}"
    job_id = stack.process("demo", payload={"seconds": 0.2}, batch=batch, tags=["a", "b"])
    stack.finished(job_id)

    found = both(stack, job_id)

    assert found.keys() == FIELDS
    assert (found["id"], found["kind"], found["batch"], found["tags"]) == (job_id, "demo", batch, ["a", "b"])
    assert (found["state"], found["reason"]) == (State.SUCCEEDED, Reason.COMPLETED)
    assert (found["rev"], found["run"], found["attempt"], found["failures"]) == (3, 1, 1, 0)
    assert found["result"] == {"slept_s": 0.2}
    assert (found["error"], found["progress"], found["due_at"]) == (None, None, None)
    assert moves(found) == [
        (1, State.QUEUED, Reason.ACCEPTED, 0),
        (2, State.RUNNING, Reason.CLAIMED, 1),
        (3, State.SUCCEEDED, Reason.COMPLETED, 1),
    ]
    took = instant(found["finished_at"]) - instant(found["started_at"])
    assert timedelta(seconds=0.2) <= took < timedelta(seconds=2)
    assert found["accepted_at"] == found["history"][0]["at"]
    assert found["started_at"] == found["history"][1]["at"]
    assert found["finished_at"] == found["history"][2]["at"]


def test_a_job_that_failed_for_good(stack: TestStack) -> None:
    job_id = stack.process("test.permanent")
    stack.finished(job_id)

    found = both(stack, job_id)

    assert found.keys() == FIELDS
    assert (found["state"], found["reason"]) == (State.FAILED, Reason.PERMANENT_ERROR)
    assert (found["attempt"], found["failures"], found["result"]) == (1, 1, None)
    error = found["error"]
    assert error.keys() == {"type", "message", "retryable", "attempt", "group", "culprit", "traceback"}
    assert (error["type"], error["message"]) == ("card-declined", "the card was declined")
    assert (error["retryable"], error["attempt"]) == (False, 1)
    assert "in permanent" in error["traceback"]
    assert (
        error["culprit"] == 'acceptance_kinds.permanent: raise Permanent("the card was declined", type="card-declined")'
    )
    assert "acked_worker" not in error["traceback"], "a traceback starts at the user's function"


def test_a_job_that_used_up_its_attempts(stack: TestStack) -> None:
    job_id = stack.process("test.fails")
    stack.finished(job_id)

    found = both(stack, job_id)

    assert (found["state"], found["reason"]) == (State.FAILED, Reason.ATTEMPTS_EXHAUSTED)
    assert (found["rev"], found["attempt"], found["failures"]) == (9, 3, 3)
    error = found["error"]
    assert (error["type"], error["message"]) == ("ValueError", "attempt 3 went wrong")
    assert (error["retryable"], error["attempt"]) == (True, 3)
    again = [(State.SCHEDULED, Reason.BACKING_OFF), (State.QUEUED, Reason.DUE), (State.RUNNING, Reason.CLAIMED)]
    assert [(state, reason) for _, state, reason, _ in moves(found)] == [
        (State.QUEUED, Reason.ACCEPTED),
        (State.RUNNING, Reason.CLAIMED),
        *again,
        *again,
        (State.FAILED, Reason.ATTEMPTS_EXHAUSTED),
    ]
    assert [rev for rev, _, _, _ in moves(found)] == list(range(1, 10))
    assert [attempt for _, _, _, attempt in moves(found)] == [0, 1, 1, 1, 2, 2, 2, 3, 3]


def test_a_job_that_backs_off(stack: TestStack) -> None:
    job_id = stack.process("test.later", payload={"after_s": 30})
    waiting = stack.status(job_id, "?wait_s=10&after_rev=2")

    assert both(stack, job_id) == waiting
    assert (waiting["state"], waiting["reason"]) == (State.SCHEDULED, Reason.BACKING_OFF)
    assert (waiting["attempt"], waiting["failures"], waiting["finished_at"]) == (1, 1, None)
    assert waiting["error"]["type"] == "RetryLater"
    assert waiting["error"]["message"] == "the outside API asked us to slow down"
    due_in = instant(waiting["due_at"]) - instant(waiting["history"][-1]["at"])
    assert timedelta(seconds=30) <= due_in <= timedelta(seconds=60)


def test_a_job_that_waits_for_its_time(stack: TestStack) -> None:
    job_id = stack.process("noop", delay_s=600)
    found = both(stack, job_id)
    assert found.keys() == FIELDS | {"hint"}
    assert (found["state"], found["reason"], found["rev"], found["attempt"]) == (State.SCHEDULED, Reason.ACCEPTED, 1, 0)
    assert instant(found["due_at"]) - instant(found["accepted_at"]) == timedelta(seconds=600)
    assert (found["started_at"], found["finished_at"]) == (None, None)
    assert moves(found) == [(1, State.SCHEDULED, Reason.ACCEPTED, 0)]


def test_the_progress_of_a_running_job(stack: TestStack) -> None:
    job_id = stack.process("test.steps")
    running = stack.status(job_id, "?wait_s=10&after_rev=1")
    assert (running["state"], running["rev"], running["attempt"]) == (State.RUNNING, 2, 1)
    assert instant(running["started_at"])
    assert (running["finished_at"], running["result"], running["error"]) == (None, None, None)
    last_step = {"page": 2, "of": 4}
    found = eventually(
        lambda: ((status := stack.status(job_id))["progress"] or {}).get("value") == last_step and status,
        within_s=10,
        what="the last progress is shown",
    )
    assert found["progress"].keys() == {"value", "message", "at"}
    assert found["progress"]["message"] is None
    assert instant(found["progress"]["at"]) - instant(found["started_at"]) < timedelta(seconds=5)
    assert (found["state"], found["rev"]) == (State.RUNNING, 2), "progress raises no rev"
    assert stack.call("POST", f"/jobs/{job_id}/cancel").status == 200
    assert stack.finished(job_id)["progress"] == found["progress"], "the last one stays"


def test_wait_s_answers_when_the_job_ends(stack: TestStack) -> None:
    for service in SERVICES:
        job_id = stack.process("demo", payload={"seconds": 0.5})
        started = time.monotonic()
        found = stack.status(job_id, "?wait_s=30", to=service)
        assert found["state"] == State.SUCCEEDED
        assert time.monotonic() - started < 5
        # What has ended already is answered at once.
        started = time.monotonic()
        assert stack.status(job_id, "?wait_s=30", to=service)["state"] == State.SUCCEEDED
        assert time.monotonic() - started < 1


def test_wait_s_is_bounded(stack: TestStack) -> None:
    job_id = stack.process("noop", delay_s=600)
    for service in SERVICES:
        for query in ("?wait_s=0.4", "?wait_s=0.4&after_rev=1"):
            started = time.monotonic()
            assert stack.status(job_id, query, to=service)["state"] == State.SCHEDULED
            assert 0.4 <= time.monotonic() - started < 3
        started = time.monotonic()
        for query in ("?wait_s=0", "?after_rev=1", "?after_rev=7"):
            assert stack.status(job_id, query, to=service)["rev"] == 1
        assert time.monotonic() - started < 1


def test_after_rev_answers_with_the_next_one(stack: TestStack) -> None:
    for service in SERVICES:
        job_id = stack.process("demo", payload={"seconds": 1}, delay_s=0.3)
        seen = [1]
        while True:
            found = stack.status(job_id, f"?wait_s=20&after_rev={seen[-1]}", to=service)
            assert found["rev"] > seen[-1]
            seen.append(found["rev"])
            if found["finished_at"] is not None:
                break
        assert found["state"] == State.SUCCEEDED
        assert seen[-1] == 4
        assert 3 in seen, "a run of a second is seen while it runs"


def test_many_may_wait_for_one_job(stack: TestStack) -> None:
    job_id = stack.process("demo", payload={"seconds": 0.4})
    with ThreadPoolExecutor(40) as pool:
        services = [SERVICES[n % 2] for n in range(40)]
        found = list(pool.map(lambda service: stack.status(job_id, "?wait_s=20", to=service), services))
    assert [status["state"] for status in found] == [State.SUCCEEDED] * 40


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        *((f"?wait_s={bad}", "?wait_s") for bad in ("x", "-1", "61", "nan", "inf", "")),
        *((f"?wait_s=1&after_rev={bad}", "?after_rev") for bad in ("x", "-1", "1e17", "nan")),
    ],
)
def test_bad_waits_are_refused(stack: TestStack, service: str, query: str, pointer: str) -> None:
    answer = stack.call("GET", f"/status/{UUID(int=7)}{query}", to=service)
    assert_problem(stack, answer, 422, "invalid-field", pointers=[pointer])


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("query", ["", "?wait_s=30"])
@pytest.mark.parametrize(
    "unknown", ["01890000-0000-7000-8000-000000000000", "7", "$where", "%00", "01890000-0000-7000-8000-00000000000g"]
)
def test_an_unknown_id_is_not_found(stack: TestStack, service: str, query: str, unknown: str) -> None:
    started = time.monotonic()
    assert_problem(stack, stack.call("GET", f"/status/{unknown}{query}", to=service), 404, "not-found")
    assert time.monotonic() - started < 5, "nobody waits for what is not there"


def test_a_kind_that_no_worker_serves_says_so_and_expires(stack: TestStack) -> None:
    stack.stack.scale({"worker": 0})
    try:
        job_id = stack.process("test.echo", expires_in_s=3)
        for service in SERVICES:
            found = eventually(partial(hinted, stack, job_id, service), within_s=10, what="it says why nothing moves")
            assert "'test.echo'" in found["hint"]
            assert "it expires at 2" in found["hint"]
            assert found["state"] == State.QUEUED
        done = stack.finished(job_id)
    finally:
        stack.stack.scale({"worker": 1})
    assert (done["state"], done["reason"]) == (State.FAILED, Reason.EXPIRED)
    assert done["error"]["type"] == "Expired"
    assert "'test.echo'" in done["error"]["message"]
    assert (done["attempt"], done["failures"], done["started_at"]) == (0, 0, None)
    assert "hint" not in done
    # Its registration outlives the worker, and so does what it can do.
    assert stack.finished(stack.process("test.echo"))["state"] == State.SUCCEEDED
