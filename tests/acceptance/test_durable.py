"""Durable calls end to end: steps are kept across kills, and a long sleep holds no worker."""

import os
import signal
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from acked_common.model.lifecycle import Reason, State
from deploy.native import environment
from support.contract import workers
from support.stacks import TestStack, eventually

SLEEP_S = 12.0
ENVIRON: dict[str, str] = {}
"""A stack of its own: workers are killed and stopped."""


def steps(folder: Path) -> Counter[str]:
    """How often each step has run, by its name."""
    path = folder / "steps"
    lines = path.read_text().splitlines() if path.exists() else []
    return Counter(line.split()[0].partition(":")[2] for line in lines)


def until_begun(folder: Path, step: str, times: int = 1) -> None:
    eventually(lambda: steps(folder)[step] >= times, within_s=30, what=f"step {step} has begun")


def reasons(status: Any) -> list[str]:
    return [line["reason"] for line in status["history"]]


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_killed_worker_repeats_the_step_that_was_not_kept(stack: TestStack, tmp_path: Path) -> None:
    job_id = stack.process("test.durable", payload={"folder": str(tmp_path), "sleep_s": SLEEP_S})
    until_begun(tmp_path, "gated")
    stack.stack.parts.kill("worker-1")
    # The next attempt is isolated, and its worker keeps the outcomes.
    until_begun(tmp_path, "gated", 2)
    (tmp_path / "gate").touch()

    parked = eventually(lambda: _parked(stack, job_id), within_s=30, what="it sleeps")

    assert steps(tmp_path) == Counter({"first": 1, "gated": 2, "part[0]": 1, "part[1]": 1, "part[2]": 1})
    assert parked["waits"]["call"] == "sleep" and parked["waits"]["name"] == "rest"
    assert "worker" not in parked and "'rest'" in parked["hint"] and parked["waits"]["until_at"] in parked["hint"]
    until_at = instant(parked["waits"]["until_at"])
    eventually(lambda: all(one.running == 0 for one in workers(stack).values()), within_s=6, what="no worker holds it")
    assert _parked(stack, job_id), "it sleeps meanwhile"
    stack.stack.down()
    stack.stack.up()
    up_at = datetime.now(UTC)

    status = stack.finished(job_id)

    assert status["state"] == State.SUCCEEDED and status["failures"] == 0 and "waits" not in status
    assert status["result"] == [
        f"{job_id}:{name}" for name in ("first", "gated", "part[0]", "part[1]", "part[2]", "last")
    ]
    assert steps(tmp_path)["last"] == 1 and steps(tmp_path)["first"] == 1
    assert reasons(status).count(Reason.PARKED) == 1 and Reason.WOKEN in reasons(status)
    begun_at = next(instant(line["at"]) for line in status["history"] if line["reason"] == Reason.WOKEN)
    assert until_at <= begun_at <= max(until_at, up_at) + timedelta(seconds=10)


def _parked(stack: TestStack, job_id: str) -> Any:
    status = stack.status(job_id)
    return status if status["state"] == State.WAITING else None


@pytest.mark.parametrize(
    ("point", "runs"),
    [
        ("worker.step-recording", 2),
        ("worker.step-recorded", 1),
        pytest.param("worker.parking", 1, marks=pytest.mark.long),
        pytest.param("worker.parked", 1, marks=pytest.mark.long),
    ],
)
def test_a_worker_that_dies_at_a_failpoint_repeats_what_was_not_kept(
    stack: TestStack, tmp_path: Path, point: str, runs: int
) -> None:
    before = arm_worker(stack, point)

    job_id = stack.process("test.durable-thread", payload={"folder": str(tmp_path), "sleep_s": 3})

    status = stack.finished(job_id, wait_s=60)
    assert status["result"] == [f"{job_id}:first", f"{job_id}:last"] and status["failures"] == 0
    assert steps(tmp_path) == Counter({"first": runs, "last": 1})
    assert deaths(stack, point) == before + 1


def arm_worker(stack: TestStack, point: str, nth: int = 1) -> int:
    """Let the next process of the worker die at a failpoint, and no later one; return how often one has died there."""
    layout, log = stack.stack.layout, stack.stack.layout.logs / "worker-1.log"
    before, lines = deaths(stack, point), len(log.read_text(errors="replace").splitlines())
    environment.keep_for(layout, "worker-1", {"ACKED_CRASH": f"{point}:{nth}:kill"})
    killed = stack.stack.parts.kill("worker-1")

    def is_armed() -> bool:
        return any(f'"point": "{point}"' in line for line in log.read_text(errors="replace").splitlines()[lines:])

    eventually(is_armed, within_s=30, what="it is armed")
    assert stack.stack.parts.pid("worker-1") != killed
    environment.keep_for(layout, "worker-1", {})
    return before


