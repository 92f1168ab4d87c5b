"""The broker ends, hard or in peace, while jobs run and wait: handlers are not disturbed, consumers come back."""

import os
import shutil
import signal
import time

import pytest

from faults.experiment import experiment
from faults.rig import Rig
from support.freezing import freeze
from support.stacks import eventually

EVERYTHING = ("worker-1", "worker-2", "intake-1", "gateway-1", "rabbitmq", "mongod", "epmd")
ANSWERED_WITHIN_S = 3.0
"""Two seconds are promised; a busy machine adds to them."""


@pytest.mark.parametrize("how", ["killed", pytest.param("stopped", marks=pytest.mark.long)])
def test_7_i1_a_broker_that_restarts_disturbs_no_handler(rig: Rig, how: str) -> None:
    with experiment(rig, f"7 RabbitMQ {how} and started again under load") as run:
        run.in_full_swing()
        with run.client.load(40, seconds=0.2):
            if how == "killed":
                rig.kill("rabbitmq")
            else:
                rig.stack.stack.parts.stop("rabbitmq")
                time.sleep(1.0)
                rig.stack.stack.parts.start("rabbitmq")
            rig.wait_broker()
    assert (run.figures.reruns, run.figures.unknown, run.figures.refused) == (0, 0, 0), run.client.not_accepted


def test_i1_everything_killed_at_once_loses_nothing(rig: Rig) -> None:
    with experiment(rig, "all processes killed at once, servers too") as run:
        run.in_full_swing()
        with run.client.load(20, seconds=0.2):
            rig.kill(*EVERYTHING)
            rig.wait_broker()
            rig.wait_whole()


def test_i1_a_broker_that_comes_back_empty_is_filled_again(rig: Rig) -> None:
    with experiment(rig, "RabbitMQ's data deleted while 2,000 wait, then 300 more") as run:
        for worker in rig.parts("worker"):
            rig.stack.stack.parts.stop(worker)
        run.burst(2000, kind="noop")
        rig.stack.stack.parts.stop("rabbitmq")
        shutil.rmtree(rig.stack.stack.layout.rabbit_home / "data")
        # Without a broker requests are accepted as before.
        run.burst(300, kind="noop")
        ready = rig.stack.call("GET", "/readyz", to="intake")
        assert (ready.status, ready.body["status"]) == (200, "degraded")
        rig.stack.stack.parts.start("rabbitmq")
        for worker in rig.parts("worker"):
            rig.stack.stack.parts.start(worker)


@pytest.mark.parametrize("how", ["stopped", pytest.param("paused", marks=pytest.mark.long)])
def test_i5_without_the_database_nothing_is_accepted_and_the_answer_is_quick(rig: Rig, how: str) -> None:
    with experiment(rig, f"MongoDB {how}: quick refusals") as run:
        run.burst(600, seconds=3.0)
        pid = rig.pid("mongod")
        if how == "stopped":
            rig.stack.stack.parts.stop("mongod")
        else:
            freeze(pid)
        try:
            for path, to, method in (("/process", "intake", "POST"), ("/jobs", "gateway", "GET")):
                for _ in range(3):
                    started = time.monotonic()
                    answer = rig.stack.call(method, path, {"kind": "noop"} if method == "POST" else None, to=to)
                    took_s = time.monotonic() - started
                    assert answer.status == 503, answer.raw
                    name = answer.body["type"].rsplit("/", 1)[-1]
                    assert name in ("not-accepted", "outcome-unknown", "store-unreachable")
                    assert took_s < ANSWERED_WITHIN_S, (path, took_s)
        finally:
            if how == "stopped":
                rig.stack.stack.parts.start("mongod")
            else:
                os.kill(pid, signal.SIGCONT)
        eventually(
            lambda: rig.stack.call("POST", "/process", {"kind": "noop"}, to="intake").status == 202,
            within_s=30,
            what="requests are accepted again",
        )
