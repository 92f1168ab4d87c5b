"""A job that ends its processes; workers that are killed again and again, or stand still: nobody else fails by that."""

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from acked_common.model.lifecycle import Reason, State
from acked_common.model.poison import MAX_CRASHES
from support.freezing import freeze
from support.stacks import QUICK, TestStack, eventually, running_stack

HANDLERS = Path(__file__).parent / "poison_handlers"
LEASE_S = float(QUICK["ACKED_LEASE_S"])
NEIGHBOURS = 500
RUNNING = 100
KILLS = 4


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestStack]:
    with running_stack(
        tmp_path_factory.mktemp("stack"),
        environ={"ACKED_HANDLERS_DIR": str(HANDLERS)},
    ) as running:
        yield running


class Step(NamedTuple):
    """A line of the ledger that handlers write."""

    id: str
    attempt: int
    pid: int
    at: float


def steps_in(ledger: Path) -> list[Step]:
    """All steps that handlers have made so far; a line that is being written is none yet."""
    if not ledger.exists():
        return []
    lines = ledger.read_text().rpartition("\n")[0].splitlines()
    return [Step(job, int(attempt), int(pid), float(at)) for job, attempt, pid, at in map(str.split, lines)]


def submit(stack: TestStack, count: int, batch: str, ledger: Path, *, steps: int, pause_s: float) -> list[str]:
    payload = {"file": str(ledger), "steps": steps, "pause_s": pause_s}
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(lambda _: stack.process("poison.steps", payload=payload, batch=batch), range(count)))


def statuses(stack: TestStack, ids: list[str]) -> list[Any]:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(stack.status, ids))


def starts_of(stack: TestStack, part: str) -> int:
    """How often the supervisor has started a part."""
    return len(re.findall(f"spawned: '{part}' with pid", (stack.stack.layout.logs / "supervisor.log").read_text()))


def reasons(status: Any) -> list[str]:
    return [entry["reason"] for entry in status["history"]]


def all_succeeded(stack: TestStack, batch: str, count: int, within_s: float) -> None:
    eventually(
        lambda: stack.batch(batch) == {State.SUCCEEDED: count},
        within_s=within_s,
        what=f"all of {batch} have succeeded",
    )


def test_a_job_that_ends_its_process_is_poison_and_harms_no_neighbour(stack: TestStack, tmp_path: Path) -> None:
    ids = submit(stack, NEIGHBOURS, "neighbours", tmp_path / "steps.txt", steps=10, pause_s=0.2)
    eventually(
        lambda: stack.batch("neighbours").get(State.RUNNING, 0) >= RUNNING, within_s=20, what="many neighbours run"
    )
    started = starts_of(stack, "worker-1")
    poison = stack.process("poison.exits", payload={"after_s": 0.3})

    done = stack.finished(poison, wait_s=60)

    assert (done["state"], done["reason"], done["failures"]) == (State.FAILED, Reason.POISON, 0)
    assert reasons(done) == [
        *(Reason.ACCEPTED, Reason.CLAIMED, Reason.LEASE_EXPIRED, Reason.CLAIMED),
        *(Reason.CRASHED, Reason.DUE, Reason.CLAIMED) * (MAX_CRASHES - 1),
        Reason.POISON,
    ]
    assert done["attempt"] == 1 + MAX_CRASHES
    assert (done["error"]["type"], done["error"]["retryable"]) == ("Crashed", False)
    assert "exit code 1" in done["error"]["message"] and "retry the job" in done["error"]["message"]
    all_succeeded(stack, "neighbours", NEIGHBOURS, within_s=60)
    found = statuses(stack, ids)
    assert Counter(status["failures"] for status in found) == {0: NEIGHBOURS}
    # Those that ran beside it once ran again once; and all that had been running ran alone.
    attempts = Counter(status["attempt"] for status in found)
    assert set(attempts) == {1, 2} and attempts[2] >= RUNNING, attempts
    assert starts_of(stack, "worker-1") == started + 1, "it ended one worker, once"

    # A person's retry runs alone again.
    assert stack.call("POST", f"/jobs/{poison}/retry").status == 200
    done = eventually(
        lambda: (found := stack.status(poison, "?wait_s=30"))["run"] == 2 and found["finished_at"] and found,
        within_s=60,
        what="the second run has ended",
    )
    assert (done["reason"], done["attempt"]) == (Reason.POISON, 1 + 2 * MAX_CRASHES)
    assert starts_of(stack, "worker-1") == started + 1


