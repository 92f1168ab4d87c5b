"""Deployments of changed code under parked jobs: all end, and no step that was kept runs again."""

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from acked_common.model.lifecycle import State
from support.stacks import StartStack, TestStack, eventually

BEFORE = ("a", "b", "c", "d", "e")
# Two are swapped, one is new, one has another name.
AFTER = ("a", "x", "c", "b", "d2", "e")
WAITS = len(BEFORE)
ENDS_WITHIN_S = 120.0

_HEAD = '''"""Steps, each with a wait behind it."""

import os
from pathlib import Path

from acked import Context, handler


def note(name: str, job_id: str) -> str:
    with Path({path!r}).open("a") as file:
        file.write(f"{{job_id}} {{name}}\\n")
        file.flush()
        os.fsync(file.fileno())
    return name


@handler("course", timeout_s=60)
async def course(ctx: Context, payload: object) -> list[str]:
    made = []
'''


def source(lines: Path, course: Sequence[str]) -> str:
    """Return a handler that makes these steps; behind each but new ones it waits for a signal."""
    text, waits = _HEAD.format(path=str(lines)), 0
    for name in course:
        text += f'    made.append(await ctx.step("{name}", note, "{name}", ctx.id))\n'
        if name != "x":
            text += f'    await ctx.wait_for("go", key={waits})\n'
            waits += 1
    return text + "    return made\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of handlers."""
    made: Path = tmp_path_factory.mktemp("handlers")
    (made / "course.py").write_text(source(made / "lines", BEFORE))
    return made


@pytest.fixture(scope="module")
def stack(folder: Path, start_stack: StartStack) -> TestStack:
    return start_stack({"ACKED_HANDLERS_DIR": str(folder)})


def deploy(stack: TestStack, folder: Path, course: Sequence[str]) -> None:
    """Replace the code as a user does."""
    (folder / "course.py").write_text(source(folder / "lines", course))
    stack.stack.restart(["worker"], told=lambda line: None)


def send(stack: TestStack, job_id: str, first: int, last: int) -> None:
    """Send a job its signals from one number up to another."""
    for number in range(first, last):
        answer = stack.call("POST", f"/jobs/{job_id}/signals/go", number, headers={"Idempotency-Key": str(number)})
        assert answer.status == 202, answer.raw


def wait_parked(stack: TestStack, job_id: str, signals: int) -> None:
    """Return when a job has taken so many signals and waits for the next one."""

    def is_parked() -> bool:
        steps = stack.call("GET", f"/jobs/{job_id}/steps").body["steps"]
        taken = sum(step["call"] == "wait" and step["state"] == "kept" for step in steps)
        return bool(taken == signals and stack.status(job_id)["state"] == State.WAITING)

    eventually(is_parked, within_s=ENDS_WITHIN_S, what=f"it waits behind {signals} signals")


@pytest.mark.parametrize("number", [10, pytest.param(100, marks=pytest.mark.long)])
def test_jobs_that_are_parked_anywhere_go_on_with_changed_code(stack: TestStack, folder: Path, number: int) -> None:
    deploy(stack, folder, BEFORE)
    chance, batch = random.Random(number), uuid4().hex
    # Each of the points at least once.
    points = [n % WAITS if n < WAITS else chance.randrange(WAITS) for n in range(number)]
    jobs = {stack.process("course", batch=batch): point for point in points}
    for job_id, point in jobs.items():
        send(stack, job_id, 0, point)
    for job_id, point in jobs.items():
        wait_parked(stack, job_id, point)

    deploy(stack, folder, AFTER)
    for job_id, point in jobs.items():
        send(stack, job_id, point, WAITS)

    eventually(
        lambda: stack.batch(batch) == {State.SUCCEEDED: number}, within_s=ENDS_WITHIN_S, what="all of them have ended"
    )
    ran: dict[str, Counter[str]] = {job_id: Counter() for job_id in jobs}
    for line in (folder / "lines").read_text().splitlines():
        job_id, name = line.split()
        if job_id in ran:
            ran[job_id][name] += 1
    for job_id, point in jobs.items():
        check_steps(stack, job_id, kept=BEFORE[: point + 1], ran=ran[job_id])


def check_steps(stack: TestStack, job_id: str, *, kept: Sequence[str], ran: Counter[str]) -> None:
    """Expect the result of the new code, each step once, and the list of steps to name those that it did not use."""
    status: Any = stack.status(job_id)
    assert (status["result"], status["failures"]) == (list(AFTER), 0)
    assert ran == Counter({*kept, *AFTER})
    steps = [one["name"] for one in stack.call("GET", f"/jobs/{job_id}/steps").body["steps"] if one["call"] == "step"]
    assert sorted(steps) == sorted({*kept, *AFTER})
    assert ("d" in steps) == ("d" in kept), "it is kept, and the new code does not use it"
