"""Attempts that did not succeed stay with their job, whatever becomes of it; only operators see the code in them."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from acked_common.model.lifecycle import Reason, State
from support.access import Client, make_token
from support.contract import instant
from support.nonce import nonce
from support.stacks import TestStack, eventually

ENVIRON = {"ACKED_ACCESS": "tokens"}


@pytest.fixture(scope="module")
def operator(stack: TestStack) -> Client:
    return Client(stack, make_token(stack, "submit", "read", "operate", client="operator"))


@pytest.fixture(scope="module")
def reader(stack: TestStack) -> Client:
    return Client(stack, make_token(stack, "submit", "read", client="reader"))


def finished(client: Client, job_id: str, state: State, *, run: int = 1) -> Any:
    """The job once it has ended in this run, as `GET /jobs/{id}` shows it."""

    def ended() -> Any:
        found = client.call("GET", f"/jobs/{job_id}").body
        return found if found["finished_at"] is not None and found["run"] == run else None

    found = eventually(ended, within_s=30, what=f"run {run} has ended")
    assert found["state"] == state
    return found


def command(client: Client, job_id: str, verb: str, body: Any = None) -> Any:
    response = client.call("POST", f"/jobs/{job_id}/{verb}", body)
    assert response.status == 200, response.raw
    return response.body


def assert_kept(job: Any, mark: str, attempts: Sequence[tuple[int, int]]) -> None:
    """Both errors of each run are there, with the worker and the times of each attempt."""
    kept = job["attempts"]
    assert [(one["run"], one["attempt"], one["outcome"]) for one in kept] == [(*pair, "failed") for pair in attempts]
    assert {one["worker"] for one in kept} == {"worker-1"}
    for earlier, later in pairwise(kept):
        assert instant(earlier["ended_at"]) <= instant(later["started_at"])
    for one in kept:
        assert instant(job["accepted_at"]) <= instant(one["started_at"]) <= instant(one["ended_at"])
    words = [("LookupError", f"no order {mark}"), ("ConnectionError", f"the shop of {mark} is closed")]
    assert [(one["error"]["type"], one["error"]["message"]) for one in kept] == words * (len(kept) // 2)
    groups = [one["error"]["group"] for one in kept]
    assert len(set(groups)) == 2 and groups == groups[:2] * (len(kept) // 2)


def test_errors_of_a_job_that_succeeds_in_the_end_are_kept(operator: Client) -> None:
    mark = nonce()
    job_id = operator.process("test.stumbles", payload={"nonce": mark})
    job = finished(operator, job_id, State.SUCCEEDED)
    assert (job["result"], job["error"]) == ({"nonce": mark}, None)
    assert_kept(job, mark, [(1, 1), (1, 2)])
    assert [one["error"]["culprit"] for one in job["attempts"]] == [
        "failing_kinds.stumbles: raise LookupError(f\"no order {payload['nonce']}\")",
        "failing_kinds.stumbles: raise ConnectionError(f\"the shop of {payload['nonce']} is closed\")",
    ]
    assert all("in stumbles" in one["error"]["traceback"] for one in job["attempts"])


def test_errors_are_kept_through_a_retry_and_a_resolve(operator: Client) -> None:
    mark = nonce()
    job_id = operator.process("test.stumbles", payload={"nonce": mark}, max_attempts=2)
    assert_kept(finished(operator, job_id, State.FAILED), mark, [(1, 1), (1, 2)])
    retried = command(operator, job_id, "retry")
    assert retried["error"] is None
    assert_kept(finished(operator, job_id, State.FAILED, run=2), mark, [(1, 1), (1, 2), (2, 3), (2, 4)])
    command(operator, job_id, "resolve", {"state": "succeeded", "result": mark})
    job = finished(operator, job_id, State.SUCCEEDED, run=3)
    assert (job["reason"], job["result"], job["error"]) == (Reason.RESOLVED, mark, None)
    assert_kept(job, mark, [(1, 1), (1, 2), (2, 3), (2, 4)])


def test_code_of_attempts_is_shown_to_operators_alone(operator: Client, reader: Client) -> None:
    mark = nonce()
    job_id = reader.process("test.stumbles", payload={"nonce": mark}, max_attempts=2, batch=f"code-{mark}")
    finished(operator, job_id, State.FAILED)
    for path in (f"/jobs/{job_id}", f"/status/{job_id}", f"/jobs?batch=code-{mark}"):
        theirs, mine = reader.call("GET", path), operator.call("GET", path)
        assert (theirs.status, mine.status) == (200, 200)
        for shown in (b"raise ConnectionError", b"Traceback", b"failing_kinds"):
            assert shown in mine.raw and shown not in theirs.raw
        assert f"the shop of {mark} is closed".encode() in theirs.raw, "what went wrong is shown to both"


def test_lists_leave_attempts_out(operator: Client) -> None:
    mark = nonce()
    job_id = operator.process("test.stumbles", payload={"nonce": mark}, batch=f"list-{mark}")
    finished(operator, job_id, State.SUCCEEDED)
    (listed,) = operator.call("GET", f"/jobs?batch=list-{mark}").body["jobs"]
    assert listed["id"] == job_id and "attempts" not in listed
