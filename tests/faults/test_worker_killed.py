"""A worker dies at each of its failpoints: every job ends once, and what it held runs again in time."""

import random

from faults.experiment import experiment
from faults.rig import TAKEN_BACK_WITHIN_S, Rig

POINTS = (
    "worker.delivered",
    "worker.claiming",
    "worker.claimed",
    "worker.acking",
    "worker.acked",
    "worker.handling",
    "worker.recording",
    "worker.recorded",
    "worker.reporting",
)


def test_2_i1_i4_a_worker_killed_at_each_failpoint_costs_a_lease_at_most(rig: Rig) -> None:
    chance = random.Random(2)
    with experiment(rig, "2 worker killed at each of its 9 failpoints") as run:
        run.observe(run.in_full_swing(800))
        with run.client.load(30, seconds=0.5):
            rig.kill("worker-1")
            run.open_gate()
            rig.crash_in_turn("worker-1", [(point, chance.randint(1, 4)) for point in POINTS])
    assert run.figures.reruns >= 50
    assert run.figures.taken_back_s <= TAKEN_BACK_WITHIN_S


def test_2_i1_with_free_slots_beside_it_a_killed_workers_jobs_run_again_at_once(rig: Rig) -> None:
    with experiment(rig, "2 worker killed, the other one has room") as run:
        run.burst(60, seconds=6.0)
        run.wait_running(60)
        # Bundles of one burst differ in size: a certain one may have few of the jobs.
        rig.kill(run.busiest_worker())
    assert run.figures.reruns >= 30
    assert run.figures.taken_back_s + run.figures.claimed_again_s <= TAKEN_BACK_WITHIN_S