@pytest.mark.long
def test_workers_that_are_killed_again_and_again_fail_nobody(stack: TestStack, tmp_path: Path) -> None:
    ids = submit(stack, NEIGHBOURS, "killed", tmp_path / "steps.txt", steps=15, pause_s=0.2)
    for _ in range(KILLS):
        eventually(
            lambda: stack.batch("killed").get(State.RUNNING, 0) >= RUNNING, within_s=60, what="a hundred are running"
        )
        pid = stack.stack.parts.pid("worker-1")
        os.kill(pid, signal.SIGKILL)
        eventually(
            lambda pid=pid: stack.stack.parts.pid("worker-1") not in (0, pid),
            within_s=30,
            what="another worker has started",
        )
    all_succeeded(stack, "killed", NEIGHBOURS, within_s=120)

    found = statuses(stack, ids)
    for status in found:
        assert status["failures"] == 0, status
        assert {Reason.CRASHED, Reason.POISON}.isdisjoint(reasons(status)), status
        assert reasons(status).count(Reason.COMPLETED) == 1, status
        assert status["attempt"] == 1 + reasons(status).count(Reason.LEASE_EXPIRED) <= 1 + KILLS, status
    assert sum(status["attempt"] > 1 for status in found) >= RUNNING


def test_a_worker_that_stood_still_goes_on_with_nothing_that_it_has_lost(stack: TestStack, tmp_path: Path) -> None:
    ledger = tmp_path / "steps.txt"
    stack.stack.scale({"worker": 2})
    frozen = stack.stack.parts.pid("worker-1")
    ids = submit(stack, 300, "frozen", ledger, steps=100, pause_s=0.1)
    eventually(
        lambda: len({step.id for step in steps_in(ledger) if step.pid == frozen}) >= RUNNING,
        within_s=30,
        what="a hundred run in the worker",
    )

    freeze(frozen)
    stopped_at = time.clock_gettime(time.CLOCK_BOOTTIME)
    lost = {step.id for step in steps_in(ledger) if step.pid == frozen}
    try:
        eventually(
            lambda: lost <= {step.id for step in steps_in(ledger) if step.attempt > 1},
            within_s=60,
            what="others have taken all that it ran",
        )
        eventually(
            lambda: time.clock_gettime(time.CLOCK_BOOTTIME) > stopped_at + 2 * LEASE_S, within_s=60, what="two leases"
        )
    finally:
        woke_at = time.clock_gettime(time.CLOCK_BOOTTIME)
        os.kill(frozen, signal.SIGCONT)
    all_succeeded(stack, "frozen", 300, within_s=90)

    found = {status["id"]: status for status in statuses(stack, ids)}
    for status in found.values():
        assert (status["failures"], reasons(status).count(Reason.COMPLETED)) == (0, 1), status
        assert status["result"]["attempt"] == status["attempt"] <= 2, status
    assert all(found[job_id]["attempt"] == 2 for job_id in lost)
    late = [step for step in steps_in(ledger) if step.at >= woke_at and step.attempt < found[step.id]["attempt"]]
    # One step may have been under way in the very moment of the stop: nothing can keep its end back.
    assert len(late) <= 1, late
    assert stack.stack.parts.pid("worker-1") == frozen, "it lives, and works on"
    again = stack.finished(stack.process("poison.steps", payload={"file": str(ledger), "steps": 1, "pause_s": 0}))
    assert again["state"] == State.SUCCEEDED
