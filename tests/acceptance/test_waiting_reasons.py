"""Each reason for which a live job waits, shown on a running stack; and an estimate that holds for a steady queue."""

import re
import time
from datetime import timedelta
from typing import Any

import pytest

from acked_common.model.lifecycle import State
from support.contract import instant
from support.stacks import TestStack, eventually

ENVIRON = {
    # Renewals are seen for three times as long as they are apart: a lost worker is noticed well before its lease ends.
    "ACKED_LEASE_S": "12",
    "ACKED_RENEWAL_S": "0.8",
    "ACKED_WORKER_THREADS": "2",
}
SERVICES = ("gateway", "intake")


def seen(stack: TestStack, job_id: str, text: str, *, within_s: float = 10.0) -> tuple[Any, int]:
    """The status of a job and its Retry-After once its hint contains a text; the same on both services."""

    def found(service: str) -> Any:
        response = stack.call("GET", f"/status/{job_id}", to=service)
        assert response.status == 200, response.raw
        hint = response.body.get("hint", "")
        return (response.body, int(response.headers["retry-after"])) if text in hint else None

    for service in SERVICES:
        told = eventually(lambda service=service: found(service), within_s=within_s, what=f"the hint says {text!r}")
    status, retry_after = told
    shown = stack.call("GET", f"/jobs/{job_id}").body
    assert text in shown["hint"]
    return status, retry_after


def test_a_delayed_job_says_until_when(stack: TestStack) -> None:
    job_id = stack.process("noop", delay_s=600)
    status, retry_after = seen(stack, job_id, "delayed until ")
    assert status["hint"] == f"delayed until {status['due_at']}"
    assert 590 <= retry_after <= 600


def test_a_job_that_backs_off_names_its_error(stack: TestStack) -> None:
    job_id = stack.process("test.later", payload={"after_s": 30}, max_attempts=4)
    status, retry_after = seen(stack, job_id, "backing off")
    assert status["hint"] == f"backing off until {status['due_at']} after RetryLater (failure 1 of 4)"
    assert 20 <= retry_after <= 60


def test_a_running_job_names_its_worker_and_a_cancel_who_stops(stack: TestStack) -> None:
    job_id = stack.process("test.hangs-in-thread", timeout_s=8)
    status, _ = seen(stack, job_id, "runs on ")
    assert status["hint"] == f"runs on worker-1 since {status['started_at']}"
    assert stack.call("POST", f"/jobs/{job_id}/cancel").status == 200
    status, retry_after = seen(stack, job_id, "its cancel was requested")
    assert (status["hint"], retry_after) == ("its cancel was requested; worker-1 stops its handler", 1)
    ended = stack.call("GET", f"/status/{job_id}?wait_s=30")
    assert ended.body["state"] == State.CANCELLED
    assert "hint" not in ended.body and "retry-after" not in ended.headers


def test_a_job_without_a_worker_says_so(stack: TestStack) -> None:
    stack.stack.scale({"worker": 0})
    try:
        job_id = stack.process("test.echo")
        status, retry_after = seen(stack, job_id, "no worker that serves kind 'test.echo' runs")
        assert re.search(r"; it expires at 20\S+Z$", status["hint"])
        assert 1 <= retry_after <= 60
    finally:
        stack.stack.scale({"worker": 1})
    assert stack.finished(job_id)["state"] == State.SUCCEEDED


@pytest.mark.long
def test_a_job_of_a_lost_worker_says_when_its_lease_ends(stack: TestStack) -> None:
    job_id = stack.process("demo", payload={"seconds": 30})
    assert stack.status(job_id, "?wait_s=20&after_rev=1")["state"] == State.RUNNING
    killed_at = time.monotonic()
    stack.stack.parts.kill("worker-1")
    status, retry_after = seen(stack, job_id, "its worker worker-1 was lost")
    found = re.search(r"its lease ends at (\S+), then it is queued again$", status["hint"])
    assert found is not None
    assert 1 <= retry_after <= 12
    taken_back = stack.call("GET", f"/status/{job_id}?wait_s=30&after_rev={status['rev']}").body
    assert time.monotonic() - killed_at < 30
    lost_at = instant(next(line["at"] for line in taken_back["history"] if line["reason"] == "lease_expired"))
    assert timedelta(0) <= lost_at - instant(found[1]) < timedelta(seconds=5)
    assert stack.call("POST", f"/jobs/{job_id}/cancel").status == 200
    assert stack.finished(job_id)["state"] in (State.CANCELLED, State.SUCCEEDED)


@pytest.mark.long
def test_an_estimate_is_within_a_factor_of_two_for_a_steady_queue(stack: TestStack) -> None:
    # Two threads, each job a quarter of a second: eight start a second, whatever else the machine does.
    ids = [stack.process("test.quarter") for _ in range(240)]
    newest = ids[-1]

    def estimate() -> Any:
        response = stack.call("GET", f"/status/{newest}")
        found = re.search(
            r"^about ([\d,]+) jobs of its kind are ahead of it; ([\d,.]+) start a minute, so it starts in about",
            response.body["hint"],
        )
        return found and (int(found[1].replace(",", "")), int(response.headers["retry-after"]), time.monotonic())

    eventually(lambda: any(stack.status(i)["finished_at"] for i in ids[:16]), within_s=30, what="the queue moves")
    eventually(estimate, within_s=20, what="a place and a rate")
    # The rate is that of the last seconds, so that a second look has settled it.
    ahead, in_s, asked_at = eventually(
        lambda: (found := estimate()) and found[0] < 200 and found, within_s=30, what="a place in a moving queue"
    )
    started = stack.status(newest, "?wait_s=60&after_rev=1")
    took_s = time.monotonic() - asked_at
    assert started["started_at"] is not None
    assert ahead > 20
    assert in_s / 2 <= took_s <= in_s * 2, f"{ahead} ahead, expected {in_s} s, took {took_s:.1f} s"
    for job_id in ids:
        assert stack.finished(job_id)["state"] == State.SUCCEEDED
