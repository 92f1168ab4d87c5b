"""The broker loses all that it held; the broker or the database is away: what was promised holds."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from acked_common.lifecycle import State
from deploy.native.stack import free_port_base
from support.stacks import TestStack, eventually, running_stack

WAITING = 2000
ANSWERED_WITHIN_S = 2.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestStack]:
    with running_stack(tmp_path_factory.mktemp("stack"), port_base=free_port_base(near=36_500)) as running:
        yield running


def load(stack: TestStack, count: int) -> str:
    answer = stack.call("POST", f"/load-test?count={count}&kind=noop")
    assert answer.status == 200, answer.raw
    assert answer.body["persisted"] == count, answer.body
    return str(answer.body["batch"])


def test_the_brokers_data_is_deleted_while_jobs_wait(stack: TestStack) -> None:
    stack.stack.scale({"worker": 0})
    waiting = load(stack, WAITING)
    stack.stack.stop_part("rabbitmq")
    stack.stack.remove_data("rabbitmq")
    # Without a broker requests are accepted as before.
    accepted_meanwhile = load(stack, 300)
    ready = stack.call("GET", "/readyz", to="intake")
    assert (ready.status, ready.body["status"]) == (200, "degraded")
    stack.stack.start_part("rabbitmq")
    stack.stack.scale({"worker": 1})
    for batch, count in ((waiting, WAITING), (accepted_meanwhile, 300)):
        eventually(
            lambda batch=batch, count=count: stack.batch(batch) == {State.SUCCEEDED.value: count},
            within_s=90,
            what=f"all {count} have succeeded",
        )


@pytest.mark.parametrize("how", ["stopped", "paused"])
def test_without_the_database_nothing_is_accepted_and_the_answer_is_quick(stack: TestStack, how: str) -> None:
    pid = stack.stack.pid("mongod")
    if how == "stopped":
        stack.stack.stop_part("mongod")
    else:
        os.kill(pid, signal.SIGSTOP)
    try:
        for path, to, method in (("/process", "intake", "POST"), ("/jobs", "gateway", "GET")):
            for _ in range(3):
                started = time.monotonic()
                answer = stack.call(method, path, {"kind": "noop"} if method == "POST" else None, to=to)
                took_s = time.monotonic() - started
                assert answer.status == 503, answer.raw
                assert answer.body["type"] in (
                    "/problems/not-accepted",
                    "/problems/outcome-unknown",
                    "/problems/store-unreachable",
                )
                assert took_s < ANSWERED_WITHIN_S, (path, took_s)
    finally:
        if how == "stopped":
            stack.stack.start_part("mongod")
        else:
            os.kill(pid, signal.SIGCONT)
    eventually(
        lambda: stack.call("POST", "/process", {"kind": "noop"}, to="intake").status == 202,
        within_s=30,
        what="requests are accepted again",
    )
