"""The calls of one job: results, commands that are repeated, signals."""

from typing import Any

import pytest

from acked_client import JobCancelled, JobFailed, RetryPolicy, StillRunning, Submission, problems
from acked_client.core import jobs
from acked_client.core.effects import Request, Response
from support.client_flows import LOST, STATUS, Answer, Script, ok, refused, session, status

ID = STATUS["id"]


def line(rev: int, state: str, reason: str) -> dict[str, Any]:
    return {"rev": rev, "state": state, "reason": reason, "attempt": 1, "at": STATUS["accepted_at"]}


def test_result_polls_until_the_job_has_ended() -> None:
    script = Script([ok(status()), LOST, ok(status(state="running")), ok(status(state="succeeded", result=7))], 20.0)
    assert script.run(jobs.result(session(), ID, None)) == 7
    assert [request.query for request in script.requests] == [{"wait_s": "30.000"}] * 4


def test_result_of_a_failed_job_has_its_errors() -> None:
    error = {"type": "ValueError", "message": "no order 17", "retryable": True, "attempt": 2}
    attempt = {
        "run": 1,
        "attempt": 2,
        "worker": "worker-1",
        "started_at": STATUS["accepted_at"],
        "ended_at": STATUS["accepted_at"],
        "outcome": "failed",
        "error": {"type": "ValueError", "message": "no order 17", "retryable": True},
    }
    script = Script([ok(status(state="failed", reason="attempts_exhausted", error=error, attempts=[attempt]))])
    with pytest.raises(JobFailed, match="ValueError: no order 17") as caught:
        script.run(jobs.result(session(), ID, 5))
    assert caught.value.id == ID and caught.value.error is not None and caught.value.error.message == "no order 17"
    assert [one.worker for one in caught.value.attempts] == ["worker-1"]


def test_result_of_a_cancelled_job() -> None:
    with pytest.raises(JobCancelled):
        Script([ok(status(state="cancelled"))]).run(jobs.result(session(), ID, 5))


def test_result_after_the_timeout_tells_the_hint() -> None:
    def answer(request: Request) -> Answer:
        return ok(status(hint="no worker that serves kind 'hello' runs at the moment"))

    script = Script(answer, took_s=3.0)
    with pytest.raises(StillRunning, match="no worker") as caught:
        script.run(jobs.result(session(), ID, 5))
    assert isinstance(caught.value, TimeoutError)
    assert [float(request.query["wait_s"]) for request in script.requests] == [5.0, 2.0]


def test_poll_that_comes_back_early_is_not_repeated_at_once() -> None:
    script = Script([ok(status())] * 5 + [ok(status(state="succeeded"))])
    script.run(jobs.result(session(), ID, None))
    assert len(script.pauses) == 5 and all(0.1 <= pause <= 0.2 for pause in script.pauses)


def test_timeout_bounds_the_repetitions_of_a_poll() -> None:
    script = Script(lambda _: LOST, took_s=1.0)
    with pytest.raises(Exception, match="broke"):
        script.run(jobs.result(session(RetryPolicy(budget_s=60)), ID, 3))
    assert len(script.sent) <= 5


def test_retry_whose_response_was_lost_is_not_repeated() -> None:
    before = status(state="failed", rev=3, history=[line(1, "queued", "retried"), line(3, "failed", "permanent_error")])
    # It has run and failed again meanwhile, so the state alone would not tell.
    later = before["history"] + [line(4, "queued", "retried"), line(6, "failed", "permanent_error")]
    after = status(state="failed", rev=6, run=2, history=later)
    script = Script([ok(before), LOST, ok(after)])
    assert script.run(jobs.command(session(), ID, "retry")).run == 2
    assert [request.method for request in script.requests] == ["GET", "POST", "GET"]


def test_retry_that_did_not_arrive_is_repeated() -> None:
    before = status(state="failed", rev=3, history=[line(1, "queued", "retried"), line(3, "failed", "permanent_error")])
    after = status(rev=4, run=2)
    script = Script([ok(before), Response(504), ok(before), ok(after)])
    assert script.run(jobs.command(session(), ID, "retry")).run == 2
    assert [request.method for request in script.requests] == ["GET", "POST", "GET", "POST"]


def test_refused_retry_is_the_problem() -> None:
    script = Script([ok(status()), refused("wrong-state", 409, state="queued")])
    with pytest.raises(problems.WrongState) as caught:
        script.run(jobs.command(session(), ID, "retry"))
    assert caught.value.problem.members["state"] == "queued"


def test_cancel_is_one_request() -> None:
    script = Script([LOST, ok(status(state="cancelled"))])
    assert script.run(jobs.command(session(), ID, "cancel")).state == "cancelled"
    assert {(request.method, request.body) for request in script.requests} == {("POST", None)}


def test_signal_keeps_its_key() -> None:
    sent = {"id": "p-1", "job": ID, "name": "paid", "seq": 1}
    script = Script([LOST, ok(sent, 202)])
    assert script.run(jobs.signal(session(), ID, "paid", 100, None)).seq == 1
    assert {request.idempotency_key for request in script.requests} == {"key-1"}
    assert script.requests[0].path == f"/jobs/{ID}/signals/paid" and script.requests[0].body == b"100"
    with pytest.raises(problems.InboxFull) as caught:
        Script([refused("inbox-full", 409)]).run(jobs.signal(session(), ID, "paid", 100, "p-2"))
    assert caught.value.idempotency_key == "p-2"


def test_paths_are_quoted() -> None:
    script = Script([ok(status())])
    script.run(jobs.status(session(), "../jobs?x"))
    assert script.requests[0].path == "/status/..%2Fjobs%3Fx"


def test_options_that_are_not_given_are_not_sent() -> None:
    request = jobs.submit_request(Submission(kind="hello", tags=("a",), delay_s=0, idempotency_key="k"), lambda: "no")
    assert request.body == b'{"kind":"hello","tags":["a"],"delay_s":0}' and request.idempotency_key == "k"
    with pytest.raises(TypeError, match="tags"):
        jobs.submit_request(Submission(kind="hello", tags="abc"), lambda: "no")
