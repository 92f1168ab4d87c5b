"""MongoDB is away for longer than a lease while hundreds of jobs run: each of them goes on, and its result arrives."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from acked_common.model.lifecycle import State
from support.freezing import freeze
from support.stacks import QUICK, TestStack, eventually, running_stack
from support.submitted import all_ended, endings

AWAY_S = 10.0
# Some end while MongoDB is away, the others after it is back.
SHORT, LONG = 250, 250
SHORT_S, LONG_S = 9.0, 20.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestStack]:
    with running_stack(
        tmp_path_factory.mktemp("stack"),
        scale={"worker": 2, "gateway": 2},
        environ={"ACKED_WORKER_SLOTS": "300"},
    ) as running:
        yield running


def stays_away(stack: TestStack, how: str) -> None:
    pid = stack.stack.parts.pid("mongod")
    if how == "paused":
        freeze(pid)
    else:
        stack.stack.parts.stop("mongod")
    back_at = time.monotonic() + AWAY_S
    eventually(lambda: time.monotonic() > back_at, within_s=AWAY_S + 5, what="it was away long enough")
    if how == "paused":
        os.kill(pid, signal.SIGCONT)
    else:
        stack.stack.parts.start("mongod")


@pytest.mark.parametrize("how", ["paused", pytest.param("stopped", marks=pytest.mark.long)])
def test_an_outage_longer_than_the_lease_runs_nothing_again(stack: TestStack, how: str) -> None:
    assert float(QUICK["ACKED_LEASE_S"]) * 3 < AWAY_S
    batch = f"away-{how}"
    ids = [stack.process("demo", payload={"seconds": LONG_S}, batch=batch) for _ in range(LONG)]
    ids += [stack.process("demo", payload={"seconds": SHORT_S}, batch=batch) for _ in range(SHORT)]
    eventually(
        lambda: stack.batch(batch) == {State.RUNNING: SHORT + LONG}, within_s=SHORT_S / 2, what="all of them run"
    )
    stays_away(stack, how)
    eventually(lambda: all_ended(stack, batch, len(ids)), within_s=150, what="all of them have ended")
    assert endings(stack, ids) == {(State.SUCCEEDED.value, 1): SHORT + LONG}
    assert Counter(stack.status(job_id)["attempt"] for job_id in ids) == {1: SHORT + LONG}
