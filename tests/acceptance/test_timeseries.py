"""Counts over time on a running stack: exact over several processes of a service, and over restarts of all of them."""

from collections import Counter
from typing import Any
from uuid import uuid4

import pytest

from acked_common.model.lifecycle import Reason, State
from acked_common.model.minute_buckets import COUNTED, WINDOWS
from support.stacks import StartStack, TestStack, eventually

SCALE = {"worker": 2, "intake": 2}
NOOPS, FAILING, DELAYED = 120, 6, 4
ATTEMPTS = 3
"""Of `test.fails`."""


@pytest.fixture(scope="module")
def stack(start_stack: StartStack) -> TestStack:
    return start_stack({}, SCALE)


def sums(stack: TestStack, window: str = "1h", kind: str | None = None) -> Counter[str]:
    """The sum of each count over a window, without zeros."""
    query = f"?window={window}" + (f"&kind={kind}" if kind else "")
    response = stack.call("GET", f"/timeseries{query}")
    assert response.status == 200, response.raw
    assert response.body["is_complete"] is True
    assert len(response.body["points"]) == WINDOWS[window].points
    found = Counter({name: sum(point[name] for point in response.body["points"]) for name in COUNTED})
    return +found


def busiest(stack: TestStack, kind: str) -> Any:
    """The point in which most attempts of a kind started."""
    points = stack.call("GET", f"/timeseries?window=1h&kind={kind}").body["points"]
    return max(points, key=lambda point: point["started"])


@pytest.mark.long
def test_sums_are_what_was_sent_after_a_restart_of_everything(stack: TestStack) -> None:
    nonce = uuid4().hex
    noops = [stack.process("noop", payload=nonce) for _ in range(NOOPS)]
    failing = [stack.process("test.fails", payload=nonce) for _ in range(FAILING)]
    for job_id in [*noops, *failing]:
        stack.finished(job_id)
    for job_id in [stack.process("noop", payload=nonce, delay_s=600) for _ in range(DELAYED)]:
        assert stack.call("POST", f"/jobs/{job_id}/cancel").status == 200
    of_noop = {"accepted": NOOPS + DELAYED, "started": NOOPS, State.SUCCEEDED: NOOPS, State.CANCELLED: DELAYED}
    of_failing = {
        "accepted": FAILING,
        "started": FAILING * ATTEMPTS,
        "backed_off": FAILING * (ATTEMPTS - 1),
        State.FAILED: FAILING,
    }

    # Processes that leave write what they have counted.
    stack.stack.restart()
    assert sums(stack, kind="noop") == of_noop
    assert sums(stack, kind="test.fails") == of_failing

    stack.stack.down()
    stack.stack.up()
    for window in WINDOWS:
        assert sums(stack, window, "noop") == of_noop
        assert sums(stack, window) == Counter(of_noop) + Counter(of_failing)
    assert sums(stack, kind="nobody") == {}


@pytest.mark.long
def test_counts_appear_without_a_stop_within_their_interval(stack: TestStack) -> None:
    before = sums(stack)
    for job_id in [stack.process("noop") for _ in range(30)]:
        stack.finished(job_id)
    wanted = before + Counter({"accepted": 30, "started": 30, State.SUCCEEDED: 30})
    eventually(lambda: sums(stack) == wanted, within_s=20, what="all processes have written")


@pytest.mark.long
def test_durations_are_those_of_the_jobs(stack: TestStack) -> None:
    for job_id in [stack.process("test.blocks-loop", payload={"seconds": 0.5}) for _ in range(3)]:
        stack.finished(job_id)
    eventually(lambda: sums(stack, kind="test.blocks-loop")["started"] == 3, within_s=20, what="the starts are there")
    # Two processes may share them, and each runs one at a time: the handler blocks its loop.
    point = eventually(
        lambda: (found := busiest(stack, "test.blocks-loop"))["run_p95_s"] and found, within_s=20, what="a run time"
    )
    assert 0.4 <= point["run_p50_s"] <= point["run_p95_s"] <= 4
    assert 0 < point["wait_p50_s"] < 2


@pytest.mark.long
def test_a_killed_worker_loses_at_most_its_own_last_counts(stack: TestStack) -> None:
    job_id = stack.process("demo", payload={"seconds": 4})
    running = stack.status(job_id, "?wait_s=20&after_rev=1")
    assert running["state"] == State.RUNNING
    before = sums(stack)
    worker = running["hint"].split()[2]
    stack.stack.parts.kill(worker)
    done = stack.finished(job_id)
    assert Reason.LEASE_EXPIRED in [entry["reason"] for entry in done["history"]]
    # The sweeper that took the job back counts it, and the worker that ended it.
    after = eventually(
        lambda: (found := sums(stack, kind="demo"))[State.SUCCEEDED] == found["requeued"] == 1 and found,
        within_s=30,
        what="the end counts, and what the sweeper queued",
    )
    assert 1 <= after["started"] <= 2
    assert not before - sums(stack), "nothing that was written is lost"
