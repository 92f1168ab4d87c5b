"""A backlog while no worker runs: memory stays bounded, nothing is republished, and all of it ends afterwards.

`ACKED_TEST_BACKLOG=200000 ./just test faults -k backlog -s` for the large one.
"""

import os
import sys
from collections import Counter
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from acked_common.model.lifecycle import State
from support.stacks import TestStack, eventually, running_stack

JOBS = int(os.environ.get("ACKED_TEST_BACKLOG", "10000"))
A_LOAD_TEST = 20_000
SERVICES_MAY_GROW_MIB = 80
SWEEPS_MUST_SEE_IT_S = 15.0


def memory_mib(stack: TestStack) -> dict[str, int]:
    """Resident memory of each running part."""
    found = {}
    for part, info in stack.stack.parts.known().items():
        if info["pid"]:
            status = Path(f"/proc/{info['pid']}/status").read_text()
            found[part] = int(status.split("VmRSS:")[1].split()[0]) // 1024
    return found


def bundles_published(stack: TestStack) -> float:
    return sum(stack.metric("acked_bundles_published_total", to=service) for service in ("intake", "gateway"))


def republished(stack: TestStack) -> float:
    return sum(stack.metric("acked_swept_total", '{reason="republished"}', to=to) for to in ("intake", "gateway"))


def states_of(stack: TestStack, batches: list[str]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for batch in batches:
        counted.update(stack.batch(batch))
    return counted


@pytest.mark.long
def test_a_backlog_waits_quietly_and_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running_stack(tmp_path, scale={"worker": 0}) as stack:
        at_first = memory_mib(stack)
        batches: list[str] = []
        for _ in range(max(1, JOBS // A_LOAD_TEST)):
            answer = stack.call("POST", f"/load-test?count={min(JOBS, A_LOAD_TEST)}&kind=noop", timeout_s=300)
            assert answer.body["failed"] == 0, answer.body
            batches.append(answer.body["batch"])
        total = states_of(stack, batches).total()
        eventually(
            lambda: stack.metric("acked_jobs_published_total", to="intake") == total,
            within_s=60,
            what="all are published",
        )
        bundles = bundles_published(stack)

        # Long enough that the sweeper's grace is over and it looks at the backlog again and again.
        waited_from = stack.status(stack.process("noop"))["accepted_at"]
        eventually(
            lambda: _seconds_between(waited_from, stack.call("GET", "/healthz").headers["date"]) > SWEEPS_MUST_SEE_IT_S,
            within_s=60,
            what="the sweeper had time to look at all of it",
        )
        assert bundles_published(stack) == bundles + 1, "nothing consumed: nothing republished"
        assert republished(stack) == 0
        waiting = memory_mib(stack)
        for part in ("intake-1", "gateway-1"):
            assert waiting[part] - at_first[part] < SERVICES_MAY_GROW_MIB, (at_first, waiting)

        stack.stack.scale({"worker": 2})
        eventually(
            lambda: states_of(stack, batches) == {State.SUCCEEDED.value: total},
            within_s=60 + total / 1000,
            what="all of it has succeeded",
        )
        ended = memory_mib(stack)
        for part in ("intake-1", "gateway-1", "worker-1", "worker-2"):
            assert ended[part] - at_first.get(part, 60) < SERVICES_MAY_GROW_MIB, (at_first, ended)
        assert republished(stack) == 0
        with capsys.disabled():
            sys.stdout.write(f"\nbacklog of {total}: MiB at first {at_first}, waiting {waiting}, at the end {ended}\n")


def _seconds_between(accepted_at: str, date_header: str) -> float:
    return (parsedate_to_datetime(date_header) - datetime.fromisoformat(accepted_at)).total_seconds()
