"""Failpoints: off they do nothing; armed they break the process exactly where and when they were asked to."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from acked_common.runtime import failpoints
from acked_common.runtime.failpoints import FailpointHit, FailpointPlan, Point, arm, parse_plan

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    arm(None)


def test_plans_are_read() -> None:
    assert parse_plan("worker.claimed:3:kill") == FailpointPlan("worker.claimed", 3, "kill")
    assert parse_plan("intake.parsed:1:raise") == FailpointPlan("intake.parsed", 1, "raise")
    assert parse_plan("outbox.published:20:sleep=0.5") == FailpointPlan("outbox.published", 20, "sleep", 0.5)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("worker.claimed", "point:n:what"),
        ("worker.eaten:1:kill", "unknown failpoint 'worker.eaten'"),
        ("worker.claimed:0:kill", "no number from 1"),
        ("worker.claimed:x:kill", "no number from 1"),
        ("worker.claimed:٣:kill", "no number from 1"),
        ("worker.claimed:1:sleep=1_0", "kill, raise or sleep"),
        ("worker.claimed:1:explode", "kill, raise or sleep"),
        ("worker.claimed:1:kill=3", "kill, raise or sleep"),
        ("worker.claimed:1:sleep", "kill, raise or sleep"),
        ("worker.claimed:1:sleep=nan", "kill, raise or sleep"),
        ("worker.claimed:1:sleep=1e9", "kill, raise or sleep"),
    ],
)
def test_what_makes_no_plan_is_told(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_plan(text)


def test_unarmed_points_do_nothing() -> None:
    for point in get_args(Point):
        failpoints.reach(point)


def test_the_nth_arrival_breaks_and_no_other() -> None:
    arm(parse_plan("worker.claimed:2:raise"))
    failpoints.reach("worker.claiming")
    failpoints.reach("worker.claimed")
    with pytest.raises(FailpointHit):
        failpoints.reach("worker.claimed")
    failpoints.reach("worker.claimed")


def test_a_stall_takes_its_time() -> None:
    arm(parse_plan("worker.claimed:1:sleep=0.05"))
    started = time.monotonic()
    failpoints.reach("worker.claimed")
    assert time.monotonic() - started >= 0.05


def test_kill_ends_the_process_where_it_stands() -> None:
    code = (
        "from acked_common.runtime import failpoints as c\n"
        "c.arm(c.parse_plan('intake.inserted:1:kill'))\n"
        "c.reach('intake.inserting'); print('before', flush=True)\n"
        "c.reach('intake.inserted'); print('behind', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == -9
    assert "before" in done.stdout
    assert "behind" not in done.stdout
    assert '"failpoint", "point": "intake.inserted"' in done.stderr
    assert "A FAILPOINT IS ARMED" in done.stdout + done.stderr


def test_each_point_stands_in_the_code_once_or_twice() -> None:
    """Twice where two kinds of handlers start."""
    sources = [path.read_text() for folder in ("libs", "services") for path in (ROOT / folder).rglob("*.py")]
    for point in get_args(Point):
        reached = sum(text.count(f'failpoints.reach("{point}")') for text in sources)
        assert reached == (2 if point == "worker.handling" else 1), point
