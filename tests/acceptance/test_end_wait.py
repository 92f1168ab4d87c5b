"""Run a parked job now, end to end: its sleep is over once, and a wait for a signal is not."""

from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from acked_common.model.lifecycle import Reason, State
from deploy.native import environment
from support.contract import assert_problem
from support.stacks import TestStack, eventually

ENVIRON: dict[str, str] = {}
"""A stack of its own: a gateway is killed."""

A_MONTH_S = 30 * 86_400


def parked(stack: TestStack, job_id: str, name: str) -> Any:
    """The status of a job, once it waits at this call."""

    def look() -> Any:
        status = stack.status(job_id)
        return status if status["state"] == State.WAITING and status["waits"]["name"] == name else None

    return eventually(look, within_s=30, what=f"it waits at {name}")


def steps_of(stack: TestStack, job_id: str) -> Any:
    return {one["name"]: one for one in stack.call("GET", f"/jobs/{job_id}/steps").body["steps"]}


def run_count(folder: Path) -> list[str]:
    return [line.split()[0].partition(":")[2] for line in (folder / "steps").read_text().splitlines()]


@pytest.mark.parametrize("kind", ["test.sleeps", "test.durable-thread"])
def test_a_sleep_of_a_month_ends_now_and_once(stack: TestStack, tmp_path: Path, kind: str) -> None:
    job_id = stack.process(kind, payload={"folder": str(tmp_path), "sleep_s": A_MONTH_S})
    parked(stack, job_id, "rest")

    answer = stack.call("POST", f"/jobs/{job_id}/run-now")

    assert answer.status == 200 and answer.body["state"] == State.QUEUED and "waits" not in answer.body
    if kind == "test.sleeps":
        # It sleeps again under another name, and only once under the first.
        parked(stack, job_id, "rest-again")
        assert "ended_early_at" in steps_of(stack, job_id)["rest"]
        assert "ended_early_at" not in steps_of(stack, job_id)["rest-again"]
        assert stack.call("POST", f"/jobs/{job_id}/run-now").status == 200
    status = stack.finished(job_id)
    assert status["state"] == State.SUCCEEDED and status["failures"] == 0
    reasons = [line["reason"] for line in status["history"]]
    assert reasons.count(Reason.RUN_NOW) == reasons.count(Reason.PARKED) > 0
    assert sorted(run_count(tmp_path)) == ["first", "last"]
    audit = stack.call("GET", "/audit?action=run_now").body["entries"]
    assert [one["target"]["job"] for one in audit].count(job_id) == reasons.count(Reason.RUN_NOW)


def test_a_wait_for_a_signal_is_not_ended(stack: TestStack) -> None:
    for within_s in (None, A_MONTH_S):
        job_id = stack.process("test.signalled", payload={"count": 1, "within_s": within_s})
        parked(stack, job_id, "go")
        answer = stack.call("POST", f"/jobs/{job_id}/run-now")
        assert_problem(stack, answer, 409, "wrong-state")
        assert "signal 'go'" in answer.body["detail"]
        assert stack.status(job_id)["state"] == State.WAITING
        assert stack.call("POST", f"/jobs/{job_id}/signals/go", 1).status == 202
        assert stack.finished(job_id)["result"][0][1] == 1


def test_a_sleep_beside_a_signal_ends_and_the_signal_is_awaited(stack: TestStack) -> None:
    job_id = stack.process("test.sleeps-beside-signal", payload={"sleep_s": A_MONTH_S})
    assert parked(stack, job_id, "rest")["waits"]["signals"] == ["go"]
    assert stack.call("POST", f"/jobs/{job_id}/run-now").status == 200
    waits = parked(stack, job_id, "go")["waits"]
    assert waits == {"call": "wait", "name": "go", "until_at": None, "signals": ["go"]}
    assert stack.call("POST", f"/jobs/{job_id}/run-now").status == 409
    assert stack.call("POST", f"/jobs/{job_id}/signals/go", "now").status == 202
    assert stack.finished(job_id)["result"] == "now"


def test_a_gateway_that_dies_behind_the_ledger_is_asked_again(stack: TestStack, tmp_path: Path) -> None:
    layout = stack.stack.layout
    job_id = stack.process("test.durable-thread", payload={"folder": str(tmp_path), "sleep_s": A_MONTH_S})
    parked(stack, job_id, "rest")
    environment.keep_for(layout, "gateway-1", {"ACKED_CRASH": "gateway.wait-ended:1:kill"})
    stack.stack.parts.kill("gateway-1")
    armed = layout.logs / "gateway-1.log"
    eventually(lambda: '"point": "gateway.wait-ended"' in armed.read_text(errors="replace"), within_s=30, what="armed")
    eventually(lambda: stack.call("GET", "/healthz").status == 200, within_s=30, what="it is back")
    environment.keep_for(layout, "gateway-1", {})
    with pytest.raises((OSError, HTTPException)):
        stack.call("POST", f"/jobs/{job_id}/run-now")
    eventually(lambda: stack.call("GET", "/healthz").status == 200, within_s=30, what="it is back")
    assert stack.status(job_id)["state"] == State.WAITING
    assert stack.call("POST", f"/jobs/{job_id}/run-now").status == 200
    assert stack.finished(job_id)["result"] == [f"{job_id}:first", f"{job_id}:last"]
    assert run_count(tmp_path) == ["first", "last"]
