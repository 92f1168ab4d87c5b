"""Handlers that fork, signal or linger: what a child inherits, who made a worker stop, and that a process ends."""

import os
import signal
from typing import Any

import pytest

from acked_common.model.lifecycle import Reason, State
from support.stacks import TestStack, eventually

ENVIRON = {"ACKED_DRAIN_S": "1"}
LONG = pytest.mark.long
POOLS = 50
ENDS_WITHIN_S = 12.0


def reasons(status: Any) -> list[str]:
    return [entry["reason"] for entry in status["history"]]


def succeeded(stack: TestStack, kind: str, payload: Any = None) -> Any:
    done = stack.finished(stack.process(kind, payload=payload or {}), wait_s=60)
    assert done["state"] == State.SUCCEEDED, done
    return done["result"]


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def renewed(stack: TestStack, pid: int) -> None:
    """Until the supervisor has started another worker."""
    eventually(
        lambda: stack.stack.parts.pid("worker-1") not in (0, pid), within_s=30, what="another worker has started"
    )
    eventually(lambda: stack.stack.parts.readiness("worker-1") == "ready", within_s=30, what="the worker is ready")


def running(stack: TestStack, job_id: str) -> None:
    assert stack.status(job_id, "?wait_s=20&after_rev=1")["state"] == State.RUNNING


# What a forked child inherits.


def test_signal_to_a_forked_child_stops_no_worker(stack: TestStack) -> None:
    pid = stack.stack.parts.pid("worker-1")
    assert [succeeded(stack, "test.child-is-signalled") for _ in range(3)] == [pid] * 3
    assert succeeded(stack, "test.pools", {"count": 1}) == pid
    assert stack.stack.parts.readiness("worker-1") == "ready"


def test_fifty_pools_stop_no_worker(stack: TestStack) -> None:
    pid = stack.stack.parts.pid("worker-1")
    assert succeeded(stack, "test.pools", {"count": POOLS}) == pid
    assert stack.stack.parts.readiness("worker-1") == "ready"


@pytest.mark.parametrize(
    ("kind", "how", "code"),
    [
        ("test.child-leaves", "exit", 3),
        ("test.child-leaves", "raise", 1),
        ("test.child-leaves", "return", 0),
        ("test.child-awaits", "exit", 3),
        ("test.child-awaits", "await", 70),
    ],
)
def test_forked_child_that_leaves_its_handler_ends(stack: TestStack, kind: str, how: str, code: int) -> None:
    assert succeeded(stack, kind, {"how": how}) == code


# Who made the worker stop.


@pytest.mark.parametrize(
    "how",
    ["kill", "interrupt", "child", *(pytest.param(how, marks=LONG) for how in ("raise", "group", "program", "orphan"))],
)
def test_job_that_stops_its_worker_runs_alone_next(stack: TestStack, how: str) -> None:
    pid = stack.stack.parts.pid("worker-1")
    job_id = stack.process("test.stops-its-worker", payload={"how": how})

    done = stack.finished(job_id, wait_s=60)

    assert (done["state"], done["attempt"], done["failures"]) == (State.SUCCEEDED, 2, 0), done
    assert reasons(done) == [Reason.ACCEPTED, Reason.CLAIMED, Reason.DRAINED, Reason.CLAIMED, Reason.COMPLETED]
    assert done["result"].startswith("acked-suspect")
    renewed(stack, pid)
    second = stack.stack.parts.pid("worker-1")
    assert stack.finished(stack.process("noop"))["state"] == State.SUCCEEDED
    assert stack.stack.parts.pid("worker-1") == second, "it ended one worker, once"


@pytest.mark.long
def test_job_of_a_worker_stopped_from_outside_is_no_suspect(stack: TestStack) -> None:
    job_id = stack.process("test.where")
    running(stack, job_id)
    pid = stack.stack.parts.pid("worker-1")
    os.kill(pid, signal.SIGTERM)

    done = stack.finished(job_id, wait_s=60)

    assert reasons(done) == [Reason.ACCEPTED, Reason.CLAIMED, Reason.DRAINED, Reason.CLAIMED, Reason.COMPLETED]
    assert done["result"].startswith("acked-worker")
    renewed(stack, pid)


# The end of the process.


@pytest.mark.long
def test_worker_ends_whatever_handlers_left_behind(stack: TestStack) -> None:
    pid, child = succeeded(stack, "test.leaves-behind")
    assert pid == stack.stack.parts.pid("worker-1")
    os.kill(pid, signal.SIGTERM)
    try:
        eventually(lambda: not runs(pid), within_s=ENDS_WITHIN_S, what="the worker has ended")
    finally:
        for left in (pid, child):
            if runs(left):
                os.kill(left, signal.SIGKILL)
    renewed(stack, pid)
