"""Intake, gateway and their sweepers die at each failpoint, together and for a while: nothing accepted is lost."""

import random
import time

import pytest

from faults.broker import purge
from faults.experiment import experiment
from faults.rig import LEASE_S, Rig
from support.stacks import eventually

INTAKE_POINTS = (
    "intake.parsed",
    "intake.inserting",
    "intake.inserted",
    "intake.answering",
    "outbox.publishing",
    "outbox.published",
)
SWEEPERS = ("intake-1", "gateway-1")
FOLLOWERS = 100
BACK_WITHIN_S = 30.0


def test_1_i1_i5_an_intake_killed_at_each_failpoint_has_promised_nothing_that_is_lost(rig: Rig) -> None:
    chance = random.Random(1)
    with experiment(rig, "1 intake killed at each of its 6 failpoints") as run:
        run.in_full_swing()
        with run.client.load(60, seconds=0.2):
            rig.crash_in_turn("intake-1", [(point, chance.randint(1, 20)) for point in INTAKE_POINTS])
    assert run.figures.refused + run.figures.unknown > 0, "clients have noticed"


@pytest.mark.parametrize("point", ["sweeper.taking-back", pytest.param("sweeper.took-back", marks=pytest.mark.long)])
def test_4_i1_sweepers_killed_while_they_take_back_leave_it_to_the_next_ones(rig: Rig, point: str) -> None:
    with experiment(rig, f"4 all sweepers killed at {point}") as run:
        run.in_full_swing()
        rig.kill("worker-1")
        run.open_gate()
        rig.crash_together(SWEEPERS, point)
    assert run.figures.reruns > 0


def test_4_i1_sweepers_killed_between_publishing_and_postponing_publish_again(rig: Rig) -> None:
    with experiment(rig, "4 sweepers killed at sweeper.republished") as run:
        run.in_full_swing()
        assert purge(rig, "fault.work") > 0
        # The lane is empty from now on, though hundreds wait: the sweepers find out.
        rig.crash_together(SWEEPERS, "sweeper.republished")


def test_4_i1_without_any_sweeper_for_two_leases_nothing_is_lost(rig: Rig) -> None:
    with experiment(rig, "4 no intake and no gateway for two leases, a worker killed meanwhile") as run:
        run.in_full_swing()
        rig.kill(*SWEEPERS)
        for part in SWEEPERS:
            rig.stack.stack.parts.stop(part)
        rig.kill("worker-1")
        time.sleep(2 * LEASE_S)
        for part in SWEEPERS:
            rig.stack.stack.parts.start(part)
    assert run.figures.reruns > 0


def test_3_i9_a_killed_gateway_costs_its_clients_a_reconnection_and_workers_nothing(rig: Rig) -> None:
    with experiment(rig, f"3 gateway killed twice with {FOLLOWERS} clients of the feed") as run:
        ids = run.in_full_swing(800)
        for start in range(FOLLOWERS):
            run.observe(ids[start * 8 : start * 8 + 8])
        run.wait_observed()
        with run.client.load(40, seconds=0.2):
            for _ in range(2):
                rig.kill("gateway-1")
                eventually(lambda: not run.feed.have_snapshots(), within_s=150, what="the clients have noticed")
                eventually(run.feed.have_snapshots, within_s=BACK_WITHIN_S, what="all clients are back")
    assert (run.figures.reruns, run.figures.unknown, run.figures.refused) == (0, 0, 0), run.client.not_accepted


@pytest.mark.long
def test_31_i1_a_rolling_restart_of_everything_under_load_refuses_and_fails_nothing(rig: Rig) -> None:
    with experiment(rig, "31 rolling restart of all services under load") as run:
        run.in_full_swing()
        with run.client.load(40, seconds=0.2):
            run.open_gate()
            rig.stack.stack.restart(told=lambda line: None)
    # A busy MongoDB may leave a request without its answer in time; a restart refuses and interrupts none.
    assert (run.figures.refused, run.figures.reruns) == (0, 0)