def deaths(stack: TestStack, point: str) -> int:
    """How often the worker has died at a failpoint."""
    died = f'{{"event": "failpoint", "point": "{point}", "what": "kill"'
    return (stack.stack.layout.logs / "worker-1.log").read_text(errors="replace").count(died)


def test_only_the_step_of_a_kill_before_its_record_runs_twice(stack: TestStack, tmp_path: Path) -> None:
    point = "worker.step-recording"
    before = arm_worker(stack, point, nth=5)

    job_id = stack.process("test.durable-chain", payload={"folder": str(tmp_path), "steps": 8})

    status = stack.finished(job_id, wait_s=60)
    assert status["result"] == [f"{job_id}:link[{number}]" for number in range(8)] and status["failures"] == 0
    assert steps(tmp_path) == Counter({f"link[{number}]": 2 if number == 4 else 1 for number in range(8)})
    assert deaths(stack, point) == before + 1


def test_a_plain_handler_sleeps_without_a_thread(stack: TestStack, tmp_path: Path) -> None:
    job_id = stack.process("test.durable-thread", payload={"folder": str(tmp_path), "sleep_s": 3})
    eventually(lambda: _parked(stack, job_id), within_s=20, what="it sleeps")
    assert stack.finished(job_id)["result"] == [f"{job_id}:first", f"{job_id}:last"]
    assert steps(tmp_path) == Counter({"first": 1, "last": 1})


def test_a_parked_job_is_cancelled_at_once(stack: TestStack, tmp_path: Path) -> None:
    job_id = stack.process("test.durable-thread", payload={"folder": str(tmp_path), "sleep_s": 3600})
    eventually(lambda: _parked(stack, job_id), within_s=20, what="it sleeps")
    assert stack.call("POST", f"/jobs/{job_id}/cancel").status in (200, 202)
    status = stack.finished(job_id)
    assert status["state"] == State.CANCELLED and "waits" not in status


def test_failures_behind_progress_do_not_end_the_job(stack: TestStack) -> None:
    job_id = stack.process("test.durable-failing", payload={"steps": 5})
    status = stack.finished(job_id)
    assert (status["state"], status["failures"], status["result"]) == (State.SUCCEEDED, 5, 6)


def test_a_stopped_worker_writes_nothing_behind_its_successor(stack: TestStack, tmp_path: Path) -> None:
    stack.stack.scale({"worker": 2})
    try:
        job_id = stack.process("test.durable-stall", payload={"folder": str(tmp_path)})
        until_begun(tmp_path, "tick[3]")
        stopped = stack.status(job_id)["worker"]
        pid = stack.stack.parts.pid(stopped)
        os.kill(pid, signal.SIGSTOP)
        try:
            other = eventually(lambda: _taken_over(stack, job_id), within_s=30, what="another attempt runs")
            assert other["attempt"] == 2
            before = attempts(tmp_path)[1]
            eventually(lambda: attempts(tmp_path)[2] >= 3, within_s=30, what="it makes steps")
        finally:
            os.kill(pid, signal.SIGCONT)
        taken = attempts(tmp_path)[2]
        eventually(lambda: attempts(tmp_path)[2] >= taken + 20, within_s=30, what="it goes on")
        (tmp_path / "gate").touch()
        status = stack.finished(job_id)
    finally:
        stack.stack.scale({"worker": 1})
    assert (status["state"], status["attempt"]) == (State.SUCCEEDED, 2)
    # It may have been inside of one step.
    assert attempts(tmp_path)[1] <= before + 1
    repeated = {name: count for name, count in steps(tmp_path).items() if count > 1}
    assert len(repeated) <= 1 and max(repeated.values(), default=0) <= 2
    assert status["result"] == str(len(steps(tmp_path)))


def attempts(folder: Path) -> Counter[int]:
    """How many steps each attempt has begun."""
    return Counter(int(line.split()[1]) for line in (folder / "steps").read_text().splitlines())


def _taken_over(stack: TestStack, job_id: str) -> Any:
    status = stack.status(job_id)
    return status if status["state"] == State.RUNNING and status["attempt"] > 1 else None
