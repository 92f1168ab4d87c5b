"""Durable jobs while processes die exactly where a step is recorded, a job parks or resumes, and a signal is sent.

A reader of MongoDB's change stream on the ledgers watches all of it.
"""

import time
from pathlib import Path
from typing import Any

import pytest

from acked_common.model.lifecycle import Reason, State
from faults.durable import FINISHES_WITHIN_S, SIGNALS
from faults.durable_load import durable_load, ran_again, reasons, wait_confirmed
from faults.experiment import Experiment, experiment
from faults.rig import LEASE_S, Rig, running_rig
from support.stacks import eventually

POINTS = ("worker.step-recording", "worker.step-recorded", "worker.parking", "worker.parked")
SWEEPERS = ("intake-1", "gateway-1")
STALLS = 3
"""On a busy machine leases may be taken back so late that the records of a stalled worker come in time."""
SHIPPED_LEASE_S = 30.0
PAUSED_S = 45.0
"""Longer than the shipped lease."""
REST_S = 2.0
"""More than the second from which a plain handler parks."""


def test_43_i16_i17_durable_jobs_of_a_worker_killed_at_each_point(rig: Rig) -> None:
    name = f"43 worker killed at each of its {len(POINTS)} points of durable calls"
    with experiment(rig, name) as run, durable_load(run):
        rig.crash_in_turn("worker-1", [(point, number) for number, point in enumerate(POINTS, 3)])
    assert {Reason.PARKED, Reason.SIGNALLED, Reason.LEASE_EXPIRED} <= reasons(run)
    assert ran_again(run) > 0


def test_44_i15_signals_to_durable_jobs_while_gateways_die_behind_them(rig: Rig) -> None:
    with experiment(rig, "44 gateway killed behind the push and the announcement of signals") as run, durable_load(run):
        rig.crash_in_turn("gateway-1", [("gateway.signal-pushed", 5), ("gateway.signal-woke", 5)])
    assert {Reason.PARKED, Reason.SIGNALLED} <= reasons(run)


def test_45_i1_durable_sleeps_end_though_sweepers_die_behind_the_resume(rig: Rig) -> None:
    with experiment(rig, "45 all sweepers killed at sweeper.resumed") as run:
        run.durably()
        run.burst(60, kind="fault.rests", seconds=REST_S, signals=SIGNALS)
        rig.crash_together(SWEEPERS, "sweeper.resumed")
    assert {Reason.PARKED, Reason.WOKEN} <= reasons(run)


def test_46_i1_durable_jobs_park_and_resume_without_a_broker(rig: Rig) -> None:
    name = "46 RabbitMQ killed while durable jobs park and resume"
    with experiment(rig, name) as run, durable_load(run) as durable:
        rig.kill("rabbitmq")
        wait_confirmed(durable, 4 * SIGNALS)
        rig.wait_broker()
    assert {Reason.PARKED, Reason.SIGNALLED} <= reasons(run)


def test_47_i15_i16_i17_durable_jobs_outlive_an_end_of_mongodb(rig: Rig) -> None:
    name = "47 MongoDB killed, then stopped, while durable jobs park and resume"
    with experiment(rig, name) as run, durable_load(run) as durable:
        rig.kill("mongod")
        wait_confirmed(durable, 4 * SIGNALS)
        rig.stack.stack.parts.stop("mongod")
        rig.stack.stack.parts.start("mongod")
        wait_confirmed(durable, 4 * SIGNALS)
    assert {Reason.PARKED, Reason.SIGNALLED} <= reasons(run)


def test_48_i17_a_worker_paused_in_durable_steps_writes_nothing_behind(rig: Rig) -> None:
    with experiment(rig, "48 worker paused inside of durable steps until others have done them") as run:
        durable = run.durably()
        run.burst(60, kind="fault.durable", seconds=2.0, signals=SIGNALS)
        eventually(lambda: durable.inside >= 20, within_s=150, what="20 jobs are inside of steps")
        paused = run.busiest_worker()
        rig.pause(paused)
        its = {job["_id"]: job["attempt"] for job in run.documents() if _runs_on(job, paused)}
        eventually(lambda: _finished(run, its) >= len(its) / 2, within_s=150, what="others have done half of its jobs")
        rig.resume(paused)
    assert run.figures.reruns >= 5
    assert ran_again(run) >= 5


def test_50_i17_a_durable_step_recorded_late_is_refused(rig: Rig) -> None:
    with experiment(rig, "50 worker stalls for two leases between steps and their records") as run:
        durable = run.durably()
        for _ in range(STALLS):
            has_stalled = rig.stall_once("worker-1", "worker.step-recording", nth=3, for_s=2 * LEASE_S + 1.0)
            rig.wait_whole()
            # The next attempts are inside of the same steps when the late records come.
            run.burst(40, kind="fault.durable", seconds=2 * LEASE_S, signals=SIGNALS)
            eventually(has_stalled, within_s=150, what="the worker has stalled")
            eventually(lambda: run.in_flight() == 0, within_s=FINISHES_WITHIN_S, what="all jobs have ended")
            if durable.ran_again:
                break
    assert ran_again(run) > 0


@pytest.mark.long
def test_51_i17_a_worker_paused_longer_than_the_shipped_lease_writes_nothing_behind(tmp_path: Path) -> None:
    environ = {"ACKED_LEASE_S": str(SHIPPED_LEASE_S), "ACKED_RENEWAL_S": "8"}
    name = f"51 worker paused for {PAUSED_S:g} s inside of durable steps, with the shipped lease"
    with running_rig(tmp_path / "rig", scale={"worker": 2}, environ=environ) as rig, experiment(rig, name) as run:
        durable = run.durably()
        run.burst(60, kind="fault.durable", seconds=2.0, signals=SIGNALS)
        eventually(lambda: durable.inside >= 20, within_s=150, what="20 jobs are inside of steps")
        paused = run.busiest_worker()
        rig.pause(paused)
        resumes_at_s = time.monotonic() + PAUSED_S
        its = {job["_id"]: job["attempt"] for job in run.documents() if _runs_on(job, paused)}
        eventually(lambda: _finished(run, its) >= len(its) / 2, within_s=150, what="others have done half of its jobs")
        # How long the pause lasts is the fault.
        time.sleep(max(0.0, resumes_at_s - time.monotonic()))
        rig.resume(paused)
    assert run.figures.reruns >= 5
    assert ran_again(run) >= 5


def _runs_on(job: dict[str, Any], worker: str) -> bool:
    return bool(job["state"] == State.RUNNING and job["owner"]["worker"] == worker)


def _finished(run: Experiment, attempts: dict[Any, int]) -> int:
    """How many jobs have ended in later attempts than these."""
    found = [job for job in run.documents() if job["_id"] in attempts]
    return sum(job["state"] == State.SUCCEEDED and job["attempt"] > attempts[job["_id"]] for job in found)
