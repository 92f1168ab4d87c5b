"""SIGKILL to each part in turn, and to all at once, while jobs run and wait: every accepted id ends exactly once."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from acked_common.lifecycle import State
from deploy.native.stack import free_port_base
from faults.ledger import all_ended, endings, submit
from support.stacks import TestStack, eventually, running_stack

WAITING = 1600
MEANWHILE = 160
EVERYTHING = ("worker-1", "worker-2", "intake-1", "gateway-1", "rabbitmq", "mongod", "epmd")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestStack]:
    with running_stack(
        tmp_path_factory.mktemp("stack"), scale={"worker": 2}, port_base=free_port_base(near=36_500)
    ) as running:
        yield running


@pytest.mark.parametrize(
    "parts",
    [("worker-1",), ("intake-1",), ("gateway-1",), ("rabbitmq",), ("mongod",), EVERYTHING],
    ids=lambda parts: parts[0] if len(parts) == 1 else "all",
)
def test_every_accepted_job_ends_once(stack: TestStack, parts: tuple[str, ...]) -> None:
    batch = f"kill-{'all' if len(parts) > 1 else parts[0]}"
    ids = submit(stack, WAITING, batch, seconds=1.5)
    states = stack.batch(batch)
    assert states.get(State.RUNNING, 0) >= 100, states
    assert states.get(State.QUEUED, 0) >= 500, states

    killed = {part: stack.stack.pid(part) for part in parts}
    with ThreadPoolExecutor(1) as pool:
        meanwhile = pool.submit(submit, stack, MEANWHILE, batch, seconds=0.2, pause_s=0.02)
        for pid in killed.values():
            os.kill(pid, signal.SIGKILL)
        ids += meanwhile.result()

    eventually(lambda: all_ended(stack, batch, len(ids)), within_s=120, what=f"all jobs of {batch} have ended")
    assert endings(stack, ids) == {(State.SUCCEEDED.value, 1): WAITING + MEANWHILE}
    # The supervisor has brought the parts back by itself.
    services = [part for part in parts if part.split("-")[0] in ("worker", "intake", "gateway")]
    for part, pid in killed.items():
        eventually(
            lambda part=part, pid=pid: stack.stack.pid(part) not in (0, pid), within_s=30, what=f"{part} is back"
        )
    for part in services:
        eventually(
            lambda part=part: stack.stack.readiness(part) in ("ready", "degraded"), within_s=30, what=f"{part} is ready"
        )
